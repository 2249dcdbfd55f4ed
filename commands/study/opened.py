"""A study that a command line names: its definition, its configurations, its rows and its folder."""

import os
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nnmass.commands.options.parser import Parser, user_path

if TYPE_CHECKING:
    from nnmass.studies.definition import Row, Study

__all__ = [
    "OpenedStudy",
    "add_data_dir",
    "add_output_dir",
    "add_study",
    "open_one",
    "open_study",
    "require_fit_engine",
    "require_same_study",
    "write_definition",
]


class OpenedStudy(NamedTuple):
    """A study, the content of its configurations by name, its rows, and its folder."""

    study: "Study"
    configurations: dict[str, dict[str, Any]]
    rows: list["Row"]
    folder: Path


def add_study(parser: Parser) -> None:
    """Add the argument that names the study."""
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="a study's YAML, by name or path, or its folder")


def add_output_dir(parser: Parser) -> None:
    """Add the option ``--output-dir``."""
    parser.add_argument("--output-dir", type=user_path, help="the study's folder (runs/study_<name>)")


def add_data_dir(parser: Parser) -> None:
    """Add the option ``--data-dir``."""
    parser.add_argument("--data-dir", type=user_path, help="folder of the data sets")


def open_one(options: Namespace) -> OpenedStudy:
    """Open the one study that an action is given, and let its data sets be looked for in ``--data-dir``.

    Raises:
        ValueError: If several are given, the study is wrong, or a configuration names another folder of its data.
        FileNotFoundError: If there is no such study.
    """
    if len(options.studies) != 1:
        raise ValueError(f"Expected {options.action} to be given one study, but got {len(options.studies)}.")
    opened = open_study(options.studies[0], getattr(options, "output_dir", None))
    data_dir: Path | None = getattr(options, "data_dir", None)
    if data_dir is not None:
        for name, content in opened.configurations.items():
            data = content.get("data")
            if isinstance(data, dict) and (data.get("init_args") or {}).get("data_dir") is not None:
                raise ValueError(f"Expected either --data-dir or data_dir in the configuration {name}, but got both.")
        os.environ["NNMASS_DATA"] = str(data_dir.expanduser().absolute())
    return opened


def open_study(name: str, output_dir: Path | None = None) -> OpenedStudy:
    """Read a study and its configurations, and plan its rows.

    Args:
        name: The study's YAML by name or path, or the folder of a study that was run.
        output_dir: The study's folder; by default the folder that is named, or else ``runs/study_<name>``.

    Raises:
        ValueError: If the study or a configuration is wrong.
        FileNotFoundError: If there is no such study, or no such configuration.
    """
    from nnmass.runtime.config_names import find_study
    from nnmass.studies.definition import planned_rows

    given = Path(name).expanduser()
    inside = given / "study.yaml" if given.is_dir() else None
    if inside is not None and not inside.is_file():
        raise FileNotFoundError(f"Expected a study's folder, but {given} holds no study.yaml.")
    definition = inside or find_study(name)
    study = _read_study(definition)
    configurations = _read_configurations(study, definition, given / "configs" if inside else None)
    folder = output_dir or (given if inside else Path("runs") / f"study_{study.name}")
    return OpenedStudy(study, configurations, planned_rows(study, configurations), folder)


def _read_configurations(study: "Study", definition: Path, saved: Path | None) -> dict[str, dict[str, Any]]:
    """Read a study's configurations: those saved in its folder, those beside its YAML, or those shipped."""
    from nnmass.runtime.config_names import STUDY_FOLDER, config_name, find_config, read_config

    configurations: dict[str, dict[str, Any]] = {}
    for config in study.configs:
        beside = (saved or definition.parent) / config
        own = beside.is_file() and beside != definition and definition.parent != STUDY_FOLDER
        file = beside if saved or own else find_config(config, "the study's configs")
        if config_name(file) in configurations:
            raise ValueError(f"Expected the study's configs to have names of their own, but two are {file.stem}.")
        configurations[config_name(file)] = read_config(file)
    return configurations


def _read_study(path: Path) -> "Study":
    from jsonargparse import ArgumentError, ArgumentParser

    from nnmass.runtime.config_shape import require_shape
    from nnmass.runtime.option_errors import explain
    from nnmass.runtime.strict_yaml import read_yaml
    from nnmass.studies.choices import Endpoint, JacobianChoice, ReportChoice
    from nnmass.studies.definition import Study

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--study", type=Study)
    written = read_yaml(path)
    content = {"name": path.stem} | {key: value for key, value in written.items() if value is not None}
    # The classes that the changes name are for the training to load, which takes seconds; the rows need their names.
    changes = content.pop("changes") if isinstance(content.get("changes"), dict) else {}
    grid = content.pop("grid", {})  # whose keys have dots, which are names of options
    require_shape(changes, path)
    try:
        checked = parser.parse_object({"study": content}).study.as_dict()
    except ArgumentError as error:
        message = explain(error, parser).replace("'study.", "'").replace("study.", "the study's ")
        raise ValueError(f"{path.name}: {message}") from error
    for key in ("jacobian", "report"):
        if not isinstance(content.get(key, {}), dict):
            raise ValueError(f"{path.name}: Expected the study's {key} to be keys and values, but got {content[key]}.")
    jacobian = checked["jacobian"] and JacobianChoice(**checked["jacobian"])
    endpoint = checked["report"]["endpoint"] and Endpoint(**checked["report"]["endpoint"])
    report = ReportChoice(**{**checked["report"], "endpoint": endpoint})
    return Study(**{**checked, "jacobian": jacobian, "report": report, "changes": changes, "grid": grid})


def write_definition(opened: OpenedStudy) -> None:
    """Write the study, its configurations and the list of its rows into its folder, which then stands for itself.

    Raises:
        ValueError: If the folder is that of another study.
    """

    from nnmass.runtime.files import write_atomically
    from nnmass.runtime.strict_yaml import yaml_text

    study, configurations, rows, folder = opened
    require_same_study(opened)
    for name, content in configurations.items():
        write_atomically(folder / "configs" / f"{name}.yaml", yaml_text(content))
    saved = replace(study, configs=[f"{name}.yaml" for name in configurations])
    write_atomically(folder / "study.yaml", yaml_text(asdict(saved)))
    write_atomically(folder / "rows.txt", "".join(f"{row.id}\n" for row in rows))


def require_same_study(opened: OpenedStudy) -> None:
    """Refuse the folder of another study.

    Raises:
        ValueError: If the folder holds a study of another name.
    """
    from nnmass.runtime.strict_yaml import read_yaml

    study, folder = opened.study, opened.folder
    written = folder / "study.yaml"
    name = read_yaml(written).get("name") if written.is_file() else None
    if name not in (None, study.name):
        raise ValueError(f"Expected --output-dir to be a folder for the study {study.name}, but {folder} holds {name}.")


def require_fit_engine(study: "Study", option: str, value: int | None) -> None:
    """Refuse an option that only the engine ``fit`` reads.

    Raises:
        ValueError: If it is given, and the study's engine is another.
    """
    if value is not None and study.engine != "fit":
        raise ValueError(f"Expected {option} only for a study of the engine fit, but {study.name} has {study.engine}.")
