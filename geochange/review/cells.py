"""The cells in which a scene is looked at: those that training reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from geochange.arrays import Floats, Ints
from geochange.datasets.collection import cut
from geochange.review.actions import cell_key
from geochange.scenes.grid import Tile

CELL = 512  # px, at most


@dataclass(frozen=True)
class Cells:
    """The cells of a scene of (rows, cols) pixels, in raster order."""

    shape: tuple[int, int]

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """Where they lie."""
        return tuple(cut(self.shape, CELL))

    @cached_property
    def columns(self) -> int:
        """Cells beside each other."""
        return sum(tile.row == 0 for tile in self.tiles)

    def key(self, place: int) -> str:
        """Name a cell."""
        return cell_key(*divmod(place, self.columns))

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Key -> place in `tiles`."""
        return {self.key(place): place for place in range(len(self.tiles))}

    def holding(self, boxes: Floats) -> Ints:
        """(n,) place of the cell that holds the middle of each of (n, 4) boxes left, top, right, bottom."""
        tops = np.array([tile.row for tile in self.tiles[:: self.columns]])
        lefts = np.array([tile.col for tile in self.tiles[: self.columns]])
        middles = (boxes[:, :2] + boxes[:, 2:]) / 2
        row = np.clip(np.searchsorted(tops, middles[:, 1], side="right") - 1, 0, len(tops) - 1)
        col = np.clip(np.searchsorted(lefts, middles[:, 0], side="right") - 1, 0, len(lefts) - 1)
        return row * self.columns + col
