"""Lightning's own options through ``fit``: each works, or is refused in one sentence; docs/lightning.md says which."""

import inspect
import json
import math
import re
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import torch
from conftest import ROOT
from pytorch_lightning import Trainer, callbacks, loggers, profilers
from pytorch_lightning.strategies import StrategyRegistry

from nnmass.commands.main import main
from nnmass.commands.options.lightning_options import PROFILERS, REFUSED_CALLBACKS

DOCUMENTATION = (ROOT / "docs" / "lightning.md").read_text(encoding="utf-8")
SMALL = ["--data.batch_size=200", "--model.network.cell_depth=3", "--model.network.tc=4"]
FIT = ["fit", "--config", "digits_dense.yaml", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]

WORKS = ""
COPIES = "Expected trainer.strategy to start whole processes, each with this command, as ddp does"
NO_GPU = "Expected a GPU for trainer.strategy"
NO_XLA = "Expected torch_xla to be installed for trainer."
NO_ENGINE = "Expected transformer_engine to be installed for trainer.precision"
NO_FREEZING = "a subclass of BaseFinetuning says which layers of a network are frozen, and until when."


class Row(NamedTuple):
    """One thing tried: its name, the words behind ``fit``, and a part of the sentence; empty if it works."""

    name: str
    words: list[str]
    sentence: str = WORKS


def callback(name: str, sentence: str = WORKS, **arguments: Any) -> Row:
    words = [f"--trainer.callbacks.{key}={value}" for key, value in arguments.items()]
    return Row(name, [f"--trainer.callbacks+=pytorch_lightning.callbacks.{name}", *words], sentence)


def logger(name: str, sentence: str = WORKS, **arguments: Any) -> Row:
    words = [f"--trainer.logger.{key}={value}" for key, value in arguments.items()]
    return Row(name, [f"--trainer.logger=pytorch_lightning.loggers.{name}", *words], sentence)


def trainer(sentence: str = WORKS, **options: Any) -> Row:
    words = [f"--trainer.{key}={value}" for key, value in options.items()]
    return Row(" ".join(f"{key} {value}" for key, value in options.items()), words, sentence)


def optimizer(name: str, sentence: str = WORKS, lr: float = 0.01) -> Row:
    return Row(name, [f"--model.optimizer=torch.optim.{name}", f"--model.optimizer.lr={lr}"], sentence)


