"""Numba's cache: outside the package, where the user says, or nowhere; never in the way of the numbers."""

from pathlib import Path

import numba
import pytest
from conftest import ROOT

from nnmass.zoo.fast.kept import kept


def twice(number: int) -> int:
    return 2 * number


def files_after_use(folder: Path) -> set[str]:
    assert kept(lambda cache: numba.njit(cache=cache)(twice))(21) == 42
    assert not list(Path(__file__).parent.rglob("*.nb?"))
    return {path.suffix for path in folder.rglob("*.nb?")}


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
def test_it_lies_in_the_users_cache_folder(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    folder = tmp_path / (".cache" if variable == "HOME" else "")
    assert files_after_use(folder / "nnmass" / "numba") == {".nbi", ".nbc"}
    assert numba.config.CACHE_DIR == ""  # for the user's own functions


def test_it_lies_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "said"))  # read from NUMBA_CACHE_DIR
    assert files_after_use(tmp_path / "said") == {".nbi", ".nbc"}


@pytest.mark.parametrize("chosen", [True, False])
def test_where_there_is_no_place_nothing_is_kept(chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a home that may only be read."""
    (tmp_path / "file").touch()
    place = str(tmp_path / "file" / "below")
    monkeypatch.setattr(numba.config, "CACHE_DIR", place if chosen else "")
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    assert files_after_use(tmp_path) == set()
    assert kept(lambda cache: cache) is False


def test_nothing_is_kept_by_another_way() -> None:
    sources = [path for folder in ("zoo", "studies") for path in (ROOT / folder).rglob("*.py")]
    assert [path.name for path in sources if "cache=True" in path.read_text()] == []
