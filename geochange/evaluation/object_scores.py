"""Scores of predicted polygons against reference polygons, matched one to one. Pure.

A figure whose denominator is 0 is undefined and given as None: precision where nothing was predicted, recall where
the reference is empty, the mean IoU where nothing matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from scipy.sparse import csr_array, hstack
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.errors import BadOption, UnreadableInput
from geochange.evaluation.bootstrap import (
    Bootstrap,
    Figures,
    bound_figures,
    hit_rates,
    quotient,
    resample_sums,
    sum_by_cell,
)

_ROUNDING = 1e-9  # an overlay of polygons is not exact: an IoU this little below the threshold reaches it
_AREAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of objects, one to one: indices into both sets and the IoU of each pair, in order of `predicted`."""

    predicted: Ints
    reference: Ints
    iou: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOptions:
    """How objects are matched and resampled."""

    threshold: float = 0.5  # the least intersection over union that makes a match
    cell: float | None = None  # side of a resampled cell, CRS units; None for a 16th of the extent of all objects

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise BadOption(f"IoU threshold {self.threshold} must lie above 0 and at most at 1")
        if self.cell is not None and not self.cell > 0:
            raise BadOption(f"cell side {self.cell} must be positive")


@dataclass(frozen=True, slots=True)
class ObjectScores:
    """How many objects were found."""

    figures: Figures
    """precision, recall, f1, and mean_iou of the matches."""

    matched: int
    predicted: int
    reference: int
    repaired: int
    """Polygons of both sets that were not valid and were scored as `shapely.make_valid` reads them."""

    threshold: float
    cells: int

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON has it: plain numbers and None."""
        counts = {name: getattr(self, name) for name in ("matched", "predicted", "reference", "repaired")}
        return {**self.figures.to_dict(), **counts, "threshold": self.threshold, "cells": self.cells}


def score_objects(
    predicted: Array, reference: Array, options: ObjectOptions | None = None, bootstrap: Bootstrap | None = None
) -> ObjectScores:
    """Score polygons by whether each finds its counterpart.

    Intervals come from resampling square cells of the map, anchored at the CRS's origin: a match lies where the
    centroid of its reference polygon lies, a polygon without one at its own centroid.

    Args:
        predicted: (n,) shapely polygons or multipolygons; those of one set may overlap. One that is not valid is
            repaired and counted in `repaired`.
        reference: (m,) likewise, in the same CRS.
        options: matching and cells.
        bootstrap: how intervals are drawn.

    Raises:
        UnreadableInput: a geometry is missing, not a polygon, or encloses no area.
    """
    options, bootstrap = options or ObjectOptions(), bootstrap or Bootstrap()
    predicted, repaired = _as_areas(predicted, "predicted")
    reference, repaired_reference = _as_areas(reference, "reference")
    matches = match_objects(predicted, reference, options.threshold)
    units = _sum_by_cell(*_outcomes(predicted, reference, matches), options.cell)
    names = ("precision", "recall", "f1", "mean_iou")
    rates, drawn = _object_rates(units.sum(axis=0)), _object_rates(resample_sums(units, bootstrap))
    return ObjectScores(
        figures=bound_figures(names, rates, drawn, bootstrap.level),
        matched=len(matches.iou),
        predicted=len(predicted),
        reference=len(reference),
        repaired=repaired + repaired_reference,
        threshold=options.threshold,
        cells=len(units),
    )


def _as_areas(geometries: Array, which: str) -> tuple[Array, int]:
    """Return valid polygons, and how many had to be repaired."""
    geometries = np.array(geometries, dtype=object).reshape(-1)
    bad = np.flatnonzero(~shapely.is_valid(geometries) & ~shapely.is_missing(geometries))
    for place in bad:
        geometries[place] = _repair(geometries[place])
    areas = np.isin(shapely.get_type_id(geometries), _AREAL) & (shapely.area(geometries) > 0)
    if not areas.all():
        index = int(np.argmin(areas))
        kind = "missing" if geometries[index] is None else f"a {geometries[index].geom_type} and encloses no area"
        raise UnreadableInput(f"{which} object {index} is {kind}: remove it, only polygons can be scored")
    return geometries, len(bad)


def _repair(geometry: shapely.Geometry) -> shapely.Geometry:
    """Return the areas of a geometry that is not valid, without lines and points that the repair leaves beside them."""
    parts = shapely.get_parts(shapely.make_valid(geometry))
    return shapely.union_all(parts[shapely.get_dimensions(parts) == 2])


def match_objects(predicted: Array, reference: Array, threshold: float = 0.5) -> Matches:
    """Pair polygons one to one: as many pairs as can be, and of these the ones with the largest sum of IoU.

    Where the polygons of each set do not overlap, none has two partners at an IoU above 0.5, so most pairs are
    plain. Only polygons with several candidates need solving, as an assignment problem (Jonker & Volgenant 1987).

    Args:
        predicted: (n,) valid shapely polygons.
        reference: (m,) likewise, in the same CRS.
        threshold: the least intersection over union of a pair, above 0 and at most 1.
    """
    left, right, iou = _candidates(predicted, reference, threshold)
    plain = (np.bincount(left)[left] == 1) & (np.bincount(right)[right] == 1)
    chosen = plain.copy()
    chosen[~plain] = _assign(left[~plain], right[~plain], iou[~plain])
    order = np.argsort(left[chosen])
    return Matches(left[chosen][order], right[chosen][order], iou[chosen][order])


def _candidates(predicted: Array, reference: Array, threshold: float) -> tuple[Ints, Ints, Floats]:
    """Find all pairs that reach the threshold: their indices and IoU."""
    right, left = shapely.STRtree(predicted).query(reference)
    area_left, area_right = shapely.area(predicted)[left], shapely.area(reference)[right]
    # No overlay is larger than the smaller polygon, nor than what the bounding boxes share.
    ceiling = np.minimum(np.minimum(area_left, area_right), _box_overlap(predicted[left], reference[right]))
    near = ceiling >= (threshold - _ROUNDING) * (area_left + area_right - ceiling)
    left, right, both = left[near], right[near], area_left[near] + area_right[near]
    shared = shapely.area(shapely.intersection(predicted[left], reference[right]))
    iou = np.minimum(shared / (both - shared), 1.0)
    enough = iou >= threshold - _ROUNDING
    return left[enough], right[enough], iou[enough]


def _box_overlap(left: Array, right: Array) -> Floats:
    """Area that the bounding boxes of each pair share."""
    a, b = shapely.bounds(left), shapely.bounds(right)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared: Floats = np.prod(np.maximum(sides, 0), axis=1)
    return shared


def _assign(left: Ints, right: Ints, iou: Floats) -> Bools:
    """Which candidate pairs (left, right, iou) belong to the best one-to-one matching."""
    if not left.size:
        return np.zeros(0, bool)
    _, rows = np.unique(left, return_inverse=True)
    _, cols = np.unique(right, return_inverse=True)
    n = int(rows.max()) + 1
    pairs = csr_array((2.0 - iou, (rows, cols)))
    # Staying alone costs more than any pairs can save, so the number of pairs comes before their IoU.
    alone = csr_array((np.full(n, 2.0 * n + 2), (np.arange(n), np.arange(n))))
    matched_rows, matched_cols = min_weight_full_bipartite_matching(hstack([pairs, alone], format="csr"))
    partner = np.empty(n, np.intp)
    partner[matched_rows] = matched_cols
    chosen: Bools = partner[rows] == cols
    return chosen


def _outcomes(predicted: Array, reference: Array, matches: Matches) -> tuple[Floats, Floats]:
    """Where each match, false alarm and miss lies (n, xy), and what it counts: (n, hit alarm miss iou)."""
    alarms = np.delete(predicted, matches.predicted)
    misses = np.delete(reference, matches.reference)
    points = shapely.centroid(np.concatenate([reference[matches.reference], alarms, misses]))
    kinds = np.repeat([0, 1, 2], [len(matches.iou), len(alarms), len(misses)])
    counts = np.zeros((len(points), 4))
    counts[np.arange(len(points)), kinds] = 1
    counts[: len(matches.iou), 3] = matches.iou
    return shapely.get_coordinates(points), counts


def _sum_by_cell(points: Floats, counts: Floats, cell: float | None) -> Floats:
    """Add counts up in each cell that holds a point: (cells, counts)."""
    if not len(points):
        return counts
    side = cell or np.ptp(points, axis=0).max() / 16 or 1.0
    return sum_by_cell(np.floor(points / side), counts)[1]


def _object_rates(sums: Floats) -> Floats:
    """(..., hit alarm miss iou) -> (..., precision recall f1 mean_iou)."""
    hits, alarms, misses, iou = (sums[..., i, None] for i in range(4))
    rates = hit_rates(hits, alarms, misses)[..., :3, 0]
    return np.concatenate([rates, quotient(iou, hits)], axis=-1)
