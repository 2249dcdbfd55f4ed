"""Data set of a configuration that is plain enough for no class that it names to be loaded."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nnmass.datamodules.facts import FACTS, Facts
from nnmass.runtime.class_paths import whole_class_path

__all__ = ["Outline", "is_plain", "outline"]

Rule = Callable[[Any], bool]


class Outline(NamedTuple):
    """Published data set of a row.

    Attributes:
        data: Name of the data set.
        facts: What is known of it.
        samples: Samples that a training sees.
    """

    data: str
    facts: Facts
    samples: int


def outline(configuration: Mapping[str, Any]) -> Outline | None:
    """Read off a configuration the data set, which decides the network's inputs and classes.

    Args:
        configuration: What ``nnmass fit --config`` takes.

    Returns:
        None where it says, of model or data, anything that is not known here to be right: whoever builds both then says
        what is wrong with it, if anything is.
    """
    model, data = configuration.get("model"), configuration.get("data")
    if not isinstance(model, Mapping) or not _are_plain(model, _MODEL):
        return None
    content = {"class_path": data} if isinstance(data, str) else data
    if not isinstance(content, Mapping) or not set(content) <= {"class_path", "init_args"}:
        return None
    package, _, name = whole_class_path(str(content.get("class_path"))).rpartition(".")
    given = content.get("init_args") or {}
    if package != "nnmass.datamodules" or name not in FACTS or not isinstance(given, Mapping):
        return None
    facts = FACTS[name]
    if not set(given) <= set(facts.arguments) or not _are_plain(given, _DATA):
        return None
    kept = given.get("val_size")
    if kept is not None and not facts.num_classes <= kept <= facts.train_samples - facts.num_classes:
        return None
    return Outline(name, facts, facts.trained_on(kept, given.get("val_on_test", False)))


def is_plain(configuration: Mapping[str, Any]) -> bool:
    """Tell whether all that a configuration says is known here to be right.

    Args:
        configuration: What ``nnmass fit --config`` takes.
    """
    trainer = configuration.get("trainer") or {}
    sections = isinstance(trainer, Mapping) and set(configuration) <= _SECTIONS
    return sections and _are_plain(trainer, _TRAINER) and outline(configuration) is not None


def _are_plain(given: Mapping[str, Any], rules: Mapping[str, Rule]) -> bool:
    return all(name in rules and rules[name](value) for name, value in given.items())


def _is_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at_least(least: int) -> Rule:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _one_of(*choices: str | int) -> Rule:
    return lambda value: any(type(value) is type(choice) and value == choice for choice in choices)


def _is_network(value: Any) -> bool:
    """Tell whether a network is one whose arguments a closed form checks, all but these."""
    arguments = value.get("init_args") or {}
    return set(value) <= {"class_path", "init_args"} and not {"activation", "seed", "share_outputs"} & set(arguments)


def _is_optimizer(value: Any) -> bool:
    if value is None or not isinstance(value, Mapping) or not set(value) <= {"class_path", "init_args"}:
        return False
    package, _, name = str(value.get("class_path")).rpartition(".")
    given = value.get("init_args") or {}
    return package == "torch.optim" and name in _OPTIMIZERS and _are_plain(given, _OPTIMIZERS[name])


_SECTIONS = {"model", "data", "trainer", "seed_everything"}
_EVERY: dict[str, Rule] = {
    "lr": _is_number,
    "weight_decay": _is_number,
    "foreach": _is_flag,
    "fused": _is_flag,
    "maximize": _is_flag,
}
_ADAM: dict[str, Rule] = {**_EVERY, "eps": _is_number, "amsgrad": _is_flag}
_OPTIMIZERS: dict[str, dict[str, Rule]] = {
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "SGD": {**_EVERY, "momentum": _is_number, "dampening": _is_number, "nesterov": _is_flag},
}
_MODEL: dict[str, Rule] = {
    "channels_last": _is_flag,
    "compile_network": _is_flag,
    "cuda_graph": _is_flag,
    "interval": _one_of("epoch", "step"),
    "label_smoothing": lambda value: _is_number(value) and 0 <= value < 1,
    "loss": _one_of("cross_entropy", "binary_cross_entropy"),
    "lr_scaling": _one_of("none", "linear", "sqrt"),
    "network": _is_network,
    "optimizer": _is_optimizer,
    "schedule": _one_of("cosine", "constant"),
    "warmup_epochs": _at_least(0),
}
_TRAINER: dict[str, Rule] = {
    "devices": _one_of("auto", "1", 1),
    "max_epochs": _at_least(1),
    "precision": _one_of("32-true", "16-mixed", "bf16-mixed"),
}
_DATA: dict[str, Rule] = {
    "batch_size": _at_least(1),
    "data_dir": _is_text,
    "download": _is_flag,
    "split_seed": _at_least(0),
    "standardise": _is_flag,
    "val_on_test": _is_flag,
    "val_size": lambda value: value is None or _at_least(1)(value),
}
