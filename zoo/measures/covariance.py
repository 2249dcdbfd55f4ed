"""Jacobian covariance: how alike the network's slopes are at different images."""

import torch

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.passes import Passes

__all__ = ["jacob_cov"]

_FLOOR = 1e-5


@measure(
    title="Jacobian covariance",
    equation="- sum over i of log(v_i + k) + 1 / (v_i + k); v_i: eigenvalues of the (N, N) correlation matrix of the "
    "rows J_n, J_n: gradient of the sum of all outputs by image n, k = 1e-5",
    source="Mellor, Turner, Storkey, Crowley, 2020 (arXiv 2006.04647v1), section 3; Abdelfattah, Mehrotra, Dudziak, "
    "Lane, ICLR 2021, section 3.1",
    least_images=2,
    forwards=1,
    backwards=1,
)
def jacob_cov(passes: Passes) -> float:
    """Score of the correlation between the images' Jacobians, in training mode.

    There the images share their normalisation, as in both authors' codes, so that a row holds its image's influence on
    the outputs of all. It depends on the number of images: only values at the same number can be compared.
    """
    if not passes.images.is_floating_point():
        raise NotMeasured(f"Expected images of real numbers, but got {passes.images.dtype}.")
    with passes.drawing():
        network = passes.copy().requires_grad_(False)
        images = passes.images.clone().requires_grad_()
        (jacobian,) = passes.gradients(passes.logits(network, images).sum(), [images])
    rows = jacobian.flatten(1).double()
    if not rows.isfinite().all():
        raise NotMeasured("Expected finite gradients by the images, but some are not.")
    rows = rows - rows.mean(dim=1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not norms.all():
        raise NotMeasured("Expected outputs that depend on every image, but those of some do not change with it.")
    eigenvalues = torch.linalg.eigvalsh((rows / norms) @ (rows / norms).T) + _FLOOR
    return -float((eigenvalues.log() + eigenvalues.reciprocal()).sum())
