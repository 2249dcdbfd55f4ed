"""shrink: a copy of photographs in class folders, small enough that a processor's cores can feed a GPU."""

import os
import signal
import sys
import warnings
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread, Timer
from types import FrameType

from nnmass.commands.options.parser import MOST_PROCESSES, Parser, at_least, user_path
from nnmass.runtime.signals import StoppedEarly, StopSignals

__all__ = ["run"]

Copied = tuple[int, int] | str
"""Bytes of an image and of its copy, or why there is no copy."""

_SETTINGS = "shrink.json"
_LEAST_SIDE = 8  # px: that of the smallest network input that ImageNet takes
_HIGHEST_QUALITY = 95  # Pillow's advice: above it files grow and images hardly change
_CLOCK_NS = 2 * 10**9  # the coarsest clock of a file system
_AHEAD = 4  # times that each process is given images before the first are done
_AT_A_TIME = 4  # images that a process is given at once, and finishes when the command is stopped
_GRACE_S = 5  # that a process outlives a SIGTERM


def run(arguments: Sequence[str]) -> int:
    """Write what is missing in the copy.

    Args:
        arguments: ``shrink`` and what follows it on the command line.
    """
    parser = Parser(
        "nnmass shrink",
        "Copy photographs in SPLIT/CLASS/* or CLASS/* with their short side at most --side px, for a training that\n"
        "would else wait for their decoding. Go on where an earlier call stopped.",
        ["nnmass shrink ~/data/imagenet ~/data/imagenet256", "nnmass shrink pets pets320 --side 320 --workers 4"],
    )
    parser.add_argument("source", metavar="SOURCE", type=user_path, help="folder of the photographs")
    parser.add_argument("dest", metavar="DEST", type=user_path, help="folder of the copy")
    parser.add_argument("--side", type=at_least("--side", _LEAST_SIDE), default=256, help="px of the short side (256)")
    parser.add_argument("--quality", type=at_least("--quality", 1), default=90, help="of JPEG and WebP, 1 to 95 (90)")
    parser.add_argument(
        "--workers", type=at_least("--workers", 1, MOST_PROCESSES), help="processes (default: one per core)"
    )
    options = parser.parse_args(list(arguments)[1:])
    _require_folders(options)
    with StopSignals() as signals:
        signals.stop_at_once()
        try:
            return _shrink(options)
        except StoppedEarly:  # says so itself
            raise
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Stopped by Ctrl-C; the same command goes on with what is missing.") from None


def _require_folders(options: Namespace) -> None:
    """Refuse what can be seen to be wrong before anything is read.

    Raises:
        ValueError: It names the argument.
    """
    source, dest = options.source.resolve(), options.dest.resolve()
    if options.quality > _HIGHEST_QUALITY:
        raise ValueError(f"Expected --quality to be at most {_HIGHEST_QUALITY}, but got {options.quality}.")
    if not source.is_dir():
        raise ValueError(f"Expected SOURCE to be a folder, but got {options.source}.")
    if dest.is_relative_to(source):
        raise ValueError(f"Expected DEST to be outside of SOURCE ({options.source}), but got {options.dest}.")
    if dest.exists() and not dest.is_dir():
        raise ValueError(f"Expected DEST to be a folder, but {options.dest} is a file.")


def _shrink(options: Namespace) -> int:
    from rich.console import Console
    from rich.filesize import decimal
    from rich.progress import track

    from nnmass.datamodules.cores import usable_cores
    from nnmass.datamodules.shrink import images_of_classes

    console = Console(stderr=True)
    with console.status("Listing the images"):
        names = images_of_classes(options.source)
    reasons, quiet = [], not console.is_terminal
    number = before = after = 0
    with _claimed(options), _copies(options, names, options.workers or usable_cores()) as copies:
        for copied in track(copies, "Shrinking", len(names), console=console, transient=True, disable=quiet):
            if isinstance(copied, str):
                reasons.append(copied)
            else:
                number, before, after = number + 1, before + copied[0], after + copied[1]
    for reason in reasons:
        print(reason, file=sys.stderr)
    rest = f"; {len(reasons):,} could not be decoded and are left out" if reasons else ""
    print(f"{number:,} images in {options.dest}: {decimal(before)} before, {decimal(after)} after{rest}.")
    return 1 if reasons else 0


