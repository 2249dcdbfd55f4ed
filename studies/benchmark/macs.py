"""Multiply-adds of a benchmark's networks, each counted once and kept in a file."""

import json
from functools import partial
from pathlib import Path

from nnmass.runtime.files import write_atomically
from nnmass.studies.benchmark.known import KnownNetwork
from nnmass.zoo.libraries.library import built_on_meta
from nnmass.zoo.reader.macs import count_macs

__all__ = ["KeptMacs", "macs_of"]


def macs_of(network: KnownNetwork) -> int:
    """Count multiply-adds for one image of the network's own size, without memory for weights where that can be.

    Args:
        network: The network; it is built.

    Raises:
        Exception: Whatever building or running it raises.
    """
    build = partial(network.build, 0, network.input_size)
    try:
        return count_macs(built_on_meta(build), network.input_size)
    except Exception:  # a network may fail on the meta device in any way
        return count_macs(build(), network.input_size)


class KeptMacs:
    """The multiply-adds of networks, as :func:`macs_of` counts them, of which a file keeps what is known.

    Args:
        file: JSON; it need not exist, and one that was damaged is written anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._known: dict[str, int] = dict(json.loads(file.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            self._known = {}

    def __call__(self, network: KnownNetwork) -> int:
        """Return what the file holds, or count and add it; what cannot be counted is tried again by the next call."""
        key = f"{network.benchmark}/{network.name} {'x'.join(map(str, network.input_size))}"
        if not isinstance(self._known.get(key), int):
            self._known[key] = macs_of(network)
            write_atomically(self._file, json.dumps(self._known, indent=2) + "\n")
        return self._known[key]
