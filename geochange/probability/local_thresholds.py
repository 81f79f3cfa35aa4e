"""A threshold that follows the neighbourhood, for scenes of which a part is hazy or of another season. Pure.

Haze and season raise the probability of all that has not changed there. In each cell of a lattice the threshold is
that of the unchanged there: their median and three times their spread above it, as Niblack (1986) has mean and
deviation, but of quantiles, which rare change hardly moves; never lower than the scene's own. Between the middles of
the cells it is interpolated bilinearly. The lattice starts at the raster's first pixel, so that nothing depends on how
the raster is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from geochange.arrays import Array, Floats, Ints
from geochange.errors import BadOption
from geochange.scenes.grid import Tile

DEFAULT_SIDE = 512  # pixels per side of a cell
SMALLEST = 32  # pixels per side: fewer say little of their unchanged
DEVIATIONS = 3.0
UPPER_QUANTILE = 0.8413  # one deviation above the median of a normal distribution
HIGHEST = 0.95  # a cell all of which has changed is not left without any


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRule:
    """How a threshold follows the neighbourhood."""

    size: float = DEFAULT_SIDE
    """Of a cell, per side."""

    metres: bool = False
    """Whether the size is in metres, else in pixels."""

    high: float | None = None
    """What one pixel of a change must reach besides (hysteresis)."""

    def __post_init__(self) -> None:
        if self.high is not None and not 0 <= self.high <= 1:
            raise BadOption(f"threshold local with hysteresis: {self.high:g} must lie in 0..1, as in local:512px:0.8")

    def side(self, gsd: float | None) -> int:
        """Return pixels per side of a cell, in a raster of this pixel size in metres.

        Raises:
            BadOption: metres are asked for without a CRS, or the cells are too small.
        """
        if self.metres and gsd is None:
            raise BadOption(f"threshold local:{self.size:g}m needs a CRS, which the raster lacks; give pixels")
        side = round(self.size / gsd) if self.metres and gsd else round(self.size)
        if side < SMALLEST:
            raise BadOption(f"threshold local: cells of {side} pixels are too small; {SMALLEST} are the least")
        return side


def parse_local(text: str) -> LocalRule:
    """Parse `local`, `local:512px`, `local:300m`, and with hysteresis `local:512px:0.8`.

    Raises:
        BadOption: the text is none of these.
    """
    match = re.fullmatch(r"local(?::([0-9]+(?:\.[0-9]+)?)(px|m)?(?::([0-9]*\.?[0-9]+))?)?", text)
    if match is None:
        raise BadOption(f"threshold {text!r} must be as in local, local:512px, local:300m or local:512px:0.8")
    size, unit, high = match.groups()
    return LocalRule(size=float(size or DEFAULT_SIDE), metres=unit == "m", high=None if high is None else float(high))


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
