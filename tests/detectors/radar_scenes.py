"""Radar pairs in memory: ground under speckle of known looks, and where it changed."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from geochange.arrays import Bools, Floats
from geochange.detectors.looks import speckled
from tests.memory_blocks import MemoryScene


def ground(shape: tuple[int, int] = (128, 140), seed: int = 0) -> Floats:
    """Backscatter of land with texture, and of water 10 dB below it."""
    rng = np.random.default_rng(seed)
    texture, shore = (gaussian_filter(rng.normal(size=shape), sigma) for sigma in (9, 14))
    return np.where(shore > np.quantile(shore, 0.3), 1.0, 0.1) * np.exp(3 * texture)


def speckled_series(backscatter: list[Floats], looks: list[float], seed: int = 0, bands: int = 1) -> MemoryScene:
    """Intensities of (y, x) backscatter, one date after the other."""
    rng = np.random.default_rng(seed)
    dates = [np.stack([speckled(each, n, rng)] * 1) for each, n in zip(backscatter, looks, strict=True)]
    for _ in range(bands - 1):
        more = [speckled(each, n, rng)[None] for each, n in zip(backscatter, looks, strict=True)]
        dates = [np.concatenate(both) for both in zip(dates, more, strict=True)]
    return MemoryScene(np.stack(dates), np.ones((len(dates), *dates[0].shape[1:]), bool))


def speckled_pair(
    looks: tuple[float, float] = (4.0, 2.0), share: float = 0.03, decibels: float = -7.0, seed: int = 0
) -> tuple[MemoryScene, Bools]:
    """Amplitudes of two dates, and where the second has changed by so many decibels."""
    before = ground(seed=seed)
    field = gaussian_filter(np.random.default_rng(seed + 1).normal(size=before.shape), 5)
    truth = field > np.quantile(field, 1 - share)
    after = before * np.where(truth, 10 ** (decibels / 10), 1)
    scene = speckled_series([before, after], list(looks), seed)
    return MemoryScene(np.sqrt(scene.pixels) * 90, scene.valid), truth
