"""A threshold that follows the neighbourhood, for scenes of which a part is hazy or of another season. Pure.

Haze and season raise the probability of all that has not changed there. In each cell of a lattice the threshold is
that of the unchanged there: their median and three times their spread above it, as Niblack (1986) has mean and
deviation, but of quantiles, which rare change hardly moves; never lower than the scene's own. Between the middles of
the cells it is interpolated bilinearly. The lattice starts at the raster's first pixel, so that nothing depends on how
the raster is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geochange.arrays import Array, Floats, Ints
from geochange.scenes.grid import Tile

DEVIATIONS = 3.0
UPPER_QUANTILE = 0.8413  # one deviation above the median of a normal distribution
HIGHEST = 0.95  # a cell all of which has changed is not left without any


def cell_threshold(counts: Ints, values: Floats, scene: float) -> float:
    """Return the threshold of one cell.

    Args:
        counts: (k,) valid pixels in each bin.
        values: (k,) ascending probability of each bin.
        scene: the threshold of the whole scene.

    Returns:
        The scene's, or a higher one where the cell's unchanged reach it.
    """
    total = counts.sum()
    if total == 0:
        return scene
    median, upper = values[np.searchsorted(np.cumsum(counts), np.array([0.5, UPPER_QUANTILE]) * total)]
    return max(scene, min(float(median + DEVIATIONS * (upper - median)), HIGHEST))


@dataclass(frozen=True, slots=True, eq=False)
class LocalThreshold:
    """Thresholds at the middles of cells; change is every region of pixels that reach what lies between them."""

    cells: Floats
    """(rows, cols) threshold of each cell."""

    side: int
    """Pixels per side of a cell."""

    scene: float
    """The threshold of the whole scene."""

    high: float | None = None
    """What one pixel of a region must reach besides."""

    @property
    def peak(self) -> float:
        """What one pixel of a region must reach; 0 without hysteresis."""
        return self.high or 0.0

    def at(self, tile: Tile) -> Floats:
        """Return (y, x) threshold of each pixel of a tile; beyond the middles of the outer cells it is theirs.

        Law: a part of a tile has what the tile has there, to the bit.
        """
        top, bottom, down = self._between(tile.row, tile.height, self.cells.shape[0])
        left, right, across = self._between(tile.col, tile.width, self.cells.shape[1])
        rows = self.cells[top] + (self.cells[bottom] - self.cells[top]) * down[:, None]  # (y, cols)
        found: Floats = rows[:, left] + (rows[:, right] - rows[:, left]) * across
        return found

    def _between(self, start: int, length: int, cells: int) -> tuple[Array, Array, Floats]:
        """Find the cells before and after each pixel of an axis, and where it lies between their middles, 0 to 1."""
        place = np.clip((np.arange(start, start + length) + 0.5) / self.side - 0.5, 0, cells - 1)
        before = np.minimum(place.astype(np.intp), max(cells - 2, 0))
        return before, np.minimum(before + 1, cells - 1), place - before

    @property
    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {
            "local": {
                "cell_px": self.side,
                "cells": list(self.cells.shape),
                "raised": int((self.cells > self.scene).sum()),
                "scene": self.scene,
                "highest": float(self.cells.max()),
                "high": self.high,
            }
        }
