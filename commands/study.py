"""study: many networks, one table, and what explains their accuracy."""

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nnmass.commands.options.parser import MOST_PROCESSES, Parser, at_least, refuse_unread, user_path
from nnmass.runtime.program import program
from nnmass.runtime.signals import StopSignals

if TYPE_CHECKING:
    from nnmass.studies.definition import Row, Study

__all__ = ["run"]

_NOTES = """\
# Every task takes rows that no other task has taken, until none is left. A task that comes back, or this file submitted
# once more, goes on with what is missing."""

_ACTIONS = {
    "plan": "show the rows and what they cost",
    "run": "fill the rows that are missing",
    "submit": "the same by a SLURM job array",
    "status": "show what has become of the rows",
    "report": "write table, fits, figures and report.html",
    "compare": "set the fits of several studies side by side",
}

_ACTIONS_OF = {
    "workers": ("run", "submit"),
    "limit": ("run",),
    "time": ("plan",),
    **dict.fromkeys(("tasks", "runs_per_task", "parallel", "sbatch", "dry_run"), ("submit",)),
    "output_dir": ("run", "submit", "status", "report", "compare"),
}


def run(arguments: Sequence[str]) -> int:
    """Do what is asked for with a study.

    Args:
        arguments: ``study`` and what follows it on the command line.
    """
    parser = Parser(
        "study",
        "Train many networks, and ask what explains their accuracy: NN-Mass, or size.",
        [
            "nnmass study plan digits_mlp",
            "nnmass study run mnist_mlp --data_dir ~/data",
            "nnmass study submit mnist_mlp --tasks 8 --sbatch='--partition=cpu --time=2:00:00' --dry-run",
            "nnmass study submit cifar10_dense --runs-per-task 4 --parallel 16 --sbatch='--gpus=1 --time=12:00:00'",
            "nnmass study report runs/study_mnist_mlp",
            "nnmass study compare runs/study_mnist_mlp runs/study_synthetic_mlp",
        ],
    )
    actions = "; ".join(f"{name}: {what}" for name, what in _ACTIONS.items())
    parser.add_argument("action", choices=_ACTIONS, help=actions)
    parser.add_argument("studies", nargs="+", metavar="STUDY", help="a study's YAML, by name or path, or its folder")
    parser.add_argument("--output_dir", type=user_path, help="the study's folder (runs/study_<name>)")
    parser.add_argument("--data_dir", type=user_path, help="where the data sets lie")
    parser.add_argument(
        "--workers", type=at_least("--workers", 1, MOST_PROCESSES), help="trainings at once (ensemble: a core each)"
    )
    parser.add_argument("--time", action="store_true", help="plan: take a few steps of each network, to tell its time")
    parser.add_argument("--limit", type=at_least("--limit", 1), help="run: end after so many rows (fit)")
    parser.add_argument("--tasks", type=at_least("--tasks", 1), help="submit: tasks of the job array (1)")
    parser.add_argument(
        "--runs-per-task",
        type=at_least("--runs-per-task", 1),
        help="submit: let each task end after so many rows, and have as many tasks as that takes (fit)",
    )
    parser.add_argument("--parallel", type=at_least("--parallel", 1), help="submit: tasks at work at once (all)")
    parser.add_argument("--sbatch", default="", help="submit: further options of sbatch, as one text")
    parser.add_argument("--dry-run", action="store_true", help="submit: only write the job file")
    options = parser.parse_args(list(arguments)[1:])
    for name, value in vars(options).items():
        if value and name in _ACTIONS_OF and options.action not in _ACTIONS_OF[name]:
            refuse_unread(options.action, " and ".join(_ACTIONS_OF[name]), **{name: value})
    if options.action != "compare" and len(options.studies) != 1:
        raise ValueError(f"Expected {options.action} to be given one study, but got {len(options.studies)}.")
    opened = [_open(name, None if options.action == "compare" else options.output_dir) for name in options.studies]
    if options.data_dir is not None:
        for name, content in (pair for one in opened for pair in one.configurations.items()):
            data = content.get("data")
            if isinstance(data, dict) and (data.get("init_args") or {}).get("data_dir") is not None:
                raise ValueError(f"Expected either --data_dir or data_dir in the configuration {name}, but got both.")
        os.environ["NNMASS_DATA"] = str(options.data_dir.expanduser().absolute())
    do: Callable[..., None] = globals()[f"_{options.action}"]
    with StopSignals() if options.action == "run" else nullcontext() as options.signals:
        do(opened if options.action == "compare" else opened[0], options)
    return 0


