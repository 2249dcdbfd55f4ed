"""States: weights by name as files hold them, whoever has written the file."""

import argparse
import hashlib
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnmass.zoo.weights.description import DESCRIPTION_KEY, Description
from nnmass.zoo.weights.pretrained import find_pretrained, list_pretrained

__all__ = ["PRETRAINED", "State", "code_in", "found_instead", "read_state", "require_undamaged", "unwrapped_name"]

PRETRAINED = "pretrained"
"""The word for the weights that the makers of a network have published."""

# Where training programs keep the weights, in the order in which timm looks: an average of them before them.
_CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model")

_WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before names
_AVERAGED = "n_averaged"  # counter of torch's AveragedModel, which no network has

_CODE = re.compile(r"[Uu]nsupported (?:global: )?GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class State:
    """Weights by name.

    Attributes:
        source: Where they come from, for messages.
        tensors: By name; without the prefixes of DistributedDataParallel and ``torch.compile``.
        classes: Names of the classes that the network tells apart, where that is known.
        notes: What a checkpoint of this package says of its network, unchecked; None in other files.
    """

    source: str
    tensors: Mapping[str, Tensor]
    classes: tuple[str, ...] | None = None
    notes: Any = None

    @cached_property
    def description(self) -> Description | None:
        """All that a checkpoint of this package says of its network; None in other files.

        Raises:
            ValueError: If it is damaged; the message names the file.
        """
        try:
            return None if self.notes is None else Description.from_dict(self.notes)
        except ValueError as error:
            raise ValueError(f"{str(error).rstrip('.')} in {self.source}.") from error

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that change whenever a name, a shape or a number does."""
        digest = hashlib.sha256()
        for name, value in sorted(self.tensors.items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]


def read_state(source: str | os.PathLike[str]) -> State:
    """Read weights: a checkpoint of this package or of another Lightning program, a ``state_dict``, or safetensors.

    Files are read as data: one that carries code is refused, and the code is not run.

    Args:
        source: A file, or the name of a network with trained weights (:func:`nnmass.zoo.list_models`).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights.
    """
    path, name = Path(source).expanduser(), str(source)
    if not path.is_file() and name in list_pretrained():
        record = find_pretrained(name)
        return State(name, _read(record.weights()), tuple(record.classes), record.description())
    if path.is_dir():
        raise FileNotFoundError(f"Expected weights to be a file or {PRETRAINED}, but {name} {found_instead(path)}.")
    if not path.is_file():
        near = get_close_matches(name, list_pretrained(), n=1)
        hint = f"; did you mean {near[0]!r}, a trained network?" if near else "."
        raise FileNotFoundError(f"Expected weights to be a file or {PRETRAINED}, but got {name!r}{hint}")
    content = _read(path)
    classes = _classes(content)
    weights = _weights_in(content, path)
    tensors = {unwrapped_name(str(name)): value for name, value in weights.items() if name != _AVERAGED}
    for name, value in tensors.items():
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.is_meta:
            raise ValueError(f"Expected tensors by name in {path}, but {name} is {_kind(value)}.")
        if value.is_floating_point() and value.isnan().any():
            raise ValueError(f"Expected weights that are numbers in {path}, but {name} holds NaN.")
    if not tensors:
        raise ValueError(f"Expected tensors by name in {path}, but there are none.")
    return State(str(source), tensors, classes, content.get(DESCRIPTION_KEY))


def found_instead(path: Path) -> str:
    """Say what is found in place of a file: nothing, or a folder, such as a run's with its best checkpoint.

    Args:
        path: Where there is no file.

    Example:
        >>> found_instead(Path("nowhere.ckpt"))
        'does not exist'
    """
    if not path.is_dir():
        return "does not exist"
    best = path / "checkpoints" / "best.ckpt"
    return f"is a folder; it holds {best}" if best.is_file() else "is a folder"


def code_in(error: Exception) -> str | None:
    """Name the code for which ``torch.load`` has refused a file; None where that was not the reason."""
    found = _CODE.search(str(error))
    return found[1] if found else None


def require_undamaged(path: Path) -> None:
    """Compare the check sums of a file of ``torch.save``, which ``torch.load`` does not look at.

    Args:
        path: The file.

    Raises:
        zipfile.BadZipFile: If one differs, or the file is none of this format.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if zipfile.is_zipfile(path):
            require_undamaged(path)
        # timm's programs keep their options beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever foreign bytes provoke in the reader, the file is at fault
        code = code_in(error)
        what = f"it carries code ({code}), which is not run" if code else "the file is damaged or of another kind"
        raise ValueError(f"Expected weights in {path}, but {what}.") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"Expected tensors by name in {path}, but it holds {_kind(content)}.")
    return content


def _weights_in(content: Mapping[str, Any], path: Path) -> Mapping[Any, Any]:
    """Find the weights among what a program has written: under a name that is known, or else the only ones.

    Raises:
        ValueError: If there are several; the message names them.
    """
    known = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)), None)
    if known is not None:
        return known
    if any(isinstance(value, Tensor) for value in content.values()):
        return content
    states = [key for key, value in content.items() if _is_state(value)]
    if len(states) > 1:
        names = " and ".join(map(str, states))
        raise ValueError(f"Expected the weights of one network in {path}, but got several: {names}.")
    return content[states[0]] if states else content


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(inner, Tensor) for inner in value.values())


def unwrapped_name(name: str) -> str:
    """Return a weight's name without the prefixes of wrappers, in whatever order they were put on.

    Args:
        name: As a file has it.

    Example:
        >>> unwrapped_name("module._orig_mod.conv1.weight")
        'conv1.weight'
    """
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _classes(content: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of the classes, which checkpoints of this package hold."""
    notes = content.get(DESCRIPTION_KEY)
    names = notes.get("classes") if isinstance(notes, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, list | tuple) and names else None


def _kind(value: Any) -> str:
    return f"a tensor of {value.layout} on {value.device}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
