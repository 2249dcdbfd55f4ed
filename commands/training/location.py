"""Location of a run: an earlier run's, or one made for a new run, once for all processes of a command."""

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jsonargparse import Namespace
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from nnmass import datamodules, zoo
from nnmass.runtime.checkpoints import AtomicCheckpointIO, read_checkpoint, require_resumable
from nnmass.runtime.extension import (
    Extension,
    extended_checkpoint,
    extension_of,
    finished_run,
    is_run_of,
    require_finished,
)
from nnmass.runtime.files import read_run, update_run, write_atomically
from nnmass.runtime.folders import (
    RunLocation,
    claim,
    continued_run,
    find_run,
    new_run,
    newest_intact,
    require_progress,
    run_of_job,
)
from nnmass.runtime.identity import configuration_id, deciding_keys
from nnmass.runtime.launch import LOCATION_VARIABLE, Launch
from nnmass.runtime.processes import agreed
from nnmass.runtime.strict_yaml import yaml_text

__all__ = ["LocationRequest", "shared_location"]


class LocationRequest(NamedTuple):
    """Everything that decides on the location of a run.

    Attributes:
        subcommand: ``fit``, ``validate`` or ``test``.
        options: Its options.
        configuration: The whole of it, as plain values.
        name: The configuration's name.
        launch: How the processes came to be.
        model: Which a checkpoint must fit.
        data: Without which no training begins.
    """

    subcommand: str
    options: Namespace
    configuration: Mapping[str, Any]
    name: str
    launch: Launch
    model: zoo.Classifier
    data: datamodules.DataModule


class _Start(NamedTuple):
    """The run and the checkpoint to begin with, the checkpoint's content, the finished run to extend; None for none."""

    folder: Path | None
    checkpoint: Path | None
    content: dict[str, Any] | None
    parent: Path | None = None


def shared_location(request: LocationRequest, cleanup: ExitStack) -> RunLocation:
    """Return the location of the run for all processes of a command; the first finds or makes it and tells the others.

    Args:
        request: What decides it.
        cleanup: Where is noted what must be undone when the command ends, whichever way it does.

    Raises:
        ValueError: If a checkpoint cannot be used, or the folder cannot be written to.
        FileNotFoundError: If there is no such checkpoint.
    """
    if request.launch.world_size > 1:
        on_gpu = torch.cuda.is_available() and request.options.trainer.accelerator != "cpu"
        return agreed(request.launch, lambda: _prepare_location(request, cleanup), on_gpu, cleanup)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return RunLocation.from_json(os.environ[LOCATION_VARIABLE])
    location = _prepare_location(request, cleanup)
    cleanup.callback(os.environ.pop, LOCATION_VARIABLE, None)
    os.environ[LOCATION_VARIABLE] = location.to_json()
    return location


def _prepare_location(request: LocationRequest, cleanup: ExitStack) -> RunLocation:
    """Find where to begin, refuse what cannot be, and only then make the folder, claim it and write into it."""
    fits, identity = request.subcommand == "fit", configuration_id(request.configuration)
    folder, checkpoint, content, parent = _find_start(request)
    if checkpoint is not None:
        content = content or read_checkpoint(checkpoint)
        _require_fitting(content, checkpoint, request)
    notes = _of_parent(parent) if parent is not None else {}
    if fits:
        request.data.prepare_data()  # without its data no run begins
        notes |= _load_weights(request) if checkpoint is None else {}
        folder = folder or new_run(Path(request.options.output_dir).expanduser(), request.name, identity)
    if folder is not None and request.subcommand in ("fit", "test"):  # which write into it
        cleanup.enter_context(claim(folder))
    if parent is not None and folder is not None and content is not None:
        checkpoint = folder / "checkpoints" / "last.ckpt"
        AtomicCheckpointIO().save_checkpoint(content, checkpoint)
    if fits and folder is not None:
        write_atomically(folder / "config.yaml", yaml_text(request.configuration))
        update_run(
            folder,
            name=request.name,
            configuration_id=identity,
            configuration=deciding_keys(request.configuration),
            job=request.launch.job,
            **notes,
        )
    step = content["global_step"] if content and fits else 0
    return RunLocation(folder, str(checkpoint) if checkpoint else None, step)


def _of_parent(parent: Path) -> dict[str, Any]:
    """Return what the record of an extended run says of where it comes from: its parent, and its parent's weights."""
    record = read_run(parent)
    return {"parent": parent.name} | {key: record[key] for key in ("weights",) if key in record}


def _load_weights(request: LocationRequest) -> dict[str, Any]:
    """Load the weights to start from, if the configuration names any; returns what the run's record says of them."""
    loaded = request.model.load_weights(request.data.class_names)
    if loaded is None:
        return {}
    print(loaded)
    path = Path(request.options.model.weights).expanduser()
    # A run's folder named latest is another one as soon as this run begins.
    return {"weights": {**loaded.as_dict(), "path": str(path.resolve()) if path.is_file() else None}}


def _find_start(request: LocationRequest) -> _Start:
    """Find the run and the checkpoint that are meant; nothing is written."""
    fits, wanted = request.subcommand == "fit", request.options.ckpt_path
    output_dir = Path(request.options.output_dir).expanduser()
    identity = configuration_id(request.configuration)
    if fits and request.launch.restarts:
        begun = run_of_job(output_dir, identity, request.launch.job)
        if begun is not None:
            path, content = newest_intact(begun, required=False)
            require_progress(begun, content["global_step"] if content else 0)
            return _Start(begun, path, content)
    extension = extension_of(request.configuration) if fits else None
    if extension is not None and wanted is None:
        return _start_of_extension(finished_run(output_dir, extension.parent, request.name), extension)
    if wanted in ("last", "best"):
        folder = find_run(output_dir, request.configuration, request.name, wanted, fits)
        if wanted == "last":
            return _Start(folder, *newest_intact(folder))
        return _Start(folder, folder / "checkpoints" / "best.ckpt", None)
    if wanted is not None:
        given = Path(wanted).expanduser()
        if not given.is_file():
            raise FileNotFoundError(f"Expected --ckpt_path to be a file, last or best, but got {wanted!r}.")
        path = given.resolve()
        if extension is not None and is_run_of(path.parent.parent, extension.parent):
            return _start_of_extension(path.parent.parent, extension)
        return _Start(continued_run(path, identity, request.configuration, fits), path, None)
    if not fits:
        raise ValueError(f"Expected {request.subcommand} to be given --ckpt_path (a file, last or best), but got none.")
    return _Start(None, None, None)


def _start_of_extension(parent: Path, extension: Extension) -> _Start:
    require_finished(parent)
    path, content = newest_intact(parent)
    print(f"{parent.name}, of {extension.first} epochs, is extended to {extension.last} in a new run.")
    return _Start(None, path, extended_checkpoint(content or {}, extension, parent), parent)


def _require_fitting(content: dict[str, Any], checkpoint: Path, request: LocationRequest) -> None:
    """Refuse a checkpoint that does not fit the network, and name the configuration that it fits."""
    if request.subcommand == "fit":
        require_resumable(content, checkpoint)
    try:
        request.model.on_load_checkpoint(content)
    except ValueError as error:
        config = checkpoint.parent.parent / "config.yaml"
        hint = f"; it was trained with --config {config}." if config.is_file() else "."
        raise ValueError(f"{str(error).rstrip('.')}{hint}") from error
