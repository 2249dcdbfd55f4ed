"""Measures from the singular values of the layers' Jacobians."""

from nnmass.zoo.jacobian.spectra import hidden_isometry, hidden_mean
from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.passes import Passes

__all__ = ["isometry", "mean_singular_value"]

# Two random vectors of 24 steps each, and both ways of the product, over the first four images.
_PRODUCTS = 48


@measure(
    title="mean singular value",
    equation="mean over hidden layers i of the mean singular value of J_i = d s_i / d x_(i-1); s_i: output of layer i, "
    "x_(i-1): all that enters it; the first layer and the last are left out",
    source="Bhardwaj, Li, Marculescu, CVPR 2021, section 3.2",
    forwards=_PRODUCTS,
    backwards=_PRODUCTS,
)
def mean_singular_value(passes: Passes) -> float:
    """Mean of :func:`zoo.hidden_mean`, exact for layers of at most 1,024 rows and columns, else estimated.

    Batch norms use the batch's statistics, and dropout is off.
    """
    try:
        return hidden_mean(passes.spectra)
    except ValueError as error:
        raise NotMeasured(str(error)) from error


@measure(
    title="distance from isometry",
    equation="mean over hidden layers i of the mean |sigma - 1|; sigma: singular values of J_i as above",
    source="Lee, Ajanthan, Gould, Torr, ICLR 2020 (layerwise dynamical isometry)",
    forwards=_PRODUCTS,
    backwards=_PRODUCTS,
)
def isometry(passes: Passes) -> float:
    """Distance from layerwise dynamical isometry, as :func:`zoo.hidden_isometry`; 0 if all singular values are 1.

    Batch norms use the batch's statistics, and dropout is off.
    """
    try:
        return hidden_isometry(passes.spectra)
    except ValueError as error:
        raise NotMeasured(str(error)) from error
