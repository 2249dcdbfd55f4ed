"""Studies: what topology explains, over many networks at a time."""

from studies.rows import load, load_curves

__all__ = ["load", "load_curves"]
