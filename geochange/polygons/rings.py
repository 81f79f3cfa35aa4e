"""Outlines of labelled pixels, built from the corners at which they turn. Pure.

The indicator I of a set of pixels has at each pixel corner the mixed difference w(r, c) = I(r, c) - I(r-1, c)
- I(r, c-1) + I(r-1, c-1). It is 0 on straight edges and inside, ±1 where the outline turns, ±2 where two
pixels touch diagonally. Summed along a row it says where horizontal edges run, along a column where vertical
ones do, so it holds the whole outline. It is linear: the corners of a set that was cut into pieces are the
sums of the pieces' corners. Outlines merged over seams are therefore the same numbers as outlines of the
uncut scene, without any geometric union.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, depth_first_order

from geochange.arrays import Array, Bools, Ints


@dataclass(frozen=True, slots=True, eq=False)
class Corners:
    """Where outlines turn: columns of one length, sorted by (part, row, col), each place once."""

    part: Ints
    """(n,) label of the 4-connected part that the corner belongs to."""

    row: Ints
    """(n,) int32 pixel-corner row; the upper edge of pixel row r is r."""

    col: Ints
    """(n,) int32 pixel-corner column."""

    weight: Ints
    """(n,) int8 mixed difference, -2..2, never 0."""

    def where(self, chosen: Bools | Ints) -> Corners:
        """Choose corners, in their order."""
        return Corners(self.part[chosen], self.row[chosen], self.col[chosen], self.weight[chosen])

    def relabel(self, part: Ints) -> Corners:
        """Renumber parts: corners are sorted again, and those of one part at one place summed."""
        part = part[self.part]
        order = np.lexsort((self.col, self.row, part))
        part, row, col, weight = part[order], self.row[order], self.col[order], self.weight[order]
        fresh = np.ones(part.size, bool)
        fresh[1:] = (part[1:] != part[:-1]) | (row[1:] != row[:-1]) | (col[1:] != col[:-1])
        first = np.flatnonzero(fresh)
        total = np.add.reduceat(weight, first, dtype=np.int8) if first.size else weight
        return Corners(part[first], row[first], col[first], total).where(total != 0)


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """Closed rings of parts: each part's shell, then its holes by their first corner."""

    coordinates: Ints
    """(n, 2) int32 x = column, y = row of the vertices: turns only; the last of a ring repeats its first."""

    offsets: Ints
    """(rings + 1,) where each ring begins."""

    part: Ints
    """(rings,) the part of each ring, ascending."""

    def polygons(self) -> Array:
        """(parts,) shapely polygons, one for each part, ascending."""
        _, first = np.unique(self.part, return_index=True)
        if not first.size:
            return np.empty(0, object)
        offsets = self.offsets, np.append(first, self.part.size)
        coordinates = self.coordinates.astype(float)
        polygons: Array = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coordinates, offsets)
        return polygons


def find_corners(labels: Ints, origin: tuple[int, int] = (0, 0)) -> Corners:
    """Corners of every label of a block, as if there were nothing beyond the block.

    Args:
        labels: (y, x) part of each pixel, from 1; 0 is background. Parts are 4-connected, so that
            4-neighbours have either one label or
            different classes.
        origin: (row, col) of the first pixel in the scene.
    """
    padded = np.pad(labels, 1)
    across, down = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    turns = (across[:-1] | across[1:]) & (down[:, :-1] | down[:, 1:])
    rows, cols = np.divmod(np.flatnonzero(turns), turns.shape[1])
    around = np.stack([padded[rows + r, cols + c] for r, c in ((0, 0), (0, 1), (1, 0), (1, 1))])
    weight = _weights(around)
    slot, place = np.nonzero(weight)
    part, row, col, weight = around[slot, place], rows[place], cols[place], weight[slot, place]
    order = np.argsort((part.astype(np.int64) * turns.shape[0] + row) * turns.shape[1] + col)
    row, col = (row + origin[0]).astype(np.int32), (col + origin[1]).astype(np.int32)
    return Corners(part[order], row[order], col[order], weight[order])


