"""Signals that ask a command to stop, at its very beginning and when its terminal is gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nnmass import datamodules
from nnmass.commands.main import main
from nnmass.runtime.signals import COME_BACK, STAY_STOPPED, StoppedEarly, StopSignals, undisturbed_starts

FIT = ["fit", "--config", "digits_dense.yaml", "--trainer.accelerator", "cpu", "--trainer.logger", "false"]


@pytest.fixture
def hang_up() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("name", "status"), [("SIGTERM", STAY_STOPPED), ("SIGHUP", STAY_STOPPED), ("SIGUSR1", COME_BACK)]
)
def test_a_signal_before_the_first_step_ends_the_command_at_once(
    name: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here while the data are prepared, which may take long."""

    def prepared(self: datamodules.Digits) -> None:
        os.kill(os.getpid(), signal.Signals[name])
        pytest.fail("the data were prepared to the end")

    monkeypatch.setattr(datamodules.Digits, "prepare_data", prepared)
    before = signal.getsignal(signal.Signals[name])
    assert main([*FIT, "--output_dir", str(tmp_path)]) == status
    assert capsys.readouterr().err == f"Stopped by {name} before the first step.\n"
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.Signals[name]) is before


def test_one_that_came_while_libraries_were_loaded_ends_it_then() -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        said = "Stopped by SIGTERM before the first step"
        with pytest.raises(StoppedEarly, match=said) as stop, signals.before_the_first_step():
            pytest.fail("the block was entered")
    assert stop.value.exit_status == STAY_STOPPED


def test_after_the_set_up_a_signal_is_noted_again() -> None:
    with StopSignals() as signals:
        with signals.before_the_first_step():
            pass
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == signal.SIGHUP
        assert signals.exit_status == STAY_STOPPED


def test_under_nohup_a_hang_up_does_nothing(hang_up: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        signals.watch()
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_terminal_that_is_closed_stops_a_training_with_its_state_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    moment = ["--trainer.callbacks+=interruptions.Signal", "--trainer.callbacks.stage=train"]
    moment += ["--trainer.callbacks.count=3", "--trainer.callbacks.name=SIGHUP"]
    assert main([*FIT, "--output_dir", str(tmp_path), *moment]) == STAY_STOPPED
    assert "Stopped at step 4 by SIGHUP; continue the run with the same command" in capsys.readouterr().err
    assert (tmp_path / "latest" / "checkpoints" / "last.ckpt").is_file()


def test_processes_can_be_started_that_leave_an_interruption_to_their_parent() -> None:
    def ignores() -> str:
        words = [sys.executable, "-S", "-c", "import signal; print(signal.getsignal(2) is signal.SIG_IGN)"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    before, others = signal.getsignal(signal.SIGINT), ignores()
    with undisturbed_starts():
        assert ignores() == "True"
        with ThreadPoolExecutor(1) as threads:
            assert threads.submit(undisturbed_starts().__enter__).result() is None  # where signals cannot be handled
    assert signal.getsignal(signal.SIGINT) is before
    assert ignores() == others
