"""How sure one may be of a change by its shape: edges that light or registration moved leave slivers. Pure.

A logistic model of two measures that hold for a region of any size: how wide it is, and how far its scores stand out
from those around it. It was fitted on objects of ten synthetic scenes, of other suns and seasons, some of them bent
(`benchmarks/false_alarms.py`). More measures (area, compactness, mean and largest score) bring nothing beside them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from scipy.special import expit

from geochange.arrays import Floats, Ints

WIDTH, CONTRAST, CONSTANT = 3.6, 1.5, -3.4
"""Log-odds by the logarithm of the width in pixels, by the contrast in 0..1, and of one pixel's width without any."""


class Measured(Protocol):
    """What is counted of regions, columns of one length: see `regions.Counts`."""

    @property
    def area_px(self) -> Ints:
        """Pixels."""

    @property
    def score_sum(self) -> Ints:
        """Sum of the stored scores."""

    @property
    def rim(self) -> Ints:
        """Sides of pixels that another valid pixel lies behind."""

    @property
    def rim_sum(self) -> Ints:
        """Sum of the stored scores behind these sides."""


def width_of(counts: Measured) -> Floats:
    """(n,) pixels, of a long strip with as many pixels and sides; infinite where nothing lies beside a region."""
    endless = np.full(len(counts.rim), np.inf)
    width: Floats = np.divide(2.0 * counts.area_px, counts.rim, out=endless, where=counts.rim > 0)
    return width


def contrast_of(counts: Measured) -> Floats:
    """(n,) mean stored score less that of the pixels around; NaN where nothing lies beside a region."""
    nothing = np.full(len(counts.rim), np.nan)
    around: Floats = np.divide(counts.rim_sum, counts.rim, out=nothing, where=counts.rim > 0)
    return counts.score_sum / counts.area_px - around


def confidence_of(counts: Measured, score_scale: float) -> Floats:
    """(n,) 0 to 1, how sure a region is a change; its mean score where nothing lies beside it, as of a box.

    Args:
        counts: of the regions.
        score_scale: what a stored score of 1 means.
    """
    beside = counts.rim > 0
    width = np.where(beside, width_of(counts), 1.0)
    log_odds = WIDTH * np.log(width) + CONTRAST * np.where(beside, contrast_of(counts), 0) * score_scale + CONSTANT
    return np.where(beside, expit(log_odds), counts.score_sum / counts.area_px * score_scale)
