"""Median-ratio detector: |log(after / before)|, the mean of all bands, the median of 3 x 3 pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy import ndimage

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.detector import Fitted, MapBlocks, Scores, Series
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.errors import NothingValid
from geochange.scenes.grid import Tile

EDGES = np.linspace(0, 3, 3001)  # of the histogram of log-ratios


def log_ratio(dates: Floats) -> Floats:
    """Return the (..., y, x) log-ratio of (..., time, band, y, x) dates."""
    before, after = np.moveaxis(np.log1p(np.maximum(dates, 0)), -4, 0)
    ratio = np.abs(after - before).mean(axis=-3)
    return ndimage.median_filter(ratio, size=(1,) * (ratio.ndim - 2) + (3, 3))


def count_block(dates: Floats, valid: Bools, block: Tile) -> Ints:
    """Return the histogram of a block, which is read with one pixel of context on each side."""
    inside = (..., slice(1, -1), slice(1, -1))
    return np.histogram(log_ratio(dates)[inside][valid.all(axis=0)[inside]], EDGES)[0]


@dataclass(frozen=True)
class MedianRatioFitted(Fitted):
    """A scene's log-ratio at which change is as likely as not."""

    even: float
    name: ClassVar = "median-ratio"
    classes: ClassVar = ("change",)
    layers: ClassVar = {}  # no further rasters
    bands: ClassVar = None  # any number of bands
    receptive_radius: ClassVar = 1  # pixel of context, for the 3 x 3 median
    stride: ClassVar = 1  # tiles may start at any pixel
    default_overlap: ClassVar = 2  # twice the receptive radius: tiles are exact
    default_tile: ClassVar = 512
    tiles_at_once: ClassVar = 1
    objects: ClassVar = False  # no boxes
    thresholds: ClassVar = {"default": 0.5}

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Return the (n, 1, y, x) probabilities of (n, time, band, y, x) tiles."""
        ratio = log_ratio(dates)[:, None]
        return Scores(ratio**2 / (ratio**2 + np.float32(self.even) ** 2))

    def summary(self) -> dict[str, float]:
        """Return what run.json keeps."""
        return {"even": self.even}

    def save(self, folder: Path) -> None:
        """Write the statistics as JSON."""
        write_fitted(folder, self.name, self.summary(), {})

    @classmethod
    def load(cls, folder: Path) -> "MedianRatioFitted":
        """Read what `save` wrote."""
        return cls(**read_fitted(folder, cls.name, ())[0])


@dataclass(frozen=True, kw_only=True)
class MedianRatio:
    """Log-ratio of two dates, smoothed over 3 x 3 pixels."""

    medians: float = 4  # 50 % probability at so many times the scene's median
    name: ClassVar = "median-ratio"
    dates: ClassVar = 2
    fitted: ClassVar = MedianRatioFitted

    def fit(self, series: Series, map_blocks: MapBlocks) -> MedianRatioFitted:
        """Find the scene's median median-ratio, in one pass over its blocks."""
        counts = sum(map_blocks(count_block, halo=1))
        if not counts.any():
            raise NothingValid("no pixel holds data at both dates")
        median = EDGES[1 + np.searchsorted(np.cumsum(counts), counts.sum() / 2)]
        return MedianRatioFitted(even=float(self.medians * median))
