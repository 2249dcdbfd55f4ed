"""Trained networks: right on the real test sets, whole, documented, and found where the user says."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import real_data
from safetensors.torch import load_file, save_file

from nnmass.runtime.configuration import instantiate
from nnmass.zoo import Preprocessing, create_model, list_models
from nnmass.zoo.weights.cards import topology_facts, trained_card
from nnmass.zoo.weights.load import load
from nnmass.zoo.weights.pretrained import RELEASED, find_pretrained, list_pretrained

NAMES = sorted(path.stem for path in RELEASED.glob("*.safetensors"))
FOLDERS = {"MNIST": "MNIST/raw", "CIFAR10": "cifar10"}
SLOW = [name for name in NAMES if find_pretrained(name).topology["macs"] > 1e7]
DIGITS = "dense_digits"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's, that the environment variable names."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("NNMASS_WEIGHTS", str(folder))
    return folder


def copied(folder: Path, name: str, **changes: Any) -> None:
    """The network of the digits in a folder, under another name and with other entries in its record."""
    shutil.copy(RELEASED / f"{DIGITS}.safetensors", folder / f"{name}.safetensors")
    record = json.loads((RELEASED / f"{DIGITS}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**record, "name": name, "file": f"{name}.safetensors", **changes}))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_a_trained_network_is_as_right_on_the_real_test_set_as_its_card_says(name: str) -> None:
    record = find_pretrained(name)
    configuration = yaml.safe_load((RELEASED / f"{name}.yaml").read_text())
    if record.data in FOLDERS:
        configuration["data"]["init_args"]["data_dir"] = str(real_data(FOLDERS[record.data]))
    _, data = instantiate(configuration, name)
    data.prepare_data()
    network = create_model(name, pretrained=True).eval()
    with torch.inference_mode():
        right = torch.cat([network(images).argmax(1) == labels for images, labels in data.test_dataloader()])
    assert abs(right.float().mean().item() - record.test["accuracy"]) < 1.5 / len(right)
    assert list(data.class_names) == record.classes
    assert data.preprocessing == Preprocessing.from_dict(record.preprocessing or {})


@pytest.mark.parametrize("name", NAMES)
def test_record_card_and_configuration_are_those_of_the_weights(name: str) -> None:
    record = find_pretrained(name)
    content = (RELEASED / record.file).read_bytes()
    assert (record.bytes, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    network: Any = create_model(name, pretrained=True)
    kept = record.network["init_args"]  # later arguments have their defaults
    assert kept == {key: json.loads(json.dumps(network.init_args[key])) for key in kept}
    assert topology_facts(network, record.topology["input_size"]) == record.topology
    configuration = yaml.safe_load((RELEASED / f"{name}.yaml").read_text())
    content_of_record = json.loads((RELEASED / f"{name}.json").read_text())
    assert (RELEASED / f"{name}.md").read_text() == trained_card(content_of_record, configuration)
    arguments = configuration["model"]["network"]["init_args"]
    assert arguments == {key: record.network["init_args"][key] for key in arguments}
    assert not [word for word in ("/tmp", "/work", "/home") if word in (RELEASED / f"{name}.yaml").read_text()]


def test_the_package_holds_these_networks_and_stays_small() -> None:
    mlps = {f"mlp_d{depth}_w8_t{tc}" for depth, tc in ((24, 2), (32, 2), (16, 8), (20, 1), (20, 7), (32, 1))}
    assert {DIGITS, *mlps} <= set(NAMES) == set(list_models(pretrained=True)) <= set(list_models())
    assert sum(path.stat().st_size for path in RELEASED.iterdir()) < 12e6
    assert {path.suffix for path in RELEASED.iterdir()} == {".json", ".md", ".safetensors", ".yaml"}


def test_links_come_with_the_weights_whatever_the_seed() -> None:
    network, other = (
        create_model("mlp_d24_w8_t2", pretrained=True),
        create_model("mlp_d24_w8_t2", seed=5, pretrained=True),
    )
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in network.state_dict().items())


def test_a_name_loads_all_that_a_checkpoint_does() -> None:
    trained = load(DIGITS)
    assert not trained.network.training
    assert (trained.transform, trained.input_size, trained.data) == (
        Preprocessing(1, (8, 8), (0.3053,), (0.376,)),
        (1, 8, 8),
        "Digits",
    )
    assert trained.classes == tuple("0123456789")
    weights = create_model(DIGITS, pretrained=True).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in trained.network.state_dict().items())


def test_for_other_classes_the_classifier_begins_anew() -> None:
    network: Any = create_model(DIGITS, num_classes=3, pretrained=True)
    assert network.classifier.out_features == network.num_classes == 3
    trained = load_file(RELEASED / f"{DIGITS}.safetensors")
    kept = [key for key, value in network.state_dict().items() if key in trained and torch.equal(trained[key], value)]
    assert len(kept) == len(trained) - 2
    with pytest.raises(ValueError, match="Expected weights of this architecture in .*dense_digits.safetensors, but"):
        create_model(DIGITS, cell_depth=5, pretrained=True)


def test_a_folder_of_the_users_adds_networks_and_replaces_those_of_the_package(own: Path) -> None:
    copied(own, "mine")
    state = load_file(RELEASED / f"{DIGITS}.safetensors")
    save_file({key: value * 0 for key, value in state.items()}, own / f"{DIGITS}.safetensors")
    checksum = hashlib.sha256((own / f"{DIGITS}.safetensors").read_bytes()).hexdigest()
    assert "mine" in list_models(pretrained=True)
    assert torch.equal(create_model("mine", pretrained=True).classifier.weight, state["classifier.weight"])  # type: ignore[union-attr, arg-type]
    with pytest.raises(ValueError, match="Expected the SHA-256 checksum of .* to be .*, but got "):
        create_model(DIGITS, pretrained=True)
    record = json.loads((RELEASED / f"{DIGITS}.json").read_text())
    (own / f"{DIGITS}.json").write_text(json.dumps({**record, "sha256": checksum}))
    assert not create_model(DIGITS, pretrained=True).classifier.weight.any()  # type: ignore[union-attr, operator]


def test_weights_are_fetched_from_the_users_address_alone(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied(own, "mine")
    monkeypatch.setattr("nnmass.zoo.weights.pretrained.RELEASED", tmp_path / "package")
    shutil.move(own, tmp_path / "package")
    (tmp_path / "server").mkdir()
    shutil.move(tmp_path / "package" / "mine.safetensors", tmp_path / "server" / "mine.safetensors")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NNMASS_WEIGHTS")
    with pytest.raises(ValueError, match=r"Expected mine.safetensors, the weights of mine, to be in .*; NNMASS_W"):
        create_model("mine", pretrained=True)
    monkeypatch.setenv("NNMASS_WEIGHTS", (tmp_path / "server").as_uri())
    create_model("mine", pretrained=True)
    (tmp_path / "server" / "mine.safetensors").unlink()
    create_model("mine", pretrained=True)  # once
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(ValueError, match=r"Expected weights that can be downloaded from file://.*, but got: .*"):
        create_model("mine", pretrained=True)


def test_what_cannot_be_found_is_said_in_one_sentence(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"network with trained weights, but got 'dense_digit'; did you mean 'dense_"):
        find_pretrained("dense_digit")
    with pytest.raises(FileNotFoundError, match=r"but got 'dense_digit'; did you mean 'dense_digits', a trained net"):
        load("dense_digit")
    with pytest.raises(ValueError, match=r"but got 'resnet18'; there are dense_31_w1_small, dense_digits, mlp_"):
        find_pretrained("resnet18")
    for content in ("{", "[]", '{"name": "mine"}'):
        (own / "mine.json").write_text(content)
        with pytest.raises(ValueError, match=r"Expected the record of a trained network in .*mine.json, but "):
            find_pretrained("mine")
    copied(own, "mine", network={"class": "Classifier", "init_args": {}})
    with pytest.raises(ValueError, match="Expected the class in .*mine.json to be one of MobileNetV2, "):
        find_pretrained("mine")
    copied(own, "mine", file="../mine.safetensors")
    with pytest.raises(ValueError, match="Expected the file in .*mine.json to be a name without folders"):
        find_pretrained("mine")
    monkeypatch.setenv("NNMASS_WEIGHTS", str(own / "nothing"))
    with pytest.raises(ValueError, match="Expected NNMASS_WEIGHTS to be a folder or an address, but got "):
        list_pretrained()
