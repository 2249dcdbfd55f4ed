"""Origin of an error, as its traceback tells: the package that raised it, and the object that was being made."""

from types import FrameType

__all__ = ["being_made", "raised_by"]

_OURS = ("nnmass", "cli", "__main__")
_MACHINERY = (
    *("nnmass.commands", "nnmass.runtime", "nnmass.studies"),
    *("jsonargparse", "pytorch_lightning", "lightning_fabric", "cli", "__main__"),
)


def raised_by(error: BaseException) -> str | None:
    """The package whose code raised an error; None where it was our own, or is not known.

    Args:
        error: What was raised.
    """
    frames = _frames(error)
    package = _module(frames[-1]).partition(".")[0] if frames else ""
    return None if package in ("", *_OURS) else package


def being_made(error: BaseException) -> str | None:
    """Full name of the class of which an object was being made, the outermost that is no machinery of the program.

    Args:
        error: What was raised.

    Example:
        >>> from nnmass.zoo import RandomSkipMLP
        >>> try:
        ...     RandomSkipMLP(depth=0, width=3, tc=2)
        ... except ValueError as error:
        ...     being_made(error)
        'nnmass.zoo.networks.mlp.RandomSkipMLP'
    """
    for frame in _frames(error):
        made = frame.f_locals.get("self")
        if frame.f_code.co_name == "__init__" and made is not None and not _is_machinery(_module(frame)):
            return f"{type(made).__module__}.{type(made).__qualname__}"
    return None


def _frames(error: BaseException) -> list[FrameType]:
    frames = []
    step = error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    return frames


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _is_machinery(module: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in _MACHINERY)
