"""Trained networks and what they need beside their weights, without Lightning."""
