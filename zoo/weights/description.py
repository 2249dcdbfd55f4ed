"""Description of a trained network, which its checkpoints hold: plain values, checked when they are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.weights.preprocessing import Preprocessing

__all__ = ["DESCRIPTION_KEY", "Description"]

DESCRIPTION_KEY = "nnmass"
"""Key of a checkpoint under which the description lies."""

_FORMAT = 1
_KEYS = ("format", "network", "input_size", "preprocessing", "classes", "data")
_OURS = "the description of the network"


@dataclass(frozen=True)
class Description:
    """All that a checkpoint must say, beside the weights, for its network to be used.

    Args:
        class_path: The network's class.
        arguments: Of the class, plain values; those that the data have decided are among them.
        input_size: Shape of one sample.
        preprocessing: All that turns an image into a sample; None where samples are no images.
        classes: Names, in the order of the logits.
        data: Name of the data set's class.

    Raises:
        ValueError: If an argument is of another type, or there is no class.

    Example:
        >>> pets = Description("nnmass.zoo.ResNet", {"depth": 18}, (3, 32, 32), None, ("cat", "dog"), "Pets")
        >>> Description.from_dict(pets.as_dict()) == pets
        True
    """

    class_path: str
    arguments: Mapping[str, Any]
    input_size: tuple[int, ...]
    preprocessing: Preprocessing | None
    classes: tuple[str, ...]
    data: str

    def __post_init__(self) -> None:
        is_path = isinstance(self.class_path, str) and all(part.isidentifier() for part in self.class_path.split("."))
        require(is_path, f"the class in {_OURS}", "be a dotted name", repr(self.class_path))
        named = isinstance(self.arguments, Mapping) and all(isinstance(name, str) for name in self.arguments)
        require(named, f"the arguments in {_OURS}", "have names", repr(self.arguments))
        sizes = isinstance(self.input_size, list | tuple) and 1 <= len(self.input_size) <= 3
        require(sizes, f"the input size in {_OURS}", "be one to three numbers", repr(self.input_size))
        for size in self.input_size:
            require_integer(f"the input size in {_OURS}", size, 1)
        names = isinstance(self.classes, list | tuple) and all(isinstance(name, str) for name in self.classes)
        require(names and len(self.classes) > 0, f"the classes in {_OURS}", "be names", repr(self.classes))
        require(isinstance(self.data, str), f"the data set in {_OURS}", "be a name", repr(self.data))
        prepared = self.preprocessing
        if prepared is not None:
            whole = (prepared.channels, *prepared.size)
            require(tuple(self.input_size) == whole, f"the input size in {_OURS}", f"be {whole}", self.input_size)
        object.__setattr__(self, "input_size", tuple(self.input_size))
        object.__setattr__(self, "classes", tuple(self.classes))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "format": _FORMAT,
            "network": {"class_path": self.class_path, "init_args": dict(self.arguments)},
            "input_size": list(self.input_size),
            "preprocessing": None if self.preprocessing is None else self.preprocessing.as_dict(),
            "classes": list(self.classes),
            "data": self.data,
        }

    @classmethod
    def from_dict(cls, values: Any) -> "Description":
        """The description that a checkpoint holds.

        Raises:
            ValueError: If it is damaged, or of a later format.
        """
        there = isinstance(values, Mapping) and all(key in values for key in _KEYS)
        found = ", ".join(map(str, values)) if isinstance(values, Mapping) else repr(values)
        require(there, _OURS, f"have {', '.join(_KEYS)}", found)
        found_format, network, prepared = values["format"], values["network"], values["preprocessing"]
        rule = f"be {_FORMAT}, which this version of nnmass reads"
        require(found_format == _FORMAT, f"the format of {_OURS}", rule, repr(found_format))
        is_network = isinstance(network, Mapping) and {"class_path", "init_args"} <= {*network}
        require(is_network, f"the network in {_OURS}", "have class_path and init_args", repr(network))
        preprocessing = None if prepared is None else Preprocessing.from_dict(prepared)
        return cls(
            network["class_path"],
            network["init_args"],
            values["input_size"],
            preprocessing,
            values["classes"],
            values["data"],
        )
