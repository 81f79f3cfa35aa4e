"""Difference of one band, or of a normalised index of two bands such as NDVI or NDWI, between two dates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.contrast import (
    ContrastFitted,
    PairOptions,
    fitted_contrast,
    require_pair,
    standardised_difference,
)
from geochange.detectors.detector import Kernel, MapBlocks, R, Scores, Series
from geochange.detectors.statistics import find_inliers, varying_bands
from geochange.errors import BadOption, BandMismatch
from geochange.scenes.grid import Tile

FLAT = 0.0  # the index of equal bands, such as those of a frame around the scene


def normalised_index(first: Floats, second: Floats) -> Floats:
    """(first - second) / (first + second), float32; `FLAT` where the sum is 0."""
    total = first + second
    return np.divide(first - second, total, out=np.full_like(total, FLAT), where=total != 0)


@dataclass(frozen=True, slots=True)
class Selection:
    """One quantity from the bands: the band at a place, or the normalised index of the bands at two."""

    places: tuple[int, ...]

    def __call__(self, dates: Floats) -> Floats:
        """(..., band, y, x) to (..., 1, y, x)."""
        bands = [dates[..., place, :, :] for place in self.places]
        return (bands[0] if len(bands) == 1 else normalised_index(*bands))[..., None, :, :]


def run_selected(dates: Floats, valid: Bools, tile: Tile, *, kernel: Kernel[R], selection: Selection) -> R:
    """Kernel: another kernel on the selected quantity alone."""
    return kernel(selection(dates), valid, tile)


@dataclass(frozen=True, slots=True)
class SelectedBlocks:
    """`MapBlocks` that shows kernels the selected quantity alone."""

    map_blocks: MapBlocks
    selection: Selection

    def __call__(self, kernel: Kernel[R], halo: int = 0, every: int = 1) -> Iterator[R]:
        """Run a kernel on the selected quantity."""
        return self.map_blocks(partial(run_selected, kernel=kernel, selection=self.selection), halo, every)


@dataclass(frozen=True)
class ImageDifferenceFitted(ContrastFitted):
    """A standardised difference with a scene's means and deviations of the selected quantity."""

    name: ClassVar[str] = "difference"
    places: tuple[int, ...]
    band_count: int

    @property
    def bands(self) -> int:
        """As many as the scene that it was fitted on has."""
        return self.band_count

    @property
    def layers(self) -> Mapping[str, int]:
        """The difference itself."""
        return {"difference": 1}

    def layer(self, name: str, dates: Floats) -> Floats:
        """After minus before, in standard deviations."""
        return next(self.contrast.variates(dates.reshape(2, *dates.shape[2:])))[None]

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score the selected quantity of tiles."""
        return super().score(Selection(self.places)(dates), valid, layers)

    def numbers(self) -> dict[str, Any]:
        """Return what selects the quantity."""
        return {"places": list(self.places), "band_count": self.band_count}


@dataclass(frozen=True, kw_only=True)
class ImageDifference(PairOptions):
    """Difference of one band, or of the normalised index of two."""

    name: ClassVar[str] = "difference"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[ImageDifferenceFitted]] = ImageDifferenceFitted

    band: int = 1
    """Number of the band in the files."""

    index: tuple[int, int] | None = None
    """Band numbers A,B of the index (A - B) / (A + B), in place of `band`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.index is not None and self.index[0] == self.index[1]:
            raise BadOption(f"index {self.index[0]},{self.index[1]} needs two different bands")

    def selection(self, bands: tuple[int, ...]) -> Selection:
        """Where the options' band numbers lie in arrays that hold these bands.

        Raises:
            BandMismatch: a number is not among them.
        """
        wanted = self.index or (self.band,)
        if missing := [number for number in wanted if number not in bands]:
            raise BandMismatch(f"band {missing[0]} is not among the bands {', '.join(map(str, bands))}")
        return Selection(tuple(bands.index(number) for number in wanted))

    def fit(self, series: Series, map_blocks: MapBlocks) -> ImageDifferenceFitted:
        """Take the scene's moments and the histogram of the selected quantity."""
        require_pair(series, self.name)
        selection = self.selection(series.bands)
        blocks = SelectedBlocks(map_blocks, selection)
        found = find_inliers(series, blocks, FLAT if self.index else None)
        varies = varying_bands(found.moments, self.index or (self.band,))
        contrast = standardised_difference(found, varies)
        fitted = fitted_contrast(found.seen, contrast, self, series)
        return ImageDifferenceFitted(*fitted, selection.places, len(series.bands))
