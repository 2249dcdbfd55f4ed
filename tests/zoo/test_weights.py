"""Weights of files: whatever has written them, the network gets them whole, or one sentence says why not."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from nnmass.zoo import Classifier, RandomSkipDenseNet, RandomSkipMLP, create_model
from nnmass.zoo.weights.head import classifier_names, first_convolution
from nnmass.zoo.weights.loading import load_weights
from nnmass.zoo.weights.state import State, read_state

Weights = dict[str, Tensor]


def dense(classes: int = 10, channels: int = 1, seed: int = 0, tc: int = 6) -> RandomSkipDenseNet:
    return RandomSkipDenseNet(4, 0.25, tc, num_classes=classes, in_chans=channels, seed=seed)


def same(network: nn.Module, weights: Weights) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())


def prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


CONTAINERS: dict[str, Any] = {
    "plain": lambda w: w,
    "of timm": lambda w: {"epoch": 3, "state_dict": w, "args": argparse.Namespace(lr=0.1)},
    "under model": lambda w: {"model": w, "optimizer": {"lr": 0.1}},
    "an average before the last weights": lambda w: {"model": {"x": torch.zeros(1)}, "model_ema": w},
    "of DistributedDataParallel and compiled": lambda w: prefixed(w, "module._orig_mod."),
    "of Lightning": lambda w: {"state_dict": prefixed(w, "model."), "global_step": 1},
    "of Lightning, with its loss": lambda w: {"state_dict": prefixed(w, "net.") | {"loss.weight": torch.ones(3)}},
    "of Lightning, compiled": lambda w: {"state_dict": prefixed(w, "model._orig_mod.")},
    "of Lightning, with a wrapper inside": lambda w: {"state_dict": prefixed(w, "model.module._orig_mod.")},
    "of torch's tutorial": lambda w: {"epoch": 3, "model_state_dict": w, "optimizer_state_dict": {"state": {}}},
    "of a program with words of its own": lambda w: {"net": prefixed(w, "module."), "acc": 93.1, "epoch": 3},
    "of torch's AveragedModel": lambda w: prefixed(w, "module.") | {"n_averaged": torch.tensor(3)},
    "of this package": lambda w: {"state_dict": prefixed(w, "network."), "nnmass": {"classes": list("abcdefghij")}},
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_weights_of_every_kind_of_file_are_loaded_whole_with_their_links(kind: str, tmp_path: Path) -> None:
    weights = dense(seed=1).state_dict()
    torch.save(CONTAINERS[kind](weights), tmp_path / "weights.pt")
    network = dense(seed=2)
    loaded = load_weights(network, tmp_path / "weights.pt")
    assert same(network, weights)
    assert (loaded.loaded, loaded.initial, loaded.classifier) == (len(weights), (), ("classifier",))
    assert loaded.rewired == 5  # layers 2 and 3 of three cells, of which the very first takes all that there are
    assert loaded.unused == (("loss.weight",) if "its loss" in kind else ())


def test_several_states_in_a_file_are_named(tmp_path: Path) -> None:
    weights = dense().state_dict()
    torch.save({"generator": weights, "critic": weights, "step": 3}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights of one network in .*, but got several: generator and critic\."):
        read_state(tmp_path / "weights.pt")


def test_weights_in_safetensors_are_the_same_by_their_fingerprint(tmp_path: Path) -> None:
    weights = dense(seed=1).state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    torch.save(weights, tmp_path / "weights.pt")
    network = dense()
    loaded = load_weights(network, str(tmp_path / "weights.safetensors"))
    assert same(network, weights)
    assert loaded.fingerprint == read_state(tmp_path / "weights.pt").fingerprint
    weights["classifier.bias"][0] += 1e-6
    assert State("", weights).fingerprint != loaded.fingerprint


@pytest.mark.parametrize(
    ("trained", "network"),
    [
        (lambda: dense(10, seed=1), lambda: dense(7)),
        (lambda: RandomSkipMLP(5, 4, 6, 10, 9, seed=1), lambda: RandomSkipMLP(5, 4, 6, 3, 9)),
        (lambda: timm.create_model("test_vit"), lambda: timm.create_model("test_vit", num_classes=3)),
        (lambda: torchvision.models.squeezenet1_1(), lambda: torchvision.models.squeezenet1_1(num_classes=3)),
    ],
    ids=["dense", "mlp", "timm", "torchvision"],
)
def test_the_classifier_of_other_classes_begins_anew_and_everything_else_is_loaded(trained: Any, network: Any) -> None:
    theirs, ours = trained(), network()
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    loaded = load_weights(ours, State("there", theirs.state_dict()))
    for name, value in ours.state_dict().items():
        source = before if name in loaded.initial else theirs.state_dict()
        assert torch.equal(value, source[name]), name
    assert loaded.initial == loaded.unused
    assert {name.rpartition(".")[0] for name in loaded.initial} == set(loaded.classifier)
    assert f"Not loaded, and begin anew: {', '.join(loaded.initial)}." in str(loaded)


def test_as_many_other_classes_are_other_classes_too() -> None:
    theirs = State("there", dense(2, seed=1).state_dict(), ("cat", "dog"))
    assert not load_weights(dense(2), theirs, ["cat", "dog"]).initial
    assert not load_weights(dense(2), theirs).initial
    assert load_weights(dense(2), theirs, ["car", "truck"]).initial == ("classifier.weight", "classifier.bias")


def test_weights_without_a_classifier_leave_it_as_it_is() -> None:
    weights = {name: value for name, value in dense(seed=1).state_dict().items() if "classifier" not in name}
    assert load_weights(dense(), State("there", weights)).initial == ("classifier.weight", "classifier.bias")


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_weights_for_colours_are_made_to_fit_other_channels_as_timm_does(channels: int) -> None:
    trained, network = (create_model("resnet18_cifar", in_chans=number) for number in (3, channels))
    weights = trained.state_dict()
    assert load_weights(network, State("there", weights)).adapted == "conv1.weight"
    grey = torch.randn(2, 1, 8, 8)
    one = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weights["conv1.weight"])
    other = nn.functional.conv2d(grey.expand(-1, channels, -1, -1), network.state_dict()["conv1.weight"])
    if channels == 1:  # grey is what it was as a colour
        assert torch.allclose(one, other, atol=1e-5)
    repeated = weights["conv1.weight"].repeat(1, 2, 1, 1)[:, :channels] * 3 / channels
    assert channels == 1 or torch.allclose(network.state_dict()["conv1.weight"], repeated)


def test_counters_that_older_files_lack_are_named_and_begin_anew() -> None:
    network = torchvision.models.resnet18(num_classes=3)
    weights = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    loaded = load_weights(network, State("there", weights))
    assert len(loaded.initial) == 20
    assert "bn1.num_batches_tracked" in str(loaded)
    assert "and 16 more." in str(loaded)


def broken(change: str) -> Weights:
    weights = dense(seed=1).state_dict()
    name = "cells.1.layers.2.conv.weight"
    if change == "absent":
        del weights[name]
    elif change == "more":
        weights["cells.9.weight"] = torch.zeros(1)
    elif change == "links absent":
        del weights["cells.0.layers.2.links"]
    else:
        weights[name] = weights[name][:, :-1]
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("absent", "cells.1.layers.2.conv.weight is absent there and"),
        ("more", r"cells.9.weight is \(1,\) there and absent in the network"),
        ("shape", r"cells.1.layers.2.conv.weight is \(8, 13, 3, 3\) there and \(8, 14, 3, 3\) in the network"),
        ("links absent", "cells.0.layers.2.links is absent there"),
    ],
)
def test_anything_else_that_differs_is_refused_and_the_network_is_left_as_it_was(change: str, message: str) -> None:
    network = dense()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=f"weights of this architecture in there, but {message}"):
        load_weights(network, State("there", broken(change)))
    assert same(network, before)


def test_weights_for_one_channel_are_not_made_into_colours() -> None:
    with pytest.raises(ValueError, match=r"conv.weight is \(4, 1, 3, 3\) there and \(4, 3, 3, 3\) in the network"):
        load_weights(dense(channels=3), State("there", dense(channels=1).state_dict()))


def test_two_networks_in_one_file_are_ambiguous() -> None:
    weights = prefixed(dense().state_dict(), "student.") | prefixed(dense().state_dict(), "teacher.")
    with pytest.raises(ValueError, match="weights of one network in there, but got several: student and teacher"):
        load_weights(dense(), State("there", weights))


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Evil(), "carries code .*print.*, which is not run"),
        (nn.Linear(2, 2), "carries code .*Linear.*, which is not run"),
        ([torch.zeros(1)], "tensors by name in .*, but it holds a list"),
        ({}, "tensors by name in .*, but there are none"),
        ({"state_dict": {"a": 1}}, "tensors by name in .*, but a is a int"),
        ({"a": torch.tensor([float("nan")])}, "weights that are numbers in .*, but a holds NaN"),
    ],
    ids=["code", "a module", "a list", "nothing", "a number", "NaN"],
)
def test_files_without_weights_are_refused_and_code_is_not_run(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(content, tmp_path / "weights.pt", pickle_module=pickle)
    with pytest.raises(ValueError, match=message):
        read_state(tmp_path / "weights.pt")
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_damaged_file_and_a_missing_one_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"weights to be a file or pretrained, but got '.*{name}'"):
        read_state(tmp_path / name)
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(ValueError, match="the file is damaged or of another kind"):
        read_state(tmp_path / name)


def test_published_weights_are_those_of_timm_with_another_classifier_and_other_channels(tmp_path: Path) -> None:
    trained = timm.create_model("test_resnet")
    torch.save(trained.state_dict(), tmp_path / "published.pth")
    network = timm.create_model("test_resnet", num_classes=4, in_chans=1)
    network.pretrained_cfg = {**network.pretrained_cfg, "file": str(tmp_path / "published.pth")}
    loaded = load_weights(network, "pretrained")
    assert loaded.source == "pretrained (test_resnet.r160_in1k)"
    assert loaded.initial == ("fc.weight", "fc.bias")
    assert torch.equal(network.layer4[0].conv1.weight, trained.layer4[0].conv1.weight)


def test_published_weights_that_cannot_be_had_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a network of timm for the weights pretrained, but got RandomSkipDenseNet"):
        load_weights(dense(), "pretrained")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to the server.\nmore")

    network = timm.create_model("test_resnet")
    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match="downloaded for test_resnet.r160_in1k, but got: no route to the server.$"):
        load_weights(network, "pretrained")


def test_the_ends_of_a_network_are_found_by_its_own_word_or_by_their_place() -> None:
    assert classifier_names(timm.create_model("deit_tiny_distilled_patch16_224")) == ("head", "head_dist")
    assert classifier_names(timm.create_model("test_convnext")) == ("head.fc",)
    assert classifier_names(torchvision.models.mobilenet_v3_small()) == ("classifier.3",)
    assert first_convolution(torchvision.models.mobilenet_v3_small()) == "features.0.0"
    assert (classifier_names(nn.Linear(2, 2)), first_convolution(nn.Linear(2, 2))) == (("",), None)
    with pytest.raises(ValueError, match="linear layer for its classifier, but got ReLU"):
        classifier_names(nn.ReLU())


def test_a_checkpoint_of_a_classifier_fits_its_network(tmp_path: Path) -> None:
    model = Classifier(dense(seed=1))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "best.ckpt")
    network = dense(5)
    assert load_weights(network, tmp_path / "best.ckpt").initial == ("classifier.weight", "classifier.bias")
    assert torch.equal(network.cells[2].layers[3].links, model.network.cells[2].layers[3].links)  # type: ignore[union-attr, operator, index]


def test_links_that_were_placed_do_not_give_way_to_those_of_the_weights() -> None:
    source = create_model("dense_digits", seed=1)
    state = State("another file", source.state_dict())
    assert load_weights(create_model("dense_digits", seed=2), state).rewired
    with pytest.raises(ValueError, match="Expected links to be left to the weights in another file, .* got newest"):
        load_weights(create_model("dense_digits", links="newest"), state)
    newest = State("newest", create_model("dense_digits", links="newest", seed=3).state_dict())
    assert not load_weights(create_model("dense_digits", links="newest"), newest).rewired
    with pytest.raises(ValueError, match="Expected links to be left to the weights"):
        create_model("dense_digits", pretrained=True, links="oldest")
