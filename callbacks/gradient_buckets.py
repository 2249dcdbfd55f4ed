"""Fixed order in which several processes add up their gradients, however often a training is resumed."""

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

__all__ = ["GradientBuckets"]


class GradientBuckets(Callback):
    """Lets DistributedDataParallel decide about its buckets before the first step.

    By default the first step finds out in which order the gradients come, and the later ones use other buckets than the
    first. Among more than two processes the position of a gradient in its bucket decides the order of its sum, so that
    a resumed training would differ from an unbroken one by rounding. Here a backward pass of zeros comes first.

    With ``find_unused_parameters`` the buckets stay as they are. With ``static_graph`` the first step also finds out
    which parameters are used, so that it must be a real one. A network that is wrapped anew, because more of its
    parameters take gradients, gets another pass.
    """

    def __init__(self) -> None:
        self._prepared: object = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Run the pass for a network that was wrapped since the last batch."""
        if trainer.strategy.model is not self._prepared:
            self.on_train_start(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run the pass of zeros; neither weights nor buffers nor random states change."""
        parallel = self._prepared = trainer.strategy.model
        if not isinstance(parallel, DistributedDataParallel):
            return
        if parallel.find_unused_parameters or parallel.static_graph:
            return

        def scaled(factor: float) -> Tensor:
            # Backward goes through the terms from the last to the first, as it does through the layers of a network.
            terms = [parameter.sum() * factor for parameter in pl_module.parameters() if parameter.requires_grad]
            return sum(terms[1:], start=terms[0])

        broadcast, parallel.broadcast_buffers = parallel.broadcast_buffers, False
        pl_module.forward = scaled  # type: ignore[method-assign]
        try:
            parallel(0.0).backward()  # on GPUs it takes no call without an argument
        finally:
            del pl_module.forward
            parallel.broadcast_buffers = broadcast
        for parameter in pl_module.parameters():
            parameter.grad = None
