"""Passes of one network over one batch, each made at most once and shared by all measures that need it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from nnmass.zoo.checks import require, require_integer
from nnmass.zoo.jacobian.spectra import LayerSpectrum, layer_spectra
from nnmass.zoo.measures.batch import Batch, NotMeasured, stopped
from nnmass.zoo.measures.layers import ChannelSums, computed_tensors, frozen_batch_norms, layer_weights
from nnmass.zoo.reader.macs import first_parameter
from nnmass.zoo.reader.topology import Topology, topology
from nnmass.zoo.seeding import kept_random_state
from nnmass.zoo.wrappers import replica, unwrapped

__all__ = ["LossPass", "Passes"]


@dataclass(frozen=True)
class LossPass:
    """Results of one pass forward and backward over the loss.

    Attributes:
        gradients: Gradient of the mean cross-entropy by weight, named as in the network.
        channels: For each weight by name, the sum over a channel's positions of output times gradient, (N, channels),
            over all calls; several where calls differ in N or channels.
    """

    gradients: dict[str, Tensor]
    channels: dict[str, list[Tensor]]


class Passes:
    """Passes of one network over one batch, each made on first use, and once.

    All passes run on copies, in training mode unless said otherwise: normalisation by the batch's own mean and
    variance, dropout's noise drawn from the seed, forward and backward hooks left out, in-place operations, tied and
    frozen weights as in the network. The network, its buffers, gradients and hooks and all random state stay as
    they were, also after an error.

    Args:
        network: Any network, bare or wrapped as in :func:`zoo.topology`.
        batch: Images and labels; they are moved to the network's device, and images to its precision.
        seed: Decides all that a measure or the network draws.

    Raises:
        ValueError: If the network is no ``torch.nn.Module``, or the seed no such integer.
    """

    def __init__(self, network: nn.Module, batch: Batch, seed: int = 0) -> None:
        require(isinstance(network, nn.Module), "network", "be a torch.nn.Module", type(network).__name__)
        self.network = unwrapped(network)
        self.seed = require_integer("seed", seed, 0)
        self._batch = batch

    @property
    def number(self) -> int:
        """Images in the batch, N."""
        return len(self._batch.images)

    @cached_property
    def images(self) -> Tensor:
        """The images on the network's device and in its precision, (N, ...); not to be written to."""
        images, parameter = self._batch.images.detach(), first_parameter(self.network)
        dtype = parameter.dtype if images.is_floating_point() and parameter.is_floating_point() else images.dtype
        with torch.inference_mode(False):
            return images.to(parameter.device, dtype, copy=images.is_inference())

    @cached_property
    def labels(self) -> Tensor:
        """The labels on the network's device, (N,).

        Raises:
            NotMeasured: If there are none.
        """
        if self._batch.labels is None:
            raise NotMeasured("Expected a batch with labels, but got none.")
        with torch.inference_mode(False):
            return self._batch.labels.detach().to(self.images.device, torch.long, copy=True)

    @cached_property
    def topology(self) -> Topology:
        """The network's topology at the images' size.

        Raises:
            NotMeasured: If it cannot be read.
        """
        try:
            return topology(self.network, tuple(self._batch.images.shape[1:]))
        except ValueError as error:
            raise NotMeasured(str(error)) from error

    @cached_property
    def spectra(self) -> tuple[LayerSpectrum, ...]:
        """Singular values of the layers' Jacobians over the first four images, as :class:`callbacks.JacobianRecorder`.

        Raises:
            NotMeasured: If the layers cannot be told.
        """
        try:
            return tuple(layer_spectra(self.network, self.images[:4], probes=2, seed=self.seed))
        except Exception as error:  # whatever a stranger's layer raises
            raise stopped(error) from error

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Weights of the network's convolutions and linear layers by name, tied ones once; not to be written to.

        Raises:
            NotMeasured: If there are none, some have no values yet, or some are no parameters of their own.
        """
        self._require_values()
        return {name: weight.detach() for name, weight in self.weights_of(self.network).items()}

    def weights_of(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """The parameters of a copy that are its layers' weights, named as in :attr:`weights`.

        Args:
            network: A copy.

        Raises:
            NotMeasured: If there are none, or some are no parameters of their own.
        """
        try:
            return layer_weights(network)
        except ValueError as error:
            raise NotMeasured(str(error)) from error

    def copy(self) -> nn.Module:
        """A copy of the network in training mode that the caller may change; all its weights require gradients.

        Raises:
            NotMeasured: If the network cannot be copied.
        """
        with torch.inference_mode(False):
            try:
                copied = replica(self.network).train()
            except ValueError as error:
                raise NotMeasured(str(error)) from error
            for module in copied.modules():
                if hasattr(module, "share_outputs"):  # the fast passes have no gradients of gradients
                    setattr(module, "share_outputs", False)  # noqa: B010  # mypy takes it for a tensor
            for parameter in copied.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
        return copied

    def copy_to_initialise(self) -> nn.Module:
        """A copy of the network for a measure that gives all weights and biases new values.

        Raises:
            NotMeasured: If some are no parameters, and would keep what the network's own values make of them.
        """
        self.require_parameters()
        for name in frozen_batch_norms(self.network):
            raise NotMeasured(f"Expected weights and biases that are parameters, but those of {name} are constants.")
        return self.copy()

    def require_parameters(self) -> None:
        """Refuse a network with weights or biases that are computed from others.

        Raises:
            NotMeasured: If there are some.
        """
        for name in computed_tensors(self.network):
            raise NotMeasured(f"Expected weights and biases that are parameters, but {name} is computed.")

    def _require_values(self) -> None:
        for name, parameter in self.network.named_parameters():
            if is_lazy(parameter) or parameter.is_meta:
                raise NotMeasured(f"Expected weights with values, but {name} has none yet.")

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Compute within this context: gradients are on, and all draws come from the seed; it is left without a trace.

        A measure's value depends on no other, because each pass begins with the same random state.

        Raises:
            NotMeasured: If the network's weights have no values yet.
        """
        self._require_values()
        device = self.images.device
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(torch.autocast(device.type, enabled=False))
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(kept_random_state(device))
            torch.default_generator.manual_seed(self.seed)
            if device.type == "cuda":
                stack.enter_context(torch.cuda.device(device))
                torch.cuda.manual_seed(self.seed)
            yield

    def logits(self, network: nn.Module, images: Tensor) -> Tensor:
        """Run a copy of the network, and return its logits, (N, classes); of several values, those named ``logits``.

        Args:
            network: A copy.
            images: Inputs, (N, ...).

        Raises:
            NotMeasured: If the network stops, or returns something else.
        """
        try:
            returned = network(images.clone())  # the first operation may be in place
        except Exception as error:  # whatever a stranger's forward raises
            raise stopped(error) from error
        logits = getattr(returned, "logits", returned)
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(images):
            raise NotMeasured(f"Expected a network that returns logits of shape (N, classes), but got {got}.")
        return logits

    def loss(self, network: nn.Module, part: slice = slice(None)) -> Tensor:
        """Mean cross-entropy of a copy of the network over the batch or a part of it.

        Args:
            network: A copy.
            part: The images to take.

        Raises:
            NotMeasured: If there are no labels, or the network has too few classes for them.
        """
        labels = self.labels[part]
        logits = self.logits(network, self.images[part])
        classes = logits.shape[1]
        if classes < 2 or not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            span = f"{int(labels.min())} to {int(labels.max())}"
            raise NotMeasured(f"Expected labels among at least 2 classes, but got {span} for {classes} outputs.")
        return functional.cross_entropy(logits, labels)

    def gradients(self, value: Tensor, inputs: Sequence[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
        """Gradients of a scalar; zeros for what it does not depend on.

        Args:
            value: The scalar.
            inputs: Tensors that require gradients.
            create_graph: Whether the gradients shall have gradients.

        Raises:
            NotMeasured: If the pass backward stops.
        """
        try:
            return torch.autograd.grad(
                value, inputs, create_graph=create_graph, allow_unused=True, materialize_grads=True
            )
        except Exception as error:  # whatever a stranger's backward raises
            raise stopped(error) from error

    @cached_property
    def loss_pass(self) -> LossPass:
        """One pass forward and backward over the whole batch in training mode.

        Raises:
            NotMeasured: If the loss has no gradient.
        """
        names = list(self.weights)
        with self.drawing():
            network = self.copy()
            weights = self.weights_of(network)
            with ChannelSums(network) as channels:
                found = self.gradients(self.loss(network), [weights[name] for name in names])
        return LossPass(dict(zip(names, found, strict=True)), channels.sums)
