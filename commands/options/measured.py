"""Networks and data that the subcommand ``measure`` is given by name."""

import hashlib
import inspect
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning.cli import LightningArgumentParser
from torch import Tensor, nn

from nnmass import datamodules, zoo
from nnmass.commands.options.trained import config_of_checkpoint, find_trained
from nnmass.commands.training.from_checkpoint import known_data, preparation
from nnmass.datamodules import DataModule
from nnmass.runtime.class_paths import whole_class_path, whole_class_paths
from nnmass.runtime.config_names import CONFIG_FOLDER, config_name, find_config, list_configs, read_config
from nnmass.runtime.configuration import PARSER_OPTIONS, errors_explained, instantiate
from nnmass.studies.measuring import Subject
from nnmass.zoo.libraries.names import near_name
from nnmass.zoo.measures import Batch
from nnmass.zoo.networks import names
from nnmass.zoo.networks.variants import VARIANTS
from nnmass.zoo.seeding import seeded
from nnmass.zoo.weights.state import read_state

__all__ = ["NOISE", "MeasuredNetwork", "find_measured", "measured_of_content"]

NOISE = "noise"
"""The word for images of independent standard normal numbers, of the network's input size, without labels."""

_BASES = ("Augmentation", "DataModule", "ImageDataModule", "InMemoryDataModule", "PhotographAugmentation")

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")  # of one's own

Content = dict[str, Any]


class MeasuredNetwork(NamedTuple):
    """A network to be measured, by its name, with each seed in words of its own; and what its images are."""

    name: str
    subjects: list[Subject]
    data: str
    is_trained: bool = False


def _find_data(text: str, folder: Path | None) -> Content | None:
    """Find the data that ``--data`` means; None for noise.

    Args:
        text: ``noise``, a data set's class, or a configuration, whose data are meant.
        folder: That of ``--data-dir``, for data sets that have no folder of their own.

    Raises:
        ValueError: If it is none of these, or needs a folder.
    """
    if text == NOISE:
        return None
    known = [name for name in dir(datamodules) if name not in _BASES]
    if text in known and _needs_folder(text):
        if folder is None:
            raise ValueError(f"Expected --data-dir with --data {text}, but got none.")
        return {"class_path": whole_class_path(text), "init_args": {"data_dir": str(folder.absolute())}}
    if text in known or (_CLASS.fullmatch(text) and not text.endswith((".yaml", ".yml"))):
        return {"class_path": whole_class_path(text)}
    try:
        data = read_config(find_config(text)).get("data")
    except FileNotFoundError as error:
        by_letters = {one.lower(): one for one in known}
        near = get_close_matches(text.lower(), by_letters, n=1)
        hint = f"; did you mean {by_letters[near[0]]}?" if near else "."
        rule = f"noise, one of {', '.join(known)}, or a configuration"
        raise ValueError(f"Expected --data to be {rule}, but got {text!r}{hint}") from error
    return {"class_path": data} if isinstance(data, str) else data


def _needs_folder(name: str) -> bool:
    folder = inspect.signature(getattr(datamodules, name)).parameters.get("data_dir")
    return folder is not None and folder.default is inspect.Parameter.empty


def find_measured(
    name: str, data: str | None, images: int, seeds: int, data_dir: Path | None = None
) -> MeasuredNetwork:
    """Find a network to be measured, and say how it and its images come from each seed.

    Args:
        name: Of the zoo, timm or torchvision; a configuration; a checkpoint.
        data: The text of ``--data``; None where it is not given, and a configuration's or run's own data are taken.
        images: Images per batch.
        seeds: Number of seeds, from 0.
        data_dir: Folder of images, for the classes of data that need one.

    Raises:
        ValueError: If nothing bears the name, or it needs ``--data``, or the data have fewer images.
        FileNotFoundError: If a checkpoint does not exist.
    """
    chosen = None if data is None else _find_data(data, data_dir)
    if name.endswith(".ckpt"):
        path = Path(name).expanduser()
        find_trained(path)  # what is wrong with it shows before anything is measured
        chosen = _data_of_checkpoint(path) if data is None else _as_trained(path, chosen)
        prepare: Any = partial(_trained, str(path), chosen, images)
        described: Any = hashlib.sha256(path.read_bytes()).hexdigest()
    elif names.named(name) is not None:
        if data is None:
            raise ValueError(
                f"Expected --data with the network {name}, such as --data CIFAR10, or --data noise for random images "
                "without labels, but got none."
            )
        described = {"model": {"network": name}}
        content = {**described, "data": chosen}
        prepare = partial(_of_name, name, images) if chosen is None else partial(_configured, content, name, images)
    else:
        path = _config(name)
        content = read_config(path)
        if data is not None and chosen is not None:
            content["data"] = chosen
        return measured_of_content(config_name(path), content, images, seeds, is_noise=data == NOISE)
    return _measured(name, prepare, described, chosen, images, seeds)