class _Opened(NamedTuple):
    """A study, the content of its configurations by name, its rows, and its folder."""

    study: "Study"
    configurations: dict[str, dict[str, Any]]
    rows: list["Row"]
    folder: Path


def _open(name: str, output_dir: Path | None) -> _Opened:
    import yaml

    from nnmass.runtime.config_names import STUDY_FOLDER, config_name, find_config, find_study
    from nnmass.studies.definition import planned_rows

    given = Path(name).expanduser()
    inside = given / "study.yaml" if given.is_dir() else None
    if inside is not None and not inside.is_file():
        raise FileNotFoundError(f"Expected a study's folder, but {given} holds no study.yaml.")
    definition = inside or find_study(name)
    study = _read_study(definition)
    configurations: dict[str, dict[str, Any]] = {}
    for config in study.configs:
        beside = (given / "configs" if inside else definition.parent) / config
        own = beside.is_file() and beside != definition and definition.parent != STUDY_FOLDER
        file = beside if inside or own else find_config(config, "the study's configs")
        if config_name(file) in configurations:
            raise ValueError(f"Expected the study's configs to have names of their own, but two are {file.stem}.")
        configurations[config_name(file)] = yaml.safe_load(file.read_text(encoding="utf-8"))
    folder = output_dir or (given if inside else Path("runs") / f"study_{study.name}")
    return _Opened(study, configurations, planned_rows(study, configurations), folder)


def _read_study(path: Path) -> "Study":
    from jsonargparse import ArgumentError, ArgumentParser

    from nnmass.commands.options.errors import explain
    from nnmass.runtime.config_shape import require_shape
    from nnmass.runtime.strict_yaml import read_yaml
    from nnmass.studies.definition import JacobianChoice, ReportChoice, Study

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--study", type=Study)
    written = read_yaml(path)
    content = {"name": path.stem} | {key: value for key, value in written.items() if value is not None}
    # The classes that the changes name are for the training to load, which takes seconds; the rows need their names.
    changes = content.pop("changes") if isinstance(content.get("changes"), dict) else {}
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
    report = ReportChoice(**checked["report"])
    return Study(**{**checked, "jacobian": jacobian, "report": report, "changes": changes})


def _build(configuration: Any, name: str) -> Any:
    from nnmass.commands.options.named_networks import instantiate

    return instantiate({key: configuration[key] for key in ("model", "data", "seed_everything")}, name)


def _run(opened: _Opened, options: Any) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import terminal
    from nnmass.studies.cores import available_cores
    from nnmass.studies.engines import run_study
    from nnmass.studies.rows import statuses

    quieten()
    study, _, rows, folder = opened
    _require_fit(study, "--limit", options.limit)
    _lay_out(opened)
    workers = options.workers or (available_cores() if study.engine == "ensemble" else 1)
    done = sum(status == "finished" for status in statuses(folder, rows).values())
    console = terminal()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    options.signals.stop_at_once()  # as Ctrl-C does
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(study.name, total=len(rows), completed=done)
        for row, record in run_study(study, rows, folder, _build, workers, options.limit):
            progress.advance(task)
            done += 1
            line = f"[{done}/{len(rows)}] {row.id}: {_outcome(record)}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    _status(opened, options)
    failed = sum(status == "failed" for status in statuses(folder, rows).values())
    if failed:
        raise RuntimeError(f"Expected every row to come to its end, but {failed} of {len(rows)} failed; see above.")


