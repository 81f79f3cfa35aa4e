"""Calls that differ between operating systems, each with the other way beside it."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geochange.errors import OutputInTheWay

REPLACE_ATTEMPTS = 5
START_METHOD = "spawn"
"""How all processes are started that share the work: the way that every system has. They begin anew, so that what they
are given is pickled, and a program of one's own needs `if __name__ == "__main__":`."""
_LOCKED = errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK
"""What it means that somebody else holds a lock."""

if sys.platform == "win32":
    import msvcrt

    STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    """Signals that ask a program to end; the last one comes with Ctrl-Break, and where the window is closed."""
    NAMES_FORBIDDEN = True
    """Whether names of files that `names.fault_of_name` knows lead elsewhere: to devices, to streams of other files."""
    _NO_LINKS = 0
    _LOCKED_BYTE = 1 << 30  # beyond the content: a locked byte cannot be read by others

    def _lock(descriptor: int) -> None:
        _call_at_lock(descriptor, msvcrt.LK_NBLCK)

    def _call_at_lock(descriptor: int, way: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, way, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

    def _release(descriptor: int, path: Path) -> None:
        """Give up a lock, and remove its file, unless somebody else has opened it meanwhile, who removes it."""
        try:
            _call_at_lock(descriptor, msvcrt.LK_UNLCK)
        finally:
            os.close(descriptor)  # an open file cannot be removed
        with suppress(PermissionError):  # the next one that waits for the lock has opened it, and removes it
            path.unlink(missing_ok=True)

    def _is_at(descriptor: int, path: Path) -> bool:
        """Return whether an open file is still that at a path: it cannot be removed."""
        return True

    def available_cores() -> int:
        """Return how many cores this process may use."""
        return os.cpu_count() or 1

    def cache_folder() -> Path:
        """Return where the user's programs keep what can be made again; it need not exist."""
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "geochange" / "Cache"

    def replace(source: Path, target: Path) -> None:
        """Rename a file over another one, which a virus scanner or a viewer may hold open for a moment.

        Raises:
            OutputInTheWay: another program holds one of them for longer.
        """
        _insist(lambda: os.replace(source, target), target)

    def remove(path: Path) -> None:
        """Remove a file, where there is one, as `replace`.

        Raises:
            OutputInTheWay: another program holds it.
        """
        _insist(lambda: path.unlink(missing_ok=True), path)

    def _insist(call: Callable[[], None], target: Path) -> None:
        for attempt in range(1, REPLACE_ATTEMPTS + 1):
            try:
                call()
                return
            except PermissionError as error:
                if attempt == REPLACE_ATTEMPTS:
                    raise OutputInTheWay(f"{target} is held open by a program; close it there, run again") from error
                with suppress(OSError):  # the next attempt fails, and says why
                    target.chmod(target.stat().st_mode | stat.S_IWRITE)  # what is read-only cannot be replaced
                time.sleep(0.1 * attempt)

    def stand_in(source: Path, link: Path) -> None:
        """Have a second name lead to a file or a folder; symbolic links need a right that few have."""
        if source.is_dir():
            shutil.copytree(source, link)
            return
        try:
            os.link(source, link)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, link)

    @contextmanager
    def writable_under(folder: Path) -> Iterator[Path]:
        """Give a folder under a short, plain path, whose files `bring` moves to the one that is wanted."""
        with tempfile.TemporaryDirectory(prefix="geochange-") as plain:
            yield Path(plain)

    def bring(source: Path, target: Path) -> None:
        """Move a file from a folder of `writable_under` to its place."""
        beside = target.with_name(source.name)
        try:
            shutil.copyfile(source, beside)
            replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)

else:
    import fcntl

    STOP_SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    """Signals that ask a program to end."""
    NAMES_FORBIDDEN = False
    """Whether names of files that `names.fault_of_name` knows lead elsewhere."""
    _NO_LINKS = os.O_NOFOLLOW

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(descriptor: int, path: Path) -> None:
        """Remove the file of a lock, and give the lock up."""
        path.unlink(missing_ok=True)  # while it is held: who waits for it then finds that it is gone
        os.close(descriptor)

    def _is_at(descriptor: int, path: Path) -> bool:
        """Return whether an open file is still that at a path."""
        return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())

    def available_cores() -> int:
        """Return how many cores this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def cache_folder() -> Path:
        """Return where the user's programs keep what can be made again; it need not exist."""
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geochange"

    def replace(source: Path, target: Path) -> None:
        """Rename a file over another one."""
        os.replace(source, target)

    def remove(path: Path) -> None:
        """Remove a file, where there is one."""
        path.unlink(missing_ok=True)

    def stand_in(source: Path, link: Path) -> None:
        """Have a second name lead to a file or a folder."""
        link.symlink_to(source)

    @contextmanager
    def writable_under(folder: Path) -> Iterator[Path]:
        """Give a folder under a short, plain path, whose files `bring` moves to the one that is wanted."""
        with tempfile.TemporaryDirectory(prefix="geochange-") as links:
            plain = Path(links) / "beside"
            plain.symlink_to(folder.absolute(), target_is_directory=True)
            yield plain

    def bring(source: Path, target: Path) -> None:
        """Move a file from a folder of `writable_under` to its place."""
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
        _release(descriptor, path)


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
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder has just removed it
