"""The detector `baseline`: how far the last date departs from what the dates before it lead to expect, without labels.

Each band's expectation is the median over the dates before, with the season by harmonics where these dates show one;
its spread is their median absolute deviation, drawn towards the scene's, so that three dates give no absurd figure.
Departures in units of the spread, made independent among the bands, have a squared length whose mixture over the scene
gives the probability of change, as with a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.detector import MapBlocks, Scores, Series
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.mixture import Posterior, StatisticCounts, count_statistic, fit_posterior
from geochange.detectors.seasons import Season, season_of
from geochange.detectors.series import (
    MAD,
    ClosedSeries,
    SeriesSample,
    close_gaps,
    date_offsets,
    draw_series,
    framed,
    in_parts,
    medians,
    plain_lists,
    tile_for,
)
from geochange.detectors.spreads import (
    SpreadPrior,
    Whitening,
    noise_scales,
    spread_prior,
    variance_of_logarithms,
    whitening_of,
)
from geochange.detectors.statistics import total_counts
from geochange.errors import BadOption, NothingValid
from geochange.scenes.grid import Tile

FEWEST = 2  # dates before the last one
SEASON_YEARS = 1.0  # that these span, before a season is fitted
LARGEST = 1e4  # deviations; what is more is no measurement
SIMULATED = 1 << 12
MEDIAN_VARIANCE = np.pi / 2  # of a median, times the number of values, in their variance
NEGLIGIBLE = 1e-6  # squared departure that rounding makes


@dataclass(frozen=True, slots=True)
class Departure:
    """How the last date of n pixels departs from those before."""

    difference: Floats
    """(band, n) last date less expectation, in the bands' units."""
    deviations: Floats
    """(band, n) the same in units of each pixel's spread."""


@dataclass(frozen=True)
class BaselineModel:
    """What is known of a scene's dates before the last one."""

    order: Ints
    """(time,) dates as they follow each other, the last one last."""
    offsets: Floats
    """(time, band) that are taken off."""
    season: Season
    """Of the dates in that order."""
    scales: Floats
    """(band,) noise, season included."""
    priors: tuple[SpreadPrior, ...]
    """Of each band."""
    correction: float
    """Of spreads about a median, which lies near to few values."""

    def departure(self, values: Floats, valid: Bools) -> Departure:
        """Compare the last of (time, band, n) values, with (time, n) validity, with those before."""
        with np.errstate(over="ignore", invalid="ignore"):  # of what no sensor measures
            matched = values - self.offsets[..., None]
            earlier = close_gaps(matched[self.order[:-1]], valid[self.order[:-1]])
            plain, found = self.season.remove(earlier, self.scales)
            expected = medians(plain, earlier.counts) + self.season.at(-1, found)
            difference = np.nan_to_num(matched[-1] - expected)
            spreads = self.spreads(plain, earlier)
            return Departure(difference, np.clip(difference / spreads, -LARGEST, LARGEST))

    def noise(self, sample: SeriesSample) -> Floats:
        """(band, n) deviations of the dates before the last one from their median."""
        first = self.order[:-1]
        earlier = close_gaps(sample.values[first] - self.offsets[first, :, None], sample.valid[first])
        plain, _ = self.season.remove(earlier, self.scales)
        deviations = (plain - medians(plain, earlier.counts)) / self.spreads(plain, earlier)
        return np.asarray(deviations.transpose(1, 0, 2)[:, earlier.held()])

    def spreads(self, plain: Floats, earlier: ClosedSeries) -> Floats:
        """(band, n) deviation of the last date from its expectation, where nothing has changed."""
        counts = earlier.counts
        own = spread_about_median(plain, counts)
        drawn = np.stack([prior(spread, counts) for prior, spread in zip(self.priors, own, strict=True)])
        further = np.sqrt(1 + MEDIAN_VARIANCE / np.maximum(counts, 1))
        return np.asarray(drawn * (self.correction * further), np.float32)


def spread_about_median(plain: Floats, counts: Ints) -> Floats:
    """(band, n) median absolute deviation from the median, of (time, band, n) values with their gaps closed."""
    return np.asarray(MAD * medians(np.abs(plain - medians(plain, counts)), counts))


