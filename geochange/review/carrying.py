"""Decisions carried over to another run of the same scene, where outlines are much the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid5

import numpy as np
import shapely

from geochange.arrays import Array
from geochange.errors import GridMismatch
from geochange.review.actions import DECIDED, ORIGINS, Request, Wish, is_change
from geochange.review.saved import SavedReview
from geochange.review.store import ReviewStore
from geochange.scenes.grid import Tile
from geochange.scenes.layers import in_pixels

CARRIER = "carried over"
"""Who carried decisions were made by."""

LEAST_IOU = 0.5
EDGE = 1e-3  # px


@dataclass(frozen=True, slots=True)
class Carried:
    """How much was carried over."""

    changes: int
    missed: int
    """Changes that were kept and are not found again: they are drawn."""
    cells: int


def carry_over(old: SavedReview, new: SavedReview) -> Carried:
    """Decide on changes of a new run as on those of an old one with which they share an IoU of at least `LEAST_IOU`.

    Of several such outlines the one with the largest IoU counts. A change that was kept is drawn where nothing is found
    now. A cell that was looked at counts as looked at again where nothing in it is left to decide.

    Args:
        old: a run that was reviewed.
        new: a run of the same scene, which nobody has decided on yet.

    Raises:
        GridMismatch: the runs are of different grids.
    """
    if old.run.scene.grid != new.run.scene.grid:
        raise GridMismatch(f"{old.run.out} and {new.run.out} are not on one grid; decisions cannot be carried over")
    decided = [
        int(key) for key, touched in old.state.touched.items() if is_change(key) and touched.fields["status"] in DECIDED
    ]
    before = old.changes.shapes(old.state, decided)
    after = new.changes.shapes(new.state, new.base.columns.ids.tolist())
    matches = _matches(before, after)
    fresh = shapely.STRtree([shape for number, shape in after.items() if number not in matches])
    matched = shapely.STRtree([after[number] for number in matches])
    found_again = {*matches.values()}
    missed = {
        number: shape
        for number, shape in before.items()
        if number not in found_again
        and _kept(old, number)
        and not fresh.query(shape, predicate="intersects").size
        and _share_covered(shape, matched) < LEAST_IOU
    }
    lost = [shape for number, shape in before.items() if number not in {*found_again, *missed} and _kept(old, number)]
    cells = _decided_cells(old, [*lost, *fresh.geometries])
    requests = [_decision(old, new, matches)] if matches else []
    if missed:
        requests.append(_drawing(old, new, missed))
    if cells:
        requests.append(_looks(new, cells))
    with ReviewStore(new.truth, new.untouched, new.facts(), top=new.changes.top) as store:
        for request in requests:
            store.act(request).result()
    return Carried(len(matches), len(missed), len(cells))


def _matches(before: Mapping[int, Array], after: Mapping[int, Array]) -> dict[int, int]:
    """Return, for ids of the new run, the id of the old one with the largest IoU."""
    olds, news = np.array([*before.values()], object), np.array([*after.values()], object)
    place, other = shapely.STRtree(olds).query(news, predicate="intersects")
    common = shapely.area(shapely.intersection(news[place], olds[other]))
    iou = common / (shapely.area(news[place]) + shapely.area(olds[other]) - common)
    ids, numbers = [*after], [*before]
    order = np.argsort(iou, kind="stable")
    return {ids[place[k]]: numbers[other[k]] for k in order.tolist() if iou[k] >= LEAST_IOU}


def _share_covered(shape: Array, others: shapely.STRtree) -> float:
    """Return how much of an outline others cover."""
    near = others.geometries[others.query(shape, predicate="intersects")]
    return float(shapely.area(shapely.intersection(shape, shapely.union_all(near))) / shapely.area(shape))


def _decided_cells(old: SavedReview, undecided: list[Array]) -> list[int]:
    """Return numbers of cells that were looked at, and in which nothing is undecided."""
    open_places = shapely.STRtree(in_pixels(np.array(undecided, object), old.run.scene.grid))
    return [
        place
        for place, tile in enumerate(old.cells.tiles)
        if old.looked_at(place) and not open_places.query(_inside(tile), predicate="intersects").size
    ]


def _inside(tile: Tile) -> shapely.Geometry:
    """Return the tile without its edges, along which others lie."""
    return shapely.box(tile.col, tile.row, tile.stop_col, tile.stop_row).buffer(-EDGE, join_style="mitre")


def _kept(saved: SavedReview, number: int) -> bool:
    return saved.state.touched[str(number)].fields["status"] == "kept"


def _decision(old: SavedReview, new: SavedReview, matches: Mapping[int, int]) -> Request:
    wishes = []
    for number, other in matches.items():
        fields = old.state.touched[str(other)].fields
        after = {name: fields[name] for name in ("status", "label", "comment")}
        wishes.append(Wish(str(number), _rev(new, str(number)), after))
    return Request(_op(new, "decide"), CARRIER, "decide", tuple(wishes))


def _drawing(old: SavedReview, new: SavedReview, missed: Mapping[int, Array]) -> Request:
    wishes = []
    for number, shape in missed.items():
        fields = old.state.touched[str(number)].fields
        told = {name: fields[name] for name in ("status", "label", "comment")}
        wishes.append(Wish("", 0, {**told, "geometry": shapely.to_wkb(shape, hex=True), "origin": ORIGINS["draw"]}))
    return Request(_op(new, "draw"), CARRIER, "draw", tuple(wishes))


def _looks(new: SavedReview, cells: list[int]) -> Request:
    keys = [new.cells.key(cell) for cell in cells]
    return Request(
        _op(new, "look"), CARRIER, "look", tuple(Wish(key, _rev(new, key), {"looked": True}) for key in keys)
    )


def _rev(saved: SavedReview, key: str) -> int:
    now = saved.state.of(key)
    assert now is not None
    return now.rev


def _op(saved: SavedReview, kind: str) -> str:
    """Name the request, so that a second call carries nothing over twice."""
    return str(uuid5(UUID(int=0), f"{CARRIER} {kind} {saved.facts()['layer']}"))