CALLBACKS = [
    callback("BackboneFinetuning", NO_FREEZING),
    callback("BaseFinetuning", NO_FREEZING),
    callback("BasePredictionWriter"),
    callback("BatchSizeFinder", steps_per_trial=1, max_trials=2),
    callback("Callback"),
    callback("Checkpoint"),
    callback("DeviceStatsMonitor", cpu_stats="true"),
    callback("EarlyStopping", monitor="val/loss"),
    callback("EMAWeightAveraging", decay=0.5),
    callback("GradientAccumulationScheduler", scheduling="{0: 2}"),
    callback("LambdaCallback", on_fit_start="builtins.print"),
    callback("LearningRateFinder", num_training_steps=20),
    callback("LearningRateMonitor"),
    callback("ModelCheckpoint"),
    callback("ModelPruning", pruning_fn="l1_unstructured", amount=0.2),
    callback("ModelSummary"),
    callback("OnExceptionCheckpoint", dirpath="{folder}"),
    callback("ProgressBar"),
    callback("RichModelSummary"),
    callback("RichProgressBar"),
    callback("SpikeDetection", "a loss that is not finite ends every training without it."),
    callback("StochasticWeightAveraging", swa_lrs=0.01),
    callback("ThroughputMonitor", batch_size_fn="builtins.len"),
    callback("Timer", duration="00:01:00:00"),
    callback("TQDMProgressBar"),
    callback("WeightAveraging"),
]
# The same callbacks with other arguments.
MORE = [
    callback("ModelCheckpoint", monitor="val/loss", save_top_k=-1),
    callback("ModelCheckpoint", every_n_train_steps=3, save_top_k=-1),
    callback("ModelCheckpoint", train_time_interval="00:00:00:01"),
    callback("ThroughputMonitor", "callbacks.ThroughputMonitor to be given batch_size_fn, but got nothing."),
    callback("Timer", "Expected options that Lightning can follow, but", duration="soon"),
]
LOGGERS = [
    logger("CometLogger", "Expected comet-ml to be installed, but it is not; pip install 'comet-ml' brings it."),
    logger("CSVLogger", save_dir="{folder}"),
    logger("LitLogger", "Expected trainer.logger to be"),
    logger("Logger", "Expected trainer.logger to be"),
    logger("MLFlowLogger", tracking_uri="sqlite:///{folder}/mlflow.db"),
    logger("TensorBoardLogger", save_dir="{folder}"),
    logger("WandbLogger", save_dir="{folder}", offline="true"),
]
PROFILES = [
    *(trainer(NO_XLA if name == "xla" else WORKS, profiler=name) for name in PROFILERS),
    trainer(
        "Expected trainer.profiler to be one of simple, advanced, pytorch, xla, but got stopwatch.",
        profiler="stopwatch",
    ),
]
PROFILER_CLASSES = [
    Row(name, [f"--trainer.profiler=pytorch_lightning.profilers.{name}"], sentence)
    for name, sentence in {
        "AdvancedProfiler": WORKS,
        "PassThroughProfiler": WORKS,
        "Profiler": "Expected trainer.profiler to be one of",
        "PyTorchProfiler": WORKS,
        "SimpleProfiler": WORKS,
        "XLAProfiler": "Expected torch_xla to be installed, but it is not; pip install 'torch_xla' brings it.",
    }.items()
]
OWN_PROCESSES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true", "single_device")
STRATEGIES = [
    *(trainer(strategy=name) for name in OWN_PROCESSES),
    *(
        trainer(COPIES, strategy=f"ddp_{method}{suffix}")
        for method in ("spawn", "fork", "notebook")
        for suffix in ("", "_find_unused_parameters_false", "_find_unused_parameters_true")
    ),
    *(trainer(NO_GPU, strategy=name) for name in ("fsdp", "fsdp_cpu_offload", "deepspeed")),
    *(trainer(NO_GPU, strategy=f"deepspeed_stage_{stage}") for stage in (1, 2, 3)),
    *(trainer(NO_GPU, strategy=f"deepspeed_stage_{kind}") for kind in ("2_offload", "3_offload", "3_offload_nvme")),
    *(trainer(NO_XLA, strategy=name) for name in ("single_tpu", "single_xla", "xla", "xla_debug")),
    trainer("Expected trainer.strategy to be one of auto, ddp,", strategy="dp"),
]
ENGINES = ("transformer-engine", "transformer-engine-float16")
PRECISIONS = [
    *(trainer(precision=bits) for bits in ("16", "32", "64", "bf16", "16-mixed", "bf16-mixed")),
    *(trainer(precision=bits) for bits in ("16-true", "32-true", "64-true", "bf16-true")),
    *(trainer(NO_ENGINE, precision=engine) for engine in ENGINES),
]
OPTIMIZERS = [
    *(optimizer(name) for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS")),
    *(optimizer(name) for name in ("NAdam", "RAdam", "RMSprop", "Rprop", "SGD")),
    optimizer("Muon", "Expected model.optimizer to suit the network's parameters, but: Muon only supports 2D"),
    optimizer("SparseAdam", "Expected model.optimizer to take dense gradients, but got torch.optim.SparseAdam."),
]
INTERVAL = "Expected trainer.val_check_interval to be "
TRAINER = [
    trainer(accumulate_grad_batches=3),
    trainer("Expected trainer.barebones to be false, but got true", barebones="true"),
    trainer(benchmark="true"),
    trainer(check_val_every_n_epoch=2, max_epochs=2),
    trainer("Expected --output_dir to say where the results go", default_root_dir="elsewhere"),
    trainer(detect_anomaly="true"),
    trainer(deterministic="true"),
    trainer(deterministic="warn"),
    trainer(enable_autolog_hparams="false"),
    trainer(enable_checkpointing="false"),
    trainer(enable_model_summary="true"),
    trainer(enable_progress_bar="false"),
    trainer(fast_dev_run="true"),
    trainer(fast_dev_run=3),
    trainer(gradient_clip_val=0.5),
    trainer(gradient_clip_val=0.5, gradient_clip_algorithm="value"),
    trainer(
        "Expected trainer.gradient_clip_algorithm to be one of norm, value, but got mean.",
        gradient_clip_algorithm="mean",
    ),
    trainer(inference_mode="false"),
    trainer(log_every_n_steps=0),
    trainer(logger="false"),
    trainer(max_steps=5),
    trainer(max_time="00:01:00:00"),
    trainer("Expected trainer.max_time to be DD:HH:MM:SS or keys such as hours and minutes", max_time="soon"),
    trainer("Expected trainer.max_time to be DD:HH:MM:SS or keys such as hours and minutes", max_time="{parsecs: 5}"),
    trainer(min_epochs=2, max_epochs=2),
    trainer(min_steps=5),
    trainer(model_registry="registry"),
    trainer(num_sanity_val_steps=-1),
    trainer(num_sanity_val_steps=0),
    trainer(overfit_batches=2),
    trainer(plugins="pytorch_lightning.plugins.AsyncCheckpointIO"),
    trainer(plugins="pytorch_lightning.plugins.DoublePrecision"),
    trainer(plugins="pytorch_lightning.plugins.TorchCheckpointIO"),
    trainer(reload_dataloaders_every_n_epochs=1, max_epochs=2),
    trainer(
        "Expected trainer.reload_dataloaders_every_n_epochs to be at least 0", reload_dataloaders_every_n_epochs=-1
    ),
    trainer(sync_batchnorm="true"),
    trainer(use_distributed_sampler="true"),
    trainer(val_check_interval=0.5),
    trainer(val_check_interval=3),
    trainer(val_check_interval=5, check_val_every_n_epoch="null", max_epochs=2),
    trainer(val_check_interval="00:00:00:01"),
    trainer(INTERVAL, val_check_interval=0),
    trainer(INTERVAL, val_check_interval=0.5, check_val_every_n_epoch="null"),
    trainer(
        "Expected pytorch_lightning to do what it was asked for, but it says: `val_check_interval` (100)",
        val_check_interval=100,
    ),
]
TABLE = {
    "callbacks": [*CALLBACKS, *MORE],
    "loggers": LOGGERS,
    "profilers": [*PROFILES, *PROFILER_CLASSES],
    "strategies, on a processor": STRATEGIES,
    "precisions, on a processor": PRECISIONS,
    "optimizers, on convolutions": OPTIMIZERS,
    "options of the Trainer": TRAINER,
}
ROWS = [row for rows in TABLE.values() for row in rows]
# Held elsewhere: devices and limits in tests of their own.
ELSEWHERE = {
    *("accelerator", "devices", "num_nodes", "callbacks"),
    *(f"limit_{part}_batches" for part in ("train", "val", "test", "predict")),
}


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time of so short a training goes into its figures."""
    monkeypatch.setattr("nnmass.callbacks.LearningCurves.on_fit_end", lambda *_: None)
    monkeypatch.setattr("nnmass.callbacks.ConfusionMatrix.on_test_end", lambda *_: None)


def finished(output_dir: Path) -> dict[str, Any]:
    """Read the record of a run that has come to its end."""
    (folder,) = (path for path in output_dir.iterdir() if path.is_dir() and not path.is_symlink())
    run = json.loads((folder / "run.json").read_text())
    assert run["status"] == "finished"
    assert all(math.isfinite(value) for value in run["last"].values())
    assert math.isfinite(run["test"]["test/accuracy"])
    return run


@pytest.mark.slow
@pytest.mark.parts(3)
@pytest.mark.parametrize(
    "row", ROWS, ids=[re.sub(r"[^\w.-]+", "_", " ".join([row.name, *row.words[1:]])) for row in ROWS]
)
@pytest.mark.usefixtures("no_pictures")
def test_each_option_works_or_is_refused_in_one_sentence(
    row: Row, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    words = [word.replace("{folder}", str(tmp_path / "other")) for word in row.words]
    (tmp_path / "other").mkdir()
    try:
        status = main([*FIT, *SMALL, f"--output_dir={tmp_path / 'runs'}", *words])
    finally:
        torch.use_deterministic_algorithms(False)
        torch.autograd.set_detect_anomaly(False)
    said = capsys.readouterr().err
    if row.sentence == WORKS:
        assert status == 0, said
        if "fast_dev_run" not in row.name:
            finished(tmp_path / "runs")
        return
    assert status == 2
    sentence = said.splitlines()[-1]
    assert sentence.startswith("Expected ")
    assert row.sentence in sentence
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("rows", "offered"),
    [
        (CALLBACKS, callbacks.__all__),
        (LOGGERS, loggers.__all__),
        (PROFILER_CLASSES, profilers.__all__),
        (STRATEGIES[:-1], [f"strategy {name}" for name in ("auto", *StrategyRegistry.available_strategies())]),
        (OPTIMIZERS, [name for name in torch.optim.__all__ if name[0].isupper() and name != "Optimizer"]),
    ],
    ids=["callbacks", "loggers", "profilers", "strategies", "optimizers"],
)
def test_all_that_is_offered_is_classified(rows: list[Row], offered: list[str]) -> None:
    assert {row.name for row in rows} == set(offered)
    assert len({row.name for row in rows}) == len(rows)


def test_all_precisions_and_options_of_the_trainer_are_classified() -> None:
    parameters = inspect.signature(Trainer).parameters
    words = {str(one) for kind in get_args(parameters["precision"].annotation) for one in get_args(kind)}
    assert {row.words[0].partition("=")[2] for row in PRECISIONS} == words
    tried = {word.partition("=")[0].removeprefix("--trainer.") for row in ROWS for word in row.words}
    assert set(parameters) <= tried | ELSEWHERE


def test_the_callbacks_that_are_refused_are_in_the_table() -> None:
    assert {kind.__name__ for kind in REFUSED_CALLBACKS} <= {row.name for row in CALLBACKS if row.sentence}


def documented() -> list[str]:
    """The lines of the documentation's table."""
    lines = ["| tried | works | refused in a sentence |", "|---|---|---|"]
    for kind, rows in TABLE.items():
        kind_of = re.compile("^(strategy|profiler|precision) ")
        works, refused = (
            [f"`{kind_of.sub('', row.name)}`" for row in rows if bool(row.sentence) is wrong] for wrong in (False, True)
        )
        refused = [name for name in dict.fromkeys(refused) if name not in works]
        lines.append(f"| {kind} | {', '.join(dict.fromkeys(works))} | {', '.join(refused)} |")
    return lines


def test_the_documentation_says_what_was_tried() -> None:
    section = DOCUMENTATION.partition("## Lightning's options tried\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("|")] == documented()


@pytest.mark.usefixtures("no_pictures")
def test_a_learning_rate_that_was_found_trains_as_if_it_had_been_given(tmp_path: Path) -> None:
    finder = callback("LearningRateFinder", num_training_steps=20, early_stop_threshold="null").words
    fit = [*FIT, *SMALL[1:], "--model.warmup_epochs=1", "--trainer.max_epochs=2"]
    assert main([*fit, *finder, f"--output_dir={tmp_path / 'found'}"]) == 0
    run = finished(tmp_path / "found")
    (rate,) = run["step"]["learning_rates"]
    assert rate not in (0.05, 0.0005)
    assert main([*fit, f"--model.optimizer.lr={rate!r}", f"--output_dir={tmp_path / 'given'}"]) == 0
    given = finished(tmp_path / "given")
    for figure in ("train/loss", "train/accuracy", "val/loss"):
        assert run["last"][figure] == given["last"][figure]
    assert run["test_last"] == given["test_last"]