def _chance_of_spread(dates: int) -> tuple[float, float]:
    """Variance of the logarithm of `spread_about_median` of noise, times the dates; and its median."""
    noise = np.random.default_rng(0).normal(size=(dates, 1, SIMULATED)).astype(np.float32)
    spread = spread_about_median(noise, np.full(SIMULATED, dates))[0]
    return variance_of_logarithms(spread / np.median(spread)) * dates, float(np.median(spread))


@dataclass(frozen=True)
class BaselineFitted:
    """A baseline with the posterior of departures from it."""

    name: ClassVar[str] = "baseline"
    classes: ClassVar[tuple[str, ...]] = ("change",)
    stride: ClassVar[int] = 1
    tiles_at_once: ClassVar[int] = 1
    largest_tile: ClassVar[int | None] = None
    min_confidence: ClassVar[float] = 0.2
    objects: ClassVar[bool] = False
    model: BaselineModel
    whitening: Whitening
    """Of deviations."""
    posterior: Posterior

    @property
    def bands(self) -> int:
        """As many as the scene that it was fitted on has."""
        return len(self.model.scales)

    @property
    def receptive_radius(self) -> int:
        """What the posterior needs."""
        return self.posterior.radius

    @property
    def default_overlap(self) -> int:
        """Twice the receptive radius, so that tiles are exact."""
        return 2 * self.receptive_radius

    @property
    def default_tile(self) -> int:
        """Smaller where there are more dates."""
        return tile_for(len(self.model.order) * self.bands)

    @property
    def layers(self) -> Mapping[str, int]:
        """Departure in the bands' units, and in deviations of each pixel's spread."""
        return {"departure": self.bands, "deviations": self.bands}

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those of the posterior."""
        return self.posterior.thresholds

    def comparable(self, valid: Bools) -> Bools:
        """(y, x) where the last date of (time, y, x) holds data, and enough of those before do."""
        fewest = max(FEWEST, self.model.season.fewest)
        return np.asarray(valid[-1] & (valid[:-1].sum(axis=0) >= fewest))

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`."""
        statistics, drawn = [], {name: np.full((len(dates), *dates.shape[2:]), np.nan, np.float32) for name in layers}
        known = np.stack([self.comparable(seen) for seen in valid])
        for k, (tile, seen) in enumerate(zip(dates, valid, strict=True)):
            statistic = np.zeros(tile.shape[2] * tile.shape[3], np.float32)
            for layer in drawn.values():
                layer[k][:, known[k]] = 0
            for at, found in _departures(self.model, tile, seen, known[k]):
                statistic[at] = squared_length(self.whitening, found)
                parts = {"departure": found.difference, "deviations": found.deviations}
                for name, layer in drawn.items():
                    layer[k].reshape(len(parts[name]), -1)[:, at] = parts[name]
            statistics.append(statistic.reshape(tile.shape[2:]))
        return Scores(self.posterior.probability(np.stack(statistics), known)[:, None], drawn)

    def summary(self) -> Mapping[str, Any]:
        """Return the mixture, the thresholds and the noise."""
        model = self.model
        return {
            "mixture": self.posterior.to_json()["mixture"],
            "thresholds": dict(self.thresholds),
            **plain_lists(
                spread=[prior.typical for prior in model.priors],
                variety=[prior.variety for prior in model.priors],
                offsets=model.offsets,
            ),
            "harmonics": len(model.season.waves) // 2,
            **self.posterior.remarks(),
        }

    def save(self, folder: Path) -> None:
        """Write the model and the posterior."""
        model = self.model
        numbers = {
            "posterior": self.posterior.to_json(),
            "priors": [prior.to_json() for prior in model.priors],
            "correction": model.correction,
        }
        arrays = {
            "order": model.order,
            "offsets": model.offsets,
            "waves": model.season.waves,
            "scales": model.scales,
            "forth": self.whitening.forth,
            "back": self.whitening.back,
        }
        write_fitted(folder, self.name, numbers, arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        keys = "order", "offsets", "waves", "scales", "forth", "back"
        numbers, arrays = read_fitted(folder, cls.name, keys)
        order, offsets, waves, scales, forth, back = (arrays[key] for key in keys)
        priors = tuple(map(SpreadPrior.from_json, numbers["priors"]))
        model = BaselineModel(order, offsets, Season(waves), scales, priors, numbers["correction"])
        return cls(model, Whitening(forth, back), Posterior.from_json(numbers["posterior"]))


def squared_length(whitening: Whitening, found: Departure) -> Floats:
    """(n,) float32 statistic of departures."""
    white = whitening(found.deviations[None])[0]
    total = np.zeros(white.shape[1], np.float32)
    for departure in white:
        total += np.square(departure)
    return total


def _departures(model: BaselineModel, tile: Floats, valid: Bools, known: Bools) -> Iterator[tuple[Ints, Departure]]:
    """Yield the flat places of some pixels of a tile, but for those of a frame, and their departures."""
    for at, values, held in in_parts(tile, valid, known & ~framed(tile, valid)):
        yield at, model.departure(values, held)


def count_departures(
    dates: Floats, valid: Bools, tile: Tile, *, model: BaselineModel, whitening: Whitening, fewest: int
) -> StatisticCounts:
    """Kernel: count the statistic of a block."""
    known = valid[-1] & (valid[:-1].sum(axis=0) >= fewest) & ~framed(dates, valid)
    statistic = np.zeros(known.size, np.float32)
    for at, found in _departures(model, dates, valid, known):
        statistic[at] = squared_length(whitening, found)
    return count_statistic(statistic.reshape(known.shape), known)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """How far the last date departs from the median and spread of those before it, season apart."""

    name: ClassVar[str] = "baseline"
    dates: ClassVar[int | None] = None
    fitted: ClassVar[type[BaselineFitted]] = BaselineFitted

    context: float = 0.5
    """Log-odds that a changed neighbour adds; 0 judges each pixel alone."""

    match_dates: bool = True
    """Take off by how much most of the scene differs at each date, band by band."""

    def __post_init__(self) -> None:
        if not 0 <= self.context <= 10:
            raise BadOption(f"context is {self.context}; it must lie in 0..10")

    def fit(self, series: Series, map_blocks: MapBlocks) -> BaselineFitted:
        """Measure the spreads of the dates before the last one, and count departures from them."""
        if series.dates <= FEWEST:
            raise BadOption(
                f"{self.name} takes {FEWEST} dates before the last one or more, but {series.dates} images were given; "
                "add earlier ones, or choose a detector of pairs such as ir-mad"
            )
        sample = _with_last(draw_series(series, map_blocks, FEWEST + 1))
        model = self._measured(sample, series)
        noise = model.noise(sample)
        whitening = whitening_of(noise if noise.any() else model.departure(sample.values, sample.valid).deviations)
        fewest = max(FEWEST, model.season.fewest)
        count = partial(count_departures, model=model, whitening=whitening, fewest=fewest)
        counts = total_counts(map_blocks(count))
        posterior = fit_posterior(counts.histogram, self.context, NEGLIGIBLE, counts.ordered)
        return BaselineFitted(model, whitening, posterior)

    def _measured(self, sample: SeriesSample, series: Series) -> BaselineModel:
        dates, bands, _ = sample.values.shape
        offsets = date_offsets(sample, dates - 1) if self.match_dates else np.zeros((dates, bands), np.float32)
        times = series.times or tuple(range(dates))
        order = np.append(np.argsort(times[:-1], kind="stable"), dates - 1)
        ordered = tuple(times[place] for place in order) if series.times else None
        fitted = np.asarray(sample.valid.any(axis=1))[order] & (np.arange(dates) < dates - 1)
        season = season_of(ordered, fitted, SEASON_YEARS)
        first = order[:-1]
        earlier = close_gaps(sample.values[first] - offsets[first, :, None], sample.valid[first])
        left = earlier.values - medians(earlier.values, earlier.counts)
        scales = noise_scales(left.transpose(1, 0, 2)[:, earlier.held()])
        scales = np.where(scales > 0, scales, 1)
        spreads = spread_about_median(season.remove(earlier, scales)[0], earlier.counts)
        usual = int(np.median(earlier.counts))
        chance, middle = _chance_of_spread(usual)
        priors = tuple(spread_prior(each, earlier.counts, chance) for each in spreads)
        return BaselineModel(order, offsets, season, scales, priors, 1 / middle)


def _with_last(sample: SeriesSample) -> SeriesSample:
    """Return the pixels that hold data at the last date.

    Raises:
        NothingValid: there are none.
    """
    last = sample.valid[-1]
    if not last.any():
        raise NothingValid(
            "no pixel holds data at the last date and enough of those before; look at the images and their masks"
        )
    return SeriesSample(sample.values[:, :, last], sample.valid[:, last])
