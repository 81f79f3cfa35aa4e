"""The review as a GeoPackage that QGIS can have open meanwhile: a view of the actions, brought up to date in place.

Nothing is in it alone but edits made in a GIS, which are kept: a row whose contents no longer fit its digest was edited
there, and is left as it is.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geochange.errors import OutputInTheWay
from geochange.files import appearing
from geochange.parsing import parsing
from geochange.polygons.features import UNREVIEWED, map_polygons
from geochange.qgis.style import LOOKED_THROUGH, status_style
from geochange.review.actions import Action, Effect, is_cell
from geochange.review.base import wkb_of
from geochange.review.cells import Cells
from geochange.review.changes import Changes
from geochange.review.state import ReviewState
from geochange.system import remove

NAME = "review.gpkg"
BUSY_SECONDS = 0.2  # that a lock of a GIS is waited for
JOURNALS = ("-wal", "-journal")

_COLUMNS = """
ALTER TABLE changes ADD COLUMN rev INTEGER NOT NULL DEFAULT 0;
ALTER TABLE changes ADD COLUMN digest TEXT;
CREATE INDEX changes_id ON changes (id);
CREATE TABLE areas (
    fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POLYGON, name TEXT UNIQUE, looked BOOLEAN, rev INTEGER
);
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, min_x, min_y, max_x, max_y, srs_id)
    SELECT 'areas', 'features', 'areas', 'cells looked at', min_x, min_y, max_x, max_y, srs_id
    FROM gpkg_contents WHERE table_name = 'changes';
INSERT INTO gpkg_geometry_columns SELECT 'areas', 'geom', 'POLYGON', srs_id, 0, 0
    FROM gpkg_geometry_columns WHERE table_name = 'changes';
CREATE TABLE history (seq INTEGER, at TEXT, who TEXT, kind TEXT, change TEXT, field TEXT, before TEXT, after TEXT);
CREATE TABLE review_state (applied INTEGER NOT NULL, layer TEXT NOT NULL);
CREATE TABLE review_left (change TEXT PRIMARY KEY);
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)
    VALUES ('history', 'attributes', 'history', 'what was decided, by whom', 0),
           ('review_state', 'attributes', 'review_state', 'the last action that this file shows', 0);
