"""Training-free measures of networks: one function each, side by side."""

from nnmass.zoo.measures.batch import Batch, NotMeasured
from nnmass.zoo.measures.catalogue import MEASURES, Measured, find_measures, measure_network
from nnmass.zoo.measures.definition import Measure, measure
from nnmass.zoo.measures.passes import Passes

__all__ = [
    "MEASURES",
    "Batch",
    "Measure",
    "Measured",
    "NotMeasured",
    "Passes",
    "find_measures",
    "measure",
    "measure_network",
]
