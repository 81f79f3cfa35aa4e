"""Change in series of radar images, in one polarisation or several: the omnibus test of equal backscatter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.detector import DEFAULT_TILE, MapBlocks, Scores, Series
from geochange.detectors.equal_backscatter import EqualityTest, factor_tests, omnibus_test
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.looks import estimate_looks
from geochange.detectors.mixture import CERTAIN_LOG_ODDS, robit
from geochange.detectors.radar import DARKEST, RadarOptions, RadarReading, padded, read_radar, require_variation
from geochange.detectors.statistics import jointly_valid
from geochange.errors import BadOption

LEAST_P = 1e-300  # p values under this count as this


@dataclass(frozen=True)
class OmnibusFitted:
    """The test with a scene's looks."""

    name: ClassVar[str] = "omnibus"
    classes: ClassVar[tuple[str, ...]] = ("change",)
    thresholds: ClassVar[Mapping[str, float]] = {"default": 0.5}
    stride: ClassVar[int] = 1
    tiles_at_once: ClassVar[int] = 1
    default_tile: ClassVar[int] = DEFAULT_TILE
    largest_tile: ClassVar[int | None] = None
    objects: ClassVar[bool] = False

    reading: RadarReading
    floors: Floats
    """(time, band) intensities under which all count alike."""
    looks: Floats
    """(time, band) of what is tested: after the filter."""
    significance: float

    @property
    def bands(self) -> int:
        """As many as the scene that it was fitted on has."""
        return int(self.looks.shape[1])

    @property
    def layers(self) -> Mapping[str, int]:
        """The p value, the interval of the first change, and the change of backscatter in it."""
        return {"p_value": 1, "interval": len(self.looks) - 1, "ratio": 1}

    @property
    def receptive_radius(self) -> int:
        """What the filter needs."""
        return self.reading.radius

    @property
    def default_overlap(self) -> int:
        """Twice the receptive radius, so that tiles are exact."""
        return 2 * self.receptive_radius

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`: 0.5 where the p value is the significance.

        The layer `p_value` is that of the omnibus test; `interval` is 1 in the band of the first interval in which the
        backscatter changed, else 0; `ratio` is that change in dB, the mean of the bands, against all dates before.
        """
        parts = [self._score(*tile, layers) for tile in zip(dates, valid, strict=True)]
        joint = jointly_valid(valid)[:, None]
        probability = np.stack([probability for probability, _ in parts])[:, None]
        drawn = {name: np.stack([drawn[name] for _, drawn in parts]) for name in layers}
        return Scores(probability, {name: np.where(joint, values, np.nan) for name, values in drawn.items()})

    def _score(self, dates: Floats, valid: Bools, layers: tuple[str, ...]) -> tuple[Floats, dict[str, Floats]]:
        """Return the (y, x) probability and the (band, y, x) layers of one tile."""
        intensities, seen = self.reading(*padded(dates, valid, self.receptive_radius))
        tested = np.maximum(intensities.astype(np.float64), self.floors[:, :, None, None])
        p_value = np.where(jointly_valid(seen), omnibus_test(tested, self.looks).p_value, 1)
        odds = log_odds(np.maximum(p_value, LEAST_P)) - log_odds(np.float64(self.significance))
        drawn = {"p_value": p_value[None].astype(np.float32)}
        if "interval" in layers or "ratio" in layers:
            first = first_interval(factor_tests(tested, self.looks), self.significance)
            drawn["interval"] = (first == np.arange(len(self.looks) - 1)[:, None, None]).astype(np.float32)
            drawn["ratio"] = change_in_decibels(tested, self.looks, first)[None].astype(np.float32)
        return robit(-np.minimum(odds, CERTAIN_LOG_ODDS).astype(np.float32)), drawn

    def summary(self) -> Mapping[str, Any]:
        """Return looks of the images and of what is tested, and the significance."""
        frame = {} if self.reading.frame is None else {"frame": self.reading.frame}
        looks = {"looks": self.reading.speckle.looks.tolist(), "looks_tested": self.looks.tolist()}
        return {**looks, "significance": self.significance, **frame}

    def save(self, folder: Path) -> None:
        """Write the reading and the significance as JSON, looks and floors as arrays."""
        arrays = {"floors": self.floors, "looks": self.looks, "looks_read": self.reading.speckle.looks}
        write_fitted(folder, self.name, {"significance": self.significance, **self.reading.numbers()}, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        numbers, arrays = read_fitted(folder, cls.name, ("floors", "looks", "looks_read"))
        significance = numbers.pop("significance")
        return cls(RadarReading.of(numbers, arrays["looks_read"]), arrays["floors"], arrays["looks"], significance)


def log_odds(p_value: Floats | np.float64) -> Floats:
    """Return the log of the odds of p values above 0; infinite for 1."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p_value) - np.log1p(-p_value))


def first_interval(tests: list[EqualityTest], significance: float) -> Ints:
    """(y, x) place of the first test that rejects; of the one that is nearest to it, where none does."""
    p_values = np.stack([test.p_value for test in tests])
    rejected = p_values < significance
    first: Ints = np.where(rejected.any(axis=0), rejected.argmax(axis=0), p_values.argmin(axis=0))
    return first


def change_in_decibels(intensities: Floats, looks: Floats, interval: Ints) -> Floats:
    """(y, x) intensity at the end of an interval over the mean of all dates before, in dB, the mean of the bands."""
    weights = looks[:, :, None, None]
    before = np.cumsum(weights * intensities, axis=0)[:-1] / np.cumsum(weights, axis=0)[:-1]
    ratios = 10 * np.log10(intensities[1:] / before).mean(axis=1)
    chosen: Floats = np.take_along_axis(ratios, interval[None], axis=0)[0]
    return chosen


@dataclass(frozen=True, kw_only=True)
class Omnibus(RadarOptions):
    """Radar series, in one polarisation or several: the test that all dates have the same backscatter."""

    name: ClassVar[str] = "omnibus"
    dates: ClassVar[int | None] = None
    fitted: ClassVar[type[OmnibusFitted]] = OmnibusFitted

    significance: float = 0.01
    """Share of the unchanged pixels that may be predicted as change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.significance < 1:
            raise BadOption(f"significance is {self.significance}; it must lie between 0 and 1")

    def fit(self, series: Series, map_blocks: MapBlocks) -> OmnibusFitted:
        """Estimate the looks of what is tested."""
        if series.dates < 2:
            raise BadOption(f"omnibus compares 2 dates or more, but {series.dates} was given; name another image")
        scene = read_radar(series, map_blocks, self)
        require_variation(scene, series)
        floors, looks = DARKEST * scene.means, scene.looks
        if scene.reading.radius:
            looks = estimate_looks(scene.blocks, floors, scene.reading.lag)
        return OmnibusFitted(scene.reading, floors, looks, self.significance)
