"""Options of a configuration among those of a subcommand that does not train."""

import re
from collections import deque
from collections.abc import Sequence

__all__ = ["split_changes"]

_CHANGE = re.compile(r"--(model|data|seed[_-]everything)(\.[^=]*)?(=.*)?", re.DOTALL)


def split_changes(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate options of model and data, as ``fit`` takes them, from the subcommand's own words.

    Args:
        words: What follows the subcommand.

    Returns:
        The other words, and these options with their values.

    Example:
        >>> split_changes(["--config", "mnist_mlp", "--model.network.depth", "8", "--per-block"])
        (['--config', 'mnist_mlp', '--per-block'], ['--model.network.depth', '8'])
    """
    own: list[str] = []
    changes: list[str] = []
    left = deque(words)
    while left:
        word = left.popleft()
        found = _CHANGE.fullmatch(word)
        if found is None:
            own.append(word)
            continue
        changes.append(word.replace("--seed-everything", "--seed_everything", 1))
        if found[3] is None and left and not left[0].startswith("--"):
            changes.append(left.popleft())
    return own, changes
