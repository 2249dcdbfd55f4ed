"""Fine-tuning: frozen parts, setting them free, rates by depth, weight decay without norms, weights to start from."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.optim
import torch
import torchvision
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Rprop
from torch.utils.data import DataLoader, TensorDataset

from nnmass.zoo import Classifier, RandomSkipDenseNet, RandomSkipMLP
from nnmass.zoo.training.freezing import FrozenPart
from nnmass.zoo.training.optimization import depths, parameter_groups
from nnmass.zoo.wrappers import pass_in_use


def network(seed: int = 0, classes: int = 3, share: bool | None = None) -> RandomSkipDenseNet:
    return RandomSkipDenseNet(4, 0.25, 6, num_classes=classes, in_chans=1, seed=seed, share_outputs=share)


def loader(samples: int = 12) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(samples, 1, 8, 8, generator=generator), torch.arange(samples) % 3)
    return DataLoader(data, batch_size=4)


QUIET: Any = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)


def fit(model: LightningModule, epochs: int = 1, resume: Path | None = None, **options: Any) -> Trainer:
    trainer = Trainer(**{**QUIET, "enable_checkpointing": False, "accelerator": "cpu", "max_epochs": epochs, **options})
    trainer.fit(model, loader(), loader(), ckpt_path=resume, weights_only=True)
    return trainer


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def test_a_frozen_backbone_stays_in_weights_and_running_statistics() -> None:
    model = Classifier(network(), partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1), freeze="backbone")
    before = state(model.network)
    trainer = fit(model, 2)
    assert changed(before, model.network) == {"classifier.weight", "classifier.bias"}
    assert sum(len(group["params"]) for group in trainer.optimizers[0].param_groups) == 2


def test_frozen_parts_chosen_by_patterns_stay_and_the_others_learn() -> None:
    model = Classifier(network(), partial(SGD, lr=0.1), freeze=["cells.0", "cells.1.layers.*.norm_*"])
    before = state(model.network)
    fit(model)
    moved = changed(before, model.network)
    assert not [
        name for name in moved if name.startswith("cells.0.") or (name.startswith("cells.1") and "norm" in name)
    ]
    assert {"cells.1.layers.2.conv.weight", "cells.2.layers.2.norm_in.running_mean", "classifier.bias"} <= moved
    assert "cells.2.layers.2.norm_in.num_batches_tracked" in moved


@pytest.mark.parametrize("frozen", ["cells.0", "cells.0.layers.[012]", "cells.0.layers.3.norm_in"])
def test_cells_with_frozen_norms_give_the_same_with_and_without_their_fast_pass(frozen: str) -> None:
    gradients = []
    for share in (None, False):
        model = Classifier(network(share=share).double(), freeze=frozen).train()
        inputs = torch.randn(4, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        model(inputs).square().sum().backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
        if share is None:  # cells whose norms all have the batch's statistics go on without their modules
            assert pass_in_use(model) == "shared outputs in 2 of 3 cells"
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None) == (other is None), name
        assert gradient is None or other is None or torch.allclose(gradient, other, rtol=1e-9, atol=1e-12), name


def test_what_the_user_has_frozen_stays_so_when_the_rest_is_set_free() -> None:
    own = network()
    own.cells[0].requires_grad_(False)
    part = FrozenPart(own, "backbone")
    part.unfreeze()
    assert not any(weights.requires_grad for weights in own.cells[0].parameters())
    assert all(weights.requires_grad for weights in own.cells[1].parameters())
    assert own.cells[1].layers[2].norm_in.training  # type: ignore[union-attr, operator, index]


class HeadFirst(nn.Module):
    """A network whose classifier is its first module."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(6, 3), nn.Sequential(nn.Linear(8, 6), nn.ReLU())


