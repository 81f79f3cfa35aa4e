"""Files that appear whole or not at all, and what may be written where."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

import numpy as np

from geochange.arrays import Array
from geochange.errors import BadOption, BlockFailed, DiskFull, GeochangeError, OutputInTheWay, UnreadableInput
from geochange.inputs import files_read
from geochange.names import fault_of_name
from geochange.open_datasets import release
from geochange.system import NAMES_FORBIDDEN, locked, replace
from geochange.verification import require_readable

GEOTIFF_SUFFIXES = (".tif", ".tiff")
REMOVALS, REMOVAL_PAUSE = 8, 0.05  # times that a folder is removed, and seconds more between each two
HIDDEN = ".geochange-"  # begins the names of all temporary files and folders beside outputs
ROOM_BYTES = 64 << 20  # a disk that cannot take these any more is full

_FULL = {errno.ENOSPC, errno.EFBIG, *({errno.EDQUOT} if hasattr(errno, "EDQUOT") else ())}
_SCRATCH = re.compile(rf"{re.escape(HIDDEN)}[0-9a-f]{{8}}-[0-9a-f]{{8}}(\.lock)?")
_UNFINISHED = re.compile(rf"{re.escape(HIDDEN)}[0-9a-f]{{8}}(\.[^.]+)?")  # of `write_whole`


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, then rename it into place.

    Raises:
        DiskFull: the disk has no room for it; a file that was there is as it was.
    """
    temporary = path.with_name(f"{HIDDEN}{uuid4().hex[:8]}{path.suffix}")
    with naming_full_disks(path):
        try:
            temporary.write_bytes(content)
            replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a temporary path for an output; at the end it is read back and renamed to `path`, on an error removed.

    Raises:
        DiskFull: the disk has no room for it; a file that was there is as it was.
        OSError: it could not be read back.
    """
    with appearing_together([path]) as (temporary,):
        yield temporary


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `appearing`, without reading back: for what Python writes, which tells of each write that fails.

    Raises:
        DiskFull: the disk has no room for it; a file that was there is as it was.
    """
    with scratch_beside(path) as folder, naming_full_disks(path):
        temporary = folder / path.name
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        release(path)
        replace(temporary, path)


@contextmanager
def appearing_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give temporary paths for outputs that belong together, as `appearing`: all of them appear at the end, or none.

    Raises:
        DiskFull, OSError: as `appearing`.
    """
    with ExitStack() as stack:
        temporaries = [stack.enter_context(scratch_beside(path)) / path.name for path in paths]
        yield temporaries
        for temporary in temporaries:
            require_readable(temporary)
        release(*paths)
        for temporary, path in zip(temporaries, paths, strict=True):
            replace(temporary, path)


def save_array(path: Path, array: Array) -> None:
    """Write an .npy file, whole."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_whole(path, buffer.getbuffer())


def load_array(path: Path) -> Array:
    """Read what `save_array` wrote."""
    array: Array = np.load(path, allow_pickle=False)
    return array


def require_writable(targets: Iterable[Path], *, overwrite: bool, inputs: Iterable[Any] = ()) -> None:
    """Refuse, before any work is done, files that could not be written at the end, or would replace an input.

    Args:
        targets: all files to write, in folders that exist.
        overwrite: whether files that exist may be replaced.
        inputs: all that is read; see `files_read`.

    Raises:
        OutputInTheWay: the message gives the reason.
        BadOption: two of the files are one.
    """
    targets = list(targets)
    for path in targets:
        _require_name(path)
    if twice := {path.resolve() for path in targets if [each.resolve() for each in targets].count(path.resolve()) > 1}:
        raise BadOption(f"two outputs cannot both be written to {min(twice)}; give each a name of its own")
    spare_inputs(targets, inputs)
    for path in targets:
        if path.is_dir():
            raise OutputInTheWay(f"{path} is a folder; name a file")
        if os.path.lexists(path) and not overwrite:
            raise OutputInTheWay(f"{path} exists; --overwrite replaces it")


