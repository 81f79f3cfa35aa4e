"""Regions on disk, sorted: what merging gives in any order comes back by first pixel, in chunks.

A scratch SQLite file keeps the memory constant: its rows are filed under the first pixel, and reading walks
through them.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import shapely

from geochange.errors import DiskFull
from geochange.files import can_grow
from geochange.polygons.regions import Counts, Regions

CACHE_KIB = 32 * 1024

_CREATE = """
CREATE TABLE regions (
    place INTEGER PRIMARY KEY,
    class INTEGER, area_px INTEGER, score_sum INTEGER, score_max INTEGER, on_edge INTEGER,
    polygon BLOB
)
"""


class RegionStore:
    """A scratch file of regions; a context manager that removes it at the end.

    One thread writes it; when it is done, any number of threads may read.
    """

    def __init__(self, folder: Path) -> None:
        """Create an empty file of its own in an existing folder."""
        handle, path = tempfile.mkstemp(prefix="regions-", suffix=".sqlite", dir=folder)
        os.close(handle)
        self._path = Path(path)
        self._database = sqlite3.connect(path)
        self._length = 0
        with self._reporting_full_disks():
            for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE_KIB}"):
                self._database.execute(f"PRAGMA {setting}")
            self._database.execute(_CREATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._length

    def add(self, regions: Regions) -> None:
        """Take regions, in any order.

        Raises:
            DiskFull: the folder's disk is full.
            ValueError: a region begins at a pixel where another one does.
        """
        try:
            with self._reporting_full_disks(), self._database:
                self._database.executemany("INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?)", _rows(regions.sort()))
        except sqlite3.IntegrityError as error:
            raise ValueError("two regions begin at one pixel: a block was added twice, or blocks overlap") from error
        self._length += len(regions)

    @contextmanager
    def _reporting_full_disks(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            known = error.sqlite_errorcode == sqlite3.SQLITE_FULL  # only of a disk, not of a quota or a limit
            if not known and can_grow(self._path):
                raise
            raise DiskFull(
                f"the disk is full: {self._path.parent} has no room for regions; free some, then run again"
            ) from error

    def area_px(self) -> int:
        """Pixels of all regions together."""
        return int(self._database.execute("SELECT COALESCE(SUM(area_px), 0) FROM regions").fetchone()[0])

    def chunks(self, size: int = 4096) -> Iterator[Regions]:
        """All regions by (first row, first column), at most `size` at a time; nothing where there are none."""
        with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as reader:
            cursor = reader.execute("SELECT * FROM regions ORDER BY place")
            while rows := cursor.fetchmany(size):
                yield _regions(rows)

    def close(self) -> None:
        """Remove the file."""
        self._database.close()
        self._path.unlink(missing_ok=True)


def _rows(regions: Regions) -> Iterator[tuple[int | bytes, ...]]:
    """Yield a database row for each region; the place is (row, col) in one number, so that its order is theirs."""
    counts = regions.counts
    columns = (
        (regions.first[:, 0] << 32) + regions.first[:, 1],
        counts.classes,
        counts.area_px,
        counts.score_sum,
        counts.score_max,
        counts.on_edge.astype(int),
        shapely.to_wkb(regions.polygons),
    )
    return zip(*(column.tolist() for column in columns), strict=True)


def _regions(rows: list[tuple[int | bytes, ...]]) -> Regions:
    place, classes, area_px, score_sum, score_max, on_edge, polygon = zip(*rows, strict=True)
    first = np.array(place, np.int64)
    counts = Counts(
        np.array(classes, np.uint8),
        np.array(area_px, np.int64),
        np.array(score_sum, np.int64),
        np.array(score_max, np.int64),
        np.array(on_edge, bool),
    )
    return Regions(
        counts,
        np.stack([first >> 32, first & 0xFFFFFFFF], axis=1),
        shapely.from_wkb(np.array(polygon, object)),
    )
