"""Reference pages of the documentation site: commands, configurations, their keys, and the API."""

import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from docstring_parser import DocstringStyle, parse

from nnmass.commands import SUBCOMMANDS

__all__ = ["commands_page", "configurations_page", "keys_page", "package_page"]

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = ("RandomSkipDenseNet", "RandomSkipMLP", "ResNet", "MobileNetV2")
DATA = ("Digits", "MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "ImageNet", "Seg", "Circle")


def commands_page() -> str:
    """Return the output of ``--help`` of the program, of each subcommand and of each of its actions."""
    lines = ["# Commands", "", "`python cli.py` in a clone is `nnmass` after `pip install .`.", ""]
    for name in ("", *SUBCOMMANDS):
        page = _help(*name.split())
        lines += [f"## {name or 'nnmass'}", "", "```text", page, "```", ""]
        actions = re.search(r"{([\w,]+)} \.\.\.", page)  # as argparse abbreviates them
        for action in actions[1].split(",") if actions else ():
            lines += [f"### {name} {action}", "", "```text", _help(name, action), "```", ""]
    return "\n".join(lines)


def _help(*words: str) -> str:
    command = [sys.executable, str(ROOT / "cli.py"), *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.rstrip()


def configurations_page() -> str:
    """Return the shipped configurations, unchanged."""
    lines = ["# Configurations", ""]
    for title, folder in (("For `fit`", "configs"), ("For `study`", "configs/studies")):
        lines += [f"## {title}", ""]
        for file in sorted((ROOT / folder).glob("*.yaml")):
            lines += [f"### {file.stem}", "", "```yaml", file.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(lines)


def keys_page() -> str:
    """Return a table of every key of a configuration that nnmass defines: type, default, meaning."""
    from nnmass import callbacks, datamodules, zoo
    from nnmass.studies.definition import JacobianChoice, ReportChoice, Study

    lines = [
        "# Keys of a configuration",
        "",
        "Each is also an option of `fit`, without `init_args`: `--model.network.tc 5`. The keys of `trainer` are the "
        "arguments of Lightning's `Trainer`, and a class may be any that can be imported. `fit --help-all` prints all.",
        "",
        "## At the top",
        "",
        *_table(
            [
                ("seed_everything", "int", "0", "Decides links, initial weights, data order and augmentation."),
                ("output_dir", "str", "runs", "Folder in which each run gets a folder of its own."),
                ("checkpoint_minutes", "float", "15", "Minutes between two checkpoints within an epoch."),
                ("ckpt_path", "str", "", "`last`, `best` or a file: which checkpoint to resume from, or to evaluate."),
            ]
        ),
        "## model",
        "",
        *_table(_arguments(zoo.Classifier)),
    ]
    for name in NETWORKS:
        lines += [f"## model.network: {name}", "", *_table(_arguments(getattr(zoo, name)))]
    for name in DATA:
        lines += [f"## data: {name}", "", *_table(_arguments(getattr(datamodules, name)))]
    lines += ["## data.augmentation", "", *_table(_arguments(datamodules.Augmentation))]
    lines += [
        "## trainer.callbacks: JacobianRecorder",
        "",
        *_table(_arguments(callbacks.JacobianRecorder)),
    ]
    for title, kind in (("a study", Study), ("its jacobian", JacobianChoice), ("its report", ReportChoice)):
        lines += [f"## Keys of {title}", "", *_table(_arguments(kind))]
    return "\n".join(lines)


def _arguments(kind: type) -> list[tuple[str, str, str, str]]:
    """Return name, type, default and meaning of each argument, including those of the base classes."""
    found: dict[str, tuple[str, str, str, str]] = {}
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parsed = parse(inspect.getdoc(base) or "", style=DocstringStyle.GOOGLE)
        meaning = {one.arg_name: one.description or "" for one in parsed.params}
        for name, parameter in inspect.signature(base.__init__).parameters.items():
            if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            default = "" if parameter.default is inspect.Parameter.empty else _shown(parameter.default)
            kind_of = inspect.formatannotation(parameter.annotation)
            found.setdefault(name, (name, re.sub(r"[\w.]+\.(\w+)", r"\1", kind_of), default, meaning.get(name, "")))
        if not any(one.kind is one.VAR_KEYWORD for one in inspect.signature(base.__init__).parameters.values()):
            break
    return list(found.values())


def _shown(value: Any) -> str:
    return getattr(value, "__name__", None) or str(value)


def _table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, kind, default, meaning in rows:
        cells = (f"`{name}`", f"`{kind}`", f"`{default}`" if default else "", " ".join(meaning.split()))
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def package_page(package: str) -> str:
    """Return the public names of a package, under the modules that define them."""
    module = import_module(package)
    names = getattr(module, "__all__", [])
    homes: dict[str, list[str]] = {}
    for name in names:
        homes.setdefault(getattr(module, name).__module__, []).append(name)
    lines = [f"# {package}", ""]
    for home, offered in sorted(homes.items()):
        summary = (inspect.getdoc(import_module(home)) or "").partition("\n\n")[0]
        lines += [f"## {summary.rstrip('.').replace(chr(10), ' ')}", ""]
        lines += [line for name in offered for line in (f"::: {home}.{name}", "")]
    return "\n".join(lines)