def require_on_disk(path: Path) -> None:
    """Refuse an address in the place of a path, which would become a folder of the name of its protocol.

    Raises:
        OutputInTheWay: the path is one of a bucket or a server.
    """
    found = _ADDRESS.search(path.as_posix())
    if found is not None and not Path(path.as_posix()[: found.end()]).exists():
        address = path.as_posix()[found.start() :]
        raise OutputInTheWay(f"{address} is not on a disk, and only `detect` writes elsewhere, to a bucket")


def _require_name(path: Path) -> None:
    require_on_disk(path)
    folder = path.absolute().parent
    if "\0" in str(path) or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputInTheWay(f"{path.parent} is not a folder that can be written to")
    if NAMES_FORBIDDEN and (fault := fault_of_name(path.name)):
        raise OutputInTheWay(f"{path} cannot be the name of a file: Windows forbids {fault}; choose another one")


def spare_inputs(targets: Iterable[Path], inputs: Iterable[Any]) -> None:
    """Raise OutputInTheWay where a file or folder to write is an input, by whatever path or link it is named."""
    read = files_read(inputs)
    paths, places = set(read), {place for each in read if (place := _place(each))}
    for path in targets:
        own = path.resolve()
        if own in paths or _place(own) in places:
            raise OutputInTheWay(f"{path} is an input, and would be replaced; choose another output")


def _place(path: Path) -> tuple[int, int] | None:
    """Return what names a file on its disk, under any path."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def require_geotiff(path: Path) -> None:
    """Raise BadOption where a GeoTIFF would be written under another suffix."""
    if path.suffix.lower() not in GEOTIFF_SUFFIXES:
        raise BadOption(f"output {path.name} must end in {' or '.join(GEOTIFF_SUFFIXES)}")


def require_space(folder: Path, needed: int) -> None:
    """Raise DiskFull where the disk of an existing folder holds less than `needed` bytes."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"{folder} has {free / 1e9:.2f} GB free, the run needs up to {needed / 1e9:.2f} GB; "
            "free some, or choose another folder"
        )


def is_disk_full(error: BaseException) -> TypeGuard[OSError]:
    """Return whether an error says that the disk, a quota or a limit leaves no room."""
    return isinstance(error, OSError) and error.errno in _FULL


def can_grow(path: Path) -> bool:
    """Return whether an existing scratch file, which is given up, has room for more at its end."""
    piece = os.urandom(1 << 16)
    try:
        with path.open("ab", buffering=0) as file:
            return file.write(piece) == len(piece)
    except OSError as error:
        return not is_disk_full(error)


@contextmanager
def naming_full_disks(path: Path) -> Iterator[None]:
    """Raise DiskFull in place of an error behind which is a full disk, whatever the library made of it.

    Raises:
        DiskFull: there was no room left to write `path`.
    """
    try:
        yield
    except Exception as error:
        own = isinstance(error, GeochangeError) and not isinstance(error, UnreadableInput | BlockFailed)
        if own or not (is_disk_full(error) or _is_full(path if path.is_dir() else path.absolute().parent)):
            raise
        raise DiskFull(
            f"the disk is full: {path} could not be written, and stays as it was; free some, then run again, with "
            "--resume where the command has it"
        ) from error


