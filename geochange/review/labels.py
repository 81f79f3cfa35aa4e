"""Labels out of a review: only what somebody has looked at is one. Pure.

Ground is labelled as unchanged where a cell was looked at, or a change rejected; changes that were kept are labelled by
their class. What is undecided or unsure is not labelled, nor is the pixel around a change that was kept, which may
belong to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from geochange.arrays import IGNORE, Array, Bools, Ints
from geochange.scenes.grid import Tile
from geochange.scenes.layers import VectorLabels

UNCHANGED = 0


@dataclass(frozen=True)
class ReviewLabels:
    """What is known of a scene's pixels."""

    looked: Sequence[Tile]
    """Cells that were looked at."""
    polygons: Array
    """(n,) of all changes in pixels, x = column and y = row; of those that overlap, the last one counts."""
    labels: Ints
    """(n,) UNCHANGED where the change was rejected, k where it was kept with the k-th class, IGNORE where it is
    undecided or somebody was unsure."""

    def draw(self, tile: Tile, valid: Bools) -> Array:
        """(y, x) uint8 labels of a tile: 0 unchanged, k a class, 255 not labelled.

        Args:
            tile: of the scene.
            valid: (y, x) whether all dates hold data.
        """
        wide = Tile(tile.row - 1, tile.col - 1, tile.height + 2, tile.width + 2)
        labels = np.full(wide.shape, IGNORE, np.uint8)
        for cell in self.looked:
            if (part := cell.intersect(wide)).size:
                labels[part.slices((wide.row, wide.col))] = UNCHANGED
        drawn, _ = VectorLabels(self.polygons, self.labels + 1).read(wide)  # 0 where there is no change
        labels[drawn > 0] = drawn[drawn > 0] - 1
        kept = (drawn > 1) & (drawn <= IGNORE)
        labels[ndimage.binary_dilation(kept) & ~kept] = IGNORE
        inner = labels[1:-1, 1:-1]
        inner[~valid] = IGNORE
        return inner
