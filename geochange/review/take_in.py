"""Edits made in a GIS, taken from the view into the actions; what others have changed meanwhile is listed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import numpy as np
import shapely
from shapely.geometry.polygon import orient

from geochange.errors import GeochangeError
from geochange.polygons.features import UNREVIEWED
from geochange.review.actions import (
    DECIDED,
    LONGEST_COMMENT,
    ORIGINS,
    TEXTS,
    BadShape,
    Fields,
    Request,
    Wish,
    change_key,
)
from geochange.review.base import wkb_of
from geochange.review.geometry import require_polygon
from geochange.review.gis_view import GisView, digest_of
from geochange.review.state import ReviewState
from geochange.review.store import ReviewStore
from geochange.scenes.layers import in_pixels

GIS = "qgis"
"""Who edits in a GIS are made by."""

_ROWS = "SELECT fid, id, rev, digest, geom, label, status, comment FROM changes ORDER BY id, fid"


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What was taken in."""

    count: int
    """Changes that are other, new or gone."""
    conflicts: tuple[str, ...] = ()
    """A line for each edit that was left: both versions, or why it cannot be."""


@dataclass
class _Edits:
    """Edits that were found in the view."""

    wishes: list[Wish] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """The `fid` of new rows: they are made anew, with an id."""
    shown: list[str] = field(default_factory=list)
    """Keys of changes whose rows are brought up to date, though a GIS has edited them."""
    conflicts: list[str] = field(default_factory=list)


def take_in(view: GisView, store: ReviewStore, classes: Sequence[str]) -> TakenIn:
    """Record, as one action, what a GIS has edited in the view, and bring the view up to date.

    Args:
        view: the file that the GIS has written.
        store: of the same review.
        classes: that a change may have.

    Raises:
        Busy: a GIS is reading or writing it at the moment.
        DiskFull: the action cannot be written.
    """
    with view.lock, view.reading() as database:
        database.execute("BEGIN IMMEDIATE")
        edits = _edits(view, database, store.state, classes)
        if edits.wishes:
            store.act(Request(str(uuid4()), GIS, "qgis", tuple(edits.wishes))).result()
        database.executemany("DELETE FROM changes WHERE fid = ?", [(row,) for row in edits.rows])
        database.execute("DELETE FROM review_left")
        view.bring_up(database, store.state, edits.shown)
        database.execute("COMMIT")
    return TakenIn(len(edits.wishes), tuple(edits.conflicts))


def _edits(view: GisView, database: sqlite3.Connection, state: ReviewState, classes: Sequence[str]) -> _Edits:
    found, seen = _Edits(), set[int]()
    (applied,) = database.execute("SELECT applied FROM review_state").fetchone()
    decided_since = {str(key) for (key,) in database.execute("SELECT change FROM review_left").fetchall()}
    decided_since |= {item.key for seq in range(applied + 1, state.seq + 1) for item in state.actions[seq].items}
    taken = {
        str(each.fields["geometry"])
        for each in list(state.touched.values())
        if each.fields.get("origin") == ORIGINS["qgis"] and each.fields["status"] != "deleted"
    }
    for fid, number, rev, digest, blob, *texts in database.execute(_ROWS).fetchall():
        told = dict(zip(("label", "status", "comment"), texts, strict=True))
        now = None if number is None or number in seen else state.of(change_key(number))
        if now is None:
            _add(found, view, fid, blob, told, classes, taken)
            continue
        seen.add(number)
        if digest == digest_of(blob, *texts):
            continue
        key = change_key(number)
        shown = _shown(view, state, number)
        try:
            wanted = {**_texts(told, now.fields, classes), "geometry": _geometry(view, blob, shown["geometry"])}
        except GeochangeError as error:
            found.conflicts.append(f"change {number} is left: {error}")
            continue
        after = {name: value for name, value in wanted.items() if value != shown[name]}
        if after and (rev != now.rev or now.fields["status"] == "deleted"):
            here = "deleted" if now.fields["status"] == "deleted" else _said({name: shown[name] for name in after})
            found.conflicts.append(f"change {number}: {_said(after)} in the GIS, {here} here")
            continue
        if after:
            found.wishes.append(Wish(key, now.rev, after))
        found.shown.append(key)
    for number in _there(view, state):
        if number in seen:
            continue
        key = change_key(number)
        now = state.of(key)
        assert now is not None
        if key in decided_since:
            found.conflicts.append(f"change {number}: removed in the GIS, {now.fields['status']} here; it is back")
            found.shown.append(key)
        else:
            found.wishes.append(Wish(key, now.rev, {"status": "deleted"}))
    return found