def _is_full(folder: Path) -> bool:
    """Return whether a disk has no room for ROOM_BYTES more."""
    piece = os.urandom(1 << 20)  # no file system makes it smaller
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for _ in range(ROOM_BYTES // len(piece)):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return is_disk_full(error)
    return False


_ADDRESS = re.compile(r"(?:^|(?<=/))[a-z][a-z0-9+.-]+:(?=/)|^/vsi[a-z0-9_]+(?=/)")
"""Of a bucket or a server, as a path has it: with one slash; or a name of GDAL's virtual file systems."""


@contextmanager
def scratch_beside(path: Path, needed: int = 0) -> Iterator[Path]:
    """Make a folder beside a file that is to be written, on the same disk; it is gone at the end.

    What killed processes have left of the same file is removed.

    Raises:
        DiskFull: the disk holds less than `needed` bytes, or has no room left.
    """
    place = path.absolute().parent
    remove_leftovers(place, path.name)
    require_space(place, needed)
    with naming_full_disks(path), _own_scratch(place, path.name) as scratch:
        yield scratch


@contextmanager
def _own_scratch(place: Path, name: str) -> Iterator[Path]:
    """Make a folder whose lock, beside it, is there before it and after it."""
    scratch = place / f"{HIDDEN}{_mark(name)}-{uuid4().hex[:8]}"
    with locked(_lock_of(scratch)):
        try:
            scratch.mkdir()
            yield scratch
        finally:
            _remove_folder(scratch)


def _remove_folder(folder: Path) -> None:
    """Remove a folder, again where a thread that has not ended yet put something into it meanwhile."""
    release(folder)
    for attempt in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(REMOVAL_PAUSE * attempt)


def discard_folder(folder: Path) -> None:
    """Remove a folder at once, by a hidden name; what a killed process leaves of it goes with the next run's start."""
    doomed = folder.with_name(f"{HIDDEN}{_mark(folder.name)}-{uuid4().hex[:8]}")
    release(folder)
    replace(folder, doomed)
    _remove_folder(doomed)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes have left in a folder, never what is a live one's.

    Args:
        folder: exists.
        name: of the output whose scratch is removed; None: all scratch, and unfinished files, of a folder that the
            caller has locked.
    """
    with os.scandir(folder) as entries:
        names = [each.name for each in entries if each.name.startswith(HIDDEN)]
    for each in names:
        if name is None and _UNFINISHED.fullmatch(each):
            (folder / each).unlink(missing_ok=True)
    wanted = HIDDEN if name is None else f"{HIDDEN}{_mark(name)}-"
    found = {each.removesuffix(".lock") for each in names if each.startswith(wanted) and _SCRATCH.fullmatch(each)}
    for scratch in (folder / each for each in sorted(found)):
        try:
            with locked(_lock_of(scratch)):
                _remove_folder(scratch)
        except OSError:  # its process lives, or it is another user's
            continue


def _lock_of(scratch: Path) -> Path:
    return scratch.with_name(f"{scratch.name}.lock")


def _mark(name: str) -> str:
    """Return what the hidden names of one output begin with."""
    return blake2b(os.fsencode(name), digest_size=4).hexdigest()


def files_digest(inputs: Iterable[str]) -> str:
    """Return a hash of sizes and times of change of files, with the sources of VRTs; folders do not count."""
    digest = blake2b(digest_size=16)
    for path in files_read(each for each in inputs if not Path(each).is_dir()):
        if path.is_file():
            status = path.stat()
            digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def content_digest(named: Any) -> str | None:
    """Return a hash of all that the files of an input hold, with those beside a shapefile; None where it names none."""
    found = [path for path in files_read([named]) if path.is_file()]
    whole = [each for path in found for each in (_shapefile(path) if path.suffix.lower() == ".shp" else [path])]
    digest = blake2b(digest_size=16)
    for path in whole:
        with path.open("rb") as file:
            digest.update(file_digest(file, blake2b).digest())
    return digest.hexdigest() if whole else None


def _shapefile(path: Path) -> list[Path]:
    return sorted(each for each in path.parent.iterdir() if each.stem == path.stem and each.is_file())


def visible_in(folder: str | os.PathLike[str]) -> list[Path]:
    """List what a folder holds, by name, without hidden files such as those that macOS leaves beside images."""
    return sorted(each for each in Path(folder).iterdir() if not each.name.startswith("."))
