"""Trained networks from a checkpoint alone: the same answers, and what is refused without being run."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from nnmass import zoo
from nnmass.zoo.weights.description import Description
from nnmass.zoo.weights.load import builds

GREY = zoo.Preprocessing(1, (8, 8), (0.3,), (0.4,))
COLOUR = zoo.Preprocessing(3, (160, 160), (0.5,) * 3, (0.2,) * 3, crop=0.875)
DIGITS = Description(
    "nnmass.zoo.RandomSkipDenseNet",
    {"cell_depth": 3, "width_multiplier": 1, "tc": [4, 8, 16], "num_classes": 3, "in_chans": 1, "seed": 5},
    (1, 8, 8),
    GREY,
    ("a", "b", "c"),
    "Digits",
)
KINDS = {
    "densenet": DIGITS,
    "mlp": Description(
        "nnmass.zoo.RandomSkipMLP", {"depth": 5, "width": 4, "tc": 1, "in_features": 2}, (2,), None, ("0",) * 10, "Seg"
    ),
    "resnet": Description("nnmass.zoo.ResNet", {"depth": 18, "small_images": True}, (3, 9, 9), None, ("x",), "Mine"),
    "timm": Description(
        "nnmass.zoo.libraries.timm.test_vit",
        {"num_classes": 3, "data_shape": [3, 160, 160], "pretrained": True},
        (3, 160, 160),
        COLOUR,
        ("a", "b", "c"),
        "ImageFolder",
    ),
    "torchvision": Description(
        "nnmass.zoo.libraries.torchvision.squeezenet1_1", {"num_classes": 2}, (3, 64, 64), None, ("a", "b"), "Photos"
    ),
}


def build(description: Description) -> nn.Module:
    """By hand, as a configuration would."""
    arguments: dict[str, Any] = {**description.arguments}
    if "libraries" in description.class_path:
        _, library, name = description.class_path.rsplit(".", 2)
        arguments["pretrained"] = False
        return zoo.create_model(f"{library}/{name}", **arguments)
    return getattr(zoo, description.class_path.rpartition(".")[2])(**arguments)


def save(path: Path, network: nn.Module, description: Any = None, **entries: Any) -> Path:
    content: dict[str, Any] = {"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}
    if description is not None:
        content["nnmass"] = description.as_dict() if isinstance(description, Description) else description
    torch.save({**content, **entries}, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_network_answers_as_the_one_that_was_saved(kind: str, tmp_path: Path) -> None:
    description = KINDS[kind]
    network = build(description)
    with torch.no_grad():  # other weights than the seed's
        for weights in network.parameters():
            weights.add_(0.01 * torch.randn_like(weights))
    trained = zoo.load(save(tmp_path / "best.ckpt", network, description))
    assert not trained.network.training
    assert (trained.transform, trained.classes, trained.input_size, trained.data) == (
        description.preprocessing,
        description.classes,
        description.input_size,
        description.data,
    )
    batch = torch.randn(2, *description.input_size)
    with torch.inference_mode():
        torch.testing.assert_close(trained.network(batch), network.eval()(batch), rtol=1e-4, atol=1e-5)


def test_an_image_is_classified_in_three_lines(tmp_path: Path) -> None:
    network = build(DIGITS).eval()
    Image.linear_gradient("L").save(tmp_path / "a.png")
    trained = zoo.load(save(tmp_path / "best.ckpt", network, DIGITS))
    assert trained.transform is not None
    assert trained.classes is not None
    logits = trained.network(trained.transform(tmp_path / "a.png").unsqueeze(0))
    with Image.open(tmp_path / "a.png") as image:
        pixels = torch.tensor(list(image.resize((8, 8)).getdata())).view(1, 1, 8, 8)
    assert torch.equal(logits, network((pixels.float() / 255 - 0.3) / 0.4))
    assert trained.classes[logits.argmax()] in ("a", "b", "c")


@pytest.mark.parametrize("path", ["foreign.Network", "os.system", "foreign.nnmass.zoo.ResNet", "timmy.models.ResNet"])
def test_foreign_classes_are_not_imported(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text("raise SystemExit('the module was run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    network = build(DIGITS)
    file = save(tmp_path / "best.ckpt", network, {**DIGITS.as_dict(), "network": {"class_path": path, "init_args": {}}})
    hint = f"but got {path}; pass an instance of {path} as network="
    with pytest.raises(ValueError, match=f"^Expected the network in .* to be of nnmass.zoo, timm or .*, {hint}"):
        zoo.load(file)
    assert "foreign" not in sys.modules
    assert not builds(path)
    trained = zoo.load(file, network=build(DIGITS))
    assert trained.classes == ("a", "b", "c")
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in trained.network.state_dict().items())


def test_no_argument_of_a_library_that_reads_a_file_is_passed_on(tmp_path: Path) -> None:
    network = {
        "class_path": "nnmass.zoo.libraries.timm.resnet18",
        "init_args": {"num_classes": 3, "checkpoint_path": str(tmp_path / "other.pth")},
    }
    file = save(tmp_path / "best.ckpt", build(DIGITS), {**DIGITS.as_dict(), "network": network})
    with pytest.raises(ValueError, match="arguments of .*timm.resnet18 in .* to be its own, but got 'checkpoint_path'"):
        zoo.load(file)


@pytest.mark.parametrize(
    "path", ["nnmass.zoo.nn_mass", "nnmass.zoo.Nothing", "timm.models.nothing.Network", "nnmass.zoo.load"]
)
def test_what_is_no_network_is_not_called(path: str, tmp_path: Path) -> None:
    described = {**DIGITS.as_dict(), "network": {"class_path": path, "init_args": {"path": "x"}}}
    with pytest.raises(ValueError, match=f"to be a class that is installed here, but got {path}[.]$"):
        zoo.load(save(tmp_path / "best.ckpt", build(DIGITS), described))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, "the format of the description of the network to be 1, which this version of nnmass reads"),
        ({"classes": []}, r"the classes in the description of the network to be names, but got \[\]"),
        ({"classes": [1, 2, 3]}, "the classes in the description of the network to be names"),
        ({"classes": "abc"}, "the classes in the description of the network to be names"),
        ({"data": None}, "the data set in the description of the network to be a name, but got None"),
        ({"input_size": [1, 8, 0]}, "the input size in the description of the network to be an integer of at least 1"),
        ({"input_size": 8}, "the input size in the description of the network to be one to three numbers"),
        ({"input_size": [3, 8, 8]}, r"the input size in the description of the network to be \(1, 8, 8\)"),
        ({"network": "ResNet"}, "the network in the description of the network to have class_path and init_args"),
        ({"network": {"class_path": "a b", "init_args": {}}}, "the class in .* to be a dotted name, but got 'a b'"),
        ({"network": {"class_path": "a.b", "init_args": [1]}}, "the arguments in .* to have names"),
        ({"preprocessing": {**GREY.as_dict(), "std": [0]}}, "std of the preprocessing to be positive"),
        ({"preprocessing": {}}, "a preprocessing to have channels"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_damaged_description_is_refused_in_a_sentence(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    file = save(tmp_path / "best.ckpt", build(DIGITS), {**DIGITS.as_dict(), **change})
    with pytest.raises(ValueError, match=f"^Expected {sentence}.* in {file}[.]$") as error:
        zoo.load(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("notes", [3, "best", {"format": 1}], ids=repr)
def test_a_description_of_another_kind_is_refused(notes: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": build(DIGITS).state_dict(), "nnmass": notes}, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match="^Expected the description of the network to have format, network,"):
        zoo.load(tmp_path / "best.ckpt")


def test_arguments_that_the_class_does_not_take_are_named(tmp_path: Path) -> None:
    described = {**DIGITS.as_dict(), "network": {"class_path": DIGITS.class_path, "init_args": {"depth": 3}}}
    with pytest.raises(ValueError, match="^Expected arguments of nnmass.zoo.RandomSkipDenseNet in .*'depth'"):
        zoo.load(save(tmp_path / "best.ckpt", build(DIGITS), described))


def test_other_files_need_the_network(tmp_path: Path) -> None:
    network = build(DIGITS)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="but it does not; pass the network as network=[.]$"):
        zoo.load(tmp_path / "weights.pt")
    trained = zoo.load(tmp_path / "weights.pt", network=build(DIGITS))
    assert (trained.classes, trained.transform, trained.data) == (None, None, None)
    with pytest.raises(ValueError, match="^Expected weights of this architecture in .*weights.pt, but"):
        zoo.load(tmp_path / "weights.pt", network=nn.Linear(2, 1))


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    file = save(tmp_path / "best.ckpt", build(DIGITS), DIGITS)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="but the file is damaged or of another kind[.]$"):
        zoo.load(file)
