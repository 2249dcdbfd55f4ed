"""Networks of known topology, and the quantities that describe it.

Everything here works on its own in any PyTorch project. Importing the package is cheap: a name loads its module, and
what that module needs, only when it is first used.
"""

import lazy_loader

import nnmass  # noqa: F401  # in a clone it makes the names of the folders aliases of the package's

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
