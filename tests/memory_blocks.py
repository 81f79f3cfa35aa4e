"""Scenes in memory, so that detectors are fitted without files and without the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.detector import Detector, Fitted, Kernel, R
from geochange.scenes.grid import Tile, reflect
from geochange.scenes.tiling import partition, sampled


@dataclass(frozen=True)
class MemoryScene:
    """A `Series` and its `MapBlocks`: (time, band, y, x) dates with (time, y, x) validity."""

    pixels: Floats
    valid: Bools
    block: int = 64
    times: tuple[float, ...] | None = None

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

    def map_blocks(self, kernel: Kernel[R], halo: int = 0, every: int = 1) -> Iterator[R]:
        cells = partition(self.shape, (self.block, self.block)) if every == 1 else sampled(self.shape, every)
        for tile in cells:
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


def landscape(bands: int = 4, shape: tuple[int, int] = (96, 110), seed: int = 0) -> Floats:
    """(band, y, x) smooth fields of correlated bands with texture, about 60..200."""
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(3, *shape)), (0, 4, 4)) * 12
    mixed = np.tensordot(rng.uniform(0.2, 1, (bands, 3)), fields, axes=1)
    return 128 + 16 * mixed + 2 * rng.normal(size=(bands, *shape))


def changed_scene(
    bands: int = 4, share: float = 0.1, seed: int = 0, shape: tuple[int, int] = (96, 110)
) -> tuple[MemoryScene, Bools]:
    """A scene with a second date of other gain, offset and noise a band and other land in a share of it; and where."""
    rng = np.random.default_rng(seed + 1)
    before = landscape(bands, shape, seed)
    field = gaussian_filter(rng.normal(size=shape), 3)
    truth = field > np.quantile(field, 1 - share)
    after = np.where(truth, before[::-1, ::-1, ::-1] + 60, before)
    gain, offset = rng.uniform(0.6, 1.4, (2, bands, 1, 1))
    return pair(before, gain * after + 20 * offset + 2 * rng.normal(size=before.shape)), truth
