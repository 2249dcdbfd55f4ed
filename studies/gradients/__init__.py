"""The gradient studies: initial Jacobians against NN-Mass."""
