"""Singular values of layerwise Jacobians: exact ones, estimates without the matrix, and the layers of any network."""
