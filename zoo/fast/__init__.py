"""The fast passes of cells and MLPs: shared outputs on a processor and on a GPU, each proved before it is used."""