def test_the_classifier_is_the_layer_with_an_output_per_class_wherever_it_was_made() -> None:
    model = Classifier(HeadFirst(), num_classes=3, freeze="backbone")
    learning = [name for name, parameter in model.network.named_parameters() if parameter.requires_grad]
    assert learning == ["head.weight", "head.bias"]
    with pytest.raises(ValueError, match="freeze to name the parts that do not learn: no linear layer of the network"):
        Classifier(HeadFirst(), num_classes=4, freeze="backbone")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"freeze": "layer9*"}, "freeze to be backbone or to match names of parameters, but got 'layer9"),
        ({"freeze": "*"}, "freeze to leave something to learn, but got .*, which is everything"),
        ({"freeze": ["backbone", "classifier"]}, "freeze to leave something to learn"),
        ({"unfreeze_epoch": 2}, "freeze to say what unfreeze_epoch sets free, but got None"),
        ({"freeze": "backbone", "unfreeze_epoch": 0}, "unfreeze_epoch to be at least 1, but got 0"),
        ({"layer_decay": 0.0}, "layer_decay to lie in"),
        ({"layer_decay": 1.1}, "layer_decay to lie in"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classifier(network(), **arguments)


class Norms(Callback):
    """Notes at each step which parts learn."""

    def __init__(self) -> None:
        self.learning: list[tuple[int, bool, bool]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        norm = pl_module.network.cells[0].layers[2].norm_in
        self.learning.append((trainer.current_epoch, norm.training, norm.weight.requires_grad))


class Stopping(Callback):
    """Saves after some steps; after the last of an epoch, when all of the epoch is done."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not trainer.is_last_batch:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.path.exists():
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


class Positioned(DataLoader):
    """Goes on where a checkpoint was written, as the loaders of our data modules do."""

    def __init__(self) -> None:
        super().__init__(loader().dataset, batch_size=4)
        self.position = 0

    def __iter__(self) -> Iterator[Any]:
        start, self.position = self.position, 0
        for index, batch in enumerate(super().__iter__()):
            if index >= start:
                yield batch


def unfreezing(**options: Any) -> Classifier:
    make = partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    return Classifier(network(), make, freeze="backbone", unfreeze_epoch=2, interval="step", warmup_epochs=1, **options)


def test_a_frozen_part_is_set_free_after_the_epochs_that_were_asked_for() -> None:
    watched = Norms()
    model = unfreezing()
    before = state(model.network)
    fit(model, 4, callbacks=[watched])
    assert watched.learning == [(epoch, epoch >= 2, epoch >= 2) for epoch in range(4) for _ in range(3)]
    assert len(changed(before, model.network)) > 20


@pytest.mark.parametrize("step", [2, 5, 6, 7, 10])
def test_a_training_that_was_stopped_at_any_step_goes_on_as_if_unbroken(step: int, tmp_path: Path) -> None:
    whole = unfreezing(layer_decay=0.9, decay_norms=False)
    fit(whole, 4)
    fit(unfreezing(layer_decay=0.9, decay_norms=False), 4, callbacks=[Stopping(tmp_path / "a.ckpt", step)])
    resumed = unfreezing(layer_decay=0.9, decay_norms=False)
    data, trainer = Positioned(), Trainer(**QUIET, enable_checkpointing=False, accelerator="cpu", max_epochs=4)
    data.position = step % 3
    trainer.fit(resumed, data, loader(), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_layers_are_counted_from_the_input_to_the_classifier() -> None:
    counted = depths(network())
    assert counted["cells.0.layers.0.conv.weight"] == 0
    assert counted["cells.1.layers.2.norm_in.weight"] == counted["cells.1.layers.2.conv.weight"] == 6
    assert counted["classifier.bias"] == max(counted.values()) == 12
    mlp = depths(RandomSkipMLP(5, 4, 6, 3, 9))
    assert [mlp[f"layers.{layer}.linear.weight"] for layer in range(5)] == [0, 1, 2, 3, 4]
    plain = depths(torchvision.models.resnet18())
    assert (plain["conv1.weight"], plain["bn1.weight"], plain["layer1.0.conv1.weight"]) == (0, 0, 1)
    assert plain["fc.weight"] == max(plain.values()) == 20


def test_rates_by_depth_are_those_of_timm() -> None:
    model = timm.create_model("test_vit")
    theirs = {
        id(weights): (group["lr_scale"], group["weight_decay"])
        for group in timm.optim.param_groups_layer_decay(model, 0.05, model.no_weight_decay(), layer_decay=0.75)
        for weights in group["params"]
    }
    ours = {
        id(weights): (group["lr_scale"], group.get("weight_decay", 0.05))
        for group in parameter_groups(model, 0.75, decay_norms=False)
        for weights in group["params"]
    }
    assert ours.keys() == theirs.keys()
    assert all(ours[key] == pytest.approx(theirs[key]) for key in ours)


def test_a_step_moves_each_layer_at_its_own_rate() -> None:
    stack = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 4), nn.Linear(4, 3))
    before = state(stack)
    model = Classifier(stack, partial(SGD, lr=0.5), schedule="constant", num_classes=3, layer_decay=0.5)
    inputs, labels = next(iter(loader()))
    nn.functional.cross_entropy(stack(inputs), labels).backward()
    gradients = {name: weights.grad.clone() for name, weights in stack.named_parameters() if weights.grad is not None}
    stack.zero_grad()
    fit(model, max_steps=1, max_epochs=-1)
    for name, gradient in gradients.items():
        rate = 0.5 * 0.5 ** (3 - int(name[0]))
        assert torch.allclose(stack.state_dict()[name], before[name] - rate * gradient, atol=1e-6), name


def test_weight_decay_spares_norms_and_biases() -> None:
    model = Classifier(network(), partial(AdamW, lr=0.1, weight_decay=0.5), decay_norms=False)
    (optimizer,) = fit(model).optimizers
    decays = {id(weights): group["weight_decay"] for group in optimizer.param_groups for weights in group["params"]}
    assert len(optimizer.param_groups) == 2
    for name, weights in model.named_parameters():
        assert decays[id(weights)] == (0 if name.endswith("bias") or "norm" in name else 0.5), name


def test_an_optimizer_without_weight_decay_has_none_to_spare() -> None:
    with pytest.raises(ValueError, match="optimizer to have a weight_decay for decay_norms false, but got Rprop"):
        fit(Classifier(network(), partial(Rprop, lr=0.1), decay_norms=False))


def test_weights_are_evaluated_without_a_training_and_never_after_a_checkpoint(tmp_path: Path) -> None:
    torch.save(network(seed=5).state_dict(), tmp_path / "weights.pt")
    model = Classifier(network(), weights=str(tmp_path / "weights.pt"))
    trainer = Trainer(**QUIET, enable_checkpointing=False, accelerator="cpu")
    trainer.test(model, loader(), verbose=False)
    torch.testing.assert_close(model.network.state_dict(), network(seed=5).state_dict(), rtol=0, atol=0)
    trained = Classifier(network(seed=6), partial(SGD, lr=0.0))
    fit(trained).save_checkpoint(tmp_path / "last.ckpt")
    loaded = Classifier.load_from_checkpoint(
        tmp_path / "last.ckpt", network=network(), weights=str(tmp_path / "weights.pt"), weights_only=True
    )
    trainer.test(loaded, loader(), verbose=False)
    torch.testing.assert_close(loaded.network.state_dict(), trained.network.state_dict(), rtol=0, atol=0)


def test_a_training_starts_from_weights_and_an_evaluation_of_a_checkpoint_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    torch.save(network(seed=5).state_dict(), tmp_path / "weights.pt")
    model = Classifier(network(), partial(SGD, lr=0.0), weights=str(tmp_path / "weights.pt"))
    trainer = fit(model)
    assert torch.equal(model.network.cells[0].layers[2].conv.weight, network(seed=5).cells[0].layers[2].conv.weight)  # type: ignore[union-attr, operator, index]
    assert "weights.pt: 86 tensors loaded" in capsys.readouterr().out
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "weights.pt").unlink()
    other = Classifier(network(), weights=str(tmp_path / "weights.pt"))
    trainer = Trainer(**QUIET, enable_checkpointing=False, accelerator="cpu")
    trainer.test(other, loader(), ckpt_path=tmp_path / "last.ckpt", verbose=False, weights_only=True)
    with pytest.raises(FileNotFoundError, match="weights to be a file or pretrained"):
        fit(Classifier(network(), weights=str(tmp_path / "weights.pt")))
