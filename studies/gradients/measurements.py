"""Mean singular values of initial Jacobians beside NN-Mass: simulated, of MLPs, of CNNs."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from nnmass.studies.explain import fits_on, predictors
from nnmass.zoo.jacobian.spectra import LayerSpectrum, hidden_isometry, hidden_mean, layer_spectra
from nnmass.zoo.mass import singular_value_bounds
from nnmass.zoo.networks.initialisation import INITIALISATIONS, initialise
from nnmass.zoo.networks.mlp import RandomSkipMLP
from nnmass.zoo.networks.variants import create_model

__all__ = ["MLP_GRID", "average_over_seeds", "cnn_rows", "fits", "mlp_rows", "simulated_rows"]

MLP_GRID = [(depth, tc) for depth in (16, 20, 24, 28, 32) for tc in range(15)]
"""Depth d and t of the papers' 75 MLPs; all have width 8."""

_WIDTH = 8
_PLAIN, _LOGARITHMS = predictors([], ["nn_mass", "num_params"]), predictors(["nn_mass", "num_params"], [])


def simulated_rows(seed: int = 0, repeats: int = 20, variance: float = 1.0) -> Iterator[dict[str, Any]]:
    """Measure singular values of Gaussian matrices of H rows and W columns (CVPR-F1b, ICLR-F7 and F8).

    ICLR-F7 has W in {10, 20, ..., 100} and H up to 1,000. ICLR-F8 and CVPR-F1b have W = w_c and H = w_c + m / 2.

    Args:
        seed: Decides the matrices.
        repeats: Matrices of each size.
        variance: q, of every entry.

    Yields:
        ``figure``, ``rows`` (H), ``columns`` (W), ``nn_mass`` (m; NaN in ICLR-F7), mean and mean square of the
        singular values, and the bounds of CVPR Proposition 2.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes: list[tuple[str, int, int]] = [
        ("ICLR-F7", rows, columns)
        for columns in range(10, 101, 10)
        for rows in (*range(10, 200, 10), *range(200, 1001, 50))
    ]
    sizes += [("ICLR-F8", width + mass // 2, width) for width in (8, 16, 32, 64, 128, 256) for mass in range(0, 121, 4)]
    for figure, rows, columns in sizes:
        matrices = torch.randn(repeats, rows, columns, generator=generator, dtype=torch.float64) * variance**0.5
        values = torch.linalg.svdvals(matrices)
        mass = 2 * (rows - columns) if figure == "ICLR-F8" else float("nan")
        low, high = (
            singular_value_bounds(columns, mass, variance) if figure == "ICLR-F8" else (float("nan"), float("nan"))
        )
        yield {
            "figure": figure,
            "rows": rows,
            "columns": columns,
            "nn_mass": mass,
            "mean_singular_value": values.mean().item(),
            "mean_square": values.square().mean().item(),
            "low": low,
            "high": high,
        }


def mlp_rows(images: Tensor, seeds: int) -> Iterator[dict[str, Any]]:
    """Measure the papers' 75 MLPs by every initialisation and several seeds; each draws links and weights anew.

    ``gaussian`` has q = 1 / w_c, the same for all layers.

    Args:
        images: Inputs, (N, 784) or any shape of 784 numbers each.
        seeds: Seeds 0 to this less one.

    Yields:
        ``initialisation``, ``depth``, ``tc``, ``seed``, ``nn_mass``, ``num_params``, ``mean_singular_value`` and
        ``isometry``, both over the hidden layers.
    """
    features = images[0].numel()
    for scheme in INITIALISATIONS:
        for depth, tc in MLP_GRID:
            for seed in range(seeds):
                network = RandomSkipMLP(depth, _WIDTH, tc, in_features=features, seed=seed)
                initialise(network, scheme, seed, 1 / _WIDTH if scheme == "gaussian" else None)
                spectra = list(layer_spectra(network, images))
                row = {"initialisation": scheme, "depth": depth, "tc": tc, "seed": seed}
                yield row | _measured(network, spectra)


def cnn_rows(
    images: Tensor, names: Sequence[str], seeds: int, bn: Literal["eval", "batch"]
) -> Iterator[dict[str, Any]]:
    """Measure convolutional networks of the zoo as they are built, one random vector per image and layer.

    Args:
        images: Inputs, (N, 3, height, width).
        names: What :func:`zoo.create_model` knows.
        seeds: Seeds 0 to this less one.
        bn: How batch norms are treated, as in :func:`zoo.layer_spectra`.

    Yields:
        ``name``, ``width_multiplier``, ``depth`` (layers per cell), ``bn``, ``seed``, ``nn_mass``, ``num_params``,
        ``mean_singular_value`` and ``isometry``, both over the hidden layers.
    """
    for name in names:
        for seed in range(seeds):
            network: Any = create_model(name, seed=seed)
            spectra = list(layer_spectra(network, images, bn, probes=1, seed=seed))
            row = {"name": name, "width_multiplier": network.widths[0] / 16, "depth": len(network.cells[0].layers)}
            yield row | {"bn": bn, "seed": seed} | _measured(network, spectra)


def _measured(network: Any, spectra: Sequence[LayerSpectrum]) -> dict[str, float]:
    """Mass and size of a network, and what its hidden layers have come to."""
    return {
        "nn_mass": network.nn_mass,
        "num_params": sum(parameter.numel() for parameter in network.parameters()),
        "mean_singular_value": hidden_mean(spectra),
        "isometry": hidden_isometry(spectra),
    }


def average_over_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """Average over the seeds of each architecture, with the standard deviation of the mean singular value.

    Args:
        rows: What :func:`mlp_rows` or :func:`cnn_rows` yields.
    """
    measured = ["mean_singular_value", "isometry"]
    keys = [column for column in rows.columns if column not in ("seed", *measured)]
    grouped = rows.groupby(keys, sort=False)
    table = grouped[measured].mean().reset_index()
    return table.assign(std_over_seeds=grouped["mean_singular_value"].std().to_numpy())


def fits(averages: pd.DataFrame, group: str) -> pd.DataFrame:
    """Fit the mean singular value on mass and size, with and without the networks of mass 0.

    Args:
        averages: What :func:`average_over_seeds` returns.
        group: Column whose values get a fit each.

    Returns:
        Columns ``group``, ``rows`` (``all``, or ``t > 0``), ``explaining`` and those of :class:`studies.explain.Fit`;
        logarithms are taken of the rows with links only.
    """
    lines = []
    for name, part in averages.groupby(group, sort=False):
        linked = part[part["nn_mass"] > 0]
        fits_of = [
            {group: name, "rows": rows, **fit}
            for rows, table, chosen in (("all", part, _PLAIN), ("t > 0", linked, _PLAIN | _LOGARITHMS))
            for fit in fits_on(table, "mean_singular_value", chosen)
        ]
        order = list(_PLAIN | _LOGARITHMS)
        lines += sorted(fits_of, key=lambda fit: order.index(fit["explaining"]))
    return pd.DataFrame(lines)
