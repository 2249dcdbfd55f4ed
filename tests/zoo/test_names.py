"""Networks by name: of the zoo, of timm and of torchvision, in Python."""

import inspect

import pytest
import timm
import torch
import torchvision
from timm.models import list_models as timm_names

from nnmass import zoo
from nnmass.zoo.libraries import timm as of_timm
from nnmass.zoo.libraries import torchvision as of_torchvision
from nnmass.zoo.libraries.library import built_on_meta, network_class
from nnmass.zoo.networks.names import name_of, named
from nnmass.zoo.networks.variants import VARIANTS
from nnmass.zoo.seeding import seeded


def test_a_librarys_network_is_the_librarys_own_with_its_weights_from_the_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    network = zoo.create_model("timm/mobilenetv3_small_050", num_classes=7, in_chans=1, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3):
        own = timm.create_model("mobilenetv3_small_050", num_classes=7, in_chans=1)
    assert type(network) is type(own)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), own.state_dict().values(), strict=True))
    other = zoo.create_model("timm/mobilenetv3_small_050", num_classes=7, in_chans=1, seed=4)
    assert not torch.equal(network.conv_stem.weight, other.conv_stem.weight)


def test_a_torchvision_network_is_torchvisions_own() -> None:
    network = zoo.create_model("torchvision/resnet18", num_classes=5, width_per_group=64, seed=2)
    with seeded(2):
        own = torchvision.models.resnet18(num_classes=5)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), own.parameters(), strict=True))


def test_a_bare_name_is_the_zoos_and_else_timms() -> None:
    assert named("resnet18") == ("nnmass.zoo.ResNet", {"depth": 18})
    assert named("convnext_tiny") == ("nnmass.zoo.libraries.timm.convnext_tiny", {})
    assert named("timm/convnext_tiny.fb_in22k") == ("nnmass.zoo.libraries.timm.convnext_tiny", {"tag": "fb_in22k"})
    assert named("torchvision/resnet50") == ("nnmass.zoo.libraries.torchvision.resnet50", {})
    assert named("RandomSkipMLP") is named("mypackage.MyNet") is named("mine/net") is None


def test_every_name_of_the_zoo_is_found_again_from_class_and_arguments() -> None:
    for name in VARIANTS:
        class_path, arguments = named(name) or ("", {})
        found = name_of(class_path, {**arguments, "num_classes": 3, "seed": 9})
        assert found is not None, name
        assert {**VARIANTS[found].arguments, "num_classes": 3} == {**arguments, "num_classes": 3}
    assert name_of("nnmass.zoo.ResNet", {"depth": 18, "width_factor": 1.25}) is None
    assert name_of("mypackage.MyNet", {}) is None


def test_every_network_of_timm_and_torchvision_is_listed_and_named() -> None:
    assert zoo.list_models("timm/*") == sorted(f"timm/{name}" for name in timm_names())
    listed = zoo.list_models("torchvision/*")
    assert "torchvision/resnet50" in listed
    assert all(named(name) is not None for name in listed)
    assert zoo.list_models("resnet18") == ["resnet18"]


def test_a_class_of_a_library_offers_the_arguments_of_the_librarys_class_and_leaves_them_to_it() -> None:
    parameters = inspect.signature(of_timm.vit_tiny_patch16_224).parameters
    assert {"drop_path_rate", "patch_size", "num_classes", "in_chans", "data_shape", "seed"} <= set(parameters)
    assert {parameter.default for parameter in parameters.values()} == {None}
    assert of_timm.vit_tiny_patch16_224 is network_class(of_timm.LIBRARY, "vit_tiny_patch16_224", of_timm.__name__)
    # A network may be of another depth than the default of its class.
    assert len(of_timm.vit_large_patch16_224(embed_dim=32, num_heads=2, num_classes=3).blocks) == 24
    with pytest.raises(AttributeError, match="timm has no network 'no_such'"):
        of_timm.no_such  # noqa: B018


@pytest.mark.parametrize(
    "name", ["timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224", "torchvision/vit_b_32"]
)
def test_a_network_of_one_size_of_image_takes_that_of_the_data(name: str) -> None:
    class_path, _ = named(name) or ("", {})
    module = of_timm if "timm/" in name else of_torchvision
    network = getattr(module, class_path.rpartition(".")[2])(num_classes=3, data_shape=(3, 64, 64)).eval()
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        (
            "timm/convnext_tny",
            {},
            "Expected a network that timm has, but got timm/convnext_tny; did you mean timm/convnext",
        ),
        ("torchvision/resnet51", {}, "but got torchvision/resnet51; did you mean torchvision/resnet"),
        (
            "resnet51",
            {},
            "Expected name to be a network of the zoo, of timm or torchvision, but got 'resnet51'; did you",
        ),
        (
            "timm/resnet18",
            {"drop_pth": 1},
            "Expected timm/resnet18 to have the argument, but got 'drop_pth'; did you mean",
        ),
        (
            "timm/resnet18",
            {"output_stride": 7},
            "Expected timm/resnet18 to be built with output_stride 7, but timm says:",
        ),
        ("timm/resnet18", {"data_shape": (30,)}, "Expected timm/resnet18 to be given images, but the samples are 30"),
        ("torchvision/resnet18", {"in_chans": 1}, "Expected in_chans to be 3, but got 1; torchvision/resnet18 takes"),
        (
            "torchvision/resnet18",
            {"layers": [1]},
            "Expected torchvision/resnet18 to be built with layers [1], but torch",
        ),
        ("torchvision/vit_b_32", {"data_shape": (3, 32, 64)}, "Expected the images to be square for this network, but"),
        (None, {}, "Expected name to be a text, but got None."),
        ("resnet18", {"pretrained": True}, "Expected name to be a network with trained weights, but got 'resnet18'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(name: str, arguments: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match="Expected ") as refused:
        zoo.create_model(name, **arguments)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_librarys_weights_are_asked_for_only_where_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained, **rest: asked.append((name, pretrained)))
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights, **rest: asked.append((name, weights)))
    zoo.create_model("timm/resnet18.a1_in1k")
    zoo.create_model("timm/resnet18.a1_in1k", pretrained=True)
    zoo.create_model("torchvision/resnet18")
    zoo.create_model("torchvision/resnet18", pretrained=True)
    zoo.create_model("torchvision/resnet18.IMAGENET1K_V1", pretrained=True)
    assert asked == [
        ("resnet18.a1_in1k", False),
        ("resnet18.a1_in1k", True),
        ("resnet18", None),
        ("resnet18", "DEFAULT"),
        ("resnet18", "IMAGENET1K_V1"),
    ]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_of_torchvision_with_auxiliary_classifiers_are_without_them(name: str) -> None:
    with torch.device("meta"):
        network = zoo.create_model(f"torchvision/{name}", num_classes=3).train()
        assert network(torch.zeros(2, 3, 96, 96)).shape == (2, 3)


def test_a_network_of_torchvision_that_computes_its_widths_is_found_by_name() -> None:
    network = zoo.create_model("torchvision/regnet_x_400mf", num_classes=7)
    assert network.fc.out_features == 7


def test_a_network_that_computes_with_values_is_built_with_them_and_others_without() -> None:
    regnet = built_on_meta(lambda: zoo.create_model("torchvision/regnet_y_400mf"))
    assert not next(regnet.parameters()).is_meta
    assert next(built_on_meta(lambda: zoo.create_model("torchvision/resnet18")).parameters()).is_meta
    with pytest.raises(ValueError, match="Expected a network that torchvision has"):
        built_on_meta(lambda: zoo.create_model("torchvision/regnet"))
