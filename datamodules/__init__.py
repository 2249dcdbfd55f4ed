"""Data sets as Lightning data modules that hand out finished batches: augmented, normalised, on the device.

Importing the package is cheap: the data sets, and with them Lightning, are loaded when the first of them is used.
"""

import lazy_loader

import nnmass  # noqa: F401  # in a clone it makes the names of the folders aliases of the package's

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
