"""Link the folders of a clone as build/package/nnmass, for tools that read a package's files and import nothing.

Run: python docs/package_links.py.
"""

from pathlib import Path

__all__ = ["link_package"]

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("callbacks", "commands", "configs", "datamodules", "runtime", "studies", "zoo")


def link_package() -> None:
    """Make the links that are missing."""
    package = ROOT / "build" / "package" / "nnmass"
    package.mkdir(parents=True, exist_ok=True)
    for name, source in {**{folder: folder for folder in FOLDERS}, "__init__.py": "nnmass.py"}.items():
        link = package / name
        if not link.is_symlink():
            link.symlink_to(Path("../../..") / source)


if __name__ == "__main__":
    link_package()