def _lay_out(opened: _Opened) -> None:
    """Write the study, its configurations and the list of its rows into its folder, which then stands for itself."""
    import yaml

    from nnmass.runtime.files import write_atomically

    study, configurations, rows, folder = opened
    _require_own(study, folder)
    for name, content in configurations.items():
        write_atomically(folder / "configs" / f"{name}.yaml", yaml.safe_dump(content, sort_keys=False))
    saved = replace(study, configs=[f"{name}.yaml" for name in configurations])
    write_atomically(folder / "study.yaml", yaml.safe_dump(asdict(saved), sort_keys=False))
    write_atomically(folder / "rows.txt", "".join(f"{row.id}\n" for row in rows))


def _require_own(study: "Study", folder: Path) -> None:
    """Refuse the folder of another study."""
    import yaml

    written = folder / "study.yaml"
    name = (yaml.safe_load(written.read_text(encoding="utf-8")) or {}).get("name") if written.is_file() else None
    if name not in (None, study.name):
        raise ValueError(f"Expected --output_dir to be a folder for the study {study.name}, but {folder} holds {name}.")


def _submit(opened: _Opened, options: Any) -> None:
    from math import ceil

    from nnmass.commands.submit import submit
    from nnmass.runtime.job_scripts import job_script, largest_array, sbatch_options
    from nnmass.studies.rows import statuses

    if options.tasks and options.runs_per_task:
        raise ValueError(f"Expected either --tasks or --runs-per-task, but got {options.tasks} and the other.")
    _require_fit(opened.study, "--runs-per-task", options.runs_per_task)
    _lay_out(opened)
    missing = sum(status != "finished" for status in statuses(opened.folder, opened.rows).values())
    if not missing:
        raise ValueError(f"Expected rows that are missing or have failed, but all of {opened.folder} are finished.")
    folder = opened.folder.absolute()
    command = [*program(), "study", "run", str(folder)]
    command += ["--workers", str(options.workers)] if options.workers else []
    environment = {"NNMASS_DATA": os.environ["NNMASS_DATA"]} if options.data_dir else {}
    tasks = ceil(missing / options.runs_per_task) if options.runs_per_task else min(options.tasks or 1, missing)
    command += ["--limit", str(options.runs_per_task)] if options.runs_per_task else []
    log = folder / "slurm" / "%A_%a.txt"
    log.parent.mkdir(exist_ok=True)
    most, further = largest_array(), sbatch_options(_words(options.sbatch))
    for number, first in enumerate(range(0, tasks, most)):
        array = f"1-{min(most, tasks - first)}" + (f"%{options.parallel}" if options.parallel else "")
        sbatch = {"array": array, **further}
        script = job_script(f"study_{opened.study.name}", sbatch, log, command, _NOTES, environment)
        submit(script, folder / (f"job_{number + 1}.sh" if number else "job.sh"), options.dry_run)


def _words(sbatch: str) -> list[str]:
    try:
        return shlex.split(sbatch)
    except ValueError as error:
        raise ValueError(
            f"Expected --sbatch to hold options as a shell takes them, but got {sbatch}: {error}."
        ) from error


def _require_fit(study: "Study", option: str, value: int | None) -> None:
    if value is not None and study.engine != "fit":
        raise ValueError(f"Expected {option} only for a study of the engine fit, but {study.name} has {study.engine}.")


def _outcome(record: dict[str, Any]) -> str:
    if record["status"] != "finished":
        return " ".join(str(record[key]) for key in ("status", "reason") if key in record)
    return ", ".join(
        f"{key.replace('_', ' ')} {record[key]:.4f}"
        for key in ("train_accuracy_last", "val_accuracy_last", "test_accuracy_last")
        if key in record
    )


