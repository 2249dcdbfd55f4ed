"""Configuration files by name: a bare name is looked up beside the program, a path is a path."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nnmass.runtime.config_shape import require_shape
from nnmass.runtime.files import read_run
from nnmass.runtime.names import require_name
from nnmass.runtime.strict_yaml import read_yaml

__all__ = [
    "CONFIG_FOLDER",
    "STUDY_FOLDER",
    "config_name",
    "find_config",
    "find_study",
    "list_configs",
    "read_config",
    "resolve_config_arguments",
]

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "configs"
STUDY_FOLDER = CONFIG_FOLDER / "studies"


def list_configs(folder: Path = CONFIG_FOLDER) -> list[str]:
    """Names of the configurations that ship with the program."""
    return sorted(path.name for path in folder.glob("*.yaml"))


def find_config(name: str, argument: str = "--config") -> Path:
    """The file that ``--config name`` means: an existing file, else the shipped one of that name.

    Args:
        name: A path, or a bare name with or without ``.yaml``.
        argument: What to call it where it is wrong.

    Raises:
        FileNotFoundError: If there is no such file; for a bare name the message lists what there is.
        ValueError: If the file holds no YAML mapping; the message names file and line.
    """
    return _find(name, CONFIG_FOLDER, argument, "configuration")


def find_study(name: str) -> Path:
    """The file that a study's name means: an existing file, else the shipped study of that name.

    Args:
        name: A path, or a bare name with or without ``.yaml``.

    Raises:
        FileNotFoundError: If there is no such file; for a bare name the message lists what there is.
        ValueError: If the file holds no YAML mapping; the message names file and line.
    """
    return _find(name, STUDY_FOLDER, "STUDY", "study")


def _find(name: str, folder: Path, argument: str, kind: str) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return _readable(path)
    if path.is_dir():
        inside = path / "config.yaml"
        hint = f"; it holds {inside}." if inside.is_file() else "."
        raise FileNotFoundError(f"Expected {argument} to be a file, but {name} is a folder{hint}")
    if path.exists():  # what <(...) of a shell makes, or /dev/stdin behind a pipe
        what = "can be read only once, and no run could be continued by it; write it to a file first"
        raise ValueError(f"Expected {argument} to be a file, but {name} is a pipe or a device, which {what}.")
    if path.name != name:
        raise FileNotFoundError(f"Expected {argument} to be a file, but {name} does not exist.")
    shipped = folder / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if shipped.is_file():
        return _readable(shipped)
    known = list_configs(folder)
    near = get_close_matches(shipped.stem, [one.removesuffix(".yaml") for one in known], n=1)
    hint = f"did you mean {near[0]}.yaml? " if near else ""
    raise FileNotFoundError(
        f"Expected {argument} to name a file or a shipped {kind}, but got {name!r}; {hint}"
        f"there are: {', '.join(known)}."
    )


def config_name(path: Path) -> str:
    """A configuration's name, which its runs bear; that of a run folder's ``config.yaml`` is the run's.

    Args:
        path: The file.

    Raises:
        ValueError: If no folder could be named after it.
    """
    name = path.stem
    if path.name == "config.yaml":
        name = str(read_run(path.parent).get("name", path.stem))
    require_name("the configuration's name", name)
    return name


def read_config(path: Path) -> dict[str, Any]:
    """The keys and values of a configuration.

    Args:
        path: The file.

    Raises:
        ValueError: If it does not hold those of a configuration; the message names the file.
    """
    content = read_yaml(path)
    require_shape(content, path)
    return content


def _readable(path: Path) -> Path:
    read_config(path)
    return path


def resolve_config_arguments(arguments: list[str]) -> tuple[list[str], str]:
    """Replace the value of each ``--config`` by the path it means.

    Args:
        arguments: Command line arguments, without the program's name.

    Returns:
        The arguments, and the name of the last configuration without its ending (``run`` where there is none).
    """
    resolved, name = [], "run"
    expects_value = False
    for argument in arguments:
        option, separator, value = argument.partition("=")
        if expects_value:
            path = find_config(argument)
            argument, name = str(path), config_name(path)
        elif option in ("--config", "-c") and separator:
            path = find_config(value)
            argument, name = f"{option}={path}", config_name(path)
        expects_value = argument in ("--config", "-c")
        resolved.append(argument)
    return resolved, name
