"""Exact search for networks within a budget of parameters and MACs."""
