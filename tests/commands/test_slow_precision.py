"""Precisions that a processor has no instructions for, and the time of a step in each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import ROOT

from nnmass.commands.main import main
from nnmass.runtime.device_facts import slow_on_processor
from nnmass.studies.definition import Row
from nnmass.studies.timing import seconds_alone

SENTENCE = "no instructions for bfloat16: trainer.precision bf16-mixed may take several times as long here as 32-true."
FIT = ["--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"]


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that the processor has these instructions and no others."""

    def pretend(architecture: str, *instructions: str) -> None:
        capabilities = {"architecture": architecture, "avx512_bf16": False, **dict.fromkeys(instructions, True)}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)

    return pretend


@pytest.mark.parametrize(
    ("architecture", "instructions", "slow"),
    [
        ("x86_64", [], ["bf16", "bf16-mixed", "bf16-true", "16-mixed"]),
        ("x86_64", ["avx2"], ["bf16", "bf16-mixed", "bf16-true", "16-mixed"]),
        ("x86_64", ["avx512_bf16"], ["16-mixed"]),
        ("x86_64", ["amx_bf16", "amx_fp16"], []),
        ("aarch64", ["neon"], ["bf16", "bf16-mixed", "bf16-true", "16-mixed"]),
        ("aarch64", ["neon", "bf16", "fp16_arith"], []),
        ("riscv64", [], []),
    ],
)
def test_half_precisions_are_slow_without_instructions(
    architecture: str, instructions: list[str], slow: list[str], processor: Callable[..., None]
) -> None:
    processor(architecture, *instructions)
    every = ["bf16", "bf16-mixed", "bf16-true", "16-mixed", "32", "32-true", "64-true", "transformer-engine"]
    assert [precision for precision in every if slow_on_processor(precision)] == slow


def test_of_a_pytorch_that_does_not_tell_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert slow_on_processor("bf16-mixed") == ""


@pytest.mark.parametrize(("precision", "is_said"), [("bf16-mixed", True), ("32-true", False)])
def test_a_fit_says_so_before_its_first_epoch(
    precision: str, is_said: bool, processor: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    processor("x86_64")
    limits = ["--trainer.limit_train_batches", "2", "--trainer.limit_val_batches", "1"]
    assert main(["fit", *FIT, *limits, "--trainer.precision", precision, "--output_dir", str(tmp_path)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert out.count(SENTENCE) == is_said
    assert not is_said or out.index(SENTENCE) < out.index("epoch 1")


@pytest.mark.parametrize("engine", ["fit", "ensemble"])
def test_a_study_says_so_once_and_of_trainings_alone(
    engine: str, processor: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The sentence is about the rows that ``fit`` trains."""
    processor("x86_64")
    study = {"engine": engine, "configs": ["mnist_mlp.yaml"], "networks": [{"depth": [0], "tc": [1]}], "seeds": 2}
    study |= {"changes": {"data": {"class_path": "nnmass.datamodules.Digits"}, "trainer": {"precision": "bf16-mixed"}}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    words = ["study", "run", str(tmp_path / "small.yaml"), "--output_dir", str(tmp_path / "out")]
    assert main(words) == 2, "no network has depth 0"
    assert capsys.readouterr().out.count(SENTENCE) == (engine == "fit")


@pytest.mark.parametrize(
    ("precision", "weights", "values"),
    [
        (None, torch.float32, torch.float32),
        ("32-true", torch.float32, torch.float32),
        ("bf16-mixed", torch.float32, torch.bfloat16),
        ("16-mixed", torch.float32, torch.float16),
        ("bf16-true", torch.bfloat16, torch.bfloat16),
        ("64-true", torch.float64, torch.float64),
    ],
)
def test_a_step_is_timed_in_the_precision_of_its_row(
    precision: str | None, weights: torch.dtype, values: torch.dtype
) -> None:
    configuration = yaml.safe_load((ROOT / "configs" / "digits_dense.yaml").read_text())
    if precision:
        configuration["trainer"]["precision"] = precision
    row = Row("a", "dense", "digits_dense", 0, {}, configuration)
    model, data = row.build()
    seen: list[Any] = []
    layer = next(module for module in model.modules() if isinstance(module, torch.nn.Conv2d))
    layer.register_forward_hook(lambda module, given, value: seen.append((module.weight.dtype, value.dtype)))
    assert seconds_alone(model, data, row) > 0
    assert set(seen) == {(weights, values)}
