"""Options that Lightning offers and that cannot be followed here, each with the reason, before any data are read."""

from importlib.util import find_spec
from pydoc import locate
from typing import Any

import torch
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.callbacks import BackboneFinetuning, BaseFinetuning, SpikeDetection, Timer
from pytorch_lightning.strategies import (
    DeepSpeedStrategy,
    FSDPStrategy,
    SingleDeviceXLAStrategy,
    StrategyRegistry,
    XLAStrategy,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException

__all__ = ["PROFILERS", "REFUSED_CALLBACKS", "listed", "require_optimizer", "require_supported"]

_OWN_FREEZING = "a subclass of BaseFinetuning says which layers of a network are frozen, and until when"
_OWN_CHECK = "a loss that is not finite ends every training without it"

REFUSED_CALLBACKS = {
    BackboneFinetuning: f"suit a network without a part called backbone, but got BackboneFinetuning; {_OWN_FREEZING}.",
    BaseFinetuning: f"be complete classes, but got BaseFinetuning; {_OWN_FREEZING}.",
    SpikeDetection: f"have a state that can be saved, but got SpikeDetection, which breaks off there; {_OWN_CHECK}.",
}
"""Callbacks of Lightning's that are refused, each with what is expected of callbacks and not so of it."""

PROFILERS = ("simple", "advanced", "pytorch", "xla")
"""Profilers that Lightning knows by a word."""

_CLIPPING = ("norm", "value")


def require_supported(trainer: Any) -> None:
    """Hold Lightning's options against what works here, on this machine.

    Args:
        trainer: Its part of the configuration, parsed.

    Raises:
        ValueError: If one cannot be followed.
    """
    if trainer.barebones:
        raise ValueError(
            "Expected trainer.barebones to be false, but got true; it leaves out metrics, checkpoints and run.json."
        )
    _require_one_of("gradient_clip_algorithm", trainer.gradient_clip_algorithm, _CLIPPING)
    _require_profiler(trainer.profiler)
    _require_strategy(trainer.strategy, _on_processor(trainer.accelerator))
    if str(trainer.precision).startswith("transformer-engine"):
        _require_package("transformer_engine", f"trainer.precision {trainer.precision}")
    _require_duration("max_time", trainer.max_time)
    _require_interval(trainer.val_check_interval, trainer.check_val_every_n_epoch)
    for callback in listed(trainer.callbacks):
        if rule := REFUSED_CALLBACKS.get(_class_of(callback)):
            raise ValueError(f"Expected trainer.callbacks to {rule}")


def require_optimizer(build: Any, parameters: list[torch.nn.Parameter]) -> None:
    """Make an optimizer once, so that one that does not suit the network is refused before a run begins.

    Args:
        build: Makes it from the parameters.
        parameters: The network's.

    Raises:
        ValueError: If it takes no such parameters or arguments.
    """
    try:
        optimizer = build(parameters)
    except Exception as error:  # each optimizer has its own kinds
        raise ValueError(f"Expected model.optimizer to suit the network's parameters, but: {error}") from error
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise ValueError("Expected model.optimizer to take dense gradients, but got torch.optim.SparseAdam.")


def _require_one_of(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if isinstance(value, str) and value not in choices:
        raise ValueError(f"Expected trainer.{name} to be one of {', '.join(choices)}, but got {value}.")


def _require_package(name: str, what: str) -> None:
    if find_spec(name) is None:
        raise ValueError(f"Expected {name} to be installed for {what}, but it is not.")


def _require_profiler(profiler: Any) -> None:
    _require_one_of("profiler", profiler, PROFILERS)
    if profiler == "xla":
        _require_package("torch_xla", "trainer.profiler xla")


def _require_strategy(strategy: Any, on_processor: bool) -> None:
    if not isinstance(strategy, str) or strategy == "auto":
        return
    _require_one_of("strategy", strategy, ("auto", *StrategyRegistry.available_strategies()))
    kind, what = StrategyRegistry[strategy]["strategy"], f"trainer.strategy {strategy}"
    if issubclass(kind, XLAStrategy | SingleDeviceXLAStrategy):
        _require_package("torch_xla", what)
    if issubclass(kind, FSDPStrategy | DeepSpeedStrategy) and on_processor:
        raise ValueError(f"Expected a GPU for {what}, but the training is to run on a processor; ddp runs there.")
    if issubclass(kind, DeepSpeedStrategy):
        _require_package("deepspeed", what)
    method = StrategyRegistry[strategy]["init_params"].get("start_method", "popen")
    if method != "popen":
        raise ValueError(
            "Expected trainer.strategy to start whole processes, each with this command, as ddp does, "
            f"but got {strategy}, which copies a running one."
        )


def _on_processor(accelerator: Any) -> bool:
    if accelerator == "auto":
        return not any(
            AcceleratorRegistry[name]["accelerator"].is_available()
            for name in AcceleratorRegistry.available_accelerators()
            if name != "cpu"
        )
    return bool(accelerator == "cpu")


def _require_duration(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        Timer(duration=value if isinstance(value, str) else dict(value))
    except (MisconfigurationException, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Expected trainer.{name} to be DD:HH:MM:SS or keys such as hours and minutes, but got {value}."
        ) from error


def _require_interval(interval: Any, every_n_epochs: int | None) -> None:
    """Hold the moments of the validation against what they may be: a share of an epoch, batches or a time."""
    if not isinstance(interval, int | float):
        _require_duration("val_check_interval", interval)
        return
    if not (0 < interval <= 1 or (interval > 1 and interval == int(interval))):
        raise ValueError(
            "Expected trainer.val_check_interval to be a share of an epoch in (0, 1], a number of batches or a time, "
            f"but got {interval}."
        )
    if every_n_epochs is None and not isinstance(interval, int):
        raise ValueError(
            "Expected trainer.val_check_interval to be a number of batches or a time where check_val_every_n_epoch is "
            f"null, but got {interval}."
        )


def listed(value: Any) -> list[Any]:
    """Return as a new list what a configuration names once, several times or not at all."""
    return [*value] if isinstance(value, list) else [] if value is None else [value]


def _class_of(described: Any) -> Any:
    """The class that a part of a configuration names."""
    return locate(described.class_path) if hasattr(described, "class_path") else None
