"""Scenes in memory, so that detectors are fitted without files and without the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.detector import Detector, Fitted, Kernel, R
from geochange.scenes.grid import Tile, reflect


@dataclass(frozen=True)
class MemoryScene:
    """A `Series` and its `MapBlocks`: (time, band, y, x) dates with (time, y, x) validity."""

    pixels: Floats
    valid: Bools
    block: int = 64

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape[1], self.valid.shape[2]

    @property
    def dates(self) -> int:
        return len(self.pixels)

    @property
    def bands(self) -> tuple[int, ...]:
        return tuple(range(1, self.pixels.shape[1] + 1))

    def read(self, tile: Tile) -> tuple[Floats, Bools]:
        """A tile's pixels, 0 where invalid, and validity; mirrored beyond the scene."""
        rows = reflect(tile.row, tile.stop_row, self.shape[0])
        cols = reflect(tile.col, tile.stop_col, self.shape[1])
        valid = self.valid[:, rows[:, None], cols]
        pixels = self.pixels[:, :, rows[:, None], cols].astype(np.float32)
        return np.where(valid[:, None], pixels, np.float32(0)), valid

    def map_blocks(self, kernel: Kernel[R], halo: int = 0) -> Iterator[R]:
        height, width = self.shape
        for row in range(0, height, self.block):
            for col in range(0, width, self.block):
                tile = Tile(row, col, min(self.block, height - row), min(self.block, width - col))
                yield kernel(*self.read(tile.grow(halo)), tile)


def pair(before: Array, after: Array, valid: Bools | None = None, block: int = 64) -> MemoryScene:
    """A scene of two (band, y, x) dates, with (y, x) validity of both."""
    there = np.ones(before.shape[1:], bool) if valid is None else valid
    return MemoryScene(np.stack([before, after]).astype(np.float32), np.stack([there, there]), block)


def fit(detector: Detector, scene: MemoryScene) -> Fitted:
    """The detector with the scene's statistics."""
    return detector.fit(scene, scene.map_blocks)


def change(fitted: Fitted, scene: MemoryScene) -> Floats:
    """(y, x) probability of change of the whole scene as one tile."""
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    return fitted.score(pixels[None], valid[None]).probability[0, 0]
