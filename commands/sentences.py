"""What went wrong, in one sentence."""

__all__ = ["sentence"]


def sentence(error: BaseException) -> str:
    """One line of plain words for an error that ends a command.

    Args:
        error: What was raised.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"Expected to use {error.filename}, but: {error.strerror}."
    if not text:
        text = type(error).__name__
    return text
