"""Identity of a run: the entries of its configuration that decide the result."""

import hashlib
import json
from collections.abc import Mapping
from itertools import compress
from pathlib import Path
from typing import Any

from nnmass.runtime.class_paths import as_recorded

__all__ = ["as_json", "configuration_id", "deciding_keys", "differences", "evaluated", "recorded", "recorded_id"]

# What changes neither the network, its data nor its training, and so may differ when a run is continued.
_INCIDENTAL = {
    "trainer": (
        *("accelerator", "strategy", "logger", "callbacks", "max_time", "log_every_n_steps", "profiler", "plugins"),
        *("enable_checkpointing", "enable_progress_bar", "enable_model_summary", "enable_autolog_hparams"),
        *("num_sanity_val_steps", "benchmark", "barebones", "default_root_dir", "model_registry"),
    ),
    "data": ("data_dir", "download", "num_workers"),
}

# Data sets that only their folder or file tells apart; the names of these count, wherever they lie.
_OWN_DATA = {"ImageFolder": "data_dir", "HuggingFaceImages": "data_dir", "ImageTable": "table"}

# Where a kernel fails, a training goes on without it.
_INCIDENTAL_KEYS = frozenset({"model.cuda_graph", "model.network.init_args.share_outputs"})

# Options that came after the first runs, and the value with which a training is what it was without them.
_ADDED: Mapping[str, Any] = {
    "model.loss": "cross_entropy",
    "model.network.init_args.links": "uniform",
    "data.init_args.balance": "none",
    "model.weights": None,
    "model.freeze": None,
    "model.unfreeze_epoch": None,
    "model.layer_decay": 1.0,
    "model.decay_norms": True,
    "data.init_args.train_resolution": None,
    "data.init_args.resolution": None,
    "data.init_args.test_crop": 0.875,
}
# Of photographs, that is; small images, which alone have a padding, were augmented from the first on.
_UNCHANGED = {"policy": "none", "colour_jitter": 0, "erasing": 0, "mixup": 0, "cutmix": 0, "repeats": 1}
_ADDED_TO_PHOTOGRAPHS = {f"data.init_args.augmentation.{name}": value for name, value in _UNCHANGED.items()}

# What decides a training, but not what a checkpoint gives when it is evaluated, but for rounding.
_TRAINING_ONLY = frozenset(
    {
        *(
            "trainer.devices",
            "trainer.num_nodes",
            "trainer.precision",
            "trainer.sync_batchnorm",
            "trainer.deterministic",
        ),
        *("trainer.inference_mode", "trainer.limit_test_batches", "trainer.limit_predict_batches", "tf32"),
        *("data.batch_size", "data.init_args.batch_size", "model.channels_last", "model.compile_network"),
    }
)

# Lightning's callbacks that decide what is trained and for how long; others look on.
_DECIDING_CALLBACKS = frozenset(
    {
        *("BackboneFinetuning", "EMAWeightAveraging", "EMAWithWarmUp", "EarlyStopping"),
        *("GradientAccumulationScheduler", "LambdaCallback", "ModelPruning"),
        *("StochasticWeightAveraging", "WeightAveraging"),
    }
)


def deciding_keys(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that decide the result, as one level of ``key.key: value``."""
    flat: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                visit(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            flat[prefix] = value

    for part in ("seed_everything", "model", "data", "trainer"):
        visit(part, as_recorded(configuration.get(part)))
    for part, names in _INCIDENTAL.items():
        for key in [key for key in flat if key.split(".")[0] == part]:
            if key.removeprefix(f"{part}.").removeprefix("init_args.").split(".")[0] in names:
                del flat[key]
    flat |= _own_data(configuration.get("data"))
    deciding = _deciding((configuration.get("trainer") or {}).get("callbacks"))
    exact = {} if configuration.get("tf32", True) else {"tf32": False}
    extend = configuration.get("extend")
    extended = {"extend": extend if isinstance(extend, list) else [extend]} if extend else {}
    return recorded(flat) | ({"trainer.callbacks": deciding} if deciding else {}) | exact | extended


def recorded(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Those entries in the record of a run that decide the result; earlier versions recorded others, or fewer."""
    small = "data.init_args.augmentation.crop_padding" in flat
    added = _ADDED if small else {**_ADDED, **_ADDED_TO_PHOTOGRAPHS}
    return {
        key: value
        for key, value in flat.items()
        if key not in _INCIDENTAL_KEYS and not (key in added and value == added[key])
    }


def evaluated(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Select the deciding keys that decide what an evaluation gives: the number of devices does not."""
    return {key: value for key, value in flat.items() if key not in _TRAINING_ONLY}


def _own_data(data: Any) -> dict[str, str]:
    """Return folder and name of what holds the user's own data."""
    given = data if isinstance(data, Mapping) else {}
    option = _OWN_DATA.get(str(given.get("class_path")).removeprefix("nnmass.datamodules."))
    place = (given.get("init_args") or {}).get(option)
    parts = Path(place).expanduser().absolute().parts if place else ()
    return {f"data.init_args.{option}": "/".join(parts[-2:] if option == "table" else parts[-1:])} if place else {}


def _deciding(callbacks: Any) -> list[Any]:
    configured = callbacks if isinstance(callbacks, list) else [callbacks]
    names = (callback["class_path"] if isinstance(callback, Mapping) else str(callback) for callback in configured)
    chosen = (name.rpartition(".")[2] in _DECIDING_CALLBACKS for name in names)
    return list(compress(configured, chosen))


def configuration_id(configuration: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that change whenever the network, the data, the seed or the training does."""
    return recorded_id(deciding_keys(configuration))


def recorded_id(flat: Mapping[str, Any]) -> str:
    """The same of a configuration in the record of a run."""
    return hashlib.sha256(as_json(recorded(flat)).encode()).hexdigest()[:8]


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first three entries in which two configurations differ, for a message; empty if in none."""
    differing = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
    return ", ".join(f"{key} is {theirs.get(key)} there and {ours.get(key)} here" for key in differing[:3])


def as_json(value: Any) -> str:
    """A value as text that is the same for the same entries, whatever their order."""
    return json.dumps(value, sort_keys=True, default=str)
