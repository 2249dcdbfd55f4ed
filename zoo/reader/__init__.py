"""The topology of any network, read off its traced graph.

A network becomes a list of operations (tracing), whose paths are known (flow); every addition (additions) and every
concatenation (concatenations) gets a verdict, and blocks with skips get their NN-Mass (blocks, skips).
"""
