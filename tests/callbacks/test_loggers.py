"""Configuration, topology, figures and pictures reach TensorBoard, W&B and MLflow, without a connection."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOGGERS = """
trainer:
  max_epochs: 2
  logger:
    - class_path: pytorch_lightning.loggers.TensorBoardLogger
      init_args: {save_dir: board, name: run, version: ""}
    - class_path: pytorch_lightning.loggers.WandbLogger
      init_args: {project: nn-mass, offline: true, save_dir: .}
    - class_path: pytorch_lightning.loggers.MLFlowLogger
      init_args: {experiment_name: nn-mass, tracking_uri: "sqlite:///mlflow.db"}
  callbacks:
    - class_path: nnmass.callbacks.JacobianRecorder
"""
PICTURES = {"accuracy", "loss", "confusion_matrix", "jacobian_epoch_0"}
METRICS = {"train/loss", "val/accuracy", "test/accuracy", "topology/nn_mass", "jacobian/mean_singular_value"}


@pytest.mark.slow
def test_each_logger_gets_all(tmp_path: Path, nnmass: Callable) -> None:
    (tmp_path / "digits.yaml").write_text(LOGGERS)
    blocked = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "WANDB_SILENT": "true"}
    done = nnmass("fit", "--config", "digits_dense", "--config", "digits.yaml", cwd=tmp_path, **blocked)
    assert done.returncode == 0, done.stderr
    assert "has failed" not in done.stderr

    board = EventAccumulator(str(tmp_path / "board" / "run")).Reload()
    assert set(board.Tags()["images"]) >= PICTURES
    assert set(board.Tags()["scalars"]) >= METRICS
    assert "cell_depth" in (tmp_path / "board" / "run" / "hparams.yaml").read_text()

    database = sqlite3.connect(tmp_path / "mlflow.db")
    parameters = dict(database.execute("select key, value from params"))
    assert parameters["model/network/init_args/cell_depth"] == "4"
    assert parameters["trainer/max_epochs"] == "2"
    assert {key for (key,) in database.execute("select distinct key from metrics")} >= METRICS
    (artifacts,) = database.execute("select artifact_uri from runs").fetchone()
    assert {file.stem for file in Path(tmp_path, artifacts.removeprefix("file:")).rglob("*.png")} >= PICTURES

    [run] = (tmp_path / "wandb").glob("offline-run-*")
    assert {file.name.partition("_0_")[0] for file in run.rglob("*.png")}
    assert {name for name in PICTURES if list(run.rglob(f"{name}_*.png"))} == PICTURES
    [record] = run.glob("*.wandb")
    content = record.read_bytes()
    assert b"cell_depth" in content
    assert b"topology/nn_mass" in content