def _weights(around: Ints) -> Ints:
    """Mixed difference of each label at each corner.

    Args:
        around: (4, n) labels of the pixels north-west, north-east, south-west and south-east of a corner.

    Returns:
        (4, n) int8; the weight stands at the first of the pixels that share a label, the others and the
        background have 0.
    """
    signs = (1, -1, -1, 1)
    weight = np.zeros(around.shape, np.int8)
    for slot, label in enumerate(around):
        for other, sign in zip(around, signs, strict=True):
            weight[slot] += np.int8(sign) * (other == label)
        weight[slot, (around[:slot] == label).any(axis=0) | (label == 0)] = 0
    return weight


def trace_rings(corners: Corners) -> Rings:
    """Join corners to rings.

    A ring has its region on the right of its way on the screen, begins at the first corner of its topmost
    leftmost edge, and turns left where two pixels of its part touch diagonally. As parts are 4-connected, no
    ring then touches itself: the polygons are valid.
    """
    horizontal = np.cumsum(
        corners.weight, dtype=np.int8
    )  # of the edge to the next corner: 1 with the region below it, -1 above
    edges = np.flatnonzero(horizontal)
    east = horizontal[edges] > 0
    tail, head = edges + ~east, edges + east
    order, first = _cycles(_successors(corners, horizontal, edges, head, east))
    visits = np.stack([tail[order], head[order]], axis=1).ravel()
    ends = np.append(first[1:], order.size) * 2
    visits = np.insert(visits, ends, visits[first * 2])
    coordinates = np.stack([corners.col[visits], corners.row[visits]], axis=1)
    offsets = np.append(first * 2, order.size * 2) + np.arange(first.size + 1)
    return Rings(coordinates, offsets, corners.part[tail[order[first]]])


def _successors(corners: Corners, horizontal: Ints, edges: Ints, head: Ints, east: Bools) -> Ints:
    """(edges,) the horizontal edge that follows each horizontal edge, after the vertical one between them."""
    down = np.lexsort((corners.row, corners.col, corners.part))
    place = np.empty_like(down)
    place[down] = np.arange(down.size)
    vertical = np.cumsum(
        corners.weight[down], dtype=np.int8
    )  # of the edge to the next corner below: not 0 where there is one
    has_edge_above = np.append(np.int8(0), vertical[:-1])[place] != 0
    diagonal = np.abs(corners.weight) == 2
    north = np.where(diagonal[head], east, has_edge_above[head])
    turn = down[place[head] + np.where(north, -1, 1)]
    goes_east = np.where(diagonal[turn], ~north, horizontal[turn] != 0)
    return np.searchsorted(edges, turn - ~goes_east)


def _cycles(successor: Ints) -> tuple[Ints, Ints]:
    """Write out the cycles of a permutation.

    Returns:
        (order, first): the elements cycle after cycle, each from its smallest, by their smallest; and where
        in `order` each begins.
    """
    size = successor.size
    if not size:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    graph = csr_array((np.ones(size, np.int8), successor, np.arange(size + 1)), shape=(size, size))
    _, cycle = connected_components(graph, directed=False)
    starts = np.sort(np.unique(cycle, return_index=True)[1])
    order = _walk_from(successor, starts)
    is_start = np.zeros(size, bool)
    is_start[starts] = True
    return order, np.flatnonzero(is_start[order])


def _walk_from(successor: Ints, starts: Ints) -> Ints:
    """Walk from each start in turn, and list the elements met.

    A depth-first search does the walking in compiled code. It goes along a chain of further nodes, one for
    each start, each of which leads first to its start and then to the next in the chain.
    """
    size, count = successor.size, starts.size
    chain = np.stack([starts, np.arange(size + 1, size + count + 1)], axis=1).ravel()[:-1]
    targets = np.concatenate([successor, chain]).astype(np.int32)
    pointers = np.concatenate([np.arange(size), size + 2 * np.arange(count), [targets.size]]).astype(np.int32)
    graph = csr_array((np.ones(targets.size, np.int8), targets, pointers), shape=(size + count, size + count))
    order: Ints = depth_first_order(graph, size, return_predecessors=False)
    return order[order < size]
