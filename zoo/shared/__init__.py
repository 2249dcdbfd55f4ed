"""Training on a cell's outputs kept once: the pass, its inner loops, and the threads that these run on."""