@contextmanager
def _claimed(options: Namespace) -> Iterator[None]:
    """Keep DEST for this process inside the block, and hold what it was made with against the options.

    Raises:
        ValueError: If DEST holds something else, or another process is writing to it.
    """
    import json

    from filelock import FileLock, Timeout

    from nnmass.runtime.files import read_json, remove_parts, write_atomically

    dest = options.dest
    settings = {"source": str(options.source.resolve()), "side": options.side, "quality": options.quality}
    before = read_json(dest / _SETTINGS)
    if not before and dest.is_dir() and any(not entry.name.startswith(".") for entry in dest.iterdir()):
        raise ValueError(f"Expected DEST to be a new folder or a copy of SOURCE, but {dest} holds something else.")
    for name, value in settings.items():
        if before and before.get(name) != value:
            option = "SOURCE" if name == "source" else f"--{name}"
            raise ValueError(
                f"Expected {option} to be {before.get(name)}, as when {dest} was begun, but got {value}; "
                "name another DEST."
            )
    dest.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(dest / ".lock", timeout=0):
            write_atomically(dest / _SETTINGS, json.dumps(settings, indent=2) + "\n")
            remove_parts(dest)  # of a process that was killed
            yield
    except Timeout as error:
        raise ValueError(f"Expected {dest} to be idle, but another process is writing to it.") from error


@contextmanager
def _copies(options: Namespace, names: Sequence[str], workers: int) -> Iterator[Iterator[Copied]]:
    """Yield the outcome of each image, in their order; the processes end with the block."""
    pool = ProcessPoolExecutor(workers, initializer=_begin)
    try:
        pool.submit(os.getpid)  # starts the processes, while this one has no thread that draws a progress bar
        copy = partial(_copy_each, options.source, options.dest, options.side, options.quality)
        yield _results(pool, copy, names, _AHEAD * workers)
    except BrokenProcessPool as error:
        raise RuntimeError(
            "Expected the processes that shrink to stay alive, but one was killed, perhaps for want of memory; "
            "the same command goes on, and needs less of it with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _results(
    pool: ProcessPoolExecutor, copy: Callable[[Sequence[str]], list[Copied]], names: Sequence[str], ahead: int
) -> Iterator[Copied]:
    """Results of ``copy``, which is given a few names at a time, and at most so many times ahead of what is read."""
    waiting: deque[Future[list[Copied]]] = deque()
    for begin in range(0, len(names), _AT_A_TIME):
        waiting.append(pool.submit(copy, names[begin : begin + _AT_A_TIME]))
        if len(waiting) > ahead:
            yield from waiting.popleft().result()
    while waiting:
        yield from waiting.popleft().result()


def _begin() -> None:
    """Let the command decide when to stop: a terminal and a cluster signal every process."""
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end_soon)
    warnings.simplefilter("ignore")  # Pillow's, about metadata that nobody reads
    Thread(target=_end_with_parent, daemon=True).start()


def _end_soon(number: int, frame: FrameType | None) -> None:
    """Leave the command the time to end this process in order."""
    end = Timer(_GRACE_S, os._exit, (1,))
    end.daemon = True
    end.start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _copy_each(source: Path, dest: Path, side: int, quality: int, names: Sequence[str]) -> list[Copied]:
    return [_copy(source / name, dest / name, side, quality) for name in names]


def _copy(original: Path, copy: Path, side: int, quality: int) -> Copied:
    """Write the copy of one image, unless it is there.

    Raises:
        OSError: If it cannot be written.
    """
    from nnmass.datamodules.shrink import shrunk
    from nnmass.runtime.files import write_atomically
    from nnmass.zoo.weights.images import decoding

    try:
        with decoding(original):
            state = original.stat()
        if not _is_copy_of(copy, state):
            write_atomically(copy, shrunk(original, side, quality))
            os.utime(copy, ns=(state.st_atime_ns, state.st_mtime_ns))
    except ValueError as error:
        copy.unlink(missing_ok=True)  # of what the original was before
        return str(error)
    return state.st_size, copy.stat().st_size


def _is_copy_of(copy: Path, original: os.stat_result) -> bool:
    """Test for a file that is as old as the original, as far as file systems tell."""
    return copy.exists() and abs(copy.stat().st_mtime_ns - original.st_mtime_ns) <= _CLOCK_NS