"""
_DIGESTED = "geom, label, status, comment"


class Busy(OutputInTheWay):
    """The file is being read or written by another program at the moment."""


@dataclass(frozen=True)
class GisView:
    """The file `review.gpkg` of a run."""

    path: Path
    changes: Changes
    layer: str
    """What tells this review, and the contents of its base, from others."""
    cells: Cells

    def catch_up(self, state: ReviewState) -> bool:
        """Bring the file up to date, in one transaction; make it where there is none.

        Returns:
            False where a GIS is reading or writing it at the moment.

        Raises:
            OutputInTheWay: it was removed, while a journal of it was left; or it holds edits of another layer.
        """
        try:
            self.require_up_to_date(state)
        except Busy:
            return False
        return True

    def require_up_to_date(self, state: ReviewState) -> None:
        """Bring the file up to date, as `catch_up` does.

        Raises:
            Busy: another program holds it; nothing was changed.
            OutputInTheWay: as `catch_up` raises it.
        """
        if not self.path.exists():
            self._make()
        with self.reading() as view:
            (stale,) = view.execute("SELECT layer != ? FROM review_state", (self.layer,)).fetchone()
            edited = self._edited(view) if stale else 0
        if edited:
            raise OutputInTheWay(f"{self.path} holds {edited} edits of an earlier layer; move it away")
        if stale:
            remove(self.path)
            self._make()
        with self.lock, self.reading() as view:
            view.execute("BEGIN IMMEDIATE")
            self.bring_up(view, state)
            view.execute("COMMIT")

    def bring_up(self, view: sqlite3.Connection, state: ReviewState, edited: Sequence[str] = ()) -> None:
        """Bring rows up to date that actions have touched since, but for those that a GIS has edited.

        Args:
            view: opened by `reading`, in a transaction.
            state: of the review, which may go on meanwhile.
            edited: keys of changes that are brought up to date though a GIS has edited them.
        """
        (applied,) = view.execute("SELECT applied FROM review_state").fetchone()
        last = state.seq
        news = [state.actions[seq] for seq in range(applied + 1, last + 1)]
        items = [item for action in news for item in action.items]
        outlined = {item.key for item in items if "geometry" in item.after}
        first: dict[str, Effect] = {}
        for item in items:
            first.setdefault(item.key, item)
        for key in edited:
            self._show(view, key, state, outlined=True, edited=True)
        for key, item in first.items():
            if item.before.get("status") != "deleted" and self._removed(view, key):
                view.execute("INSERT OR IGNORE INTO review_left VALUES (?)", (key,))
            else:
                self._show(view, key, state, outlined=key in outlined)
        view.executemany("INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _history(news))
        view.execute("UPDATE review_state SET applied = ?", (last,))
        view.execute("UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Open the file; what is wrong with it is said in a line.

        Raises:
            Busy: another program holds it; nothing was changed.
            UnreadableInput: it is damaged.
        """
        with self._read_safely(), self._opened() as view:
            try:
                yield view
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
                raise Busy(f"{self.path} is in use by another program; save its edits, and try again") from error

    @cached_property
    def lock(self) -> threading.Lock:
        """Held while the file is written here."""
        return threading.Lock()

    def _read_safely(self) -> AbstractContextManager[None]:
        return parsing(str(self.path), "the view of a review; remove it, and it is made again")

    def _edited(self, view: sqlite3.Connection) -> int:
        """Count rows that a GIS has changed."""
        (count,) = view.execute(f"SELECT count(*) FROM changes WHERE digest IS NOT digest_of({_DIGESTED})").fetchone()
        return int(count)

    def _make(self) -> None:
        if left := [each for each in JOURNALS if self.path.with_name(self.path.name + each).exists()]:
            raise OutputInTheWay(f"{self.path}{left[0]} lies there without its file; close the GIS that has it open")
        with appearing(self.path) as temporary:
            shutil.copyfile(self.changes.base.path, temporary)
            temporary.chmod(0o644)
            with closing(sqlite3.connect(temporary)) as view:
                _add_functions(view)
                view.executescript(_COLUMNS)
                view.execute("UPDATE changes SET digest = digest_of(geom, label, ?, '')", (UNREVIEWED,))
                view.execute("INSERT INTO review_state VALUES (0, ?)", (self.layer,))
                style = status_style(LOOKED_THROUGH)
                view.execute("UPDATE layer_styles SET styleQML = ? WHERE f_table_name = 'changes'", (style,))
                view.executemany("INSERT INTO areas (geom, name, looked, rev) VALUES (?, ?, 0, 0)", self._areas(view))
                view.commit()

    def _areas(self, view: sqlite3.Connection) -> Iterator[tuple[bytes, str]]:
        """Yield geometry and name of each cell."""
        (number,) = view.execute("SELECT srs_id FROM gpkg_contents WHERE table_name = 'changes'").fetchone()
        tiles = self.cells.tiles
        boxes = [shapely.box(each.col, each.row, each.stop_col, each.stop_row) for each in tiles]
        for place, outline in enumerate(map_polygons(np.array(boxes), self.changes.grid)):
            yield geopackage_blob(outline, int(number)), self.cells.key(place)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_SECONDS)) as view:
            _add_functions(view)
            yield view

    def _removed(self, view: sqlite3.Connection, key: str) -> bool:
        """Whether a GIS has removed the row of a change that was in the view."""
        return not is_cell(key) and view.execute("SELECT 1 FROM changes WHERE id = ?", (key,)).fetchone() is None

    def _show(
        self, view: sqlite3.Connection, key: str, state: ReviewState, *, outlined: bool, edited: bool = False
    ) -> None:
        """Bring one row up to date, unless it was edited in a GIS."""
        now = state.of(key)
        assert now is not None
        if is_cell(key):
            view.execute("UPDATE areas SET looked = ?, rev = ? WHERE name = ?", (now.fields["looked"], now.rev, key))
            return
        row = view.execute(f"SELECT fid, digest, {_DIGESTED} FROM changes WHERE id = ? ORDER BY fid", (key,)).fetchone()
        if row is not None and not edited and row[1] != digest_of(*row[2:]):
            return
        if now.fields["status"] == "deleted":
            view.execute("DELETE FROM changes WHERE fid = ?", (row and row[0],))
            return
        fields = {name: str(now.fields[name]) for name in ("label", "status", "comment")}
        values: dict[str, Any] = {**fields, "rev": now.rev}
        shape = self.changes.edited(state).get(int(key))
        if outlined or row is None:
            values = self._outlined(view, int(key), shape) | values
        values["digest"] = digest_of(values.get("geom", row and row[2]), *fields.values())
        if row is None:
            names = ", ".join(values)
            view.execute(f"INSERT INTO changes ({names}) VALUES ({', '.join('?' * len(values))})", (*values.values(),))
            return
        assigned = ", ".join(f"{name} = ?" for name in values)
        view.execute(f"UPDATE changes SET {assigned} WHERE fid = ?", (*values.values(), row[0]))

    def _outlined(self, view: sqlite3.Connection, number: int, shape: shapely.Geometry | None) -> dict[str, Any]:
        """Return the columns of a change that depend on its outline: a drawn one, or None as it was found."""
        if shape is None:
            blob, values = self.changes.base.row(number)
            return {**values, "id": number, "geom": blob}
        (kind, srs) = view.execute(
            "SELECT geometry_type_name, srs_id FROM gpkg_geometry_columns WHERE table_name = 'changes'"
        ).fetchone()
        if kind == "MULTIPOLYGON" and shape.geom_type == "Polygon":
            shape = shapely.MultiPolygon([shape])
        return {**self.changes.measured([shape])[0], "id": number, "geom": geopackage_blob(shape, int(srs))}


