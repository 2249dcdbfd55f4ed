"""Files are whole on disk at every moment, and nothing but a file is ever replaced by one."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from nnmass.runtime.files import part_of, write_atomically


def test_a_file_is_on_the_disk_as_a_whole_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that wrote in place, or did not wait for the disk, would fail here."""
    file, steps = tmp_path / "a.json", []
    file.write_text("old")
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        sync(descriptor)
        (part,) = (path for path in tmp_path.iterdir() if path != file)
        steps.append(("synced", part.read_text(), file.read_text()))

    def replaced(source: Any, target: Any) -> None:
        steps.append(("replaced", Path(source).read_text(), file.read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomically(file, "new")
    assert steps == [("synced", "new", "old"), ("replaced", "new", "old")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_text() == "new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_stood_there_stays_where_writing_fails(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    file.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left on device") as failed:
        write_atomically(file, "new")
    assert failed.value.filename == str(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert file.read_text() == "old"


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link, dangling = tmp_path / "elsewhere" / "a.csv", tmp_path / "a.csv", tmp_path / "b.csv"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "elsewhere" / "b.csv")
    for path in (link, dangling):
        write_atomically(path, "new")
        assert path.is_symlink()
        assert path.resolve().read_text() == "new"
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["a.csv", "b.csv"]


def test_standard_output_gets_it_whether_it_is_a_pipe_or_a_file(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from nnmass.runtime.files import write_atomically\n"
        "print('before', flush=True); write_atomically(Path('/dev/stdout'), 'table\\n'); print('after')"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "before\ntable\nafter\n"
    with (tmp_path / "out").open("a") as file:
        subprocess.run(command, stdout=file, check=True)
    assert (tmp_path / "out").read_text() == "before\ntable\nafter\n"


def test_a_device_and_a_pipe_are_written_through(tmp_path: Path) -> None:
    null = Path(os.devnull)
    write_atomically(null, "gone")
    assert stat.S_ISCHR(null.stat().st_mode)
    pipe, heard = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_text()))
    reader.start()
    write_atomically(pipe, "through")
    reader.join(timeout=10)
    assert heard == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_parts_of_processes_that_were_killed_go_when_the_folder_is_written_again(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    dies = "import os, signal\nfrom pathlib import Path\nfrom nnmass.runtime.files import write_atomically\n"
    dies += "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)\n"
    dies += f"write_atomically(Path({str(file)!r}), 'half')"
    assert subprocess.run([sys.executable, "-c", dies], check=False).returncode == -signal.SIGKILL
    (stale,) = tmp_path.iterdir()
    ours = part_of(file)  # as of a thread that writes at this moment
    there = file.with_name(re.sub(r"\.[0-9a-f]{8}\.(\d+)", r".00000000.\1", stale.name))  # of another machine
    foreign = tmp_path / ".mine.part"
    for path in (ours, there, foreign):
        path.touch()
    write_atomically(file, "whole")
    assert set(tmp_path.iterdir()) == {file, ours, there, foreign}


def test_the_part_of_a_long_name_is_no_longer_than_a_name_may_be(tmp_path: Path) -> None:
    file = tmp_path / f"{'ü' * 124}.json"
    write_atomically(file, "whole")
    assert list(tmp_path.iterdir()) == [file]
