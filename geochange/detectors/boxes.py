"""Boxes around objects, in whole numbers, and of several that mean one object the best: non-maximum suppression. Pure.

All comparisons are of whole numbers and in an order that the boxes themselves define, so the result depends neither on
where tiles were cut nor on the order in which boxes come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np
import shapely

from geochange.arrays import Array, Bools, Floats, Ints

PIXEL_PARTS = 16  # of a pixel, in which corners are counted
SCORE_STEPS = 10_000  # in which scores are counted
SHARED = 0.3  # intersection over union from which two boxes are one object
CONTAINED = 0.65  # share of the smaller one in the larger from which they are


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Columns of one length."""

    corners: Ints
    """(n, 4) int64 left, top, right, bottom, in `PIXEL_PARTS` of a pixel; the corner of the first pixel is (0, 0)."""

    classes: Ints
    """(n,) int64, from 1."""

    scores: Ints
    """(n,) int64 in `SCORE_STEPS`."""

    cells: Ints
    """(n, 2) int64 (row, col) in `PIXEL_PARTS` of a pixel of what the box was found at: which tile answers for it."""

    on_edge: Bools
    """(n,) whether it touches the scene's border or a pixel without data."""

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, chosen: Bools | Ints | slice) -> Boxes:
        """Return the chosen ones, in their order."""
        return Boxes(*(getattr(self, column.name)[chosen] for column in fields(self)))

    def move(self, row: int, col: int) -> Boxes:
        """Return the boxes so many pixels further down and to the right."""
        return replace(
            self,
            corners=self.corners + np.array([col, row, col, row]) * PIXEL_PARTS,
            cells=self.cells + np.array([row, col]) * PIXEL_PARTS,
        )

    @property
    def centres(self) -> Ints:
        """(n, 2) the pixel (row, col) that each box's centre lies in."""
        left, top, right, bottom = self.corners.T
        return np.stack([top + bottom, left + right], axis=1) // (2 * PIXEL_PARTS)

    @property
    def areas(self) -> Ints:
        """(n,) in `PIXEL_PARTS`² of a pixel."""
        left, top, right, bottom = self.corners.T
        area: Ints = (right - left) * (bottom - top)
        return area

    def polygons(self) -> Array:
        """(n,) shapely boxes, x = column and y = row of pixel corners."""
        left, top, right, bottom = self.corners.T / PIXEL_PARTS
        boxes: Array = shapely.box(left, top, right, bottom)
        return boxes

    def pack(self) -> Ints:
        """(n, 9) int64, all columns in one array."""
        columns = self.corners, self.classes[:, None], self.scores[:, None], self.cells, self.on_edge[:, None]
        return np.concatenate(columns, axis=1).astype(np.int64)

    @classmethod
    def unpack(cls, packed: Ints) -> Boxes:
        """Return the boxes that `pack` packed."""
        return cls(packed[:, :4], packed[:, 4], packed[:, 5], packed[:, 6:8], packed[:, 8].astype(bool))


def no_boxes() -> Boxes:
    """Return boxes of length 0."""
    return Boxes.unpack(np.zeros((0, 9), np.int64))


def join_boxes(parts: Iterable[Boxes]) -> Boxes:
    """Join boxes, one part after the other."""
    return Boxes.unpack(np.concatenate([no_boxes().pack(), *(part.pack() for part in parts)]))


def boxes_of(rows: Floats) -> Boxes:
    """Convert a network's boxes to whole numbers.

    Args:
        rows: (n, 8) left, top, right, bottom, class, score, and row and column of the cell; in pixels.
    """
    return Boxes(
        np.rint(rows[:, :4] * PIXEL_PARTS).astype(np.int64),
        rows[:, 4].astype(np.int64),
        np.rint(rows[:, 5] * SCORE_STEPS).astype(np.int64),
        np.rint(rows[:, 6:8] * PIXEL_PARTS).astype(np.int64),
        np.zeros(len(rows), bool),
    )


def suppress(boxes: Boxes) -> Boxes:
    """Keep, of boxes that mean one object, the one with the highest score, whatever its class; best first.

    Two boxes mean one object where they share enough, where one lies in the other, or where their centres lie in one
    pixel. As in all greedy suppression, a box that was itself left out leaves out no other.
    """
    boxes = boxes.where(_order(boxes))
    first, second = _rivals(boxes)
    kept = np.ones(len(boxes), bool)
    starts = np.searchsorted(first, np.arange(len(boxes) + 1))
    for k in np.unique(first).tolist():
        if kept[k]:
            kept[second[starts[k] : starts[k + 1]]] = False
    return boxes.where(kept)


def _order(boxes: Boxes) -> Ints:
    """Best first; of equals the one that lies higher, further to the left, is smaller, of the lower class."""
    left, top, right, bottom = boxes.corners.T
    return np.lexsort((boxes.classes, right, bottom, left, top, -boxes.scores))


def _rivals(boxes: Boxes) -> tuple[Ints, Ints]:
    """Pairs of positions (better, worse) that mean one object, in order."""
    shapes = boxes.polygons()
    first, second = shapely.STRtree(shapes).query(shapes)
    first, second = first[first < second], second[first < second]
    a, b = boxes.corners[first], boxes.corners[second]
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    areas = boxes.areas
    smaller, both = np.minimum(areas[first], areas[second]), areas[first] + areas[second]
    same = (shared > SHARED * (both - shared)) | (shared > CONTAINED * smaller)
    same |= (boxes.centres[first] == boxes.centres[second]).all(axis=1)
    order = np.lexsort((second[same], first[same]))
    return first[same][order], second[same][order]


def groups_of(boxes: Boxes) -> Ints:
    """Return a number for each box, (n,), alike for boxes linked by meaning one object: suppression acts within."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = _rivals(boxes)
    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(boxes), len(boxes)))
    groups: Ints = connected_components(links, directed=False)[1]
    return groups
