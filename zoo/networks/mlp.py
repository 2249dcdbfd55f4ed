"""RandomSkipMLP: the multi-layer perceptron of the papers' MNIST and synthetic studies, one cell with random skips."""

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nnmass.zoo.checks import require_choice, require_integer, require_memory
from nnmass.zoo.fast import internals, perceptron
from nnmass.zoo.fast.choice import forward_by_choice
from nnmass.zoo.fast.link_range import LinkRange
from nnmass.zoo.fast.proof import is_proved
from nnmass.zoo.mass import MOST_LAYERS, average_degree, cell_density, nn_mass, singular_value_bounds
from nnmass.zoo.networks.hub import HubNetwork
from nnmass.zoo.networks.links import Links, draw_links
from nnmass.zoo.seeding import seeded
from nnmass.zoo.size import mlp_size

__all__ = ["RandomSkipMLP"]

_ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU}


class RandomSkipLinear(nn.Module):
    """A linear layer whose input is the layer before and the linked neurons of all earlier ones."""

    links: Tensor

    def __init__(self, in_features: int, out_features: int, links: Tensor) -> None:
        super().__init__()
        self.register_buffer("links", links)
        self.linear = nn.Linear(in_features + len(links), out_features)
        self._columns: tuple[Tensor, tuple[int, int], Tensor] | None = None
        self._link_range = LinkRange()

    def entering(self, previous: Tensor, earlier: list[Tensor]) -> Tensor:
        """All that enters the layer: ``previous`` (N, w) and the linked neurons of ``earlier``, (N, w + l_i)."""
        if not len(self.links):
            return previous
        return torch.cat([previous, torch.cat(earlier, dim=1).index_select(1, self.links)], dim=1)

    def fits(self, position: int, entering: int, leaving: int) -> bool:
        """Test that the layer takes neurons that exist, and has the weights for them.

        Args:
            position: i.
            entering: Neurons that it takes beside the links.
            leaving: Neurons that it has.
        """
        shape = (leaving, entering + len(self.links))
        return self.linear.weight.shape == shape and (
            position == 0 or self._link_range.is_within(self.links, (position - 1) * entering)
        )

    def columns(self, position: int, width: int) -> Tensor:
        """Columns of ``entering`` among the outputs of layers 0..i-1 side by side, (w + l_i,).

        They are kept for as long as the links are the same.
        """
        links = self.links
        state = (links.data_ptr(), internals.version(links))
        if self._columns is None or self._columns[0] is not links or self._columns[1] != state:
            newest = torch.arange((position - 1) * width, position * width, device=links.device)
            self._columns = links, state, torch.cat([newest, links])
        return self._columns[2]


