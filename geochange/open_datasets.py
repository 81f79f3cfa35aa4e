"""Rasters that threads keep open: GDAL's datasets are not to be shared between threads, and opening costs milliseconds.

A file that is open cannot be replaced, moved or removed on Windows, and keeps its room on the disk everywhere: who does
that to a file or a folder releases it first.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

LIMIT = 32
"""Datasets that a thread keeps: two dates of a product of 13 bands, each with a mask, and some more."""


class _Kept:
    """Datasets of one thread."""

    def __init__(self) -> None:
        self.in_use = threading.RLock()
        """Held while one is used, so that no other thread closes it meanwhile."""
        self._datasets: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._listing = threading.Lock()
        with _LISTING:
            _ALL.add(self)

    def open(self, path: str) -> Any:
        """Return the dataset of a path as it is now; of too many the one is closed that was used first."""
        import rasterio

        key = (path, *_version(path))
        with self._listing:
            dataset = self._datasets.pop(key, None)
        if dataset is None:
            dataset = rasterio.open(path)
        with self._listing:
            self._datasets[key] = dataset
            while len(self._datasets) > LIMIT:
                self._datasets.popitem(last=False)[1].close()
        return dataset

    def close(self, place: str | None = None) -> None:
        """Close what lies at a path or below it, when it is not being read; None: all."""
        if not self._keys(place):
            return
        with self.in_use:
            for key in self._keys(place):
                with self._listing:
                    self._datasets.pop(key).close()

    def _keys(self, place: str | None) -> list[tuple[Any, ...]]:
        with self._listing:
            return [each for each in self._datasets if place is None or _is_below(each[0], place)]


class _Own(threading.local):
    def __init__(self) -> None:
        self.kept = _Kept()


def _version(path: str) -> tuple[int, ...]:
    """Return what identifies a file, and differs from one that has since taken its place."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _is_below(path: str, place: str) -> bool:
    path = os.path.normcase(path)
    return path == place or path.startswith(os.path.join(place, ""))


_LISTING = threading.Lock()
_ALL: WeakSet[_Kept] = WeakSet()
_own = _Own()


@contextmanager
def open_dataset(path: str) -> Iterator[Any]:
    """Give a raster opened by rasterio, which stays open for the next time that this thread wants it."""
    kept = _own.kept
    with kept.in_use:
        yield kept.open(path)


def close_own() -> None:
    """Close all that this thread keeps open."""
    _own.kept.close()


def release(*places: Path) -> None:
    """Close what any thread of this process keeps open of files, and of all in folders, once it is not being read."""
    with _LISTING:
        found = list(_ALL)
    for place in places:
        for each in found:
            each.close(os.path.normcase(os.path.abspath(place)))
