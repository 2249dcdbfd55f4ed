"""Measures of a network's structure, which need no pass: size, NN-Mass and density."""

from typing import Any

from torch.nn.parameter import is_lazy

from nnmass.zoo.measures.batch import NotMeasured
from nnmass.zoo.measures.definition import measure
from nnmass.zoo.measures.passes import Passes
from nnmass.zoo.reader.macs import macs_by_operator

__all__ = ["macs", "nn_degree", "nn_density", "nn_mass", "params"]

_CVPR = "Bhardwaj, Li, Marculescu, CVPR 2021"


@measure(title="parameters", equation="P: learnable numbers, frozen ones too, tied ones once", source="none")
def params(passes: Passes) -> float:
    """Number of learnable numbers."""
    if any(is_lazy(parameter) for parameter in passes.network.parameters()):
        raise NotMeasured("Expected weights with values, but the network has layers that have not seen an input yet.")
    return float(sum(parameter.numel() for parameter in passes.network.parameters()))


@measure(
    title="multiply-adds",
    equation="MAC: multiply-adds of convolutions, linear layers and matrix products for one image",
    source="none",
)
def macs(passes: Passes) -> float:
    """Multiply-adds of one image; refused where an operator's are not known."""
    try:
        counted, uncounted = passes.topology.macs, passes.topology.uncounted
    except NotMeasured:  # multiply-adds can be counted without the graph that the topology needs
        try:
            count = macs_by_operator(passes.network, tuple(passes.images.shape[1:]))
        except ValueError as error:
            raise NotMeasured(str(error)) from error
        counted, uncounted = count.macs, count.uncounted
    if uncounted:
        raise NotMeasured(f"Expected operators with known multiply-adds, but got {', '.join(sorted(uncounted))}.")
    return float(counted)


@measure(
    title="NN-Mass",
    equation="m = sum over cells c of w_c d_c rho_c (concatenations; w_c width, d_c depth, rho_c density), and over "
    "residual blocks of i_c times the share of possible links (additions; i_c channels)",
    source=f"{_CVPR}, Eq. 2 and 3",
)
def nn_mass(passes: Passes) -> float:
    """NN-Mass as :func:`zoo.topology` reads it."""
    return passes.topology.nn_mass


@measure(
    title="NN-Density",
    equation="rho = mean over cells of (long-range links that there are) / (long-range links that are possible)",
    source=f"{_CVPR}, Eq. 1",
)
def nn_density(passes: Passes) -> float:
    """Mean density of the cells as :func:`zoo.topology` reads it; 0 for a network without skips."""
    return passes.topology.nn_density


@measure(
    title="NN-Degree",
    equation="g = sum over cells c of (w_c + l_c / d_c); w_c: mean channels of a layer, d_c: layers, l_c: long-range "
    "channels that the layers take (SC_c = w_c l_c links, each channel reaching all w_c of its layer)",
    source="Li, Mandal, Ogras, Marculescu, ACM TECS 20(5s), 2021 (FLASH), definition of NN-Degree",
)
def nn_degree(passes: Passes) -> float:
    """Sum of the cells' average degrees, with the cells and links that NN-Mass counts.

    Random-skip cells state their width and depth, also without long-range links. Of other networks the cells are the
    blocks that hold skips, as :func:`zoo.topology` reads them.

    Raises:
        NotMeasured: If the network has no cell: without skips a trace shows none.
    """
    blocks = passes.topology.blocks
    cells: dict[str, Any] = {
        name: module
        for name, module in passes.network.named_modules()
        if getattr(module, "is_cell", False) and hasattr(module, "num_links")
    }
    degrees = [cell.width + sum(cell.num_links) / cell.depth for cell in cells.values()]
    degrees += [(block.channels + block.links) / block.layers for block in blocks if block.scope not in cells]
    if not degrees:
        raise NotMeasured("Expected a network with cells, but no skip connection was found that would show one.")
    return float(sum(degrees))