class RandomSkipMLP(HubNetwork, nn.Module):
    """One cell of d layers: layer 0 maps the input to w neurons, layer d-1 is the classifier and takes links too.

    s_0 = phi(W_0 x + b_0); s_i = phi(W_i x_{i-1} + b_i), where x_{i-1} is s_{i-1} and the chosen activations of layers
    0..i-2. The logits pass through no phi.

    Args:
        depth: Layers, d, at least 2.
        width: Neurons per layer, w.
        tc: The most long-range links a layer may take, t.
        num_classes: Outputs of the classifier.
        in_features: Numbers in one input; images are flattened.
        activation: phi: ``elu`` (MNIST) or ``relu`` (synthetic data).
        share_outputs: Write each output once, where all later layers read it, to the same result. None does so where
            it was measured to be faster, which is on processors, and on GPUs in a CUDA graph; True wherever it can be
            done; False never. Where hooks, traces or automatic precision are in use, the modules run one after the
            other. Gradients of gradients are refused unless it is False.
        seed: Decides links and initial weights; the global random state is neither read nor changed.
        links: How links are chosen, or which they are: see :class:`zoo.RandomSkipCell`.

    Attributes:
        nn_mass: NN-Mass of the network (Eq. 2).
        cell_densities: Density of its one cell (Eq. 1).
        average_degree: Edges per neuron, the classifier counted as w neurons.

    Raises:
        ValueError: If a size is out of range, the activation unknown, or the links are not those of such a cell.

    Source:
        Bhardwaj, Li, Marculescu, CVPR 2021, section 4.1.

    Example:
        >>> network = RandomSkipMLP(depth=24, width=8, tc=2)
        >>> round(network.nn_mass, 2), sum(p.numel() for p in network.parameters())
        (4.17, 8310)
    """

    is_cell = True

    def __init__(
        self,
        depth: int,
        width: int,
        tc: int,
        num_classes: int = 10,
        in_features: int = 784,
        activation: Literal["elu", "relu"] = "elu",
        share_outputs: bool | None = None,
        seed: int = 0,
        links: Links = "uniform",
    ) -> None:
        super().__init__()
        self.share_outputs = share_outputs
        self.ran_on_shared_outputs = False
        self.depth, self.width = require_integer("depth", depth, 2, MOST_LAYERS), require_integer("width", width, 1)
        self.tc = require_integer("tc", tc, 0)
        self.num_classes = require_integer("num_classes", num_classes, 1)
        in_features = require_integer("in_features", in_features, 1)
        require_memory(mlp_size(self.depth, self.width, self.tc, self.num_classes, in_features).num_params)
        require_choice("activation", activation, _ACTIVATIONS)
        self.nn_mass = nn_mass(self.depth, self.width, self.tc)
        self.cell_densities = cell_density(self.depth, self.width, self.tc)
        self.average_degree = average_degree(self.depth, self.width, self.tc)
        self.in_chans = in_features
        last = f"layers.{self.depth - 1}.linear"
        self.default_cfg: dict[str, Any] = {
            "input_size": (in_features,),
            "num_classes": self.num_classes,
            "classifier": last,
        }
        self.activation = _ACTIVATIONS[activation]()
        with seeded(seed) as generator:
            taken = draw_links(self.depth, self.width, self.tc, generator, links)
            self.num_features = self.width + len(taken[-1])
            self.layers = nn.ModuleList(
                RandomSkipLinear(
                    in_features if i == 0 else self.width,
                    self.num_classes if i == self.depth - 1 else self.width,
                    taken[i],
                )
                for i in range(self.depth)
            )

    def reset_classifier(self, num_classes: int, seed: int = 0) -> None:
        """Put a new last layer of ``num_classes`` outputs, drawn from ``seed``, in place of the old one."""
        self.num_classes = require_integer("num_classes", num_classes, 1)
        self.default_cfg["num_classes"] = self.num_classes
        with seeded(seed):
            self.layers[-1].linear = nn.Linear(self.num_features, num_classes)

    def get_classifier(self) -> nn.Module:
        """The last layer's weights."""
        return self.layers[-1].linear  # type: ignore[return-value]

    @property
    def num_links(self) -> list[int]:
        """Long-range links that each layer takes, counted on the built network."""
        return [len(layer.links) for layer in self.layers]  # type: ignore[arg-type]

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Bounds on the mean singular value of its Jacobians (CVPR Prop. 2), q the hidden weights' mean variance.

        The proposition is about linear networks with one q for all layers.
        """
        variances = [layer.linear.weight.detach().var(unbiased=False).item() for layer in self.layers[1:-1]]  # type: ignore[union-attr, operator]
        variance = sum(variances) / max(len(variances), 1)
        return singular_value_bounds(self.width, self.nn_mass, variance)  # type: ignore[return-value]

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Pattern by which timm numbers the layers."""
        return {"blocks": r"^layers\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        """Map inputs (N, ...) to all that enters the classifier (N, num_features)."""
        entering = x.flatten(1)
        outputs: list[Tensor] = []
        for position, layer in enumerate(self.layers):
            if position:
                entering = layer.entering(outputs[-1], outputs[:-1])  # type: ignore[operator]
            if position == self.depth - 1:
                return entering
            outputs.append(self.activation(layer.linear(entering)))  # type: ignore[operator]
        return entering

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map the classifier's input (N, num_features) to logits (N, num_classes)."""
        return x if pre_logits else self.layers[-1].linear(x)  # type: ignore[operator]

    @torch.no_grad()
    def jacobian_factors(self, x: Tensor) -> list[tuple[str, Tensor, Tensor]]:
        """Factors of each layer's Jacobian D W, with which :func:`zoo.layer_spectra` need not trace the network.

        Args:
            x: Inputs, (N, ...).

        Returns:
            Per layer the name of its weights, W (rows, columns), and the slopes phi' at its pre-activations (N, rows);
            nothing where phi has been replaced by one that need not be elementwise.

        Raises:
            ValueError: If the inputs are of another size than the network's.
        """
        entering = x.flatten(1)
        if entering.shape[1] != self.in_chans:
            raise ValueError(f"Expected inputs of {self.in_chans} numbers each, but got {tuple(x.shape)}.")
        if type(self.activation) not in _ACTIVATIONS.values():
            return []
        outputs: list[Tensor] = []
        pre_activations = []
        for position, layer in enumerate(self.layers):
            if position:
                entering = layer.entering(outputs[-1], outputs[:-1])  # type: ignore[operator]
            pre_activations.append(layer.linear(entering))  # type: ignore[operator]
            outputs.append(self.activation(pre_activations[-1]))
        hidden = torch.stack(pre_activations[:-1])
        slopes = torch.func.jvp(self.activation, (hidden,), (torch.ones_like(hidden),))[1]
        weights = [layer.linear.weight.detach() for layer in self.layers]  # type: ignore[union-attr, operator]
        names = [f"layers.{position}.linear" for position in range(self.depth)]
        return list(zip(names, weights, [*slopes, torch.ones_like(pre_activations[-1])], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map inputs (N, ...) to logits (N, num_classes)."""
        return forward_by_choice(self, x, lambda _: True, self._can_share)

    def _can_share(self, x: Tensor) -> bool:
        layers: list[Any] = list(self.layers)
        linears = [layer.linear for layer in layers]
        return (
            all(type(layer) is RandomSkipLinear for layer in layers)
            and perceptron.can_run(self, linears, self.activation, x)
            and self._layers_fit()
            and is_proved(_random_skip_mlp, (3, 4), x.device, x.dtype, x.dtype)
        )

    def _layers_fit(self) -> bool:
        layers: list[Any] = list(self.layers)
        widths = [layers[0].linear.weight.shape[1], *[self.width] * (len(layers) - 1), len(layers[-1].linear.weight)]
        sizes = pairwise(widths)
        return all(
            layer.fits(position, *size) for position, (layer, size) in enumerate(zip(layers, sizes, strict=True))
        )

    def forward_on_modules(self, x: Tensor) -> Tensor:
        """Run the modules one after the other."""
        return self.forward_head(self.forward_features(x))

    def forward_on_shared_outputs(self, x: Tensor) -> Tensor:
        """Compute the same with each output written once, where :func:`zoo.fast.perceptron.can_run` allows it."""
        linears: list[Any] = [layer.linear for layer in self.layers]
        layers = enumerate(self.layers)
        columns = [layer.columns(position, self.width) for position, layer in layers if position]  # type: ignore[operator]
        return perceptron.run(x.flatten(1), columns, linears, self.activation)


def _random_skip_mlp() -> RandomSkipMLP:
    """The network on which the pass on shared outputs is proved."""
    return RandomSkipMLP(depth=4, width=3, tc=4, num_classes=3, in_features=4)
