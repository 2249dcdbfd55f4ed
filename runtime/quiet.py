"""Suppression of Lightning's messages about itself, in whose stead this program has its own."""

import logging
import warnings

__all__ = ["quieten"]


def quieten() -> None:
    """Keep Lightning's advice and banners out of the way of this program's own words."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # a profile was asked for
    # It complains of a toolkit without a GPU, whenever torch's timer is imported.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    for message in (
        ".*does not have many workers.*",
        "Checkpoint directory .* exists and is not empty",
        "Be aware that when using `ckpt_path`, callbacks used to create",
        "You're resuming from a checkpoint that ended before the epoch ended",  # the data module knows the batch
        "The `srun` command is available on your system but is not used",
        "You requested to overfit but enabled",  # the data module has turned the shuffling off
        "Found .* module\\(s\\) in eval mode",  # parts that are frozen
        "The number of training batches .* is smaller than the logging interval",
    ):
        warnings.filterwarnings("ignore", message=message)