def _status(opened: _Opened, options: Any) -> None:
    from collections import Counter

    from nnmass.runtime.tables import rich_table, terminal
    from nnmass.studies.rows import read_row, row_folder, statuses

    _require_own(opened.study, opened.folder)
    found = statuses(opened.folder, opened.rows)
    console = terminal()
    console.print(rich_table(f"Study {opened.study.name}", ["status", "rows"], Counter(found.values()).most_common()))
    for row in opened.rows:
        if found[row.id] == "failed":
            console.print(f"{row.id}: {read_row(opened.folder, row)['reason']}", highlight=False, markup=False)
            log = row_folder(opened.folder, row) / "log.txt"
            if log.is_file():
                console.print(f"  its training has printed {log}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"The rows are in {opened.folder / 'rows'}.")


def _report(opened: _Opened, options: Any) -> None:
    from nnmass.runtime.tables import terminal
    from nnmass.studies.report.writer import write_study_report
    from nnmass.studies.rows import statuses

    console = terminal()
    study, _, rows, folder = opened
    _require_own(study, folder)
    listed = folder / "rows.txt"
    if listed.is_file() and set(listed.read_text(encoding="utf-8").split()) != {row.id for row in rows}:
        raise ValueError(
            f"Expected {folder} to hold this version of the study {study.name}, but its rows are others; nnmass study "
            f"run fills this one, nnmass study report {shlex.quote(str(folder))} reports on the rows that are there."
        )
    done = sum(status == "finished" for status in statuses(folder, rows).values())
    if done < len(rows):
        console.print(f"Of {len(rows)} rows {done} are finished; nnmass study run fills the others.", highlight=False)
    for table in write_study_report(opened.study, opened.folder):
        console.print(table)
    console.print(f"Written to {opened.folder}; {opened.folder / 'report.html'} opens in a browser.")


def _compare(opened: Sequence[_Opened], options: Any) -> None:
    from nnmass.runtime.files import write_table
    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.studies.report.fits import study_fits
    from nnmass.studies.report.writer import compared
    from nnmass.studies.rows import load

    fits = {str(one.folder): study_fits(load(one.folder)) for one in opened}
    table = compared(fits)
    numbers = table.select_dtypes("number")
    shown = table.drop(columns=numbers.columns).join(numbers.map("{:.3f}".format, na_action="ignore").fillna(""))
    console = terminal()
    print_rows(console, "R2 of the mean over seeds", list(shown.columns), shown.itertuples(index=False))
    if options.output_dir is not None:
        write_table(options.output_dir / "compared.csv", table)
        console.print(f"Written to {options.output_dir}.")


def _plan(opened: _Opened, options: Any) -> None:
    from rich.progress import track

    from nnmass.runtime.quiet import quieten
    from nnmass.runtime.tables import print_rows, terminal
    from nnmass.studies.plan import planned

    quieten()
    study, _, rows, _ = opened
    console = terminal()
    total = len({(row.config, row.network) for row in rows})
    found = planned(study, rows, _build, options.time)
    lines = list(track(found, "Measuring", total=total, console=console, transient=True))
    several = len(study.configs) > 1
    headings = [
        "network",
        *(["config"] if several else []),
        "seeds",
        "NN-Mass",
        "parameters",
        "MACs",
        "training MACs",
        *(["time each"] if options.time else []),
    ]
    shown = [
        (
            line["network"],
            *([line["config"]] if several else []),
            line["seeds"],
            f"{line['nn_mass']:,.2f}",
            f"{line['num_params']:,}",
            f"{line['macs']:,}",
            f"{line['training_macs']:.2e}" if "training_macs" in line else "",
            *([_duration(line["seconds"]) if "seconds" in line else ""] if options.time else []),
        )
        for line in lines
    ]
    print_rows(console, f"Study {study.name}", headings, shown)
    console.print(f"{len(rows)} rows, {study.engine}: nnmass study run fills them.", highlight=False)
    seconds = sum(line["seeds"] * line.get("seconds", 0.0) for line in lines)
    if seconds:
        steps = f"About {_duration(seconds)} of training steps on this machine, one row at a time"
        console.print(f"{steps}; starting, evaluating and measuring come on top.", highlight=False)
    for data, samples in dict.fromkeys(line["published"] for line in lines if "published" in line):
        console.print(f"{data} is taken as it is published: {samples:,} samples to train on.", highlight=False)
    for reason in dict.fromkeys(line["reason"] for line in lines if "reason" in line):
        unknown = "training MACs and time are" if options.time else "training MACs are"
        console.print(f"The {unknown} not known: {reason}", highlight=False, markup=False)
    if not options.time and study.engine != "published":
        console.print("--time adds how long each takes on this machine, by a few of its steps.", highlight=False)


def _duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
