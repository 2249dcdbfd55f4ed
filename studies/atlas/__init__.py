"""The topology atlas: NN-Mass of every architecture of timm."""
