"""Averages of the weights: the decay that rises, against timm's, and links that no average may lead elsewhere."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset

from nnmass.callbacks import EMAWithWarmUp, KeptIntegers
from nnmass.callbacks.averages import share_of_start
from nnmass.callbacks.moving_average import warmed_up_average
from nnmass.zoo import Classifier, RandomSkipMLP


@given(st.floats(0, 0.9999), st.floats(0.3, 1), st.integers(1, 40))
def test_weights_are_averaged_as_by_timm(decay: float, power: float, steps: int) -> None:
    network = nn.Linear(3, 2)
    ours = AveragedModel(network, avg_fn=warmed_up_average(decay, power))
    theirs = ModelEmaV3(network, decay=decay, use_warmup=True, warmup_power=power)
    generator = torch.Generator().manual_seed(steps)
    for step in range(1, steps + 1):
        with torch.no_grad():
            network.weight.normal_(generator=generator)
        ours.update_parameters(network)
        theirs.update(network, step=step)
    torch.testing.assert_close(ours.module.weight, theirs.module.weight, atol=1e-5, rtol=1e-4)


@given(st.integers(1, 200))
def test_with_power_1_the_average_is_the_equal_mean_while_the_decay_rises(steps: int) -> None:
    average, values = warmed_up_average(0.9999, 1.0), torch.arange(float(steps)) / steps
    mean = values[0]
    for number in range(1, steps):
        mean = average(mean, values[number], torch.tensor(number))
    assert math.isclose(mean, values.mean(), rel_tol=1e-4, abs_tol=1e-6)


@given(st.floats(0.01, 0.9999), st.floats(0.3, 1), st.integers(1, 60))
def test_the_share_of_the_start_is_the_product_of_all_decays(decay: float, power: float, updates: int) -> None:
    expected = math.prod(min(decay, 1 - (1 + number) ** -power) for number in range(1, updates))
    assert math.isclose(share_of_start(warmed_up_average(decay, power), updates), expected, rel_tol=1e-3, abs_tol=1e-6)


class LinksOf(Callback):
    """Copies the links that are validated."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.seen.append(links_of(pl_module))


def links_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: copy.deepcopy(value) for name, value in module.named_buffers() if not value.is_floating_point()}


@pytest.mark.parametrize(
    "average",
    [EMAWeightAveraging(decay=0.988), EMAWithWarmUp(), WeightAveraging()],
    ids=lambda average: type(average).__name__,
)
def test_what_is_averaged_keeps_its_links(average: Callback) -> None:
    network = RandomSkipMLP(depth=8, width=60, tc=50, num_classes=2, in_features=3)
    before = links_of(network)
    assert max(int(links.max()) for links in before.values() if len(links)) > 200
    data = DataLoader(TensorDataset(torch.rand(8, 3), torch.arange(8) % 2), batch_size=2)
    watcher = LinksOf()
    plain: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(callbacks=[average, KeptIntegers(), watcher], max_epochs=2, accelerator="cpu", **plain)
    trainer.fit(Classifier(network), data, data)
    for links in (*watcher.seen, links_of(trainer.lightning_module)):
        links = {name.removeprefix("network."): value for name, value in links.items()}
        assert all(torch.equal(links[name], value) for name, value in before.items() if name.endswith("links"))


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_named(decay: float) -> None:
    with pytest.raises(ValueError, match=r"trainer.callbacks.decay to be at least 0 and below 1, but got"):
        EMAWithWarmUp(decay)


@pytest.mark.parametrize("power", [0.0, 1.1])
def test_a_power_out_of_range_is_named(power: float) -> None:
    with pytest.raises(ValueError, match=r"trainer.callbacks.power to lie above 0 and up to 1, but got"):
        EMAWithWarmUp(power=power)
