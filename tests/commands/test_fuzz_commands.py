"""Every subcommand under odd options, files, checkpoints, images and variables: it works, or says why in a sentence.

``NNMASS_FUZZ_SEED`` and ``NNMASS_FUZZ_CASES`` choose other cases, and more, than those of each day. A case that is
found gets a test of its own at the end.
"""

import os
import random
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image
from test_fuzz import damaged, leaves

from nnmass import zoo
from nnmass.commands import SUBCOMMANDS
from nnmass.commands.main import main
from nnmass.zoo.training.architecture import require_same_architecture

SEED = int(os.environ.get("NNMASS_FUZZ_SEED", "0"))
CASES = int(os.environ.get("NNMASS_FUZZ_CASES", "6"))
SECONDS = 120
BYTES = 8 * 2**30
pytestmark = pytest.mark.slow

SMALL = ["--data.batch_size=400", "--model.network.cell_depth=3", "--model.network.tc=4", "--trainer.accelerator=cpu"]
DIGITS = ["--config", "digits_dense.yaml", *SMALL]

ODD_WORDS = [
    *("", " ", "-", "--", "0", "-1", "1", "2.5", "1e999", "nan", "-inf", "007", "0x10", "99999999999999999999", "true"),
    *(
        "null",
        "~",
        "[]",
        "[1, 2]",
        "[[]]",
        "{}",
        "{a: 1}",
        "{",
        "]",
        "a: b",
        "a\nb",
        "a\tb",
        "\x1b[31m",
        "'",
        '"',
        "ä",
        "日",
    ),
    *(
        "../..",
        "/",
        "/dev/null",
        "/dev/full",
        "~",
        "$HOME",
        "*",
        "?",
        "%s",
        "{0}",
        ":",
        ":::",
        "1:2:0",
        "5M",
        "-5M",
        "1e9G",
    ),
    *("zoo", "nnmass.zoo.nothing", "os.system", "builtins.eval", "torch.nn.Identity", "resnet18", "x" * 300),
]
ODD_VALUES: list[Any] = [None, True, -1, 0, 10**30, float("nan"), "", "x", [], [None], {}, {"": 0}, {"class_path": 3}]


class Place(NamedTuple):
    """Folder in which the cases of a session work, and the run that they work on."""

    folder: Path
    run: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run that is finished."""
    folder = tmp_path_factory.mktemp("fuzz")
    assert main(["fit", *DIGITS, "--trainer.max_epochs=1", f"--output_dir={folder}"]) == 0
    return (folder / "latest").resolve()


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder of its own, which is the current one; three images and two photographs lie in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNMASS_DATA", "")
    for name in ("images/a.png", "photographs/train/cat/a.png", "photographs/train/dog/b.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 90, dtype=np.uint8)).save(file)
    return Place(tmp_path, trained)


@contextmanager
def bounded() -> Iterator[None]:
    """An end to what takes longer than two minutes, or more memory than anything here needs."""

    def late(*_: Any) -> None:
        raise AssertionError(f"took longer than {SECONDS} s")

    limits = resource.getrlimit(resource.RLIMIT_DATA)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (BYTES, limits[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_DATA, limits)


class Complaints(list[str]):
    """All that was wrong with the commands of a test: one run tells more than its first finding."""

    def __init__(self, place: Place, capsys: pytest.CaptureFixture) -> None:
        self.place, self.capsys = place, capsys

    def hold(self, words: list[str], around: str = "") -> None:
        """Run a command, which must work or give one sentence, and leave no part of a file."""
        self.capsys.readouterr()
        try:
            with bounded():
                status = main(words)
        except SystemExit as end:  # --help and --version
            status = int(end.code or 0)
        except Exception as error:
            status = 0
            self.append(f"{around} {words} raised {error!r}")
        said = self.capsys.readouterr().err
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "")
        if "Traceback" in said or (status and not any(part in last for part in ("Expected ", "not finite"))):
            self.append(f"{around} {words} ends with {status} and {said[-600:]!r}")
        self.extend(f"{around} {words} leaves {part}" for part in self.place.folder.rglob("*.part*"))


@pytest.fixture
def complaints(place: Place, capsys: pytest.CaptureFixture) -> Iterator[Complaints]:
    """None are left in the end."""
    found = Complaints(place, capsys)
    yield found
    assert not found, f"seed {SEED}:\n" + "\n".join(found)


def base_commands(place: Place) -> dict[str, list[list[str]]]:
    """Of each subcommand, commands that work and take a second or two."""
    checkpoint = str(place.run / "checkpoints" / "best.ckpt")
    runs = f"--output_dir={place.folder / 'runs'}"
    trained = [*DIGITS, runs, f"--ckpt_path={checkpoint}"]
    return {
        "fit": [[*DIGITS, "--trainer.max_epochs=1", "--trainer.max_steps=1", "--seed_everything=1", runs]],
        "validate": [trained],
        "test": [trained],
        "predict": [[checkpoint, "images", "--top-k=2", "--output=predictions.csv", "--overwrite"]],
        "submit": [["fit", *DIGITS, "--nodes=1", "--time=1:00", "--dry-run"]],
        "shrink": [["photographs", "copy", "--side=4", "--quality=80", "--workers=1"]],
        "check": [["--device=nothing"]],
        "export": [[checkpoint, "network.pt2"]],
        "release": [[checkpoint, "mine", "--folder=weights", "--overwrite"]],
        "inspect": [["mlp_d24_w8_t2", "--csv=a.csv", "--json=a.json"], [checkpoint, "--input_size=1,8,8"]],
        "measure": [
            ["mlp_d16_w8_t2", "--data=noise", "--measures=params,nn_mass", "--seeds=2", "--images=2", "--workers=1"],
            [checkpoint, "--data=noise", "--measures=params", "--images=2", "--output=measures.csv"],
        ],
        "design": [
            ["--like=mnist_mlp", "--depth=8:12", "--tc=0:4", "--count=2", "--max-params=50K", "--output_dir=designs"]
        ],
        "gradients": [["simulation", "--output_dir=gradients", "--seeds=1"]],
        "study": [["plan", "digits_mlp", "--limit=1", "--output_dir=study"], ["status", "digits_mlp"]],
        "atlas": [["--pattern=none*", "--output_dir=atlas", "--workers=1"]],
        "list": [["models", "resnet1*"], ["runs", f"--output_dir={place.run.parent}"]],
    }


def odd_words(words: list[str], chance: random.Random) -> list[str]:
    """The words with one of them changed, left out or put in; without its pattern, an atlas would take hours."""
    changed = list(words)
    at = chance.randrange(changed[0].startswith("--pattern"), len(changed))
    option, separator, _ = changed[at].partition("=")
    odd = chance.choice(ODD_WORDS)
    kind = chance.randrange(5)
    if kind < 3:
        changed[at] = f"{option}={odd}" if separator else odd
    elif kind == 3:
        del changed[at]
    else:
        changed.insert(at, odd)
    return changed


def odd_configuration(chance: random.Random, folder: Path) -> Path:
    """The digits' configuration with one value changed, or some of its bytes."""
    text = (ROOT / "configs" / "digits_dense.yaml").read_text()
    file = folder / f"odd{chance.randrange(10**6)}.yaml"
    if chance.random() < 0.3:
        file.write_bytes(damaged(text.encode(), chance.randrange(2**32)))
        return file
    content = yaml.safe_load(text)
    way = chance.choice(leaves(content))
    way = way[: chance.randrange(1, len(way) + 1)]
    inner = content
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = chance.choice(ODD_VALUES)
    file.write_text(yaml.safe_dump(content))
    return file


