"""Regions on disk, sorted by their first pixel: what comes in any order is read back in chunks, band of rows by band.

Regions that one block holds whole lie in a file of the worker that traced it. Those that were joined over seams, or
changed afterwards, come through the driver into a scratch SQLite file, whose rows are filed under the first pixel. So
the driver's work and memory do not grow with the number of regions, and each band can be read by a worker of its own.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import shapely

from geochange.arrays import Array
from geochange.errors import DiskFull
from geochange.files import can_grow, write_whole
from geochange.names import sqlite_name
from geochange.polygons.regions import Counts, Regions
from geochange.scenes.grid import Tile

CACHE_KIB = 32 * 1024
CHUNK = 4096  # regions that are read at once
LAST = 2**63 - 1
JOINED = "joined.sqlite"

SCHEMA = pa.schema(
    {
        "place": pa.int64(),  # (row, col) of the first pixel in one number, so that its order is theirs
        "class": pa.uint8(),
        "area_px": pa.int64(),
        "score_sum": pa.int64(),
        "score_max": pa.int64(),
        "on_edge": pa.bool_(),
        "rim": pa.int64(),
        "rim_sum": pa.int64(),
        "polygon": pa.large_binary(),
    }
)

_CREATE = """
CREATE TABLE regions (
    place INTEGER PRIMARY KEY,
    class INTEGER, area_px INTEGER, score_sum INTEGER, score_max INTEGER, on_edge INTEGER,
    rim INTEGER, rim_sum INTEGER,
    polygon BLOB
)
"""


@dataclass(frozen=True, slots=True)
class Band:
    """The regions that begin in some rows of the scene; any process that sees the folder can read them."""

    folder: Path
    places: tuple[int, int]
    """First place, and the one behind the last."""
    parts: tuple[str, ...]
    """Files of blocks, sorted each."""
    count: int
    """How many regions there are."""

    def chunks(self, size: int = CHUNK) -> Iterator[Regions]:
        """Yield the regions by (first row, first column), at most `size` at a time.

        Raises:
            ValueError: two regions begin at one pixel.
        """
        with closing(sqlite3.connect(sqlite_name((self.folder / JOINED).absolute(), "mode=ro"), uri=True)) as reader:
            rows = reader.execute("SELECT * FROM regions WHERE place >= ? AND place < ? ORDER BY place", self.places)
            if self.parts:
                joined = _table(rows.fetchall())
                yield from _merged([*(_read(self.folder / name) for name in self.parts), joined], size)
            else:
                while found := rows.fetchmany(size):
                    yield _regions(_table(found))


class RegionStore:
    """A scratch folder of regions; a context manager that removes it at the end.

    One thread adds; when it is done, any number of threads and processes may read.
    """

    def __init__(self, folder: Path, rows: Sequence[int] = (0,)) -> None:
        """Create an empty folder of its own in an existing one.

        Args:
            folder: on a disk that all workers see, where they are to leave parts.
            rows: at which bands begin, ascending from 0.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="regions-", dir=folder))
        self._starts = [row << 32 for row in rows]
        self._parts: defaultdict[int, list[str]] = defaultdict(list)
        self._in_parts: defaultdict[int, int] = defaultdict(int)
        self._database = sqlite3.connect(self.folder / JOINED)
        self._length = self._area_px = 0
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
        if not len(regions):
            return
        try:
            with self._reporting_full_disks(), self._database:
                self._database.executemany(
                    "INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _rows(regions.sort())
                )
        except sqlite3.IntegrityError as error:
            raise ValueError("two regions begin at one pixel: a block was added twice, or blocks overlap") from error
        self._length += len(regions)
        self._area_px += int(regions.counts.area_px.sum())

    def add_part(self, block: Tile, count: int, area_px: int) -> None:
        """Take note of what `save_part` wrote of a block."""
        if count:
            band = bisect_right(self._starts, block.row << 32) - 1
            self._parts[band].append(part_name(block))
            self._in_parts[band] += count
            self._length += count
            self._area_px += area_px

    @contextmanager
    def _reporting_full_disks(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            known = error.sqlite_errorcode == sqlite3.SQLITE_FULL  # only of a disk, not of a quota or a limit
            if not known and can_grow(self.folder / JOINED):
                raise
            raise DiskFull(
                f"the disk is full: {self.folder.parent} has no room for regions; free some, then run again"
            ) from error

    def area_px(self) -> int:
        """Pixels of all regions together."""
        return self._area_px

    def bands(self) -> list[Band]:
        """Return the bands that hold regions, in order; none can be added any more."""
        count = "SELECT COUNT(*) FROM regions WHERE place >= ? AND place < ?"
        self._database.close()
        bands = []
        with closing(sqlite3.connect(self.folder / JOINED)) as reader:
            for number, places in enumerate(zip(self._starts, [*self._starts[1:], LAST], strict=True)):
                found = self._in_parts[number] + reader.execute(count, places).fetchone()[0]
                if found:
                    bands.append(Band(self.folder, places, tuple(self._parts[number]), found))
        return bands

    def chunks(self, size: int = CHUNK) -> Iterator[Regions]:
        """Yield all regions by (first row, first column), at most `size` at a time; nothing where there are none."""
        for band in self.bands():
            yield from band.chunks(size)

    def close(self) -> None:
        """Remove the folder."""
        self._database.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def part_name(block: Tile) -> str:
    """Return the name of the file of a block's regions."""
    return f"{block.row}_{block.col}.arrow"


def save_part(folder: Path, block: Tile, regions: Regions) -> None:
    """Leave a block's regions in the folder of a store, in place of what another attempt left.

    Raises:
        DiskFull: the disk has no room for them.
    """
    if not len(regions):
        return
    sink = pa.BufferOutputStream()
    columns = _columns(regions.sort())
    table = pa.record_batch([pa.array(each, field.type) for each, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(table)
    write_whole(folder / part_name(block), memoryview(sink.getvalue()))


def _read(path: Path) -> pa.RecordBatch:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).get_batch(0)


def _merged(tables: list[pa.RecordBatch], size: int) -> Iterator[Regions]:
    """Yield the rows of sorted tables in the order of their places."""
    places = np.concatenate([table.column("place").to_numpy() for table in tables])
    table_of = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    row_of = np.concatenate([np.arange(len(table)) for table in tables])
    order = np.argsort(places, kind="stable")
    if (np.diff(places[order]) == 0).any():
        raise ValueError("two regions begin at one pixel: a block was added twice, or blocks overlap")
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        by_table = chosen[np.argsort(table_of[chosen], kind="stable")]
        numbers, firsts = np.unique(table_of[by_table], return_index=True)
        taken = [
            tables[number].take(pa.array(rows))
            for number, rows in zip(numbers, np.split(row_of[by_table], firsts[1:]), strict=True)
        ]
        together = pa.Table.from_batches(taken).combine_chunks().to_batches()[0]
        yield _regions(together).sort()


def _columns(regions: Regions) -> Sequence[Array]:
    counts = regions.counts
    return (
        (regions.first[:, 0] << 32) + regions.first[:, 1],
        counts.classes,
        counts.area_px,
        counts.score_sum,
        counts.score_max,
        counts.on_edge,
        counts.rim,
        counts.rim_sum,
        shapely.to_wkb(regions.polygons),
    )


def _rows(regions: Regions) -> Iterator[tuple[int | bytes, ...]]:
    """Yield a database row for each region."""
    return zip(*(column.tolist() for column in _columns(regions)), strict=True)


def _table(rows: list[tuple[int | bytes, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    arrays = [pa.array(each, field.type) for each, field in zip(columns, _STORED, strict=True)]
    return pa.record_batch([each.cast(field.type) for each, field in zip(arrays, SCHEMA, strict=True)], SCHEMA)


_STORED = [field.with_type(pa.int64()) if field.name == "on_edge" else field for field in SCHEMA]


def _regions(table: pa.RecordBatch) -> Regions:
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in SCHEMA.names}
    counts = Counts(*(columns[name] for name in SCHEMA.names[1:-1]))
    place = columns["place"]
    first = np.stack([place >> 32, place & 0xFFFFFFFF], axis=1)
    return Regions(counts, first, shapely.from_wkb(columns["polygon"]))
