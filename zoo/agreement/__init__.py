"""The check that the fast passes of cells and MLPs compute what their modules compute, on the user's own machine."""
