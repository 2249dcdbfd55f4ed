"""Networks whose topology is known, and the figures that describe it.

Everything here works on its own in any PyTorch project. Importing the package is cheap: a name loads its module, and
what that module needs, only when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.agreement.check import Agreement, check_fast_passes
    from zoo.cells import RandomSkipCell, draw_links
    from zoo.classifier import Classifier
    from zoo.closed_forms import ClosedForm, closed_form
    from zoo.degrees import DegreeDistribution, degree_distributions
    from zoo.densenet import RandomSkipDenseNet
    from zoo.design import Answer, Design, fewest_params, highest_mass, pareto_front
    from zoo.drawing import draw_cells, draw_degrees
    from zoo.expansion import ExpansionBlock
    from zoo.grids import Choices, Shape, densenet_grid, mlp_grid, mobilenet_grid
    from zoo.initialisation import initialise
    from zoo.jacobian.estimates import Estimate, Spectrum, estimate_spectrum
    from zoo.jacobian.exact import (
        circular_convolution_singular_values,
        dense_jacobian,
        dense_singular_values,
        linear_singular_values,
    )
    from zoo.jacobian.spectra import LayerSpectrum, hidden_isometry, hidden_mean, layer_spectra
    from zoo.latency import Latency, measure_latency
    from zoo.mac_counters import MacCount
    from zoo.macs import count_macs, macs_by_operator
    from zoo.mass import (
        average_degree,
        average_degree_approximation,
        cell_density,
        link_counts,
        nn_mass,
        singular_value_bounds,
    )
    from zoo.measure import Topology, topology
    from zoo.mlp import RandomSkipMLP
    from zoo.mobilenet import MobileNetV2
    from zoo.reader.blocks import Block, Joint, Wiring
    from zoo.resnet import ResNet
    from zoo.size import Size, cell_size, densenet_size, mlp_size, mobilenet_size
    from zoo.timm_names import register_in_timm
    from zoo.variants import create_model, list_models
    from zoo.wrappers import pass_in_use

_HOME = {
    "Agreement": "agreement.check",
    "Answer": "design",
    "Block": "reader.blocks",
    "Choices": "grids",
    "Classifier": "classifier",
    "ClosedForm": "closed_forms",
    "DegreeDistribution": "degrees",
    "Design": "design",
    "Estimate": "jacobian.estimates",
    "ExpansionBlock": "expansion",
    "Joint": "reader.blocks",
    "Latency": "latency",
    "LayerSpectrum": "jacobian.spectra",
    "MacCount": "mac_counters",
    "MobileNetV2": "mobilenet",
    "RandomSkipCell": "cells",
    "RandomSkipDenseNet": "densenet",
    "RandomSkipMLP": "mlp",
    "ResNet": "resnet",
    "Shape": "grids",
    "Size": "size",
    "Spectrum": "jacobian.estimates",
    "Topology": "measure",
    "Wiring": "reader.blocks",
    "average_degree": "mass",
    "average_degree_approximation": "mass",
    "cell_density": "mass",
    "cell_size": "size",
    "check_fast_passes": "agreement.check",
    "circular_convolution_singular_values": "jacobian.exact",
    "closed_form": "closed_forms",
    "count_macs": "macs",
    "create_model": "variants",
    "degree_distributions": "degrees",
    "dense_jacobian": "jacobian.exact",
    "dense_singular_values": "jacobian.exact",
    "densenet_grid": "grids",
    "densenet_size": "size",
    "draw_cells": "drawing",
    "draw_degrees": "drawing",
    "draw_links": "cells",
    "estimate_spectrum": "jacobian.estimates",
    "fewest_params": "design",
    "hidden_isometry": "jacobian.spectra",
    "hidden_mean": "jacobian.spectra",
    "highest_mass": "design",
    "initialise": "initialisation",
    "layer_spectra": "jacobian.spectra",
    "linear_singular_values": "jacobian.exact",
    "link_counts": "mass",
    "list_models": "variants",
    "macs_by_operator": "macs",
    "measure_latency": "latency",
    "mlp_grid": "grids",
    "mlp_size": "size",
    "mobilenet_grid": "grids",
    "mobilenet_size": "size",
    "nn_mass": "mass",
    "pareto_front": "design",
    "pass_in_use": "wrappers",
    "register_in_timm": "timm_names",
    "singular_value_bounds": "mass",
    "topology": "measure",
}

__all__ = [
    "Agreement",
    "Answer",
    "Block",
    "Choices",
    "Classifier",
    "ClosedForm",
    "DegreeDistribution",
    "Design",
    "Estimate",
    "ExpansionBlock",
    "Joint",
    "Latency",
    "LayerSpectrum",
    "MacCount",
    "MobileNetV2",
    "RandomSkipCell",
    "RandomSkipDenseNet",
    "RandomSkipMLP",
    "ResNet",
    "Shape",
    "Size",
    "Spectrum",
    "Topology",
    "Wiring",
    "average_degree",
    "average_degree_approximation",
    "cell_density",
    "cell_size",
    "check_fast_passes",
    "circular_convolution_singular_values",
    "closed_form",
    "count_macs",
    "create_model",
    "degree_distributions",
    "dense_jacobian",
    "dense_singular_values",
    "densenet_grid",
    "densenet_size",
    "draw_cells",
    "draw_degrees",
    "draw_links",
    "estimate_spectrum",
    "fewest_params",
    "hidden_isometry",
    "hidden_mean",
    "highest_mass",
    "initialise",
    "layer_spectra",
    "linear_singular_values",
    "link_counts",
    "list_models",
    "macs_by_operator",
    "measure_latency",
    "mlp_grid",
    "mlp_size",
    "mobilenet_grid",
    "mobilenet_size",
    "nn_mass",
    "pareto_front",
    "pass_in_use",
    "register_in_timm",
    "singular_value_bounds",
    "topology",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    value = getattr(import_module(f"zoo.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
