"""Signals as a request to stop at the next good moment; loads nothing, so that it can be set up first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

__all__ = [
    "COME_BACK",
    "INTERRUPTED",
    "STAY_STOPPED",
    "StopSignals",
    "Stopped",
    "StoppedEarly",
    "ignore_interruptions",
    "undisturbed_starts",
]

COME_BACK = 75
"""Exit status after SIGUSR1, with which a cluster announces the end of a job's time: it should be queued again."""

STAY_STOPPED = 76
"""Exit status after SIGTERM or SIGHUP: somebody wants the command to end, or its terminal is gone."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_HANG_UP: Any = getattr(signal, "SIGHUP", None)

_FIRST_INTERRUPT = b"\nStopping after this batch, with the state saved; Ctrl-C once more stops at once.\n"


class Stopped(Exception):  # noqa: N818 -- no error
    """A command ended before its time, on request, with all that it had done saved.

    Args:
        message: One sentence that says how to go on.
        exit_status: ``COME_BACK``, ``STAY_STOPPED`` or ``INTERRUPTED``.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StoppedEarly(KeyboardInterrupt):
    """A command ended on request at once, with nothing left to save; as Ctrl-C it passes by whoever handles errors.

    Args:
        message: One sentence.
        exit_status: ``COME_BACK`` or ``STAY_STOPPED``.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class StopSignals:
    """Handlers that note the first of SIGUSR1, SIGTERM and SIGHUP inside the block, where it ends nothing.

    So is Ctrl-C once somebody watches, who will ask; a second one ends the process at once.
    SLURM sends signals to every process of a job. What is forked from this process has its handler too, which does
    nothing there. SIGHUP does nothing where it did nothing before, as under nohup.

    Attributes:
        received: The signal; None as long as there is none.
        deaf_afterwards: Let SIGTERM do nothing after the block: srun sends it to all tasks as soon as one has ended
            with a status, and theirs is worth knowing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.deaf_afterwards = False
        self._at_once: str | None = None  # how the message ends
        self._owner = os.getpid()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        names = ("SIGUSR1", "SIGTERM", "SIGHUP")  # of which Windows has the second
        self._before = {number: signal.getsignal(number) for name in names if (number := getattr(signal, name, None))}
        if self._before.get(_HANG_UP) is signal.SIG_IGN:
            del self._before[_HANG_UP]
        self._set()
        return self

    @property
    def received_name(self) -> str:
        """Name of the signal; without one, another process got it."""
        if self.received == signal.SIGINT:
            return "Ctrl-C"
        return self.received.name if self.received else "a signal to another process"

    @property
    def exit_status(self) -> int:
        """Exit status of a command that the signal has stopped for good."""
        return INTERRUPTED if self.received == signal.SIGINT else STAY_STOPPED

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            deaf = self.deaf_afterwards and number == signal.SIGTERM
            signal.signal(number, signal.SIG_IGN if deaf else handler)
        self._before = {}

    def stop_at_once(self) -> None:
        """Let a signal raise from now on; at once, if it has come already.

        Raises:
            StoppedEarly: In the main thread, wherever that is.
        """
        self._at_once = "; the same command goes on with what is missing."
        self._raise()

    @contextmanager
    def before_the_first_step(self) -> Iterator[None]:
        """Let a signal raise inside the block, where there is nothing to save; at once, if it has come already.

        Raises:
            StoppedEarly: In the main thread, wherever that is.
        """
        self._at_once = " before the first step."
        try:
            self._raise()
            yield
        finally:
            self._at_once = None

    def give_back(self) -> None:
        """Restore the handlers of before; a signal that has come meanwhile is raised now."""
        self.__exit__(None, None, None)
        if self.received is not None:
            signal.raise_signal(self.received)

    def watch(self) -> None:
        """Note Ctrl-C too, unless it does nothing, and set the handlers that a library has put its own in place of."""
        interrupt = signal.getsignal(signal.SIGINT)
        if self._before and signal.SIGINT not in self._before and interrupt is not signal.SIG_IGN:
            self._before[signal.SIGINT] = interrupt
        self._set()

    def _set(self) -> None:
        for number in self._before:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            return
        if number == self.received == signal.SIGINT:
            os._exit(INTERRUPTED)
        if self.received is None or number == signal.SIGINT:
            self.received = signal.Signals(number)  # noted first: a second Ctrl-C may interrupt the next line
            if number == signal.SIGINT:
                with suppress(OSError):  # the other end may be closed
                    os.write(2, _FIRST_INTERRUPT)
            self._raise()

    def _raise(self) -> None:
        if self._at_once is not None and self.received is not None:
            come_back = self.received not in (signal.SIGTERM, _HANG_UP)
            message = f"Stopped by {self.received_name}{self._at_once}"
            raise StoppedEarly(message, COME_BACK if come_back else STAY_STOPPED)


def ignore_interruptions() -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the one that has started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def undisturbed_starts() -> Iterator[None]:
    """Let processes that start within the block leave Ctrl-C to this one, before they can ask for it themselves."""
    if threading.current_thread() is not threading.main_thread():  # only that one may change how signals are handled
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
