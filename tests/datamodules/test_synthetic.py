"""Seg and Circle: classes alternate by segment or ring, from a seed."""

import pytest
import torch

from nnmass.datamodules import Circle, Seg


@pytest.mark.parametrize("segments", [2, 4, 20, 30])
def test_segments_alternate_between_two_classes(segments: int) -> None:
    data = Seg(segments=segments)
    for split, samples in (("train", 60_000), ("test", 12_000)):
        features, labels = data.load(split)  # type: ignore[arg-type]
        assert features.shape == (samples, 2)
        assert torch.equal(features[:, 0], features[:, 1])
        segment = torch.arange(samples) * segments // samples
        assert torch.equal(labels, segment % 2)
        inside = features[:, 0].double() * segments - segment
        assert inside.min() >= -1e-4
        assert inside.max() <= 1 + 1e-4
        assert inside.mean() == pytest.approx(0.5, abs=0.02)


def test_rings_are_segments_of_the_radius() -> None:
    features, labels = Circle(segments=20).load("train")
    radius = features.double().norm(dim=1)
    ring = torch.arange(60_000) * 20 // 60_000
    assert torch.equal(labels, ring % 2)
    assert ((radius * 20 - ring) > -1e-4).all()
    assert ((radius * 20 - ring) < 1 + 1e-4).all()
    angle = torch.atan2(features[:, 1], features[:, 0])
    assert angle.mean() == pytest.approx(0, abs=0.03)
    assert torch.equal(features, Circle().load("train")[0])
    assert not torch.equal(features, Circle(data_seed=1).load("train")[0])
    assert not torch.equal(Circle().load("test")[0], features[:12_000])


def test_synthetic_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="data.segments to lie in 2 to 12000, but got 1"):
        Seg(segments=1)
    with pytest.raises(ValueError, match="data.data_seed to be at least 0"):
        Seg(data_seed=-1)
