"""Extension of a finished run by more epochs: the run that it continues, and the checkpoint from which it goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nnmass.runtime.files import read_run
from nnmass.runtime.folders import runs_of
from nnmass.runtime.identity import configuration_id, deciding_keys, recorded

__all__ = ["Extension", "extended_checkpoint", "extension_of", "finished_run", "is_run_of", "require_finished"]


_MOST = 2**31 - 1  # of anything that is counted


class Extension(NamedTuple):
    """Epochs of an extended training.

    Attributes:
        first: Epoch with which it begins, counted from 0: so many its parent has.
        last: Epochs in all, when it ends.
        parent: Configuration of its parent.
    """

    first: int
    last: int
    parent: dict[str, Any]


def extension_of(configuration: Mapping[str, Any]) -> Extension | None:
    """Read the extension that a configuration asks for; None where it asks for none.

    Args:
        configuration: The whole of it. ``extend`` is a number of epochs; or several, of which each extends the run that
            the ones before it have led to.

    Raises:
        ValueError: If a number is below 1, or something else than epochs ends the training.

    Example:
        >>> extension_of({"trainer": {"max_epochs": 20}, "extend": [5, 10]})[:2]
        (25, 35)
    """
    given = configuration.get("extend")
    if given is None:
        return None
    added = given if isinstance(given, list) else [given]
    if not added or min(added) < 1 or sum(added) > _MOST:
        raise ValueError(f"Expected --extend to be at least 1 epoch, and at most {_MOST}, but got {given}.")
    trainer = configuration.get("trainer") or {}
    epochs = trainer.get("max_epochs")
    for name, none in (("max_steps", -1), ("max_time", None), ("fast_dev_run", False)):
        if trainer.get(name, none) != none:
            raise ValueError(f"Expected epochs alone to end a training for --extend, but trainer.{name} is set.")
    if epochs is None or epochs < 1:
        raise ValueError(f"Expected trainer.max_epochs to be set for --extend, but got {epochs}.")
    first = epochs + sum(added[:-1])
    return Extension(first, first + added[-1], {**configuration, "extend": added[:-1] or None})


def finished_run(output_dir: Path, configuration: Mapping[str, Any], name: str) -> Path:
    """Find the newest finished run of a configuration.

    Args:
        output_dir: Where the run folders are.
        configuration: The whole of it.
        name: Its name, for the message.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If there are only unfinished ones.
    """
    identity = configuration_id(configuration)
    folders = runs_of(output_dir, identity)
    finished = next((folder for folder in folders if read_run(folder).get("status") == "finished"), None)
    if finished is not None:
        return finished
    if folders:
        require_finished(folders[0])
    raise FileNotFoundError(
        f"Expected a finished run for --extend in {output_dir.absolute()}, but there is no run of this configuration "
        f"({name}, id {identity})."
    )


def require_finished(folder: Path) -> None:
    """Refuse to extend a run that is not finished.

    Args:
        folder: The run's.

    Raises:
        ValueError: If it is not.
    """
    status = read_run(folder).get("status", "not begun")
    if status != "finished":
        raise ValueError(
            f"Expected --extend to continue a finished run, but {folder.name} is {status}; "
            "--ckpt_path last goes on with it, without --extend."
        )


def is_run_of(folder: Path, configuration: Mapping[str, Any]) -> bool:
    """Tell whether the run in a folder is one of a configuration."""
    return recorded(read_run(folder).get("configuration", {})) == deciding_keys(configuration)


def extended_checkpoint(content: Mapping[str, Any], extension: Extension, parent: Path) -> dict[str, Any]:
    """Make the checkpoint with which an extension begins of the last one of its parent.

    Weights, the optimizer's state and the position in the data are the parent's; learning rates are those with which
    it began, the schedule begins anew, and the best epoch is one of those to come.

    Args:
        content: Of the parent's last checkpoint.
        extension: Which it must fit.
        parent: The parent's folder, for the message.

    Raises:
        ValueError: If the parent was not trained for as many epochs as its configuration says.
    """
    epochs = content["epoch"] + 1
    early = read_run(parent).get("stopped_early")
    if early or epochs != extension.first:
        why = f"has ended early: {early}" if early else f"has {epochs}"
        raise ValueError(f"Expected --extend to continue a run of {extension.first} epochs, but {parent.name} {why}.")
    optimizers = [
        {**state, "param_groups": [_at_first_rate(group) for group in state["param_groups"]]}
        for state in content["optimizer_states"]
    ]
    callbacks = {key: state for key, state in content["callbacks"].items() if not key.startswith("ModelCheckpoint")}
    return {**content, "optimizer_states": optimizers, "lr_schedulers": [], "callbacks": callbacks}


def _at_first_rate(group: Mapping[str, Any]) -> dict[str, Any]:
    return {**group, "lr": group.get("initial_lr", group["lr"])}