def geopackage_blob(shape: shapely.Geometry, srs: int) -> bytes:
    """Return a geometry as a GeoPackage stores it."""
    return b"GP\0\1" + srs.to_bytes(4, "little", signed=True) + bytes(shapely.to_wkb(shape))


def digest_of(geometry: bytes | None, label: str | None, status: str | None, comment: str | None) -> str:
    """Return a hash of what a reviewer or a GIS may change of a row."""
    told = [geometry or b"", *((each or "").encode() for each in (label, status, comment))]
    return blake2b(b"\0".join(told), digest_size=16).hexdigest()


def _history(actions: list[Action]) -> Iterator[tuple[int | str, ...]]:
    for action in actions:
        for item in action.items:
            for name, after in item.after.items():
                before, now = (_shown(name, value) for value in (item.before[name], after))
                yield action.seq, action.at, action.who, action.kind, item.key, name, before, now


def _shown(name: str, value: str | bool | None) -> str:
    """Return a value as the history has it: of outlines only that there is one."""
    return ("as found" if value is None else "drawn") if name == "geometry" else str(value)


def _add_functions(view: sqlite3.Connection) -> None:
    """Give SQLite what the triggers of a spatial index call."""
    view.create_function("digest_of", 4, digest_of, deterministic=True)
    view.create_function("ST_IsEmpty", 1, lambda blob: shapely.from_wkb(wkb_of(blob)).is_empty, deterministic=True)
    for place, name in enumerate(("ST_MinX", "ST_MinY", "ST_MaxX", "ST_MaxY")):
        view.create_function(name, 1, _bound(place), deterministic=True)


def _bound(place: int) -> Callable[[bytes], float]:
    return lambda blob: float(shapely.from_wkb(wkb_of(blob)).bounds[place])