def _add(  # noqa: PLR0917, all are of one row
    found: _Edits,
    view: GisView,
    fid: int,
    blob: bytes | None,
    told: dict[str, Any],
    classes: Sequence[str],
    taken: set[str],
) -> None:
    """Add a row that no change has: what was drawn, split off or pasted in the GIS."""
    try:
        new: Fields = {"status": "kept", "label": classes[0], "comment": ""}
        after = {**_texts(told, new, classes), "geometry": _geometry(view, blob), "origin": ORIGINS["qgis"]}
    except GeochangeError as error:
        found.conflicts.append(f"a new row ({fid}) is left: {error}")
        return
    found.rows.append(fid)
    if after["geometry"] not in taken:  # else it was taken in before, and the program ended before the view had it
        found.wishes.append(Wish("", 0, after))


def _texts(told: dict[str, Any], otherwise: Fields, classes: Sequence[str]) -> dict[str, str]:
    """Check status, label and comment of a row; what is empty stays as it is.

    Raises:
        BadShape: one of them cannot be.
    """
    texts = {name: str(told[name] if told[name] is not None else otherwise[name]) for name in TEXTS}
    if texts["status"] not in (UNREVIEWED, *DECIDED):
        raise BadShape(f"status {texts['status'][:50]!r} is not one of {', '.join((UNREVIEWED, *DECIDED))}")
    if texts["label"] not in classes:
        raise BadShape(f"label {texts['label'][:50]!r} is not one of {', '.join(classes)}")
    if len(texts["comment"]) > LONGEST_COMMENT:
        raise BadShape(f"its comment is longer than {LONGEST_COMMENT} characters")
    return texts


def _geometry(view: GisView, blob: bytes | None, shown: str | None = None) -> str:
    """Check the outline of a row, in map units, unless it is that which is shown; return it as actions have it.

    Raises:
        BadShape: it cannot be that of a change.
    """
    if blob is None:
        raise BadShape("it has no outline")
    shape = shapely.force_2d(shapely.from_wkb(wkb_of(blob)))
    outline = str(shapely.to_wkb(shape, hex=True))
    if outline == shown:
        return outline
    parts = shapely.get_parts(shape)
    if any(part.geom_type != "Polygon" for part in parts) or not len(parts):
        raise BadShape("its outline is not a polygon")
    for part in in_pixels(np.array(parts, object), view.changes.grid):
        require_polygon(part, view.changes.grid.shape)
    oriented = [orient(part) for part in parts]
    whole = oriented[0] if shape.geom_type == "Polygon" else shapely.MultiPolygon(oriented)
    return str(shapely.to_wkb(whole, hex=True))


def _shown(view: GisView, state: ReviewState, number: int) -> dict[str, Any]:
    """Return the fields of a change as they are now, its outline among them."""
    fields = state.of(change_key(number))
    assert fields is not None
    shape = view.changes.shapes(state, [number]).get(number)
    outline = None if shape is None else str(shapely.to_wkb(shapely.force_2d(shape), hex=True))
    return {**{name: fields.fields[name] for name in TEXTS}, "geometry": outline}


def _there(view: GisView, state: ReviewState) -> Iterator[int]:
    """Yield ids of all changes that are not deleted."""
    for number in view.changes.columns(state).ids.tolist():
        now = state.of(change_key(number))
        if now is not None and now.fields["status"] != "deleted":
            yield number


def _said(fields: Fields) -> str:
    told = [name if name == "geometry" else f"{name} {value!r}" for name, value in fields.items()]
    return ", ".join(told).replace("geometry", "another outline")
