"""What detectors of change in radar images share: values as intensities, filters as they are read, and their looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.detector import Kernel, MapBlocks, R, Series
from geochange.detectors.looks import FEWEST_LOOKS, MOST_LOOKS, estimate_looks
from geochange.detectors.speckle import FilterName, SpeckleFilter, require_window
from geochange.detectors.statistics import CONSTANT, Frame, Moments, find_inliers, jointly_valid
from geochange.errors import BadOption, NothingValid
from geochange.scenes.grid import Tile

UnitsName: TypeAlias = Literal["amplitude", "intensity", "db"]

LARGEST = 1e9  # amplitudes beyond this, which no radar measures, count as this: their fourth power is a float32
DARKEST = 1e-4  # intensities under this share of the mean count as it, zeros among them: 40 dB below
LAG = 3  # pixels between two whose speckle is taken for independent, as sampling leaves it

INTENSITIES: Mapping[UnitsName, Callable[[Floats], Floats]] = {
    "amplitude": lambda values: np.square(np.clip(values, 0, LARGEST)),
    "intensity": lambda values: np.clip(values, 0, LARGEST**2),
    "db": lambda values: np.power(np.float32(10), np.clip(values, -300, 300) / np.float32(10)),
}
"""From stored values to intensities; negative ones, which noise removal leaves, are 0."""


@dataclass(frozen=True, kw_only=True)
class RadarOptions:
    """How radar images are read."""

    units: UnitsName = "amplitude"
    """What pixels hold: amplitude, as images of 8 bits and GRD products do; intensity; or db, decibels of intensity."""

    filter: FilterName = "none"
    """Filter of speckle that both dates pass first: boxcar, refined-lee, frost, or multitemporal (Quegan)."""

    window: int = 7
    """Pixels per side of the filter's window, odd."""

    looks: float | None = None
    """Equivalent number of looks of the images as they are; none: estimated, at each date."""

    def __post_init__(self) -> None:
        require_window(self.filter, self.window)
        if self.looks is not None and not FEWEST_LOOKS <= self.looks <= MOST_LOOKS:
            raise BadOption(f"looks is {self.looks}; it must lie in {FEWEST_LOOKS}..{MOST_LOOKS:g}")


def padded(dates: Floats, valid: Bools, radius: int) -> tuple[Floats, Bools]:
    """Return a tile's (time, band, y, x) pixels and (time, y, x) validity, mirrored beyond its edges."""
    around = [(radius, radius)] * 2
    return np.pad(dates, [(0, 0)] * 2 + around, mode="reflect"), np.pad(valid, [(0, 0), *around], mode="reflect")


@dataclass(frozen=True)
class RadarReading:
    """How a scene's pixels become filtered intensities: all that a worker needs for it."""

    units: UnitsName
    speckle: SpeckleFilter
    frame: float | None
    """The intensity of a frame around the scene, whose pixels count as not valid."""

    @property
    def radius(self) -> int:
        """Pixels of context that the filter needs."""
        return self.speckle.radius

    @property
    def lag(self) -> int:
        """Pixels between two whose filtered speckle is taken for independent."""
        return LAG + 2 * self.radius

    def numbers(self) -> dict[str, Any]:
        """Plain numbers and text, from which, with the looks, `of` makes an equal reading."""
        return {
            "units": self.units,
            "filter": self.speckle.name,
            "window": self.speckle.window,
            "frame": self.frame,
        }

    @classmethod
    def of(cls, saved: Mapping[str, Any], looks: Floats) -> RadarReading:
        """Read what `numbers` returned."""
        return cls(saved["units"], SpeckleFilter(saved["filter"], saved["window"], looks), saved["frame"])

    def __call__(self, dates: Floats, valid: Bools) -> tuple[Floats, Bools]:
        """Return intensities of (time, band, y, x), and their (time, y, x) validity, without `radius` on each side.

        What is not valid at one date is not valid at any: it is not compared, and so is not to be filtered in.
        """
        intensities = INTENSITIES[self.units](dates)
        seen = np.broadcast_to(jointly_valid(valid), valid.shape)
        if self.frame is not None:
            seen = Frame(self.frame).inside(intensities, seen)
        height, width = dates.shape[-2:]
        inner = slice(self.radius, height - self.radius), slice(self.radius, width - self.radius)
        return self.speckle(intensities, seen), seen[:, *inner]


def run_read(dates: Floats, valid: Bools, tile: Tile, *, kernel: Kernel[R], reading: RadarReading) -> R:
    """Kernel: another kernel on filtered intensities."""
    return kernel(*reading(dates, valid), tile)


@dataclass(frozen=True, slots=True)
class ReadBlocks:
    """`MapBlocks` that shows kernels filtered intensities."""

    map_blocks: MapBlocks
    reading: RadarReading

    def __call__(self, kernel: Kernel[R], halo: int = 0, every: int = 1) -> Iterator[R]:
        """Run a kernel on what is read."""
        read = partial(run_read, kernel=kernel, reading=self.reading)
        return self.map_blocks(read, halo + self.reading.radius, every)


@dataclass(frozen=True, slots=True)
class RadarScene:
    """A scene as it is read, and what was measured on it."""

    reading: RadarReading
    blocks: MapBlocks
    """Of filtered intensities."""
    moments: Moments
    """Of all dates' intensities without a filter, of the pixels that are not far out."""
    looks: Floats
    """(time, band) equivalent number of looks of the images as they are."""

    @property
    def means(self) -> Floats:
        """(time, band) mean intensities."""
        return self.moments.mean.reshape(self.looks.shape)


def unfiltered(units: UnitsName, frame: float | None, shape: tuple[int, int]) -> RadarReading:
    """Return a reading without a filter, of (time, band) images."""
    return RadarReading(units, SpeckleFilter("none", 1, np.ones(shape)), frame)


def read_radar(series: Series, map_blocks: MapBlocks, options: RadarOptions) -> RadarScene:
    """Measure a scene's means and looks, in three passes at most, and say how its pixels are read.

    Raises:
        NothingValid: no pixel holds data at every date.
    """
    shape = (series.dates, len(series.bands))
    found = find_inliers(series, ReadBlocks(map_blocks, unfiltered(options.units, None, shape)))
    plain = unfiltered(options.units, found.frame, shape)
    if options.looks is None:
        floors = DARKEST * found.moments.mean.reshape(shape)
        looks = estimate_looks(ReadBlocks(map_blocks, plain), floors, LAG)
    else:
        looks = np.full(shape, float(options.looks))
    reading = RadarReading(options.units, SpeckleFilter(options.filter, options.window, looks), found.frame)
    return RadarScene(reading, ReadBlocks(map_blocks, reading), found.moments, looks)


def require_variation(scene: RadarScene, series: Series) -> None:
    """Refuse, with NothingValid, a scene of whose dates one is constant in every band."""
    variance = scene.moments.variance.reshape(scene.looks.shape)
    constant = np.flatnonzero((variance <= CONSTANT * scene.means**2).all(axis=1))
    if len(constant):
        number = {0: "the first date", 1: "the second date"}.get(int(constant[0]), f"date {constant[0] + 1}")
        which = "all dates" if len(constant) == series.dates else number
        bands = ", ".join(map(str, series.bands))
        raise NothingValid(f"every band ({bands}) is constant at {which}: there is nothing to compare")
