"""Messages about errors, of one sentence each."""

import re
import sys

from nnmass.runtime.origins import being_made, raised_by

__all__ = ["sentence"]

_ALLOCATOR = "DefaultCPUAllocator"  # in torch's words for it, which a test holds

_REQUIREMENT = re.compile(r"Requirement '([\w.-]+)[^']*' not met")
_EXTRAS = {"wandb": "nnmass[wandb]", "mlflow": "nnmass[mlflow]"}


def sentence(error: BaseException) -> str:
    """One line of plain words for an error that ends a command.

    Args:
        error: What was raised.

    Example:
        >>> sentence(ValueError("Expected depth to be at least 1, but got 0."))
        'Expected depth to be at least 1, but got 0.'
        >>> sentence(KeyError("state_dict"))
        "KeyError: 'state_dict'."
    """
    text = str(error).strip()
    if isinstance(error, ModuleNotFoundError) and error.name and "." not in error.name:
        return (
            f"Expected {error.name} to be installed for {sys.executable}, but it is not; after make demo, "
            ". .venv/bin/activate leads to a Python that has all, and pip install . brings it to this one."
        )
    if text.startswith("Does not validate against any of the Union subtypes") and error.__cause__ is not None:
        return sentence(_cause(error))  # a class that jsonargparse has tried to make, among other things
    if missing := _REQUIREMENT.search(text):
        package = _EXTRAS.get(missing[1], missing[1])
        return f"Expected {missing[1]} to be installed, but it is not; pip install '{package}' brings it."
    if "Original Traceback" in text:  # a worker process of a DataLoader reports its whole traceback
        text = re.sub(r"^[\w.]+(Error|Exception): ", "", text.splitlines()[-1])
    text = " ".join(text.split())
    # jsonargparse tries None for what may be left out, and tells of both attempts.
    text = re.sub(
        r"^Does not validate against any of the Union subtypes.*?- (Expected .*?\.) - Expected a .*$", r"\1", text
    )
    if type(error).__name__ == "MisconfigurationException" and not text.startswith("Expected "):
        return f"Expected options that Lightning can follow, but: {text}"
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"Expected to use {error.filename}, but: {error.strerror}."
    if _is_out_of_memory(error, text):
        return (
            f"Expected the memory to hold the batches and the network, but it does not ({text.rstrip('.')}); a smaller "
            "--data.batch_size or network needs less."
        )
    if not text or isinstance(error, LookupError):
        text = f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."
    return text if text.startswith("Expected ") else _with_its_origin(error, text)


def _with_its_origin(error: BaseException, text: str) -> str:
    """Add to a library's words what it was doing."""
    package = raised_by(error)
    if package is None:
        return text
    made = being_made(error)
    if made is not None:
        return f"Expected {made} to be made from its arguments, but {package} says: {text}"
    return f"Expected {package} to do what it was asked for, but it says: {text}"


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    """Return whether memory ran out, by the error's type; torch has none for the processor's memory."""
    torch = sys.modules.get("torch")
    kinds = (MemoryError, *((torch.OutOfMemoryError,) if torch else ()))
    return isinstance(error, kinds) or (type(error) is RuntimeError and _ALLOCATOR in text)


def _cause(error: BaseException) -> BaseException:
    """Go back to the first error, or as far as to one that is a sentence already."""
    while error.__cause__ is not None and not re.match(r"Expected (?!an? <class)", str(error)):
        error = error.__cause__
    return error
