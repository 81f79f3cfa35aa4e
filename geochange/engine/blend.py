"""Blending overlapping tiles in whole numbers, so that sums do not depend on their order. Pure.

Weights are integers that add up to one at every pixel (a partition of unity), and probabilities are rounded to 2^-24,
less than float32 resolves near one. Integer sums are the same in any order, which makes the result the same for any
cut into blocks and any number of workers, and needs no sum of weights beside the sum of scores.
"""

from __future__ import annotations

import numpy as np

from geochange.arrays import Floats, Ints
from geochange.scenes.tiling import Cut

WEIGHT_ONE = 1 << 10
SCORE_ONE = 1 << 24
_TOTAL = WEIGHT_ONE * WEIGHT_ONE * SCORE_ONE


def taper(cut: Cut, tile: int) -> Ints:
    """Return (size,) integer weights of a tile along one axis, of WEIGHT_ONE in all at each pixel.

    Zero in the margin; a raised cosine over the ramp shared with a neighbour; one where there is no neighbour. Law:
    at every pixel of the axis the weights of all tiles add up to WEIGHT_ONE.
    """
    rise = np.sin((np.arange(cut.ramp) + 0.5) / max(cut.ramp, 1) * np.pi / 2) ** 2
    rising = np.rint(rise * WEIGHT_ONE).astype(np.int64)
    kept = np.full(cut.size - 2 * cut.margin, WEIGHT_ONE, np.int64)
    if tile > 0:
        kept[: cut.ramp] = rising
    if tile < cut.tiles - 1:
        kept[cut.step :] = WEIGHT_ONE - rising
    return np.pad(kept, cut.margin)


def weighted(probability: Floats, rows: Ints, cols: Ints) -> Ints:
    """Return (..., y, x) probabilities as int64 scores times their weights."""
    scores: Ints = np.rint(probability.astype(np.float64) * SCORE_ONE).astype(np.int64)
    return scores * (rows[:, None] * cols[None, :])


def unweighted(total: Ints) -> Floats:
    """Return float32 probabilities of accumulated scores whose weights are complete."""
    return (total / _TOTAL).astype(np.float32)
