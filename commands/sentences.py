"""What went wrong, in one sentence."""

import re
import sys

__all__ = ["sentence"]

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
        return sentence(_first_cause(error))  # a class that jsonargparse has tried to make, among other things
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
    if not text or isinstance(error, LookupError):
        return f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."
    return text


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
