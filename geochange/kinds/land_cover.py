"""What changed into what between two layers of land cover: overlay, and what is too small or too thin to be true. Pure.

Polygons are in metres of a plane, on a lattice of a millimetre: where two layers share a border, so do their pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from shapely import STRtree

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.polygons.seams import link_components

LATTICE = 0.001  # metres
OVERLAID_AT_ONCE = 2048  # polygons that are overlaid at once
MITRE_LIMIT = 5.0
THIN_SHARE = 0.6  # of its outline that a thin piece shares with changes, to become a part of one: on both its sides


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """Polygons of one date, which do not overlap."""

    polygons: Array
    """(n,) in metres."""
    classes: Array
    """(n,) text."""

    def where(self, chosen: Bools | Ints | slice) -> Cover:
        """Choose polygons, in their order."""
        return Cover(self.polygons[chosen], self.classes[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class CoverPieces:
    """Places of one class before and one after."""

    polygons: Array
    """(n,) polygons in metres."""
    before: Array
    """(n,) text."""
    after: Array
    """(n,) text."""

    def __len__(self) -> int:
        return len(self.polygons)

    def where(self, chosen: Bools | Ints) -> CoverPieces:
        """Choose pieces, in their order."""
        return CoverPieces(self.polygons[chosen], self.before[chosen], self.after[chosen])

    def area(self) -> float:
        """Return the square metres of all pieces together."""
        return float(shapely.area(self.polygons).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Transitions:
    """Changes, and square metres of what did not change or is not known."""

    changes: CoverPieces
    unchanged: float
    only_before: float
    """Covered by the first layer alone."""
    only_after: float
    dropped: float = 0.0
    """Of pieces that were too small or too thin."""
    absorbed: float = 0.0
    """Of such pieces that became parts of other changes."""


def snap_to_lattice(polygons: Array) -> Array:
    """(n,) valid geometries on the lattice, in metres."""
    valid = shapely.is_valid(polygons)
    if not valid.all():
        polygons = np.where(valid, polygons, shapely.make_valid(polygons))
    on_lattice = shapely.set_precision(polygons, LATTICE)
    # Plain floats again: an overlay of polygons with a precision of their own takes four times as long.
    plain: Array = shapely.set_precision(on_lattice, 0)
    return plain


def find_transitions(
    before: Cover, after: Cover, *, min_area: float = 0.0, tolerance: float = 0.0, missing: str | None = None
) -> Transitions:
    """Overlay two layers; touching pieces of one change are one.

    Laws: changes, unchanged and dropped area add up to what both layers cover (with `missing`, to what either does);
    with the layers swapped, before and after of every piece are.

    Args:
        before: the first date, as `snap_to_lattice` returns it.
        after: the second.
        min_area: square metres: a smaller piece becomes a part of the change that it shares the longest border with,
            or is left out.
        tolerance: metres: what is narrower is taken for a shift in digitising. It is left out, but for what lies
            between changes, which becomes a part of the one that it shares the longest border with.
        missing: class of a place that just one layer covers; None: such places are left out.
    """
    pieces = overlay(before, after)
    shared = pieces.area()
    only = [float(shapely.area(side.polygons).sum()) - shared for side in (before, after)]
    if missing is not None:
        pieces = _joined([pieces, *_uncovered(before, after, missing)])
    same = pieces.before == pieces.after
    found = Transitions(dissolve(pieces.where(~same)), pieces.where(same).area(), max(only[0], 0), max(only[1], 0))
    return without_slivers(found, min_area, tolerance) if min_area or tolerance else found


def overlay(before: Cover, after: Cover) -> CoverPieces:
    """Intersect the polygons of two layers, pair by pair, as single polygons; on the lattice where classes differ."""
    index = STRtree(after.polygons)
    parts = []
    for start in range(0, len(before.polygons), OVERLAID_AT_ONCE):
        chunk = before.where(slice(start, start + OVERLAID_AT_ONCE))
        first, second = index.query(chunk.polygons, predicate="intersects")
        shared = shapely.intersection(chunk.polygons[first], after.polygons[second])
        differs = chunk.classes[first] != after.classes[second]
        shared[differs] = shapely.set_precision(shared[differs], LATTICE)
        parts.append(_single(CoverPieces(shared, chunk.classes[first], after.classes[second])))
    return _joined(parts)


def _uncovered(before: Cover, after: Cover, missing: str) -> tuple[CoverPieces, CoverPieces]:
    """Find what the other layer does not cover, of each."""
    gone, new = _beyond(before, after), _beyond(after, before)
    return (
        _single(CoverPieces(gone.polygons, gone.classes, np.full(len(gone.polygons), missing, object))),
        _single(CoverPieces(new.polygons, np.full(len(new.polygons), missing, object), new.classes)),
    )


def _beyond(one: Cover, other: Cover) -> Cover:
    """Find what lies in no polygon of the other layer."""
    index, rest = STRtree(other.polygons), one.polygons.copy()
    for place in np.flatnonzero(~shapely.is_empty(rest)):
        near = index.query(rest[place], predicate="intersects")
        if near.size:
            covered = shapely.union_all(other.polygons[near], grid_size=LATTICE)
            rest[place] = shapely.difference(rest[place], covered, grid_size=LATTICE)
    return Cover(rest, one.classes)


def _single(pieces: CoverPieces) -> CoverPieces:
    """Separate geometries into polygons; lines and points, where polygons only touch, go."""
    parts, owner = shapely.get_parts(pieces.polygons, return_index=True)
    inner, place = shapely.get_parts(parts, return_index=True)  # multipolygons in collections
    areal = (shapely.get_type_id(inner) == shapely.GeometryType.POLYGON) & (shapely.area(inner) > 0)
    return replace(pieces.where(owner[place[areal]]), polygons=inner[areal])


def _joined(parts: Sequence[CoverPieces]) -> CoverPieces:
    if not parts:
        return CoverPieces(*(np.zeros(0, object) for _ in range(3)))
    return CoverPieces(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("polygons", "before", "after"))
    )


def dissolve(pieces: CoverPieces) -> CoverPieces:
    """CoverPieces of one change that touch, as one, by class and place."""
    parts = []
    for kind in np.unique(_kinds(pieces)):
        own = pieces.where(_kinds(pieces) == kind)
        touching = STRtree(own.polygons).query(own.polygons, predicate="intersects")
        group = link_components(touching, len(own))
        order = np.argsort(group, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        merged = np.array([shapely.union_all(own.polygons[members], grid_size=LATTICE) for members in groups], object)
        parts.append(_single(replace(own.where(np.array([members[0] for members in groups])), polygons=merged)))
    return _sorted(_joined(parts))


def _kinds(pieces: CoverPieces) -> Array:
    """(n,) the change as one text."""
    return np.array([f"{one}\0{other}" for one, other in zip(pieces.before, pieces.after, strict=True)], object)


def _sorted(pieces: CoverPieces) -> CoverPieces:
    """By class before, class after, and place: from the top, then from the left."""
    bounds = shapely.bounds(pieces.polygons).reshape(-1, 4)
    before, after = pieces.before.astype(str), pieces.after.astype(str)
    return pieces.where(np.lexsort((shapely.area(pieces.polygons), bounds[:, 0], -bounds[:, 3], after, before)))


def without_slivers(found: Transitions, min_area: float, tolerance: float) -> Transitions:
    """Merge changes that are too thin or too small with a neighbour, or drop them."""
    wide, thin = opened(found.changes, tolerance)
    large = shapely.area(wide.polygons) >= min_area
    kept, slivers = wide.where(large), _joined([wide.where(~large), thin])
    least = np.concatenate([np.zeros((~large).sum()), np.full(len(thin), THIN_SHARE)])
    taken_by = longest_neighbours(slivers, kept, least)
    absorbed = taken_by >= 0
    changes = _absorb(kept, slivers.where(absorbed), taken_by[absorbed])
    return replace(
        found,
        changes=dissolve(changes),
        dropped=slivers.where(~absorbed).area(),
        absorbed=slivers.where(absorbed).area(),
    )


def opened(pieces: CoverPieces, width: float) -> tuple[CoverPieces, CoverPieces]:
    """Part what a square of this width fits into from what is narrower (an opening, with corners kept)."""
    if not width:
        return pieces, pieces.where(np.zeros(len(pieces), bool))
    how = {"join_style": "mitre", "mitre_limit": MITRE_LIMIT}
    core = shapely.buffer(shapely.buffer(pieces.polygons, -width / 2, **how), width / 2, **how)
    wide = shapely.intersection(pieces.polygons, core, grid_size=LATTICE)
    thin = shapely.difference(pieces.polygons, core, grid_size=LATTICE)
    return _single(replace(pieces, polygons=wide)), _single(replace(pieces, polygons=thin))


def longest_neighbours(slivers: CoverPieces, kept: CoverPieces, least: Floats) -> Ints:
    """(n,) the change that each sliver shares the longest border with; -1 where there is none.

    Args:
        slivers: n pieces.
        kept: the changes.
        least: (n,) share of a sliver's outline that changes must have together.
    """
    sliver, change = STRtree(kept.polygons).query(slivers.polygons, predicate="dwithin", distance=2 * LATTICE)
    outlines = shapely.boundary(slivers.polygons), shapely.boundary(kept.polygons)
    shared = shapely.length(shapely.intersection(outlines[0][sliver], outlines[1][change], grid_size=LATTICE))
    along = np.bincount(sliver, shared, len(slivers))
    enough = (shared > 0) & (along >= least * shapely.length(outlines[0]))[sliver]
    sliver, change, shared = sliver[enough], change[enough], shared[enough]
    order = np.lexsort((-change, shared))  # the last one counts: the longest, of equal ones the first change
    found = np.full(len(slivers), -1, np.intp)
    found[sliver[order]] = change[order]
    return found


def _absorb(kept: CoverPieces, slivers: CoverPieces, taken_by: Ints) -> CoverPieces:
    polygons = kept.polygons.copy()
    for place in np.unique(taken_by):
        parts = [polygons[place], *slivers.polygons[taken_by == place]]
        polygons[place] = shapely.union_all(parts, grid_size=LATTICE)
    return _single(replace(kept, polygons=polygons))
