"""Evaluation by a checkpoint alone: the options that a configuration would give are found in the file."""

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any

from nnmass import datamodules
from nnmass.datamodules import DataModule
from nnmass.runtime.class_paths import whole_class_path
from nnmass.zoo.networks.names import LEFT_TO_DATA
from nnmass.zoo.weights.description import Description
from nnmass.zoo.weights.preprocessing import Preprocessing
from nnmass.zoo.weights.state import found_instead, read_state

__all__ = ["evaluation_words", "known_data", "names_checkpoint", "preparation", "require_as_trained"]

_OF_THE_DATA = LEFT_TO_DATA | {"data_shape", "seed"}
_INSTEAD = ("--config", "-c", "--ckpt_path")


def names_checkpoint(words: Sequence[str]) -> bool:
    """Return whether a checkpoint follows the subcommand, in place of a configuration.

    Args:
        words: The subcommand and what follows it.
    """
    return words[0] in ("validate", "test") and len(words) > 1 and not words[1].startswith("-")


def evaluation_words(words: Sequence[str]) -> tuple[list[str], Description | None]:
    """Write the command line of an evaluation by a checkpoint as one with all that Lightning's parser needs.

    In its run folder a checkpoint is evaluated by the run's configuration, elsewhere by what it says of its network.
    Data that are given are prepared as the network takes them, as far as they have options for it.

    Args:
        words: The subcommand, the checkpoint and further options.

    Returns:
        The command line, and the description of the network where the data are others than the run's.

    Raises:
        FileNotFoundError: If there is no such checkpoint, or it describes no network and lies in no run folder.
        ValueError: If it is damaged, or an option contradicts it.
    """
    subcommand, name, *rest = words
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"Expected a checkpoint, but {name} {found_instead(path)}.")
    for option in (word.partition("=")[0] for word in rest):
        if option in _INSTEAD:
            raise ValueError(f"Expected {subcommand} to be given a checkpoint or {option}, but got both.")
    from_here = ["--ckpt_path", str(path)]
    config = path.resolve().parent.parent / "config.yaml"
    given, description = _value_of("--data", rest), read_state(path).description
    if config.is_file():
        first = [subcommand, "--config", str(config)]
        if given is None or description is None:
            return [*first, *from_here, *rest], None
    elif description is None:
        found = "neither that nor a config.yaml in a run folder around it"
        raise FileNotFoundError(f"Expected {name} to describe its network, but found {found}.")
    else:
        first = [subcommand, f"--model.network={json.dumps(_network(description))}"]
    data = given or description.data
    chosen = [] if given else ["--data", known_data(description, name)]
    prepared = [
        f"--data.{argument}={json.dumps(value)}"
        for argument, value in preparation(description.preprocessing, data).items()
        if _value_of(f"--data.{argument}", rest) is None
    ]
    return [*first, *chosen, *rest, *prepared, *from_here], description


def require_as_trained(data: DataModule, described: Description) -> None:
    """Refuse data whose images or classes are not those that a network was trained on.

    Args:
        data: The data.
        described: The network.

    Raises:
        ValueError: It names the first difference.
    """
    ours, theirs = (one.as_dict() if one else {} for one in (data.preprocessing, described.preprocessing))
    for name in ours if theirs else ():
        here, there = ours[name], theirs[name]
        if here != there:
            what = f"the data to prepare images with {name} {there}, as the checkpoint's network takes them"
            raise ValueError(f"Expected {what}, but they have {here}.")
    names = tuple(map(str, data.class_names))
    if len(names) != len(described.classes):
        number = len(described.classes)
        raise ValueError(f"Expected the data to have the checkpoint's {number} classes, but they have {len(names)}.")
    numbered = any(all(name.isdigit() for name in one) for one in (names, described.classes))
    if not numbered and names != described.classes:
        here, there = next(pair for pair in zip(names, described.classes, strict=True) if pair[0] != pair[1])
        raise ValueError(f"Expected the data's classes to be the checkpoint's, such as {there!r}, but got {here!r}.")


def _network(description: Description) -> dict[str, Any]:
    """The network as a configuration has it, without what the data decide."""
    arguments = {name: value for name, value in description.arguments.items() if name not in _OF_THE_DATA}
    return {"class_path": description.class_path, "init_args": arguments}


def known_data(description: Description, path: str) -> str:
    """Return the data set that a network was trained on, if it is one of this package.

    Args:
        description: The network's.
        path: Of the checkpoint, for the message.

    Raises:
        ValueError: If it is another.
    """
    if description.data not in dir(datamodules):
        raise ValueError(f"Expected --data for {path}, which was trained on {description.data}, but got none.")
    return description.data


def preparation(preprocessing: Preprocessing | None, data: str) -> dict[str, Any]:
    """Return the arguments by which data prepare their images as a network takes them, as far as they have them.

    Args:
        preprocessing: The network's; None for samples that are no images.
        data: Class of the data.
    """
    if preprocessing is None:
        return {}
    plain = (0.0,) * preprocessing.channels, (1.0,) * preprocessing.channels
    wanted: Mapping[str, Any] = {
        "resolution": preprocessing.size[0],
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "standardise": (preprocessing.mean, preprocessing.std) != plain,
        "grey": preprocessing.channels == 1,
        "in_memory": preprocessing.crop is None,
    }
    known = _parameters(locate(whole_class_path(data)))
    return {name: value for name, value in wanted.items() if name in known}


def _parameters(kind: Any) -> set[str]:
    """Arguments of a class, those that it passes on to its bases included."""
    bases = kind.__mro__ if isinstance(kind, type) else ()
    makers = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)]
    return {name for maker in makers for name in inspect.signature(maker).parameters}


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """The value that an option has among some words, the last if there are several; None if it is not there."""
    found = None
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in (option, f"{option}.class_path"):
            found = value if equals else next(iter(words[index + 1 : index + 2]), "")
    return found
