"""A count of multiply-adds without graph or dispatcher: hooks on layers, and matrix products as Python calls them."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM)
HOOKED = (*CONVOLUTIONS, *TRANSPOSED, *RECURRENT, nn.Linear, nn.MultiheadAttention)


def of_layer(layer: nn.Module, arguments: Sequence[Any], left: Any) -> int:
    """By the attributes of a layer and by the numbers that enter and leave it."""
    entered: Tensor = arguments[0]
    if isinstance(layer, nn.MultiheadAttention):
        width, keys = layer.embed_dim, arguments[1]
        positions = entered.numel() // width
        projected = 2 * positions + 2 * keys.numel() // width
        return projected * width**2 + 2 * positions * keys.shape[1 if layer.batch_first else 0] * width
    if isinstance(layer, CONVOLUTIONS):
        return left.numel() * layer.in_channels // layer.groups * prod(layer.kernel_size)
    if isinstance(layer, TRANSPOSED):
        return entered.numel() * layer.out_channels // layer.groups * prod(layer.kernel_size)
    if isinstance(layer, nn.Linear):
        return entered.numel() * layer.out_features
    assert isinstance(layer, RECURRENT)
    gates = {nn.RNN: 1, nn.GRU: 3, nn.LSTM: 4}[type(layer)]
    state = layer.proj_size or layer.hidden_size
    macs, taken = 0, layer.input_size
    for _ in range(layer.num_layers):
        each = gates * layer.hidden_size * (taken + state) + layer.hidden_size * layer.proj_size
        macs += each * (2 if layer.bidirectional else 1)
        taken = state * (2 if layer.bidirectional else 1)
    return macs * entered.numel() // layer.input_size


def of_matrices(left: Tensor, result: Tensor) -> int:
    """As many multiply-adds per number of the result as the factors share."""
    return result.numel() * left.shape[-1]


def of_einsum(equation: str, *operands: Any) -> int:
    """Of two operands, all indices that occur; nothing where none is summed, or where an operand sums it alone."""
    factors = operands[0] if isinstance(operands[0], list | tuple) else operands
    inputs, _, output = equation.replace(" ", "").partition("->")
    if len(factors) < 2:
        return 0
    terms = inputs.split(",")
    assert len(factors) == 2, "by hand for two operands only"
    sizes: dict[str, int] = {}
    for term, factor in zip(terms, factors, strict=True):
        letters = term.replace("...", "".join(chr(ord("A") + i) for i in range(factor.ndim - len(term) + 3)))
        sizes |= {letter: max(size, sizes.get(letter, 1)) for letter, size in zip(letters, factor.shape, strict=True)}
    return prod(sizes.values()) if any(letter not in output for letter in inputs if letter.isalpha()) else 0


def of_attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Every query meets every key, and every weight every value."""
    return query.numel() * key.shape[-2] + query.numel() // query.shape[-1] * key.shape[-2] * value.shape[-1]


MATRICES = (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.bmm, Tensor.bmm, torch.mm, Tensor.mm)
PRODUCTS: dict[Any, Callable[..., int]] = {
    **dict.fromkeys((torch.einsum, torch.functional.einsum), of_einsum),
    F.scaled_dot_product_attention: of_attention,
}
OF_WEIGHTS: dict[Any, Callable[..., int]] = {
    F.linear: lambda x, weight, result: result.numel() * x.shape[-1],
    **dict.fromkeys(
        (F.conv1d, F.conv2d, F.conv3d, torch.conv1d, torch.conv2d, torch.conv3d),
        lambda x, weight, result: result.numel() * prod(weight.shape[1:]),
    ),
    **dict.fromkeys(
        (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
        lambda x, weight, result: x.numel() * prod(weight.shape[1:]),
    ),
}


class Products(TorchFunctionMode):
    """Adds up what the functions above multiply, but for what runs within a layer that has a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0
        self.within = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self.within:
            if func in (torch.baddbmm, Tensor.baddbmm, torch.addmm):
                self.macs += of_matrices(args[1], result)
            elif func in OF_WEIGHTS:
                weight = args[1] if len(args) > 1 else kwargs["weight"]
                self.macs += OF_WEIGHTS[func](args[0] if args else kwargs["input"], weight, result)
            elif func in MATRICES:
                self.macs += of_matrices(args[0], result)
            elif func in PRODUCTS:
                self.macs += PRODUCTS[func](*args, **kwargs)
        return result


def count_by_hooks(network: nn.Module, images: Tensor) -> int:
    """Run a network and count."""
    products = Products()
    total = 0

    def enter(layer: nn.Module, entered: Any) -> None:
        products.within += 1

    def leave(layer: nn.Module, entered: Any, left: Any) -> None:
        nonlocal total
        products.within -= 1
        if not products.within:
            total += of_layer(layer, entered, left)

    handles = []
    for layer in network.modules():
        if isinstance(layer, HOOKED):
            handles += [layer.register_forward_pre_hook(enter), layer.register_forward_hook(leave)]
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), products:
            network(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    return total + products.macs
