"""Studies: what topology explains, over many networks at a time."""