def every_entry(content: Any) -> list[tuple[Any, Any]]:
    """Each container in a checkpoint with each of its keys."""
    found = []
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        found += [(content, key), *every_entry(value)]
    return found


def odd_checkpoint(chance: random.Random, whole: Path, folder: Path) -> Path:
    """A checkpoint with an entry changed, left out or swapped, with a tensor of another shape or kind, or damaged."""
    file = folder / f"odd{chance.randrange(10**6)}.ckpt"
    if chance.random() < 0.2:
        file.write_bytes(damaged(whole.read_bytes(), chance.randrange(2**32)))
        return file
    checkpoint = torch.load(whole, weights_only=True)
    inside = chance.choice(
        ["state_dict", "callbacks", "loops", "optimizer_states", "lr_schedulers", "train_figures", None]
    )
    entries = every_entry(checkpoint.get(inside, checkpoint)) or every_entry(checkpoint)
    owner, key = chance.choice(entries)
    value = owner[key]
    kind = chance.randrange(4)
    if isinstance(value, torch.Tensor) and kind < 3:
        changes: list[Callable[[], Any]] = [
            lambda: value.new_zeros(()).expand(10**6, 10**6),
            lambda: value.to(torch.complex64),
            lambda: torch.full_like(value, 255).to(torch.uint8),
            lambda: value.flatten()[:0],
            lambda: torch.zeros(value.shape, device="meta"),
            lambda: value.to_sparse() if value.ndim else value,
        ]
        owner[key] = chance.choice(changes)()
    elif kind == 3 and isinstance(owner, dict):
        del owner[key]
    else:
        other, name = chance.choice(entries)
        owner[key] = chance.choice([*ODD_VALUES, other[name]])
    try:
        torch.save(checkpoint, file)
    except (RuntimeError, NotImplementedError, RecursionError):  # of what nobody could save
        file.write_bytes(b"")
    return file


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_odd_options(subcommand: str, place: Place, complaints: Complaints) -> None:
    chance = random.Random(f"{SEED} {subcommand}")
    bases = base_commands(place)[subcommand]
    for words in [] if subcommand == "check" else bases:
        complaints.hold([subcommand, *words])  # the commands themselves work
    for _ in range(CASES):
        complaints.hold([subcommand, *odd_words(chance.choice(bases), chance)])