def measured_of_content(
    name: str, content: Content, images: int, seeds: int, is_noise: bool = False
) -> MeasuredNetwork:
    """Say how the network of a configuration and its images come from each seed.

    Args:
        name: What to call it.
        content: The configuration's.
        images: Images per batch.
        seeds: Number of seeds, from 0.
        is_noise: Take noise rather than the configuration's data.

    Raises:
        ValueError: If its data cannot be had, or have fewer images.
    """
    prepare = partial(_configured, content, name, images, is_noise=is_noise)
    return _measured(name, prepare, content.get("model"), None if is_noise else content.get("data"), images, seeds)


def _measured(name: str, prepare: Any, described: Any, data: Any, images: int, seeds: int) -> MeasuredNetwork:
    if data is not None:
        _samples(json.dumps(data), images, 0)  # what is wrong with the data shows before any network is built
    words = _words(data)
    digest = hashlib.sha256(json.dumps([described, data], sort_keys=True, default=str).encode()).hexdigest()[:8]
    setting = f"{images} images of {words}, {digest}"
    subjects = [Subject(name, seed, setting, prepare) for seed in range(seeds)]
    return MeasuredNetwork(name, subjects, words, name.endswith(".ckpt"))


def _data_of_checkpoint(path: Path) -> Content:
    """Find the data that a checkpoint was trained on: in its run folder, else by what it says of itself."""
    description = read_state(path).description
    if description is None or (path.resolve().parent.parent / "config.yaml").is_file():
        data: Content = read_config(config_of_checkpoint(path))["data"]
        return data
    return _as_trained(path, {"class_path": whole_class_path(known_data(description, str(path)))}) or {}


def _as_trained(path: Path, data: Content | None) -> Content | None:
    """Let data prepare their images as the network of a checkpoint takes them, where they do not say how."""
    description = read_state(path).description
    if description is None or data is None:
        return data
    arguments = preparation(description.preprocessing, data["class_path"])
    return {**data, "init_args": {**arguments, **data.get("init_args", {})}}


def _config(name: str) -> Path:
    try:
        return find_config(name)
    except FileNotFoundError as error:
        shipped = [one.removesuffix(".yaml") for one in list_configs(CONFIG_FOLDER)]
        hint = near_name(name, [*VARIANTS, *shipped]) or "nnmass list models lists networks."
        raise ValueError(
            f"Expected a network of the zoo, timm or torchvision, a configuration or a checkpoint, but got {name!r}; "
            f"{hint}"
        ) from error


def _words(data: Any) -> str:
    """Name a data set as its class is named."""
    if data is None:
        return NOISE
    return str(data["class_path"] if isinstance(data, Mapping) else data).rpartition(".")[2]


def _of_name(name: str, images: int, seed: int) -> tuple[nn.Module, Batch]:
    """Build a network by name with noise of its own input size."""
    variant = VARIANTS.get(name)
    _, _, own = (names.named(name) or ("",))[0].rpartition(".")
    takes_seed = variant is not None and "seed" in inspect.signature(getattr(zoo, own)).parameters
    with seeded(seed):
        network = zoo.create_model(name, seed=seed) if takes_seed else zoo.create_model(name)
    stated = (getattr(network, "default_cfg", None) or {}).get("input_size")
    return network, _noise(stated or (3, 224, 224), images, seed)


def _configured(content: Content, name: str, images: int, seed: int, is_noise: bool = False) -> tuple[nn.Module, Batch]:
    """Build the network that ``nnmass fit`` would train with this seed, with images of its data, or noise."""
    with seeded(seed):
        model, data = instantiate({**content, "seed_everything": seed}, name)
    if is_noise:
        return model.network, _noise(data.input_size, images, seed)
    return model.network, Batch(*_samples(json.dumps(content["data"]), images, seed))


def _trained(checkpoint: str, content: Content | None, images: int, seed: int) -> tuple[nn.Module, Batch]:
    """Load the network of a checkpoint, with images of a data set, or noise."""
    trained = find_trained(Path(checkpoint))
    network = trained.network.train()
    if content is None:
        return network, _noise(trained.input_size or (3, 224, 224), images, seed)
    samples, labels = _samples(json.dumps(content), images, seed)
    size = tuple(samples.shape[1:])
    if trained.input_size is not None and size != tuple(trained.input_size):
        raise ValueError(f"Expected --data of the size {tuple(trained.input_size)} of {checkpoint}, but got {size}.")
    return network, Batch(samples, labels)


def _noise(input_size: Any, images: int, seed: int) -> Batch:
    return Batch(torch.randn(images, *input_size, generator=torch.Generator().manual_seed(seed)))


@cache
def _samples(data: str, images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw images and labels, once for all networks that this process measures."""
    return _data(data).first_samples(images, seed)


@cache
def _data(data: str) -> DataModule:
    """Build and load the data that a configuration's part describes."""
    parser = LightningArgumentParser(**PARSER_OPTIONS)
    parser.add_lightning_class_args(DataModule, "data", subclass_mode=True)
    with errors_explained(parser, "--data"):
        built: Any = parser.instantiate(parser.parse_object(whole_class_paths({"data": json.loads(data)})))
    module: DataModule = built.data
    module.prepare_data()
    return module
