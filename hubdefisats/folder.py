"""The data folder of one stack: who holds it, and what a killed holder left running."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from hubdefisats.refusals import RefusalError

_MARK: Final = "HUBDEFISATS_STACK"
_OVERWRITE_THEIR_VARIABLES: Final = {"redis-server", "valkey-server"}
"""They put their title where the variables were, yet work in the folder they were given."""


class FolderTakenError(RefusalError):
    """Another stack runs in this folder; the message names it."""


class FolderUnusableError(RefusalError):
    """Nothing can be kept in this folder; the message says why, and how to name another."""


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Make a folder for the length of a block.

    Others may pass through it and not look into it: for root PostgreSQL runs as somebody else.
    """
    with tempfile.TemporaryDirectory(prefix=prefix) as name:
        Path(name).chmod(0o711)
        yield Path(name).resolve()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made where it is absent, for as long as the block runs.

    The kernel gives the lock back when its holder dies, however it dies.

    Raises:
        FolderTakenError: it is held.
        FolderUnusableError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / "lock").open("a+")
    except OSError as error:
        raise unusable(folder, error) from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise FolderTakenError(
                f"A stack runs in {folder} already (process {lock.read()}): "
                "stop it, or name another folder with `make run HUBDEFISATS_DATA=/a/folder`."
            ) from error
        except OSError as error:  # a network's file system may know no locks
            raise unusable(folder, error) from error
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        except OSError as error:
            raise unusable(folder, error) from error
        yield


def unusable(folder: Path, error: OSError) -> FolderUnusableError:
    """Return what to say of a folder in which the system does not let us keep anything."""
    return FolderUnusableError(
        f"The data folder {folder} cannot be used ({error.strerror or error}): "
        "set that right, or name another with `make run HUBDEFISATS_DATA=/a/folder`."
    )


def marked(folder: Path) -> Mapping[str, str]:
    """Return the variables by which every process of this folder's stack is known later."""
    return {_MARK: str(folder)}


def end_leftovers(folder: Path) -> int:
    """Kill every process that carries the folder's mark; return how many there were.

    To be called by the holder of the folder alone. The mark is inherited, so it also finds children
    of children, and unlike a list of process ids it cannot point to somebody else's process.
    """
    left = [process for process in psutil.process_iter() if _carries(process, str(folder))]
    for process in left:
        process.kill()
    end = time.monotonic() + 5
    while any(map(is_alive, left)) and time.monotonic() < end:
        time.sleep(0.01)
    return len(left)


def is_alive(process: psutil.Process) -> bool:
    """Return whether it still runs; one that only waits for its parent to take note does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _carries(process: psutil.Process, folder: str) -> bool:
    try:
        if process.name() in _OVERWRITE_THEIR_VARIABLES:
            return bool(process.cwd() == folder)
        return bool(process.environ().get(_MARK) == folder)
    except psutil.Error:  # ended meanwhile, or somebody else's
        return False
