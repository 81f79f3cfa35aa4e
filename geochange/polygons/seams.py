"""Regions that were cut by block seams, joined again. Pure.

Pieces are linked by their pixels along the seams, whatever the blocks' sizes and the order in which they
arrive. Joined corners are sums, so the outline of a joined region is the one that tracing the uncut scene
gives, vertex for vertex.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geochange.arrays import Ints
from geochange.polygons.regions import (
    BlockRegions,
    Pieces,
    RegionFilter,
    Regions,
    SeamPixels,
    choose_pieces,
    concatenate,
    concatenate_counts,
    finished_regions,
)
from geochange.polygons.rings import Corners, trace_rings
from geochange.scenes.grid import Tile

ORTHOGONAL = ((0, 1), (1, 0))
DIAGONAL = ((1, 1), (1, -1))

WAITING_CORNERS = 1 << 18
"""Corners that may wait before the merger looks for regions that are complete; far less than a block's pixels
take.
"""


class SeamMerger:
    """Takes blocks in any order and gives back regions as they become complete.

    Only regions that touch a seam are kept, and those only until all blocks around theirs have arrived
    (looked at each time that the kept corners have doubled).
    """

    def __init__(
        self,
        blocks: Sequence[Tile],
        *,
        connectivity: int = 4,
        keep: RegionFilter | None = None,
        waiting_corners: int = WAITING_CORNERS,
    ) -> None:
        """Begin without blocks.

        Args:
            blocks: all blocks that will arrive; together they cover the scene, once.
            connectivity: as in `trace_block`.
            keep: as in `trace_block`; applied to joined regions.
            waiting_corners: corners that may wait before complete regions are looked for.
        """
        self._number = {block: number for number, block in enumerate(blocks)}
        self._missing = set(self._number)
        self._around, self._awaited = _neighbours(blocks)
        self._connectivity = connectivity
        self._keep = keep or RegionFilter()
        self._waiting_corners = self._limit = waiting_corners
        self._waiting: list[Pieces] = []
        self._held = 0

    def add(self, traced: BlockRegions) -> Regions:
        """Take one block; return regions that are complete.

        Raises:
            ValueError: the block is not one of those awaited.
        """
        if traced.block not in self._missing:
            raise ValueError(
                f"{traced.block} has arrived before, or is not one of the {len(self._number)} blocks of the scene"
            )
        self._missing.remove(traced.block)
        number = self._number[traced.block]
        self._awaited[self._around[number]] -= 1
        seam = replace(traced.pieces.seam, block=np.full(traced.pieces.seam.row.size, number))
        self._waiting.append(replace(traced.pieces, seam=seam))
        self._held += traced.pieces.corners.part.size
        whole: list[Regions] = []
        if len(traced.counts):
            whole.append(finished_regions(traced.counts, traced.region_of_part, traced.rings, self._connectivity))
        if self._held >= self._limit:
            whole.append(self._join_waiting())
        return whole[0] if len(whole) == 1 else concatenate(whole)

    def finish(self) -> Regions:
        """Return the regions that are left.

        Raises:
            ValueError: blocks are missing.
        """
        if self._missing:
            raise ValueError(
                f"{len(self._missing)} of {len(self._number)} blocks have not arrived, such as {min(self._missing)}"
            )
        return self._join_waiting() if self._waiting else concatenate([])

    def _join_waiting(self) -> Regions:
        """Join what waits; return what no awaited block can reach, and keep the rest."""
        pieces = join_pieces(concatenate_pieces(self._waiting), self._connectivity)
        pieces = replace(pieces, seam=pieces.seam.where(self._awaited[pieces.seam.block] > 0))
        is_open = np.zeros(len(pieces.counts), bool)
        is_open[pieces.piece_of_part[pieces.seam.part]] = True
        self._waiting = [choose_pieces(pieces, is_open)]
        self._held = self._waiting[0].corners.part.size
        self._limit = max(self._waiting_corners, 2 * self._held)
        done = choose_pieces(pieces, ~is_open & self._keep.keeps(pieces.counts))
        return finished_regions(done.counts, done.piece_of_part, trace_rings(done.corners), self._connectivity)


def concatenate_pieces(pieces: Sequence[Pieces]) -> Pieces:
    """Pieces one after the other, numbered through; at least one set."""
    first_piece = np.cumsum([0] + [len(one.counts) for one in pieces])
    first_part = np.cumsum([0] + [one.piece_of_part.size for one in pieces])
    corners = [(one.corners.part + at, one.corners) for one, at in zip(pieces, first_part[:-1], strict=True)]
    seams = [(one.seam.part + at, one.seam) for one, at in zip(pieces, first_part[:-1], strict=True)]
    return Pieces(
        concatenate_counts([one.counts for one in pieces]),
        np.concatenate([one.piece_of_part + at for one, at in zip(pieces, first_piece[:-1], strict=True)]),
        Corners(*_stack([(part, one.row, one.col, one.weight) for part, one in corners])),
        SeamPixels(*_stack([(one.row, one.col, part, one.block) for part, one in seams])),
    )


def join_pieces(pieces: Pieces, connectivity: int) -> Pieces:
    """Join pieces of one class that meet at seams: parts across pixel edges, pieces across corners too with 8."""
    seam_class = pieces.counts.classes[pieces.piece_of_part[pieces.seam.part]]
    meeting = _meeting_pixels(pieces.seam, seam_class, ORTHOGONAL)
    part = link_components(pieces.seam.part[meeting], pieces.piece_of_part.size)
    if connectivity == 8:
        diagonal = _meeting_pixels(pieces.seam, seam_class, DIAGONAL)
        meeting = np.concatenate([meeting, diagonal], axis=1)
    piece = link_components(pieces.piece_of_part[pieces.seam.part[meeting]], len(pieces.counts))
    piece_of_part = np.zeros(int(part.max(initial=-1)) + 1, np.int64)
    piece_of_part[part] = piece[pieces.piece_of_part]
    return Pieces(
        pieces.counts.group(piece, int(piece.max(initial=-1)) + 1),
        piece_of_part,
        pieces.corners.relabel(part),
        replace(pieces.seam, part=part[pieces.seam.part]),
    )


def _neighbours(blocks: Sequence[Tile]) -> tuple[list[Ints], Ints]:
    """For each block the numbers of itself and those that it touches, at corners too; and how many these are."""
    edges = np.array([(block.col, block.row, block.stop_col, block.stop_row) for block in blocks], float)
    boxes = shapely.box(*edges.reshape(-1, 4).T)
    block, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    order = np.argsort(block, kind="stable")
    awaited = np.bincount(block, minlength=len(blocks))
    return np.split(other[order], np.cumsum(awaited)[:-1]), awaited


def _meeting_pixels(seam: SeamPixels, classes: Ints, steps: Sequence[tuple[int, int]]) -> Ints:
    """(2, n) pairs of seam pixels of one class that lie one of the (row, col) steps apart."""
    stride = int(seam.col.max(initial=0)) + 3
    key = (seam.row + 1) * stride + seam.col + 1
    order = np.argsort(key)
    ranked, pairs = key[order], [np.zeros((2, 0), np.intp)]
    for rows, cols in steps:
        wanted = key + rows * stride + cols
        found = order[np.searchsorted(ranked, wanted).clip(max=key.size - 1)] if key.size else order
        meets = np.flatnonzero((key[found] == wanted) & (classes[found] == classes))
        pairs.append(np.stack([meets, found[meets]]))
    return np.concatenate(pairs, axis=1)


def link_components(links: Ints, count: int) -> Ints:
    """(count,) number of the connected component of each of `count` things with (2, n) links between them."""
    graph = coo_array((np.ones(links.shape[1], np.int8), (links[0], links[1])), shape=(count, count))
    components: Ints = connected_components(graph.tocsr(), directed=False)[1]
    return components


def _stack(rows: Sequence[tuple[Ints, ...]]) -> list[Ints]:
    """Columns of all rows, each put one after the other."""
    return [np.concatenate(column) for column in zip(*rows, strict=True)]
