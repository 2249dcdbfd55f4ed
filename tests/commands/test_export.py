"""export: files that give the classes of predict without this code, from bytes, floats or normalised images."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image
from test_load import save

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.datamodules import CIFAR10, Digits, ImageNet
from nnmass.zoo.weights.description import Description

DATA = {"grey": Digits(), "colour": CIFAR10(), "cropped": ImageNet(resolution=64)}
(CODE,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with best.ckpt and photos, of which the network sees four classes."""
    folder, data = tmp_path, DATA[request.param]
    monkeypatch.chdir(folder)
    arguments = {"cell_depth": 2, "width_multiplier": 0.5, "tc": 4, "num_classes": 4, "in_chans": data.in_chans}
    network = zoo.RandomSkipDenseNet(**arguments, seed=3)
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(12):
        coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        coarse.resize((140, 100), Image.Resampling.BICUBIC).save(
            folder / "photos" / f"{number:02}.{'jpg' if number % 2 else 'png'}"
        )
    prepared = data.preprocessing
    assert prepared is not None
    network.train()
    inputs = torch.stack([prepared(path) for path in sorted((folder / "photos").iterdir())])
    with torch.no_grad():  # running statistics and a classifier by which the images differ
        for _ in range(30):
            network(inputs)
        network.eval()
        logits = network(inputs)
        network.classifier.weight *= 5 / logits.std()
        network.classifier.bias -= network(inputs).mean(0)
    classes = ("ant", "bee", "cat", "dog")
    save(
        folder / "best.ckpt",
        network,
        Description("nnmass.zoo.RandomSkipDenseNet", arguments, data.input_size, prepared, classes, "Mine"),
    )
    return folder


@pytest.mark.parametrize("place", ["grey", pytest.param("colour", marks=pytest.mark.slow), "cropped"], indirect=True)
def test_plain_onnxruntime_gives_the_classes_of_predict(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert main(["predict", "best.ckpt", "photos"]) == 0
    assert main(["export", "best.ckpt", "network.onnx"]) == 0
    predicted = pd.read_csv("predictions.csv")
    assert predicted["class"].nunique() > 1
    monkeypatch.setattr(sys, "argv", ["classify.py", *predicted["file"]])
    capsys.readouterr()
    exec(CODE, {})
    assert capsys.readouterr().out.split() == [word for row in predicted[["file", "class"]].values for word in row]


def test_the_example_needs_no_torch() -> None:
    assert set(re.findall(r"^(?:import|from) (\w+)", CODE, re.MULTILINE)) == {
        "json",
        "sys",
        "numpy",
        "onnxruntime",
        "PIL",
    }
    lines = CODE.splitlines()
    assert len(lines[lines.index('session = onnxruntime.InferenceSession("network.onnx")') :]) <= 15


@pytest.mark.parametrize("place", ["grey"], indirect=True)
@pytest.mark.parametrize("ending", ["onnx", pytest.param("pt2", marks=pytest.mark.slow)])
def test_each_kind_of_input_gives_the_same_probabilities(
    ending: str, place: Path, capsys: pytest.CaptureFixture
) -> None:
    trained = zoo.load("best.ckpt")
    prepared = trained.transform
    assert prepared is not None
    pixels = torch.stack([prepared.decode(path) for path in sorted(Path("photos").iterdir())])
    with torch.inference_mode():
        logits = trained.network(prepared.normalise(pixels))
    shape = " x ".join(map(str, pixels.shape[1:]))
    for words, batch, kind, name, expected in (
        ([], pixels, "uint8", "probabilities", logits.softmax(1)),
        (["--input", "float"], pixels / 255, "float", "probabilities", logits.softmax(1)),
        (["--raw"], prepared.normalise(pixels), "normalised", "logits", logits),
    ):
        file = f"{kind}.{ending}"
        assert main(["export", "best.ckpt", file, *words]) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"Written to {file}: images N x {shape} ({kind}); its {name} differ by at most ")
        for chosen in (batch, batch[:1]):
            found, facts = answered(file, chosen, name)
            torch.testing.assert_close(found, expected[: len(chosen)], rtol=1e-4, atol=1e-5)
        assert facts == {
            **prepared.as_dict(),
            "classes": ["ant", "bee", "cat", "dog"],
            "data": "Mine",
            "input": kind,
            "output": name,
        }


def answered(file: str, batch: torch.Tensor, output: str) -> tuple[torch.Tensor, dict[str, Any]]:
    """Answer of an exported file to images, and its metadata."""
    if file.endswith(".pt2"):
        extra = {"nnmass.json": ""}
        program = torch.export.load(file, extra_files=extra)
        return program.module()(batch), json.loads(extra["nnmass.json"])
    session = onnxruntime.InferenceSession(file)
    metadata = session.get_modelmeta().custom_metadata_map
    (found,) = session.run([output], {"images": batch.numpy()})
    return torch.from_numpy(found), {key: json.loads(text) for key, text in metadata.items()}


def test_vectors_are_exported_with_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"depth": 4, "width": 4, "tc": 1, "num_classes": 2, "in_features": 2}
    network = zoo.RandomSkipMLP(**arguments).eval()
    save(Path("best.ckpt"), network, Description("nnmass.zoo.RandomSkipMLP", arguments, (2,), None, ("0", "1"), "Seg"))
    assert main(["export", "best.ckpt", "a.onnx"]) == 0
    points = torch.rand(5, 2)
    (found,) = onnxruntime.InferenceSession("a.onnx").run(["probabilities"], {"features": points.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, network(points).softmax(1), atol=1e-5)
    capsys.readouterr()
    assert main(["export", "best.ckpt", "b.onnx", "--input", "float"]) == 2
    assert capsys.readouterr().err == "Expected --input with images only, but got it with the vectors of Seg.\n"


def test_a_file_is_replaced_only_on_demand_and_options_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.pt2").write_bytes(b"mine")
    for words, sentence in (
        (["a.pt2"], "Expected a file that does not exist yet, but a.pt2 does; --overwrite replaces it."),
        (["b.pt2", "--raw", "--input", "float"], "Expected --input with images only, but got it with --raw."),
        (["a.pth"], "Expected the file to end in .onnx or .pt2, but got 'a.pth'."),
        (["b.pt2", "--input", "int8"], "Expected --input to be one of uint8, float, but got 'int8'"),
    ):
        assert main(["export", "best.ckpt", *words]) == 2
        assert sentence in capsys.readouterr().err
    assert Path("a.pt2").read_bytes() == b"mine"
    arguments = {"depth": 4, "width": 4, "tc": 1, "num_classes": 2, "in_features": 2}
    notes = Description("nnmass.zoo.RandomSkipMLP", arguments, (2,), None, ("0", "1"), "Seg")
    save(Path("best.ckpt"), zoo.RandomSkipMLP(**arguments), notes)
    assert main(["export", "best.ckpt", "a.pt2", "--overwrite"]) == 0
    assert Path("a.pt2").read_bytes() != b"mine"
