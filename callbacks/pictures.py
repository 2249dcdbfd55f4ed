"""Pictures in a run's folder, for the loggers that show pictures."""

from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from nnmass.callbacks.tolerant_logger import TolerantLogger

__all__ = ["log_picture"]


def log_picture(trainer: Trainer, file: Path) -> None:
    """Hand a picture to TensorBoard, W&B and MLflow, under the file's name; other loggers get none.

    Args:
        trainer: Its loggers.
        file: The PNG.
    """
    if not trainer.is_global_zero:
        return
    send = partial(_send, file=file, step=trainer.global_step)
    for logger in trainer.loggers:
        if isinstance(logger, TolerantLogger):
            logger.hand_to(send)
        else:
            send(logger)


def _send(logger: Logger, file: Path, step: int) -> None:
    with Image.open(file, formats=["PNG"]) as opened:
        picture = opened.convert("RGB")
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(file.stem, np.asarray(picture), step, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        logger.log_image(file.stem, [picture])
    elif isinstance(logger, MLFlowLogger):
        logger.experiment.log_image(logger.run_id, picture, artifact_file=file.name)
