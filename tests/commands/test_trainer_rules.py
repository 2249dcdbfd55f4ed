"""Devices and precisions that are not there are refused in one sentence, before any data are read."""

from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from nnmass.commands.main import main
from nnmass.commands.options.trainer_rules import require_devices


def options(devices: Any = "auto", accelerator: str = "auto", precision: str = "32-true") -> Namespace:
    return Namespace(devices=devices, accelerator=accelerator, precision=precision)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, of which the second does not know bfloat16."""

    def refuse(*_: Any) -> None:
        pytest.fail("a GPU was made the current one, which takes memory there in each of its processes")

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", refuse)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: [(8, 0), (7, 5)][index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: ["Ampere", "Turing"][index])


@pytest.mark.parametrize("devices", ["auto", -1, "-1", 1, "1", 2, [1], "0,1", "1,", "[0, 1]"])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda"])
def test_devices_that_are_there_are_taken(devices: Any, accelerator: str, two_gpus: None) -> None:
    require_devices(options(devices, accelerator))
    require_devices(options(1, accelerator, "bf16-mixed"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (options(3), "trainer.devices to be among the 2 GPUs, numbers 0 to 1, but got 3."),
        (options("0,2"), "trainer.devices to be among the 2 GPUs, numbers 0 to 1, but got 0,2."),
        (options([0, 0]), "trainer.devices to name each GPU once, but got [0, 0]."),
        (options([]), "trainer.devices to be auto, a number or a list such as 0,1, but got []."),
        (options("two"), "trainer.devices to be auto, a number or a list such as 0,1, but got two."),
        (options(-2), "trainer.devices to be auto, a number or a list such as 0,1, but got -2."),
        (options(0), "trainer.devices to be at least 1, but got 0."),
        (options("0,1", "cpu"), "trainer.devices to be a number of processes on a processor, but got 0,1."),
        (
            options(2, "gpu", "bf16-mixed"),
            "a GPU that calculates in bfloat16 for trainer.precision bf16-mixed, but got Turing; "
            "16-mixed and 32-true run on it.",
        ),
        (options([1], "auto", "bf16-true"), "a GPU that calculates in bfloat16 for trainer.precision bf16-true"),
    ],
)
def test_devices_and_precisions_that_are_not_there_are_refused(given: Namespace, sentence: str, two_gpus: None) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011, the message follows
        require_devices(given)
    assert str(refused.value).startswith(f"Expected {sentence}")


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "mps"])
def test_other_gpus_are_numbered_as_lightning_knows(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    require_devices(options([0], accelerator))


@pytest.mark.skipif(torch.accelerator.is_available(), reason="for machines without a GPU")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--trainer.accelerator", "gpu"], "Expected a GPU for trainer.accelerator gpu, but PyTorch finds none"),
        (["--trainer.accelerator", "cuda"], "Expected a GPU for trainer.accelerator cuda, but PyTorch finds none"),
        (["--trainer.accelerator", "gup"], "Expected trainer.accelerator to be one of auto, gpu, cpu"),
        (["--trainer.devices", "0,1"], "Expected trainer.devices to be a number of processes on a processor"),
        (["--trainer.devices=-1"], "Expected trainer.devices to be auto or a number of processes on a processor"),
        (["--trainer.accelerator", "tpu"], "Expected torch_xla to be installed, but it is not"),
        (["--trainer.devices", "0"], "Expected trainer.devices to be at least 1, but got 0."),
        (["--trainer.precision", "bf17"], "Expected trainer.precision to be one of"),
        (["--tf32", "maybe"], "Expected tf32 to be true or false, but got maybe."),
    ],
)
def test_the_command_line_says_so_in_one_line(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("nnmass.datamodules.Digits.load", lambda *_: pytest.fail("the data were read"))
    assert main(["fit", "--config", "digits_dense.yaml", "--output_dir", str(tmp_path), *words]) == 2
    assert list(tmp_path.glob("*/run.json")) == []
    assert not (tmp_path / "latest").exists()
    message = capsys.readouterr().err
    assert message.startswith(sentence)
    assert message.count("\n") == 1
