"""The detector `breaks`: when series of many dates change for good, after BFAST and CCDC, without labels.

Each pixel's series is cut into parts of one level (or one line), all bands together, by optimal partitioning (Jackson
et al. 2005). A cut costs a penalty that is simulated: of series of noise alone, as long as the pixel's and treated
alike, the share `false_breaks` has one. Season is taken out by harmonics where the dates show one, as in BFAST
(Verbesselt et al. 2010) and CCDC (Zhu and Woodcock 2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.break_layers import INTERVAL, UNCHANGED, break_layers, draw_layers
from geochange.detectors.break_model import (
    QUARTER,
    BreakModel,
    Noise,
    chance_of_spread,
    difference_spread,
    simulate_noise,
)
from geochange.detectors.detector import MapBlocks, Scores, Series
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.mixture import neighbour_sum, robit
from geochange.detectors.partition import best_cut
from geochange.detectors.seasons import Season, season_of
from geochange.detectors.series import (
    ClosedSeries,
    SeriesSample,
    close_gaps,
    date_offsets,
    draw_series,
    framed,
    in_parts,
    plain_lists,
    tile_for,
)
from geochange.detectors.spreads import SpreadPrior, Whitening, noise_scales, spread_prior, whitening_of
from geochange.errors import BadOption, NothingValid

FEWEST = 3  # dates of a pixel
SEASON_YEARS = 2.0  # of a series, before a season can be told from a break
LONG = 8  # dates for each date that a level lasts at least, unless it is given
MOST_LASTING = 3
MOST_DATES = 1000


@dataclass(frozen=True)
class BreaksFitted:
    """Breaks, with a scene's noise and season."""

    name: ClassVar[str] = "breaks"
    classes: ClassVar[tuple[str, ...]] = ("change",)
    stride: ClassVar[int] = 1
    tiles_at_once: ClassVar[int] = 1
    largest_tile: ClassVar[int | None] = None
    objects: ClassVar[bool] = False
    thresholds: ClassVar[Mapping[str, float]] = {"default": 0.5}
    model: BreakModel
    context: float = 0.5
    """Log-odds that a neighbour which has certainly changed adds to a pixel."""

    @property
    def receptive_radius(self) -> int:
        """A pixel's neighbours, where they count."""
        return 1 if self.context else 0

    @property
    def default_overlap(self) -> int:
        """Twice the receptive radius, so that tiles are exact."""
        return 2 * self.receptive_radius

    @property
    def bands(self) -> int:
        """As many as the scene that it was fitted on has."""
        return len(self.model.scales)

    @property
    def default_tile(self) -> int:
        """Smaller where there are more dates."""
        return tile_for(len(self.model.times) * self.bands)

    @property
    def layers(self) -> Mapping[str, int]:
        """Interval, date and size of the largest break, number of breaks, and the size of each."""
        return break_layers(len(self.model.times), self.bands)

    def comparable(self, valid: Bools) -> Bools:
        """(y, x) where enough dates of (time, y, x) hold data."""
        return np.asarray(valid.sum(axis=0) >= max(FEWEST, self.model.season.fewest))

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`."""
        tiles = [self._score_tile(tile, seen, layers) for tile, seen in zip(dates, valid, strict=True)]
        drawn = {name: np.stack([found[name] for _, found in tiles]) for name in layers}
        return Scores(np.stack([probability for probability, _ in tiles])[:, None], drawn)

    def _score_tile(self, tile: Floats, valid: Bools, layers: tuple[str, ...]) -> tuple[Floats, dict[str, Floats]]:
        """(y, x) probability, and (band, y, x) of each layer."""
        known, shape = self.comparable(valid), tile.shape[2:]
        still = known & framed(tile, valid)
        log_odds = np.where(still, -self.model.noise.penalties[-1] / 2, 0).astype(np.float32).ravel()
        drawn = {name: np.full((self.layers[name], known.size), np.nan, np.float32) for name in layers}
        if INTERVAL in drawn:
            drawn[INTERVAL][:, still.ravel()] = 1 / len(drawn[INTERVAL])
        for at, values, held in in_parts(tile, valid, known & ~still):
            found = self.model.find(values, held)
            log_odds[at] = found.log_odds
            for name, layer in draw_layers(self.model, found, layers).items():
                drawn[name][:, at] = layer
        probability = robit(self._in_context(log_odds.reshape(shape), known))
        unchanged = (known & (probability < self.thresholds["default"])).ravel()
        for name, nothing in UNCHANGED.items():
            if name in drawn:
                drawn[name][:, unchanged] = nothing
        return probability, {name: layer.reshape(-1, *shape) for name, layer in drawn.items()}

    def _in_context(self, log_odds: Floats, known: Bools) -> Floats:
        """One step of a Markov random field, as of the detectors of pairs."""
        if not self.context:
            return log_odds
        leaning = np.tanh(log_odds / 2) * known
        return np.asarray(log_odds + np.float32(self.context) * neighbour_sum(leaning[None])[0])

    def summary(self) -> Mapping[str, Any]:
        """Return noise, season and penalties."""
        model = self.model
        return {
            **plain_lists(times=model.times, noise=model.scales, offsets=model.offsets),
            "harmonics": len(model.season.waves) // 2,
            "lasting": model.shortest,
            "penalty": round(float(model.noise.penalties[-1]), 3),
            "inflation": round(model.inflation, 3),
            "variety": round(model.prior.variety, 4),
        }

    def save(self, folder: Path) -> None:
        """Write the model."""
        model = self.model
        numbers = {
            "context": self.context,
            "prior": model.prior.to_json(),
            "shortest": model.shortest,
            "sloping": model.sloping,
            "inflation": model.inflation,
        }
        write_fitted(folder, self.name, numbers, dict(zip(_ARRAYS, _arrays_of(model), strict=True)))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        numbers, arrays = read_fitted(folder, cls.name, _ARRAYS)
        times, offsets, waves, scales, forth, back, penalties, quartiles = (arrays[name] for name in _ARRAYS)
        return cls(
            BreakModel(
                times,
                offsets,
                Season(waves),
                scales,
                Whitening(forth, back),
                SpreadPrior.from_json(numbers["prior"]),
                numbers["shortest"],
                numbers["sloping"],
                Noise(penalties, quartiles),
                numbers["inflation"],
            ),
            numbers["context"],
        )


_ARRAYS = "times", "offsets", "waves", "scales", "forth", "back", "penalties", "quartiles"


def _arrays_of(model: BreakModel) -> tuple[Floats, ...]:
    return (
        model.times,
        model.offsets,
        model.season.waves,
        model.scales,
        model.whitening.forth,
        model.whitening.back,
        model.noise.penalties,
        model.noise.quartiles,
    )


@dataclass(frozen=True, kw_only=True)
class Breaks:
    """When a series of many dates changes for good: levels of all bands, cut where a penalty allows it."""

    name: ClassVar[str] = "breaks"
    dates: ClassVar[int | None] = None
    fitted: ClassVar[type[BreaksFitted]] = BreaksFitted

    false_breaks: float = 0.005
    """Share of unchanged pixels that may have a break."""

    lasting: int | None = None
    """Dates that a level lasts at least; what is shorter is taken for an outlier, such as a cloud. None: 1 below 16
    dates, 2 below 24, and 3."""

    sloping: bool = False
    """Cut into lines in place of levels, where growth and decay are no break."""

    match_dates: bool = True
    """Take off by how much most of the scene differs at each date, band by band."""

    context: float = 0.5
    """Log-odds that a changed neighbour adds; 0 judges each pixel alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.context <= 10:
            raise BadOption(f"context is {self.context}; it must lie in 0..10")
        if not 0 < self.false_breaks < 0.5:
            raise BadOption(f"false_breaks is {self.false_breaks}; it must lie between 0 and 0.5")
        if self.lasting is not None and self.lasting < 1:
            raise BadOption(f"lasting is {self.lasting} dates; it must be 1 at least")

    def fit(self, series: Series, map_blocks: MapBlocks) -> BreaksFitted:
        """Measure noise, season and the radiometry of the dates, and simulate the penalty."""
        times = times_of(self.name, series)
        sample = draw_series(series, map_blocks, FEWEST)
        model = self._measured(sample, times, series)
        noise = simulate_noise(model, np.asarray(sample.valid.any(axis=1)), self.false_breaks)
        model = replace(model, noise=noise)
        return BreaksFitted(replace(model, inflation=_inflation(model, sample)), self.context)

    def _measured(self, sample: SeriesSample, times: Floats, series: Series) -> BreakModel:
        dates, bands, _ = sample.values.shape
        offsets = date_offsets(sample) if self.match_dates else np.zeros((dates, bands), np.float32)
        closed = close_gaps(sample.values - offsets[..., None], sample.valid)
        seen, scales = sample.valid.any(axis=1), noise_scales(_differences(closed))
        season = season_of(series.times, np.asarray(seen), SEASON_YEARS)
        plain = replace(closed, values=season.remove(closed, np.where(scales > 0, scales, 1))[0])
        whitening, usual = whitening_of(_differences(plain)), int(np.median(closed.counts))
        size = len(whitening.forth)
        if not size:
            raise NothingValid(
                "the dates differ by what all pixels share, and by nothing else; there is nothing to find"
            )
        spreads = difference_spread(whitening(plain.values), closed.counts)
        prior = spread_prior(*spreads, chance_of_spread(int(seen.sum()), size))
        lasting = self.lasting or min(max(usual // LONG, 1), MOST_LASTING)
        shortest = max(lasting, FEWEST) if self.sloping else lasting
        empty = Noise(np.zeros(dates + 1), np.zeros(dates + 1))
        return BreakModel(
            times, offsets, season, np.where(scales > 0, scales, 1), whitening, prior, shortest, self.sloping, empty
        )


def times_of(name: str, series: Series) -> Floats:
    """(time,) years of the dates, or their places from 1 where they are not known.

    Raises:
        BadOption: there are too few, or they are not in order.
    """
    if not FEWEST <= series.dates <= MOST_DATES:
        raise BadOption(
            f"{name} takes {FEWEST} to {MOST_DATES} dates, but {series.dates} were given; name the images in "
            "the order of their dates"
        )
    if series.times is None:
        return np.arange(1.0, series.dates + 1)
    times = np.asarray(series.times, np.float64)
    if (np.diff(times) < 0).any():
        later = int(np.flatnonzero(np.diff(times) < 0)[0])
        raise BadOption(
            f"image {later + 2} is of {times[later + 1]:.2f}, image {later + 1} of {times[later]:.2f}; "
            "give the images in the order of their dates, or name these with --dates"
        )
    return times


def _differences(series: ClosedSeries) -> Floats:
    """(band, m) differences of dates that follow each other, over the root of 2: noise of one date."""
    steps, held = np.diff(series.values, axis=0), series.held(1)
    return np.asarray(steps.transpose(1, 0, 2)[:, held] / np.sqrt(2))


def _inflation(model: BreakModel, sample: SeriesSample) -> float:
    """Return how much more a cut explains of the quietest pixels than of independent noise; 1 where it is not more.

    Noise of dates that depends on that of the dates before, and what else is no noise and everywhere, shows here, as
    the stratification of a population does in genetics (genomic control, Devlin and Roeder 1999).
    """
    ratios = []
    for _, values, valid in in_parts(
        sample.values[..., None], sample.valid[..., None], np.ones((sample.valid.shape[1], 1), bool)
    ):
        series = model.closed(values, valid)
        scaled, _ = model.in_noise(model.whitening(series.values), series.counts)
        gain, _ = best_cut(model.explained(scaled, series), series.counts, model.shortest, len(values))
        usual = model.noise.quartiles[series.counts]
        ratios.append((gain / np.where(usual > 0, usual, 1))[usual > 0])
    found = np.concatenate(ratios)
    found = found[np.isfinite(found)]
    return max(float(np.quantile(found, QUARTER)), 1.0) if len(found) else 1.0
