"""release: weights of a training as ``zoo.create_model(name, pretrained=True)`` takes them, with a model card."""

import hashlib
import inspect
import json
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnmass.commands.options.parser import Parser, user_path
from nnmass.runtime.names import require_name

if TYPE_CHECKING:
    from nnmass.datamodules import DataModule
    from nnmass.zoo import Classifier

__all__ = ["run"]

_LIBRARIES = ("python", "torch", "torchvision", "pytorch-lightning", "timm", "numpy")


def run(arguments: Sequence[str]) -> int:
    """Test the weights in single precision, and write them with their record, configuration and card.

    Args:
        arguments: ``release`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass release",
        "Write the weights of a training as zoo.create_model(NAME, pretrained=True) takes them: NAME.safetensors,\n"
        "a record with its checksum, the configuration, and a model card. They are tested first, in single precision.",
        [
            "nnmass release runs/latest/checkpoints/best.ckpt dense_digits --folder weights",
            "nnmass release runs/study_mnist_mlp/rows/ROW/weights.safetensors mlp_d24_w8_t2",
        ],
    )
    parser.add_argument("weights", type=_weights, help="checkpoint of a run, or the weights of a study's row")
    parser.add_argument("name", help="name of the trained network")
    parser.add_argument("--folder", type=user_path, default=Path("weights"), help="folder to write to (weights)")
    parser.add_argument("--data-dir", help="folder of the data sets (the training's)")
    parser.add_argument("--overwrite", action="store_true", help="replace what the folder has of this name")
    options = parser.parse_args(list(arguments)[1:])
    require_name("the network's name", options.name)
    if not options.overwrite and (options.folder / f"{options.name}.json").exists():
        found = f"but got {options.name!r}; --overwrite replaces it."
        raise ValueError(f"Expected a name that {options.folder} does not have yet, {found}")
    record = _release(options.weights, options.name, options.folder, options.data_dir)
    right = f"{100 * record['test']['accuracy']:.2f} % of the test set are right"
    print(f"Written to {options.folder}: {options.name}; {right}.")
    return 0


def _weights(text: str) -> Path:
    path = Path(text).expanduser()
    if path.suffix not in (".ckpt", ".safetensors") or not path.is_file():
        raise ArgumentTypeError(f"Expected a file of weights (.ckpt or .safetensors), but got {text!r}.")
    return path


def _release(weights: Path, name: str, folder: Path, data_dir: str | None) -> dict[str, Any]:
    """Write all files of a trained network, and return its record."""
    from safetensors.torch import save

    from nnmass.runtime.configuration import instantiate
    from nnmass.runtime.files import write_atomically
    from nnmass.runtime.strict_yaml import read_yaml, yaml_text
    from nnmass.zoo.networks.hub import HubNetwork
    from nnmass.zoo.weights.cards import topology_facts, trained_card
    from nnmass.zoo.weights.loading import load_weights

    path = _configuration_of(weights)
    configuration = read_yaml(path)
    if data_dir is not None:
        configuration["data"].setdefault("init_args", {})["data_dir"] = data_dir
    model, data = instantiate(configuration, path.name)
    if not isinstance(model.network, HubNetwork):
        raise ValueError(f"Expected weights of a class of the zoo, but got those of {type(model.network).__name__}.")
    network: Any = model.network
    load_weights(network, weights)
    content = save({key: tensor.contiguous() for key, tensor in network.state_dict().items()})
    file = f"{name}.safetensors"
    record = {
        "name": name,
        "file": file,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "network": {"class": type(network).__name__, "init_args": network.init_args},
        "preprocessing": data.preprocessing.as_dict() if data.preprocessing else None,
        "classes": list(data.class_names),
        "data": type(data).__name__,
        "seed": configuration.get("seed_everything", 0),
        "test": _tested(model, data),
        "topology": topology_facts(network, data.input_size),
        **_history(weights),
    }
    kept = _without_places(configuration)
    write_atomically(folder / file, content)
    write_atomically(folder / f"{name}.yaml", yaml_text(kept))
    write_atomically(folder / f"{name}.md", trained_card(record, kept))
    write_atomically(folder / f"{name}.json", json.dumps(record, indent=2) + "\n")  # last: with it the network is there
    return record


def _configuration_of(weights: Path) -> Path:
    """Find the configuration that the weights were trained by: of a run, or of a study's row."""
    from nnmass.commands.options.trained import config_of_checkpoint

    if weights.suffix == ".ckpt":
        return config_of_checkpoint(weights)
    folder = weights.resolve().parent
    path = folder / f"{folder.name}.yaml"
    if not path.is_file():
        raise ValueError(f"Expected the weights in {weights} to lie in the folder of a study's row, but got no {path}.")
    return path


def _history(weights: Path) -> dict[str, Any]:
    """Describe the training by its record: a run's, or a row's."""
    from nnmass.runtime.files import read_json, read_run

    if weights.suffix == ".ckpt":
        run = read_run(weights.resolve().parent.parent)
        versions = {key: value for key, value in run.get("versions", {}).items() if key in _LIBRARIES}
        taken = weights.name
    else:
        run = read_json(weights.with_name("row.json"))
        versions = {"torch": run["torch"]} if "torch" in run else {}
        taken = f"the last epoch, in a study by the engine {run.get('engine')}"
    return {"epochs": run.get("epochs"), "checkpoint": taken, "device": run.get("device"), "versions": versions}


def _tested(model: "Classifier", data: "DataModule") -> dict[str, Any]:
    """Measure the weights on the test set, on one device in single precision."""
    from pytorch_lightning import Trainer

    from nnmass.runtime.quiet import quieten

    quieten()
    trainer = Trainer(
        devices=1,
        precision="32-true",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    (measured,) = trainer.test(model, data, verbose=False)
    return {**{key.removeprefix("test/"): value for key, value in measured.items()}, "precision": "32-true"}


def _without_places(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration of the same training on another machine: no folders, and of the trainer only what was changed."""
    from pytorch_lightning import Trainer

    usual = {name: part.default for name, part in inspect.signature(Trainer).parameters.items()}
    data = {**configuration["data"]}
    if isinstance(data.get("init_args"), dict):
        data["init_args"] = {key: value for key, value in data["init_args"].items() if key != "data_dir"}
    trainer = {key: value for key, value in configuration.get("trainer", {}).items() if value != usual.get(key)}
    shared = {key: configuration[key] for key in ("seed_everything", "model") if key in configuration}
    return {**shared, "data": data, "trainer": trainer}
