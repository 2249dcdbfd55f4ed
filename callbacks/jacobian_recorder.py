"""Record of the singular values of the layers' Jacobians before training, and every k epochs on request."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer

from nnmass.callbacks.pictures import log_picture
from nnmass.callbacks.recorder import NetworkRecorder
from nnmass.runtime.files import update_run, write_figure, write_table
from nnmass.zoo.checks import require
from nnmass.zoo.jacobian.spectra import LayerSpectrum, hidden_isometry, hidden_mean, layer_spectra
from nnmass.zoo.wrappers import unwrapped

__all__ = ["JacobianRecorder", "draw_spectra"]


class JacobianRecorder(NetworkRecorder):
    """Measures J_i = d s_i / d x_{i-1} of every layer on the first batch of training, before its first step.

    ``jacobian.csv`` and ``.parquet`` in the run folder have a row per layer and epoch, ``jacobian_epoch_<n>.png`` the
    spectra and the mean against depth. The loggers and ``run.json`` get the network's mean singular value and its mean
    distance from isometry, ``jacobian/mean_singular_value`` and ``jacobian/isometry``, both over the hidden layers. The
    network, its mode, its buffers, its gradients and all random state stay as they were. Rank 0 measures while other
    processes wait; where it cannot measure or write, the network is trained all the same, and a line says why.

    Args:
        every_k_epochs: Measure again at the start of every so many epochs; None measures once.
        samples: Images of the batch that are used.
        bn: ``batch`` normalises with the statistics of these images, ``eval`` with the running ones.
        exact_up_to: Layers of at most so many rows and columns get a dense SVD, larger ones an estimate.
        probes: Random vectors per image of an estimate.
        steps: Lanczos steps of an estimate.

    Raises:
        ValueError: If a number is below 1.
    """

    missed = "No Jacobian is recorded"

    def __init__(
        self,
        every_k_epochs: int | None = None,
        samples: int = 4,
        bn: Literal["eval", "batch"] = "batch",
        exact_up_to: int = 1024,
        probes: int = 2,
        steps: int = 24,
    ) -> None:
        for name, value in (("every_k_epochs", every_k_epochs), ("samples", samples), ("probes", probes)):
            require(value is None or value >= 1, name, "be at least 1", value)
        self.every_k_epochs = every_k_epochs
        self.samples = samples
        self.options: dict[str, Any] = {"bn": bn, "exact_up_to": exact_up_to, "probes": probes, "steps": steps}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Measure if this is the time for it."""
        epoch = trainer.current_epoch
        again = self.every_k_epochs is not None and epoch % self.every_k_epochs == 0
        if batch_idx == 0 and (trainer.global_step == 0 or again):
            self.measure(trainer, partial(self._record, trainer, pl_module, batch, epoch))

    def _record(self, trainer: Trainer, pl_module: LightningModule, batch: Any, epoch: int) -> None:
        images = batch[0][: self.samples].detach()
        spectra = list(layer_spectra(pl_module, images, **self.options))
        metrics = {
            "jacobian/mean_singular_value": hidden_mean(spectra),
            "jacobian/isometry": hidden_isometry(spectra),
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        folder = Path(trainer.default_root_dir)
        table = pd.DataFrame([{"epoch": epoch, **layer.as_dict()} for layer in spectra])
        earlier = folder / "jacobian.parquet"
        if earlier.is_file():  # a resumed run measures an epoch again rather than twice
            rows = pd.read_parquet(earlier)
            table = pd.concat([rows[rows["epoch"] < epoch], table], ignore_index=True)
        write_table(folder / "jacobian.csv", table)
        bounds = getattr(unwrapped(pl_module), "singular_value_bounds", None)
        picture = folder / f"jacobian_epoch_{epoch}.png"
        write_figure(picture, draw_spectra(spectra, bounds))
        log_picture(trainer, picture)
        if epoch == 0:
            update_run(folder, jacobian={name.partition("/")[2]: value for name, value in metrics.items()})


def draw_spectra(spectra: list[LayerSpectrum], bounds: tuple[float, float] | None = None) -> Figure:
    """Draw the spectrum of each layer as a column of shades, and the mean singular value against depth.

    Bars are intervals that cover the truth with a probability of 95 %, by Student's t.

    Args:
        spectra: What :func:`zoo.layer_spectra` yields.
        bounds: The least and the greatest mean that CVPR Proposition 2 allows the hidden layers, to be shaded.

    Returns:
        Two panels, one above the other.
    """
    figure = Figure(figsize=(max(6.0, 0.25 * len(spectra)), 7), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    top = max(layer.spectrum.largest.value for layer in spectra) or 1.0
    shares = torch.stack([layer.spectrum.histogram(40, top)[0] for layer in spectra], dim=1)
    shades = upper.imshow(
        shares.numpy(), origin="lower", aspect="auto", extent=(-0.5, len(spectra) - 0.5, 0, top), cmap="Blues"
    )
    upper.set_ylabel("singular value")
    figure.colorbar(shades, label="share of the layer's spectrum")
    means = [layer.spectrum.mean for layer in spectra]
    halves = [mean.interval()[1] - mean.value for mean in means]
    lower.errorbar(range(len(spectra)), [mean.value for mean in means], halves, marker=".", lw=1)
    if bounds is not None:
        lower.axhspan(*bounds, color="C1", alpha=0.15, label="bounds of CVPR Prop. 2")
        lower.legend()
    lower.axhline(1, color="0.6", linewidth=0.8)
    lower.set_xlabel("layer")
    lower.set_ylabel("mean singular value")
    return figure
