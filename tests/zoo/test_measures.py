"""Training-free measures: the frame that all of them share."""

import copy

import pytest
import torch
from torch import Tensor, nn

from nnmass.zoo.measures import MEASURES, Batch, NotMeasured, find_measures, measure_network


def tiny() -> nn.Sequential:
    """A convolution, normalisation and a linear layer, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 3)
    ).double()


def four() -> Batch:
    """Four images of 4 px."""
    images = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.tensor([0, 1, 2, 0]))


def test_an_unknown_measure_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="name of a measure, but got 'nnmass'; the nearest: nn_mass"):
        find_measures(["nnmass"])
    assert find_measures("all") == tuple(MEASURES.values())


def test_without_labels_the_measures_that_need_them_have_a_reason() -> None:
    found = measure_network(tiny(), Batch(four().images))
    for name, one in found.items():
        assert (one.value is None) == (one.reason is not None)
        if MEASURES[name].needs_labels:
            assert one.reason == "Expected a batch with labels, but got none."


def test_the_gradient_norm_is_the_sum_of_the_layers_norms() -> None:
    network, batch = tiny(), four()
    loss = nn.functional.cross_entropy(copy.deepcopy(network).train()(batch.images), batch.labels)  # type: ignore[arg-type]
    assert loss.isfinite()
    reference = copy.deepcopy(network).train()
    nn.functional.cross_entropy(reference(batch.images), batch.labels).backward()  # type: ignore[arg-type]
    weights: list[Tensor] = [reference[0].weight, reference[4].weight]  # type: ignore[assignment]
    expected = sum(weight.grad.pow(2).sum().sqrt().item() for weight in weights)  # type: ignore[union-attr]
    assert MEASURES["grad_norm"](network, batch) == pytest.approx(expected, rel=1e-12)


def test_labels_beyond_the_classes_are_refused() -> None:
    with pytest.raises(NotMeasured, match="got 0 to 7 for 3 outputs"):
        MEASURES["grad_norm"](tiny(), Batch(four().images, torch.tensor([0, 1, 2, 7])))
