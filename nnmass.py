"""The package ``nnmass`` of a clone: its folders are those beside this file, whether or not the clone is installed.

A wheel holds the same folders as ``nnmass/``, and not this file. In a clone, ``zoo`` is short for ``nnmass.zoo``, and
the other folders likewise: the same modules under a second name, never second copies of them.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

__all__: list[str] = []

_ROOT = Path(__file__).resolve().parent
_FOLDERS = ("callbacks", "commands", "configs", "datamodules", "runtime", "studies", "zoo")
__path__ = [str(_ROOT)]


class _ShortNames(MetaPathFinder, Loader):
    """Find ``zoo.mass`` as ``nnmass.zoo.mass``, where ``zoo`` is this clone's folder."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not path or name.partition(".")[0] not in _FOLDERS or _ROOT not in Path(next(iter(path))).parents:
            return None
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(f"nnmass.{spec.name}")
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = module.__spec__.loader_state if module.__spec__ else None  # an import has put its own there


sys.meta_path.insert(0, _ShortNames())
