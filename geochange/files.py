"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from geochange.arrays import Array
from geochange.errors import BadOption, DiskFull, OutputInTheWay
from geochange.names import file_of

GEOTIFF_SUFFIXES = (".tif", ".tiff")


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file under a temporary name, then rename it into place."""
    with appearing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its suffix; rename it at the end, remove it on an error."""
    temporary = path.with_name(f".{path.stem}-{uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
        inputs: all that is read; only paths count.

    Raises:
        OutputInTheWay: the message gives the reason.
    """
    targets = list(targets)
    spare_inputs(targets, inputs)
    for path in targets:
        if path.exists() and not overwrite:
            raise OutputInTheWay(f"{path} exists; --overwrite replaces it")
        if not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise OutputInTheWay(f"{path.parent} is not a folder that can be written to")


def spare_inputs(targets: Iterable[Path], inputs: Iterable[Any]) -> None:
    """Raise OutputInTheWay where a file or folder to write is an input, by whatever path or link it is named."""
    read = {Path(file_of(os.fspath(each))).resolve() for each in inputs if isinstance(each, str | os.PathLike)}
    for path in targets:
        if path.resolve() in read:
            raise OutputInTheWay(f"{path} is an input, and would be replaced; choose another output")


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


@contextmanager
def scratch_beside(path: Path, needed: int = 0) -> Iterator[Path]:
    """Make a folder beside a file that is to be written, on the same disk; it is gone at the end.

    Raises:
        DiskFull: the disk holds less than `needed` bytes.
    """
    folder = path.absolute().parent
    require_space(folder, needed)
    with tempfile.TemporaryDirectory(prefix=".geochange-", dir=folder) as scratch:
        yield Path(scratch)


def visible_in(folder: str | os.PathLike[str]) -> list[Path]:
    """List what a folder holds, by name, without hidden files such as those that macOS leaves beside images."""
    return sorted(each for each in Path(folder).iterdir() if not each.name.startswith("."))
