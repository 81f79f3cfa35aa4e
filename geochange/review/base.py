"""The changes as the review began: a GeoPackage that is never written again, read by SQL alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from geochange.arrays import Array, Floats, Ints
from geochange.names import sqlite_name
from geochange.parsing import parsing
from geochange.polygons.features import MEASURES

GPKG_HEADER = 8  # bytes of a geometry before its envelope
ENVELOPE_BYTES = (0, 32, 48, 48, 64)

MOST = 1 << 32  # no id lies beyond

ATTRIBUTES = (
    "label",
    "score_mean",
    "score_max",
    *MEASURES,
    "area_px",
    "on_edge",
    "contrast",
    "confidence",
)


@dataclass(frozen=True, slots=True)
class Columns:
    """All changes, by ascending id."""

    ids: Ints
    """(n,) int64."""
    labels: Ints
    """(n,) uint8 number of the class, from 0."""
    scores: Floats
    """(n,) float32 mean score."""
    areas: Floats
    """(n,) float32 pixels."""
    boxes: Floats
    """(n, 4) float32 left, top, right, bottom in pixels of the scene."""
    confidences: Floats
    """(n,) float32, NaN where it is not known."""


@dataclass(frozen=True)
class Base:
    """A layer of changes that does not change."""

    path: Path
    transform: Affine
    """Of the scene's grid: pixels to map units."""
    classes: tuple[str, ...]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open for reading, so that nothing is left beside the file, and no lock is taken."""
        name = sqlite_name(self.path.resolve(), "mode=ro&immutable=1")
        with parsing(str(self.path), "a layer of changes"), closing(sqlite3.connect(name, uri=True)) as database:
            yield database

    @cached_property
    def columns(self) -> Columns:
        """What the page knows of every change."""
        number = " ".join(["CASE label", *(f"WHEN ? THEN {place}" for place in range(len(self.classes))), "ELSE 0 END"])
        with self._opened() as database:
            (confidence,) = _columns(database, ["confidence"])
            query = f"""
                SELECT changes.id, {number}, score_mean, area_px, minx, maxx, miny, maxy, {confidence}
                FROM changes JOIN rtree_changes_geom AS box ON box.id = changes.fid ORDER BY changes.id
            """
            rows = database.execute(query, self.classes).fetchall()
        with parsing(str(self.path), "a layer of changes"):
            table = np.array(rows, float).reshape(-1, 9)
            ids = table[:, 0]
            if not ((ids > 0) & (ids < MOST)).all() or (np.diff(ids) == 0).any():
                raise ValueError("its ids are not whole numbers from 1 on, each once")
        return Columns(
            table[:, 0].astype(np.int64),
            table[:, 1].astype(np.uint8),
            table[:, 2].astype(np.float32),
            table[:, 3].astype(np.float32),
            pixel_boxes(table[:, 4:8], self.transform).astype(np.float32),
            table[:, 8].astype(np.float32),
        )

    @cached_property
    def places(self) -> Mapping[int, int]:
        """Id -> place in `columns`."""
        return {number: place for place, number in enumerate(self.columns.ids.tolist())}

    def shapes(self, ids: list[int]) -> dict[int, Array]:
        """Polygons, in pixels of the scene, of some changes."""
        found: dict[int, Array] = {}
        with self._opened() as database:
            for start in range(0, len(ids), 500):
                part = ids[start : start + 500]
                marks = ",".join("?" * len(part))
                query = f"SELECT id, geom FROM changes WHERE id IN ({marks})"
                found |= {number: wkb_of(blob) for number, blob in database.execute(query, part)}
        return found

    def row(self, number: int) -> tuple[bytes, dict[str, Any]]:
        """Return stored geometry and all attributes of one change."""
        with self._opened() as database:
            found = database.execute("SELECT * FROM changes WHERE id = ?", (number,))
            values = dict(zip([each[0] for each in found.description], found.fetchone(), strict=True))
        values.pop("fid")
        return values.pop("geom"), values

    @cached_property
    def geometry_type(self) -> str:
        """As GDAL names it: Polygon or MultiPolygon."""
        query = "SELECT geometry_type_name FROM gpkg_geometry_columns WHERE table_name = 'changes'"
        with self._opened() as database:
            (name,) = database.execute(query).fetchone()
        return {"POLYGON": "Polygon", "MULTIPOLYGON": "MultiPolygon"}[str(name)]

    def attributes(self, number: int) -> dict[str, Any]:
        """Attributes of one change, by name."""
        with self._opened() as database:
            columns = ", ".join(_columns(database, ATTRIBUTES))
            row = database.execute(f"SELECT {columns} FROM changes WHERE id = ?", (number,)).fetchone()
        return dict(zip(ATTRIBUTES, row, strict=True))

    def rows(self, names: list[str], chunk: int = 5000) -> Iterator[list[tuple[int, bytes, dict[str, Any]]]]:
        """Yield id, stored geometry and named attributes of all changes, by ascending id, in chunks."""
        with self._opened() as database:
            columns = ", ".join(_columns(database, names))
            found = database.execute(f"SELECT id, geom, {columns} FROM changes ORDER BY id")
            while rows := found.fetchmany(chunk):
                yield [(row[0], row[1], dict(zip(names, row[2:], strict=True))) for row in rows]


def _columns(database: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    """Return columns of the layer for a query; one that an earlier version did not write yet is null."""
    there = {name for _, name, *_ in database.execute("PRAGMA table_info(changes)")}
    return [name if name in there else f"NULL AS {name}" for name in names]


def wkb_of(blob: bytes) -> bytes:
    """Return the WKB of a geometry as a GeoPackage stores it."""
    return blob[GPKG_HEADER + ENVELOPE_BYTES[(blob[3] >> 1) & 7] :]


def pixel_boxes(bounds: Floats, transform: Affine) -> Floats:
    """(n, 4) left, top, right, bottom in pixels of (n, 4) minx, maxx, miny, maxy in map units."""
    inverse = ~transform
    x, y = bounds[:, [0, 1, 0, 1]], bounds[:, [2, 2, 3, 3]]
    cols, rows = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    return np.stack([cols.min(axis=1), rows.min(axis=1), cols.max(axis=1), rows.max(axis=1)], axis=1)
