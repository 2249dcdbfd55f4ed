"""A package of NAS-Bench-201's cells as analog-nasbench is one."""

import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["analog_package"]


def analog_package(folder: Path, monkeypatch: pytest.MonkeyPatch, cells: dict[tuple[int, ...], float]) -> None:
    """Make a package like analog-nasbench, which must not be loaded."""
    package = folder / "analognasbench"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('it must not be loaded')")
    module = ModuleType("analognasbench.data")
    kind = type("Architecture", (), {"__module__": "analognasbench.data"})
    module.Architecture = kind  # type: ignore[attr-defined]
    content = {}
    for key, accuracy in cells.items():
        content[key] = kind()
        content[key].baseline_accuracy = accuracy
    with monkeypatch.context() as within:
        within.setitem(sys.modules, "analognasbench", ModuleType("analognasbench"))
        within.setitem(sys.modules, "analognasbench.data", module)
        (package / "data.anb").write_bytes(pickle.dumps(content))
    monkeypatch.syspath_prepend(str(folder))
