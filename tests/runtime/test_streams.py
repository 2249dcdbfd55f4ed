"""Standard streams that are closed, full or read by nobody; and a current folder that is gone."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from nnmass.commands.main import main
from nnmass.runtime.streams import indifferent

PROGRAM = [sys.executable, str(ROOT / "cli.py")]


@pytest.mark.parametrize("unbuffered", [False, True])
def test_what_cannot_be_written_is_lost_and_ends_nothing(unbuffered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    raw = open(writer, "wb", buffering=0) if unbuffered else open(writer, "wb")  # noqa: SIM115
    stream = io.TextIOWrapper(raw, write_through=unbuffered)
    monkeypatch.setattr(sys, "stdout", stream)
    with indifferent("stdout"):
        print("heard", flush=True)
        assert os.read(reader, 100) == b"heard\n"
        assert not sys.stdout.isatty()
        os.close(reader)
        print("lost" * 100_000)
        sys.stdout.flush()
    assert sys.stdout is stream
    stream.close()


def test_a_stream_that_is_no_file_stays_as_it_is(capsys: pytest.CaptureFixture) -> None:
    before = sys.stdout
    with indifferent("stdout", "stderr"):
        assert sys.stdout is before
        print("told")
    assert capsys.readouterr().out == "told\n"


def test_a_training_goes_on_though_nobody_reads_it(tmp_path: Path) -> None:
    words = ["fit", "--config", "digits_dense.yaml", "--output_dir", str(tmp_path), "--trainer.accelerator", "cpu"]
    words += ["--trainer.max_epochs", "2", "--trainer.limit_train_batches", "2", "--trainer.logger", "false"]
    training = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert training.stdout is not None
    assert training.stderr is not None
    training.stdout.close()
    with training.stderr:
        assert training.stderr.read() == b""
    assert training.wait() == 0
    assert json.loads((tmp_path / "latest" / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    ("words", "redirection", "status", "out"),
    [
        ("list configs", "<&- 2>&-", 0, "digits_dense"),
        ("list configs", "<&- >&- 2>&-", 0, ""),
        ("list nothing", "2>&-", 2, ""),
        ("list nothing", "2>/dev/full", 2, ""),
        ("list configs", ">/dev/full", 2, ""),
    ],
)
def test_closed_and_full_streams_leave_the_exit_status(words: str, redirection: str, status: int, out: str) -> None:
    command = f'"{PROGRAM[0]}" "{PROGRAM[1]}" {words} {redirection}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert out in done.stdout
    assert "Traceback" not in done.stderr


def test_files_do_not_take_the_place_of_closed_streams() -> None:
    """Else what a library prints would stand in a checkpoint."""
    code = "from nnmass.runtime.streams import open_closed_streams; open_closed_streams(); import os, sys\n"
    code += "file = os.open('/dev/null', os.O_RDONLY); print('lost'); print('lost', file=sys.stderr); sys.exit(file)"
    command = f'"{PROGRAM[0]}" -c "{code}" <&- >&- 2>&-'
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, check=False).returncode >= 3


def test_a_current_folder_that_was_deleted_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["list", "configs"]) == 2
    assert capsys.readouterr().err == "Expected the current folder to exist, but it was deleted; cd to another.\n"
