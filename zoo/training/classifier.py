"""Classifier: the LightningModule that trains any network on labelled images or vectors."""

from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any, Literal

import torch
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torchmetrics import Metric, MetricCollection

from nnmass.zoo.checks import require, require_choice
from nnmass.zoo.training.architecture import require_same_architecture
from nnmass.zoo.training.cuda_graph import TrainingGraph, can_replay
from nnmass.zoo.training.freezing import wrap_again
from nnmass.zoo.training.losses import LOSSES, weighted
from nnmass.zoo.training.metrics import evaluation_metrics, macro_metrics
from nnmass.zoo.training.optimization import OptimizedModule
from nnmass.zoo.training.weighted_mean import WeightedMean, restore
from nnmass.zoo.weights.loading import LoadedWeights, load_weights

__all__ = ["Classifier", "papers_sgd"]


def papers_sgd(parameters: Iterable) -> SGD:
    """The optimizer of the papers' CIFAR networks: SGD, learning rate 0.05, momentum 0.9, weight decay 5e-4."""
    return SGD(parameters, lr=0.05, momentum=0.9, weight_decay=5e-4)


class Classifier(OptimizedModule):
    """Cross-entropy training of one network, with loss and accuracy for every stage.

    Once an epoch it logs ``loss`` and ``accuracy`` (micro top-1) under ``train/``, ``val/`` and ``test/``; for
    validation and test ``macro_accuracy``, ``macro_f1`` and, of more than five classes, ``top5``; for the test
    ``calibration_error`` (15 bins). A batch is a pair: inputs (N, ...) and labels, integers (N,) or, in training,
    shares (N, num_classes).

    Args:
        network: Any module that maps inputs to logits (N, num_classes).
        optimizer: Builds the optimizer from the parameters; by default as in the papers.
        schedule: ``cosine`` takes the learning rate to 0 over the whole training; ``constant`` leaves it.
        interval: Whether the schedule moves once an ``epoch``, as in the papers, or every ``step``.
        lr_scaling: The optimizer's learning rate is for the batch of one process; with ``linear`` it is multiplied by
            the number of processes and by ``accumulate_grad_batches``, with ``sqrt`` by the root of that (Goyal et al.:
            "Accurate, large minibatch SGD", 2017; Krizhevsky: "One weird trick", 2014).
        warmup_epochs: Epochs over which the learning rate first rises linearly from 1 % to its full value.
        label_smoothing: Share of the target spread evenly over the classes in training, in [0, 1).
        num_classes: Classes; by default the network's own ``num_classes``, with which it must agree.
        channels_last: Lay images and convolution weights out with the channels innermost, which convolutions are
            faster on; results differ by rounding alone. The network's own code must not rely on the order in memory.
        compile_network: Run the network through ``torch.compile``; the first step then takes a minute or more.
        cuda_graph: On one GPU, capture a training step of the network and replay it, which Python does not hold up.
        loss: Of training; ``binary_cross_entropy`` asks for each class by itself whether it is there. Evaluations give
            the cross-entropy with either.
        weights: File to start a training from, the name of a trained network, or ``pretrained`` for timm's; see
            :func:`zoo.load_weights`. They are read when the first training or evaluation begins, unless it loads a
            checkpoint, which brings its own.
        freeze: ``backbone`` for all but the classifier, or patterns of names; these parts do not learn, and their batch
            norms keep their running statistics.
        unfreeze_epoch: Epochs after which the frozen parts learn too, at the rate that the schedule has come to.
        layer_decay: Factor of the learning rate from each layer to the one before it, in (0, 1].
        decay_norms: Whether weight decay holds for norms and biases too.

    Raises:
        ValueError: If an argument is out of range, or the number of classes is neither given nor known.

    Example:
        >>> import torch
        >>> from nnmass.zoo import RandomSkipDenseNet
        >>> model = Classifier(RandomSkipDenseNet(cell_depth=3, width_multiplier=1, tc=4))
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable], Optimizer] = papers_sgd,
        schedule: Literal["cosine", "constant"] = "cosine",
        interval: Literal["epoch", "step"] = "epoch",
        lr_scaling: Literal["none", "linear", "sqrt"] = "none",
        warmup_epochs: int = 0,
        label_smoothing: float = 0.0,
        num_classes: int | None = None,
        channels_last: bool = False,
        compile_network: bool = False,
        cuda_graph: bool = False,
        loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy",
        weights: str | None = None,
        freeze: str | list[str] | None = None,
        unfreeze_epoch: int | None = None,
        layer_decay: float = 1.0,
        decay_norms: bool = True,
    ) -> None:
        super().__init__(network, optimizer, schedule, interval, lr_scaling, warmup_epochs)
        require_choice("loss", loss, LOSSES)
        require(0 <= label_smoothing < 1, "label_smoothing", "lie in [0, 1)", label_smoothing)
        own = getattr(network, "num_classes", None)
        num_classes = own if num_classes is None else num_classes
        require(own in (None, num_classes), "num_classes", f"be the network's own, {own}", num_classes)
        if not isinstance(num_classes, Integral) or num_classes < 2:
            raise ValueError(
                f"Expected num_classes, or network.num_classes, of at least 2, but got {num_classes}: a network that "
                "does not state its classes needs Classifier(network, num_classes=...)."
            )
        self.num_classes = num_classes = int(num_classes)
        self.regulate(freeze, unfreeze_epoch, layer_decay, decay_norms, num_classes)
        self.channels_last = channels_last and any(isinstance(part, nn.Conv2d) for part in network.modules())
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if compile_network:
            network.compile()
        self._training_graph = TrainingGraph() if cuda_graph else None
        self.weights = weights
        self.train_loss = LOSSES[loss](label_smoothing=label_smoothing)
        self.eval_loss = nn.CrossEntropyLoss()
        self.train_loss_mean, self.val_loss_mean, self.test_loss_mean, self.train_accuracy = (
            WeightedMean() for _ in range(4)
        )
        self.val_metrics, self.test_metrics = (evaluation_metrics(num_classes, stage) for stage in ("val", "test"))
        self.val_macro, self.test_macro = (macro_metrics(num_classes, stage) for stage in ("val", "test"))
        self._logged: set[str] = set()
        self._resumed_epoch = False

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (N, ...) to logits (N, num_classes)."""
        if self.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if self._training_graph is not None and can_replay(self._trainer):
            return self._training_graph(self.network, x)
        return self.network(x)

    def load_weights(self, classes: list[str] | None = None) -> LoadedWeights | None:
        """Load the weights to start from into the network, once.

        Args:
            classes: Names of the classes of the data, if they are known.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If they do not fit the network.
        """
        source, self.weights = self.weights, None
        return None if source is None else load_weights(self.network, source, classes)

    def setup(self, stage: str) -> None:
        """Load the weights to start from, before the training."""
        if stage == "fit":
            self._start_from_weights()

    def on_validation_start(self) -> None:
        """Load the weights to evaluate, if nothing else has been loaded; so do tests and predictions."""
        self._start_from_weights()

    on_test_start = on_predict_start = on_validation_start

    def _start_from_weights(self) -> None:
        if self.weights is not None:
            loaded = self.load_weights(getattr(getattr(self.trainer, "datamodule", None), "class_names", None))
            rank_zero_only(print)(loaded)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch, for the optimizer."""
        logits, labels, loss = self._classified(batch, self.train_loss, self.train_loss_mean)
        self.train_accuracy.update((logits.argmax(dim=1) == labels).sum(), len(labels))
        self._log_metrics("train", self.train_loss_mean, {"train/accuracy": self.train_accuracy})
        if self.trainer.world_size > 1 and self.trainer.is_last_batch:
            loss = loss * self._share_of_mean(len(labels))
        return loss

    def _share_of_mean(self, size: int) -> Tensor:
        """Weight of this process's mean over ``size`` samples, so that the mean of all is that over all samples.

        The processes have batches of one size, but for the last of an epoch. The weight stays on the device, which a
        number would have to be waited for.
        """
        sizes = self._of_all(torch.full((), float(size), device=self.device))
        return size * len(sizes) / sizes.sum()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Loss and accuracy of one validation batch."""
        self._evaluate(batch, "val", self.val_loss_mean, self.val_metrics, self.val_macro)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Loss and accuracy of one test batch; returns its logits (N, num_classes)."""
        return self._evaluate(batch, "test", self.test_loss_mean, self.test_metrics, self.test_macro)

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Class probabilities (N, num_classes) of one batch."""
        return self(batch[0]).softmax(dim=-1)

    def _classified(
        self, batch: tuple[Tensor, Tensor], criterion: nn.Module, loss_mean: WeightedMean
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, right answers (N,) and loss of one batch; the last is added to the mean."""
        x, labels = batch
        if not labels.is_floating_point():  # losses and indices take no other integers, or take bytes for a mask
            labels = labels.long()
        logits = self(x)
        loss = criterion(logits, labels)
        # Lightning's own mean over processes does not weigh by the number of samples, as this metric does.
        loss_mean.update(loss.detach().to(loss_mean.total.dtype) * len(labels), len(labels))
        # Mixed images come with shares of several classes; the one of the largest share counts as the right answer.
        return logits.detach(), labels if labels.ndim == 1 else labels.argmax(dim=1), loss

    def _evaluate(
        self, batch: tuple[Tensor, Tensor], stage: str, loss_mean: WeightedMean, *metrics: MetricCollection
    ) -> Tensor:
        logits, labels, _ = self._classified(batch, self.eval_loss, loss_mean)
        # torchmetrics gets probabilities, because it guesses whether it is given logits.
        probabilities = logits.float().softmax(dim=1)
        for collection in metrics:
            collection.update(probabilities, labels)
        self._log_metrics(stage, loss_mean, *metrics)
        return logits

    def _log_metrics(self, stage: str, loss_mean: WeightedMean, *metrics: dict[str, Metric] | MetricCollection) -> None:
        """Hand Lightning the metrics once an epoch: it reads and resets them at the epoch's end."""
        if stage in self._logged:
            return
        self.log(f"{stage}/loss", loss_mean, on_step=False, on_epoch=True, batch_size=1)
        for collection in metrics:
            self.log_dict(collection, on_step=False, on_epoch=True, batch_size=1)
        self._logged.add(stage)

    def on_fit_start(self) -> None:
        """Begin with the data's weights of classes, and with the learning rate that a LearningRateFinder has chosen."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.train_loss = weighted(self.train_loss, getattr(data, "class_weights", None)).to(self.device)
        super().on_fit_start()

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's metrics, and let frozen parts learn if it is time."""
        self._logged.discard("train")
        if self.unfrozen_by(self.current_epoch):
            wrap_again(self)
        if self._resumed_epoch:  # the sums are those of the resumed epoch
            for metric in self._train_metrics().values():
                metric.reset()
        self._resumed_epoch = False

    def on_validation_epoch_start(self) -> None:
        """Begin the validation's metrics."""
        self._logged.discard("val")

    def on_validation_epoch_end(self) -> None:
        """Log the training metrics, if the run was resumed after the epoch's last training batch."""
        fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if fitting and self._resumed_epoch and "train" not in self._logged:
            self.log_dict({name: metric.compute() for name, metric in self._train_metrics().items()})

    def on_test_epoch_start(self) -> None:
        """Begin the test's metrics."""
        self._logged.discard("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sums of the epoch's training metrics so far, process by process."""
        checkpoint["train_figures"] = {
            name: (metric.update_count, {key: self._of_all(value) for key, value in metric.metric_state.items()})
            for name, metric in self._train_metrics().items()
        }

    def _of_all(self, value: Any) -> Tensor:
        """The processes' values, (processes, ...)."""
        gathered: Any = self.all_gather(value)
        return gathered.reshape(-1, *value.shape)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch's training metrics, and refuse a checkpoint of another architecture with one sentence.

        Raises:
            ValueError: If a name or a shape differs, of which the message names the first, or metrics are foreign.
        """
        require_same_architecture(self.state_dict(), checkpoint["state_dict"])
        self.weights = None  # the checkpoint's follow from them
        self.unfrozen_by(checkpoint.get("epoch", 0))  # Lightning begins no epoch anew that was interrupted
        try:
            self._load_train_metrics(checkpoint.get("train_figures", {}))
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:  # of foreign entries
            raise ValueError("Expected a checkpoint's train_figures to be a Classifier's, but they are not.") from error

    def _load_train_metrics(self, saved: dict[str, Any]) -> None:
        metrics = {key: value for key, value in saved.items() if key in self._train_metrics()}
        self._resumed_epoch = any(count for count, _ in metrics.values())
        rank, size = (self.trainer.global_rank, self.trainer.world_size) if self._trainer else (0, 1)
        for name, (count, values) in metrics.items() if self._resumed_epoch else ():
            restore(self._train_metrics()[name], count, values, rank, size)

    def _train_metrics(self) -> dict[str, Metric]:
        return {"train/loss": self.train_loss_mean, "train/accuracy": self.train_accuracy}
