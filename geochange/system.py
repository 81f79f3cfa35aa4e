"""Calls that differ between operating systems, each with the other way beside it."""

from __future__ import annotations

import errno
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geochange.errors import OutputInTheWay

REPLACE_ATTEMPTS = 5
_LOCKED = errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK
"""What it means that somebody else holds a lock."""

if sys.platform == "win32":
    import msvcrt

    STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
    _NO_LINKS = 0

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def available_cores() -> int:
        """Return how many cores this process may use."""
        return os.cpu_count() or 1

    def cache_folder() -> Path:
        """Return where the user's programs keep what can be made again; it need not exist."""
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "geochange" / "Cache"

    def replace(source: Path, target: Path) -> None:
        """Rename a file over another one, which a virus scanner or a viewer may hold open for a moment."""
        for attempt in range(1, REPLACE_ATTEMPTS + 1):
            try:
                os.replace(source, target)
                return
            except PermissionError:
                if attempt == REPLACE_ATTEMPTS:
                    raise
                time.sleep(0.1 * attempt)

else:
    import fcntl

    STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    """Signals that ask a program to end."""
    _NO_LINKS = os.O_NOFOLLOW

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def available_cores() -> int:
        """Return how many cores this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def cache_folder() -> Path:
        """Return where the user's programs keep what can be made again; it need not exist."""
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geochange"

    def replace(source: Path, target: Path) -> None:
        """Rename a file over another one."""
        os.replace(source, target)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file, which is made, names the holder, and is removed at the end.

    The lock ends with the process, however that ends; a file that a killed process has left locks nothing. A symbolic
    link is not followed.

    Raises:
        BlockingIOError: another process, or another thread of this one, holds it; the message says which.
        OutputInTheWay: the disk has no locks.
    """
    descriptor = _open_locked(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{platform.node()}, process {os.getpid()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: who waits for it then finds that it is gone
        os.close(descriptor)


def _open_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o644)
        try:
            _lock(descriptor)
        except OSError as error:
            holder = os.read(descriptor, 1000).decode(errors="replace")
            os.close(descriptor)
            if error.errno not in _LOCKED:
                raise OutputInTheWay(f"{path.parent} is on a disk without locks: {error.strerror}") from error
            raise BlockingIOError(holder or "another process") from error
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)  # its holder has just removed it
