"""measure: mean and spread over seeds, values that are kept, and mistakes in one sentence."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from nnmass import zoo
from nnmass.commands.main import main
from nnmass.commands.options.measured import find_measured
from nnmass.datamodules import Digits
from nnmass.studies import measuring
from nnmass.zoo import RandomSkipDenseNet
from nnmass.zoo.measures import Batch, measure_network


def measure(*arguments: object) -> int:
    return main(["measure", *map(str, arguments)])


def test_a_network_by_name_is_the_one_that_fit_would_train(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "measures.csv"
    chosen = ("--data", "Digits", "--measures", "nn_mass,grad_norm", "--seeds", 2, "--images", 16, "--output", file)
    assert measure("dense_digits", *chosen) == 0
    table = pd.read_csv(file).set_index(["seed", "measure"])
    data = Digits()
    data.prepare_data()
    for seed in (0, 1):
        network = RandomSkipDenseNet(4, 1, [8, 16, 32], in_chans=1, seed=seed)
        batch = Batch(*data.first_samples(16, seed))
        expected = measure_network(network, batch, ["nn_mass", "grad_norm"], seed)
        assert table.loc[(seed, "nn_mass"), "value"] == expected["nn_mass"].value
    out = capsys.readouterr().out
    mean = table.xs("grad_norm", level="measure")["value"].mean()
    spread = table.xs("grad_norm", level="measure")["value"].std()
    assert f"{mean:.6g}" in out
    assert f"{spread:.3g}" in out
    assert "Digits" in out


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_what_a_file_holds_is_not_measured_again(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / f"measures.{ending}"
    common = ("--data", "noise", "--images", 2, "--output", file)
    assert measure("dense_digits", *common, "--measures", "params,grad_norm") == 0
    text = file.read_text()
    file.write_text(text.replace("218490.0", "-7.0"))  # tells what was measured again
    assert measure("dense_digits", "mlp_d16_w8_t2", *common, "--measures", "params,grad_norm,nn_mass") == 0
    table = pd.read_csv(file) if ending == "csv" else pd.DataFrame(json.loads(file.read_text()))
    values = table.set_index(["network", "measure"])["value"]
    assert values["dense_digits", "params"] == -7
    assert pd.isna(values["dense_digits", "grad_norm"])
    assert len(values) == 6
    out = capsys.readouterr().out
    assert "dense_digits: grad_norm is not measured: Expected a batch with labels, but got none." in out
    assert "it held a network with a seed before" in out
    assert measure("dense_digits", *common[:3], 3, *common[4:], "--measures", "params") == 0  # other images
    assert "218" in file.read_text()


def test_an_interrupted_command_says_where_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def stopped(*given: Any) -> Iterator[dict[str, Any]]:
        yield next(whole(*given))
        raise KeyboardInterrupt

    whole, file = measuring.measure_subjects, tmp_path / "measures.csv"
    command = ("mlp_d16_w8_t2", "--data", "noise", "--measures", "params", "--images", 1, "--seeds", 2)
    with monkeypatch.context() as patched:
        patched.setattr(measuring, "measure_subjects", stopped)
        assert measure(*command, "--output", file) == 130
        assert capsys.readouterr().err == f"Stopped; {file} has what was measured, the same command goes on.\n"
        assert measure(*command) == 130
        assert capsys.readouterr().err == "Stopped.\n"
    assert measure(*command, "--output", file) == 0
    assert "it held a network with a seed before" in capsys.readouterr().out
    assert pd.read_csv(file)["seed"].tolist() == [0, 1]


def test_a_configuration_has_its_own_network_and_data(capsys: pytest.CaptureFixture) -> None:
    assert measure("digits_dense.yaml", "dense_digits", "--data", "digits_dense", "--measures", "grad_norm") == 0
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if "grad_norm" in line]
    assert lines[0][3] == lines[1][3]  # of the same mean
    assert find_measured("digits_dense", None, 8, 1).data == "Digits"
    assert measure("digits_dense", "--data", "noise", "--measures", "params") == 0
    assert "independent standard normal numbers" in capsys.readouterr().out


def test_the_setting_tells_networks_data_and_numbers_of_images_apart() -> None:
    settings = [
        find_measured(*given).subjects[0].setting
        for given in (
            ("digits_dense", None, 8, 1),
            ("digits_dense", None, 9, 1),
            ("digits_dense", "noise", 8, 1),
            ("dense_digits", "Digits", 8, 1),
        )
    ]
    assert len(set(settings)) == 4


def test_a_network_that_is_named_twice_is_listed_once(capsys: pytest.CaptureFixture) -> None:
    assert measure("mlp_d16_w8_t2", "mlp_d16_w8_t2", "--data", "noise", "--measures", "params", "--images", 1) == 0
    assert capsys.readouterr().out.count("mlp_d16_w8_t2") == 1


def test_a_network_that_cannot_be_built_is_named_and_the_others_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    network = {"class_path": "RandomSkipMLP", "init_args": {"depth": 0, "width": 8, "tc": 1}}
    file = tmp_path / "flat.yaml"
    file.write_text(json.dumps({"model": {"network": network}, "data": {"class_path": "Digits"}}))
    assert measure(file, "mlp_d16_w8_t2", "--data", "Digits", "--measures", "params", "--images", 2) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("flat, seed 0: ValueError: ")
    assert captured.err.count("\n") == 1
    assert "1,846" in captured.out


def test_measures_without_a_value_for_one_reason_share_a_line(capsys: pytest.CaptureFixture) -> None:
    measures = "snip, grad_norm,jacob_cov"
    assert measure("mlp_d16_w8_t2", "--data", "noise", "--images", 1, "--seeds", 2, "--measures", measures) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Measures, 1 image per seed" in lines[0]
    assert [line for line in lines if "measured:" in line] == [
        "mlp_d16_w8_t2: snip, grad_norm are not measured: Expected a batch with labels, but got none.",
        "mlp_d16_w8_t2: jacob_cov is not measured: Expected at least 2 images for Jacobian covariance, but got 1.",
    ]


def test_a_folder_of_images_is_named_by_data_dir(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number in range(40):
        file = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (5 * number, 6 * number, 7 * (number % 5))).save(file)
    data = ("--data", "ImageFolder", "--data-dir", tmp_path / "images", "--images", 4)
    assert measure("dense_digits", *data, "--measures", "grad_norm") == 0
    (line,) = [line.split("│") for line in capsys.readouterr().out.splitlines() if "grad_norm" in line]
    assert float(line[3]) > 0
    assert line[7].strip() == "ImageFolder"


def test_a_checkpoints_seeds_draw_the_images_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    limits = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--data.standardise", "false")
    recorder = ("--trainer.callbacks+=MeasureRecorder", "--trainer.callbacks.measures=[params,grad_norm]")
    assert main(["fit", "--config", "digits_dense.yaml", "--output_dir", str(tmp_path), *limits, *recorder]) == 0
    run = json.loads((tmp_path / "latest" / "run.json").read_text())
    assert set(run["measures"]["values"]) == {"params", "grad_norm"}
    checkpoint = tmp_path / "latest" / "checkpoints" / "last.ckpt"
    capsys.readouterr()
    assert measure(checkpoint, "--measures", "params,grad_norm", "--seeds", 2, "--images", 8) == 0
    out = " ".join(capsys.readouterr().out.split())  # long paths fold the lines
    assert "its weights are fixed; the seeds draw the images and probes alone." in out
    assert "Digits" in out
    copy = Path(shutil.copy(checkpoint, tmp_path / "copy.ckpt"))  # elsewhere, it says itself how it takes images
    data = Digits(standardise=False)
    data.prepare_data()
    network = zoo.load(copy).network
    expected = measure_network(network, Batch(*data.first_samples(8, 0)), ["grad_norm"])["grad_norm"].value
    for given in ((), ("--data", "Digits")):
        file = tmp_path / f"{len(given)}.csv"
        assert measure(copy, *given, "--measures", "grad_norm", "--images", 8, "--output", file) == 0
        assert pd.read_csv(file)["value"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("resnet18", "Expected --data with the network resnet18, such as --data CIFAR10, or --data noise"),
        (
            "resnet81 --data noise",
            "Expected a network of the zoo, timm or torchvision, a configuration or a checkpoint",
        ),
        ("dense_digits --data CIFAR11", "Expected --data to be noise, one of CIFAR10, CIFAR100, Circle"),
        ("dense_digits --data .", "Expected --data to be"),
        (
            "dense_digits --data mnist",
            "Expected --data to be noise, one of CIFAR10, CIFAR100, Circle, Digits, FashionMNIST, HuggingFaceImages, "
            "ImageFolder, ImageNet, ImageTable, MNIST, Seg, TorchvisionImages, or a configuration, but got 'mnist'; "
            "did you mean MNIST?",
        ),
        (
            "digits_denze --data noise",
            "Expected a network of the zoo, timm or torchvision, a configuration or a checkpoint, but got "
            "'digits_denze'; did you mean 'digits_dense'?",
        ),
        ("dense_digits --data noise --output other.csv/a.csv", "Expected to use other.csv, but: "),
        ("dense_digits --data Digits --seeds 0", "Expected --seeds to be a whole number of at least 1, but got 0."),
        ("dense_digits --data Digits --images 0", "Expected --images to be a whole number of at least 1, but got 0."),
        ("dense_digits --data Digits --workers 0", "Expected --workers to be a whole number of at least 1, but got 0."),
        (
            "dense_digits --data Digits --measures synflux",
            "Expected the name of a measure, but got 'synflux'; the near",
        ),
        ("dense_digits --data Digits --output a.txt", "Expected --output to end in .csv or .json, but got 'a.txt'."),
        ("dense_digits --data Digits --output other.csv", "Expected --output to be new or written by nnmass measure"),
        ("dense_digits --data ImageNet --data-dir nowhere", "Expected ImageNet in data.data_dir"),
        ("dense_digits --data Digits --images 5000", "Expected images to be at most the training samples of Digits ("),
        ("dense_digits --data ImageFolder", "Expected --data-dir with --data ImageFolder, but got none."),
        (
            "dense_digits --data Digits --measures naswot synflow",
            "Expected --measures to be followed by one value, but got 'naswot' and 'synflow'; nnmass measure --help",
        ),
        ("absent.ckpt --data noise", "Expected a checkpoint, but absent.ckpt does not exist."),
        ("--data noise", "Expected nnmass measure to be given"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNMASS_DATA", str(tmp_path))
    Path("other.csv").write_text("name,age\nEve,7\n")
    assert measure(*words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1
    assert "--data.data_dir" not in captured.err
    assert not captured.out
