"""Scenes of many dates with known breaks, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from geochange.arrays import Bools, Ints
from tests.memory_blocks import MemoryScene

NOISE = 3.0


@dataclass(frozen=True)
class MadeSeries:
    """A scene, where it changes, and between which dates."""

    scene: MemoryScene
    changed: Bools
    interval: Ints
    """(y, x) from 1."""


def made_series(
    dates: int = 8,
    sizes: tuple[float, float] = (2.0, 6.0),
    *,
    bands: int = 4,
    shape: tuple[int, int] = (64, 72),
    share: float = 0.15,
    ends: int = 1,
    seed: int = 0,
) -> MadeSeries:
    """Ground that differs from place to place, noise, and patches that change for good, each at one date.

    Args:
        dates: how many.
        sizes: of the changes, least and largest, in noise, in each band.
        bands: how many.
        shape: of the scene.
        share: of the pixels that change.
        ends: dates that there are before and after each break, at least.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.normal(size=(3, *shape)), (0, 3, 3))
    changed = fields[0] > np.quantile(fields[0], 1 - share)
    ranks = fields[1].argsort(axis=None).argsort().reshape(shape) / fields[1].size
    interval = ends + (ranks * (dates - 2 * ends + 1)).astype(int)
    size = NOISE * rng.uniform(*sizes, (bands, *shape)) * rng.choice([-1, 1], (bands, 1, 1)) * np.sign(fields[2])
    after = (np.arange(dates)[:, None, None] >= interval) & changed
    ground = rng.uniform(80, 160, (bands, *shape))
    pixels = ground + after[:, None] * size + NOISE * rng.normal(size=(dates, bands, *shape))
    return MadeSeries(MemoryScene(pixels.astype(np.float32), np.ones((dates, *shape), bool)), changed, interval)
