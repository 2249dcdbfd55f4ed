"""Records of a run: topology, metrics, curves, checkpoints, status. Each callback: one hook, one file.

A name loads its module, and Lightning, only when it is first used: reading and writing a run's files needs neither.
"""

import lazy_loader

import nnmass  # noqa: F401  # in a clone it makes the names of the folders aliases of the package's

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