def test_odd_configurations(place: Place, complaints: Complaints) -> None:
    chance = random.Random(f"{SEED} configuration")
    for number in range(2 * CASES):
        file = str(odd_configuration(chance, place.folder))
        commands = (
            ["fit", "--config", file, "--trainer.fast_dev_run=true"],
            ["inspect", "--config", file],
            ["submit", "fit", "--config", file, "--dry-run"],
            ["design", "--like", file, "--count=1"],
        )
        complaints.hold(commands[number % len(commands)])


def test_odd_checkpoints(place: Place, complaints: Complaints) -> None:
    chance = random.Random(f"{SEED} checkpoint")
    (place.folder / "run").mkdir()
    for name in ("config.yaml",):
        (place.folder / "run" / name).write_bytes((place.run / name).read_bytes())
    (place.folder / "run" / "checkpoints").mkdir()
    for number in range(3 * CASES):
        file = odd_checkpoint(chance, place.run / "checkpoints" / "last.ckpt", place.folder / "run" / "checkpoints")
        given = [*DIGITS, f"--output_dir={place.folder / 'runs'}", f"--ckpt_path={file}"]
        commands = (
            ["validate", *given],
            ["test", *given],
            ["predict", str(file), "images"],
            ["fit", *given, "--trainer.max_epochs=2"],
            ["inspect", str(file)],
            ["export", str(file), "network.pt2"],
        )
        complaints.hold(commands[number % len(commands)])
        file.unlink()


def test_odd_images(place: Place, complaints: Complaints) -> None:
    chance = random.Random(f"{SEED} image")
    whole = (place.folder / "images" / "a.png").read_bytes()
    given = [str(place.run / "checkpoints" / "best.ckpt"), "images"]
    for number in range(CASES):
        content = damaged(whole, chance.randrange(2**32))
        for name in ("images/b.png", "photographs/train/cat/c.png"):
            (place.folder / name).write_bytes(content)
        command = ["predict", *given] if number % 2 else ["shrink", "photographs", f"copy{number}", "--workers=1"]
        complaints.hold(command)


VARIABLES = [
    *("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_JOB_NUM_NODES"),
    *("SLURM_RESTART_COUNT", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_NAME", "RANK", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK"),
    *("NNMASS_DATA", "NNMASS_PLACE", "NNMASS_DEBUG", "OMP_NUM_THREADS", "COLUMNS", "LINES", "LANG", "TMPDIR", "HOME"),
]


def test_odd_variables(place: Place, complaints: Complaints, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(f"{SEED} variable")
    for _ in range(2 * CASES):
        subcommand = chance.choice(["fit", "test", "inspect", "study", "list", "submit"])
        words = [subcommand, *chance.choice(base_commands(place)[subcommand])]
        with monkeypatch.context() as changed:
            names = chance.sample(VARIABLES, chance.randrange(1, 3))
            for name in names:
                value = chance.choice([None, *(word for word in ODD_WORDS if word != "1")])
                changed.delenv(name, raising=False) if value is None else changed.setenv(name, value)
            if os.environ.get("NNMASS_DEBUG") == "1":
                continue
            complaints.hold(words, str({name: os.environ.get(name) for name in names}))


@pytest.mark.parametrize(
    "variables",
    [{"OMP_NUM_THREADS": "x", "COLUMNS": "0"}, {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}, {"TMPDIR": "/nowhere"}],
    ids=["threads", "language", "temporary"],
)
def test_odd_variables_at_the_start(variables: dict[str, str], place: Place, nnmass: Callable) -> None:
    done = nnmass("fit", *DIGITS, "--trainer.fast_dev_run=true", cwd=place.folder, **variables)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "Expected " in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_a_rank_that_is_no_number_is_named_by_every_subcommand(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv(name, "/dev/full")
    for subcommand in SUBCOMMANDS:
        assert main([subcommand]) == 2
        assert f"Expected {name} to be " in capsys.readouterr().err


@pytest.mark.parametrize(
    "odd",
    [torch.zeros(2, device="meta"), torch.zeros(2, dtype=torch.complex64), torch.zeros(2).to_sparse()],
    ids=["meta", "complex", "sparse"],
)
def test_weights_without_plain_numbers_are_refused(odd: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="but a is no tensor of plain numbers but of .* in the checkpoint"):
        require_same_architecture({"a": torch.zeros(2)}, {"a": odd})


@pytest.mark.parametrize("figures", [[], {"train/loss": []}, {"train/loss": (1, {"total": 3})}, {"train/loss": None}])
def test_foreign_sums_of_figures_are_refused(figures: Any) -> None:
    model = zoo.Classifier(torch.nn.Linear(2, 3), num_classes=3)
    with pytest.raises(ValueError, match="train_figures to be a Classifier's"):
        model.on_load_checkpoint({"state_dict": model.state_dict(), "train_figures": figures})
