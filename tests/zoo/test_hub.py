"""Networks in folders of the Hugging Face Hub: saved, loaded and uploaded without a network."""

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from nnmass.zoo import MobileNetV2, RandomSkipDenseNet, RandomSkipMLP, ResNet, topology

# Of every class arguments that differ from the defaults, lists, tuples and None among them.
GIVEN: dict[type, dict[str, Any]] = {
    RandomSkipDenseNet: {
        "cell_depth": [4, 3],
        "width_multiplier": 0.5,
        "tc": (8, 5),
        "num_classes": 3,
        "in_chans": 1,
        "base_widths": [8, 16],
        "expansion": 2,
        "share_outputs": False,
        "seed": 3,
    },
    RandomSkipMLP: {"depth": 5, "width": 4, "tc": 3, "in_features": 9, "activation": "relu", "seed": 2},
    ResNet: {"depth": 18, "width_factor": 0.5, "num_classes": 3, "small_images": True},
    MobileNetV2: {"width_multiplier": 0.25, "repeats": (1, 1, 2, 1, 1, 1, 1), "num_classes": 4, "in_chans": 1},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything that would be fetched fails."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("kind", GIVEN, ids=lambda kind: kind.__name__)
def test_a_network_comes_back_from_its_folder(kind: Any, tmp_path: Path) -> None:
    network = kind(**GIVEN[kind])
    with torch.no_grad():
        for buffer in (buffer for name, buffer in network.named_buffers() if name.endswith("links")):
            buffer.copy_(buffer.flip(0))  # links that no seed draws
        for weights in network.parameters():
            weights.normal_()
    network.save_pretrained(tmp_path)
    other = kind.from_pretrained(tmp_path)
    assert type(other) is kind
    assert not other.training
    assert {name: torch.equal(other.state_dict()[name], value) for name, value in network.state_dict().items()} == (
        dict.fromkeys(network.state_dict(), True)
    )
    plain = json.loads((tmp_path / "config.json").read_text())
    assert plain == json.loads(json.dumps(network.init_args)) == json.loads(json.dumps(other.init_args))
    assert list(network.init_args) == list(inspect.signature(kind).parameters)
    assert plain | json.loads(json.dumps(GIVEN[kind])) == plain
    assert f"| NN-Mass | {topology(network).nn_mass:,.3f} |" in ModelCard.load(tmp_path / "README.md").text


@pytest.mark.parametrize("kind", GIVEN, ids=lambda kind: kind.__name__)
def test_arguments_survive_copies_and_follow_the_classifier(kind: Any) -> None:
    first, *others = GIVEN[kind].items()
    network = kind(first[1], **dict(others))
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert copied.init_args == network.init_args
    network.reset_classifier(7)
    assert network.init_args["num_classes"] == 7


def test_a_class_of_ones_own_keeps_its_own_arguments(tmp_path: Path) -> None:
    network = OfOneNumber(layers=4)
    assert network.init_args == {"layers": 4, "num_classes": 10}
    network.save_pretrained(tmp_path)
    other = OfOneNumber.from_pretrained(tmp_path)
    assert torch.equal(other.layers[1].links, network.layers[1].links)


class OfOneNumber(RandomSkipMLP):
    def __init__(self, layers: int, num_classes: int = 10) -> None:
        super().__init__(depth=layers, width=3, tc=2, in_features=4, num_classes=num_classes)


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    RandomSkipMLP(depth=np.int64(4), width=3, tc=2, in_features=4).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["depth"] == 4


def test_arguments_can_be_replaced_where_the_weights_still_fit(tmp_path: Path) -> None:
    RandomSkipMLP(**GIVEN[RandomSkipMLP]).save_pretrained(tmp_path)
    assert RandomSkipMLP.from_pretrained(tmp_path, share_outputs=False).share_outputs is False
    with pytest.raises(ValueError, match="Expected a checkpoint of this architecture, but layers"):
        RandomSkipMLP.from_pretrained(tmp_path, width=5)


def test_what_is_missing_or_damaged_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected .* to hold config.json, the arguments of a RandomSkipMLP, but"):
        RandomSkipMLP.from_pretrained(tmp_path)
    RandomSkipMLP(**GIVEN[RandomSkipMLP]).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file({name: value for name, value in state.items() if "links" not in name}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"but layers.0.links is absent in the checkpoint"):
        RandomSkipMLP.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"Expected .* to hold model.safetensors, but got none."):
        RandomSkipMLP.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Expected arguments of the network that JSON can hold"):
        RandomSkipMLP(depth=4, width=3, tc=2, in_features=4, share_outputs=object()).save_pretrained(tmp_path)


def test_what_is_uploaded_is_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: dict[str, list[str]] = {}

    class Hub:
        def __init__(self, token: str | None = None) -> None:
            self.repo_id = ""

        def create_repo(self, repo_id: str, **_: Any) -> Self:
            self.repo_id = repo_id
            return self

        def upload_folder(self, repo_id: str, folder_path: Path, **_: Any) -> str:
            uploaded[repo_id] = sorted(path.name for path in folder_path.iterdir())
            return "address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    assert RandomSkipMLP(**GIVEN[RandomSkipMLP]).push_to_hub("me/mlp") == "address"
    assert uploaded == {"me/mlp": ["README.md", "config.json", "model.safetensors"]}
