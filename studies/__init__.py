"""Studies: what topology explains, over many networks at a time."""

from nnmass.studies.rows import load, load_curves

__all__ = ["load", "load_curves"]
