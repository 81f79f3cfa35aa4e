"""Labels out of a review: only what somebody has looked at is one. Pure.

Ground is labelled as unchanged where a cell was looked at, or a change rejected; changes that were kept are labelled by
their class. What is undecided or unsure is not labelled, nor is a pixel along each edge of a change that was kept,
outside and inside: outlines follow a detector's threshold, and a network that is trained on them to the pixel predicts
larger changes each time. Parts of a change that are too thin for that stay labelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely
from scipy import ndimage
from shapely import STRtree

from geochange.arrays import IGNORE, Array, Bools, Ints
from geochange.scenes.grid import Tile
from geochange.scenes.layers import VectorLabels

UNCHANGED = 0
MARGIN = 3  # px around a tile that its labels depend on
AROUND = np.ones((3, 3), bool)
CROSS = ndimage.generate_binary_structure(2, 1)
MOST = 1 << 10  # no label lies beyond


@dataclass(frozen=True)
class ReviewLabels:
    """What is known of a scene's pixels."""

    looked: tuple[Tile, ...]
    """Cells that were looked at."""
    polygons: Array
    """(n,) of all changes in pixels, x = column and y = row; of those that overlap, the last one counts."""
    labels: Ints
    """(n,) UNCHANGED where the change was rejected, k where it was kept with the k-th class, IGNORE where it is
    undecided or somebody was unsure."""

    @cached_property
    def _cells(self) -> STRtree:
        return STRtree([_box(cell) for cell in self.looked])

    @cached_property
    def _burnt(self) -> VectorLabels:
        return VectorLabels(self.polygons, self.labels + 1)

    @cached_property
    def _known(self) -> STRtree:
        return STRtree(self.polygons[self.labels != IGNORE])

    def draw(self, tile: Tile, valid: Bools) -> Array:
        """(y, x) uint8 labels of a tile: 0 unchanged, k a class, 255 not labelled.

        Args:
            tile: of the scene.
            valid: (y, x) whether all dates hold data.
        """
        wide = tile.grow(MARGIN)
        labels = np.full(wide.shape, IGNORE, np.uint8)
        for cell in self._cells.query(_box(wide)):
            part = self.looked[cell].intersect(wide)
            labels[part.slices((wide.row, wide.col))] = UNCHANGED
        drawn, _ = self._burnt.read(wide)  # 0 where there is no change
        labels[drawn > 0] = drawn[drawn > 0] - 1
        kept = (drawn > 1) & (drawn <= IGNORE)
        inside = ndimage.binary_erosion(kept, border_value=1)
        labels[ndimage.binary_dilation(kept) & ~kept] = IGNORE
        labels[kept & ~inside & ndimage.binary_dilation(inside, AROUND)] = IGNORE
        labels[kept & _beside_another(np.where(kept, drawn, 0))] = IGNORE
        inner = labels[MARGIN:-MARGIN, MARGIN:-MARGIN]
        inner[~valid] = IGNORE
        return inner

    def kept(self) -> VectorLabels:
        """Return changes that were kept alone, by their classes."""
        kept = (self.labels != UNCHANGED) & (self.labels != IGNORE)
        return VectorLabels(self.polygons[kept], self.labels[kept])

    def tells_of(self, tile: Tile) -> bool:
        """Whether anything is known of a tile."""
        box = _box(tile)
        return bool(self._cells.query(box).size or self._known.query(box).size)


def _beside_another(values: Ints) -> Bools:
    """(y, x) whether a neighbour holds another value; 0 is none."""
    values = values.astype(np.int32)
    high = ndimage.maximum_filter(values, footprint=CROSS)
    low = ndimage.minimum_filter(np.where(values == 0, MOST, values), footprint=CROSS)
    beside: Bools = high != low
    return beside


def _box(tile: Tile) -> shapely.Geometry:
    return shapely.box(tile.col, tile.row, tile.stop_col, tile.stop_row)
