"""Tensors that the pass on shared outputs hands to its loops: outputs, the channels that a layer reads, gradients."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Channels", "Gradients", "Outputs", "Reading"]


class Outputs(NamedTuple):
    """The outputs of some layers in one pass, as matrices (rows, w) one behind the other.

    Column c of all of them is column c mod w of matrix c / w.

    Attributes:
        values: (layers, rows, w).
        mean: Of each column over the rows, (columns,).
        variance: The same, divided by the number of rows.
        finished: Where the programs of a sweep on a GPU count how many are done, (columns,) or more; zeros in between.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor
    finished: Tensor


class Channels(NamedTuple):
    """The n channels that enter a layer and its normalisation of them, max(scale x + shift, 0).

    Attributes:
        columns: Which ones of all that are kept, (n,): first those of the newest output in their order; none twice.
        figures: Mean, 1 over the standard deviation, scale and shift of each, (4, n).
    """

    columns: Tensor
    figures: Tensor


class Reading(NamedTuple):
    """The channels of a layer that are to be gathered.

    Attributes:
        outputs: What it is read from.
        channels: Which ones.
        memory: Where it is put, (rows, n) of the precision of the outputs; on a GPU what its rows have more is 0.
    """

    outputs: Outputs
    channels: Channels
    memory: Tensor


class Gradients(NamedTuple):
    """Sums of one backward pass so far.

    Attributes:
        values: Of each output, scaled, (layers, rows, w); undefined where not touched.
        sums: Of each column the gradients, and the gradients times x - mean over its variance, (2, columns).
        touched: 1 where a column has been written to, else 0, (columns,).
    """

    values: Tensor
    sums: Tensor
    touched: Tensor
