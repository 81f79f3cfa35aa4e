"""Breaks as rasters: when the largest was, how large, how many there are, and all of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from geochange.arrays import Floats, Ints
from geochange.detectors.break_model import BreakModel, FoundBreaks

INTERVAL, DATE, SIZE, NUMBER, STEPS = "interval", "break-date", "break-size", "breaks", "steps"
UNCHANGED = {DATE: np.nan, SIZE: np.nan, NUMBER: 0.0, STEPS: 0.0}
"""What layers hold where a pixel is not predicted as change."""


def break_layers(dates: int, bands: int) -> Mapping[str, int]:
    """Name -> number of bands."""
    return {INTERVAL: dates - 1, DATE: 1, SIZE: bands, NUMBER: 1, STEPS: (dates - 1) * bands}


@dataclass(frozen=True, slots=True)
class Break:
    """The break before one place, of those of n pixels that have it."""

    place: int
    pixels: Ints
    """(m,)."""
    previous: Ints
    """(m,) where the part before it begins."""
    following: Ints
    """(m,) where the part after it ends."""
    size: Floats
    """(k, m) after less before, in whitened bands and units of each pixel's noise."""


def steps_of(found: FoundBreaks, along: Floats) -> Iterator[Break]:
    """Yield the breaks place by place; `along` are the (time,) times that the model fits lines over."""
    cuts, counts = found.cuts, found.series.counts
    places = np.arange(len(cuts))[:, None]
    begins = np.maximum.accumulate(np.where(cuts, places, 0), axis=0)
    ends = np.minimum.accumulate(np.where(cuts, places, counts)[::-1], axis=0)[::-1]
    for place in range(1, len(cuts) - 1):
        pixels = np.flatnonzero(cuts[place])
        if pixels.size:
            cut = np.full(len(pixels), place)
            order = found.series.order[place - 1 : place + 1, pixels]
            when = along[order].mean(axis=0)
            previous, following = begins[place - 1, pixels], ends[place + 1, pixels]
            before = found.explained.values_at(previous, cut, when, pixels)
            after = found.explained.values_at(cut, following, when, pixels)
            yield Break(place, pixels, previous, following, after - before)


@dataclass(frozen=True, slots=True)
class LargestBreak:
    """The largest break of each of n pixels, or the likeliest place of one."""

    place: Ints
    """(n,) before which it is; 0 where the dates are too few for one."""
    size: Floats
    """(k, n) as of `Break`."""
    previous: Ints
    following: Ints


def largest_of(model: BreakModel, found: FoundBreaks) -> LargestBreak:
    """Return the break with the largest size; of equal ones the first."""
    counts, size = found.series.counts, len(model.whitening.forth)
    largest = LargestBreak(np.zeros_like(counts), np.zeros((size, len(counts)), np.float32), counts * 0, counts.copy())
    most = np.zeros(len(counts), np.float32)
    for step in steps_of(found, model.along):
        squares = np.square(step.size).sum(axis=0)
        more = squares > most[step.pixels]
        at = step.pixels[more]
        most[at], largest.place[at], largest.size[:, at] = squares[more], step.place, step.size[:, more]
        largest.previous[at], largest.following[at] = step.previous[more], step.following[more]
    return largest


def draw_layers(model: BreakModel, found: FoundBreaks, wanted: tuple[str, ...]) -> dict[str, Floats]:
    """(band, n) float32 of each layer that is wanted, as if each pixel had a break."""
    if not wanted:
        return {}
    largest = largest_of(model, found)
    drawing = {INTERVAL: _intervals, DATE: _dates, SIZE: _sizes, NUMBER: _numbers, STEPS: _steps}
    return {name: drawing[name](model, found, largest) for name in wanted}


def _in_bands(model: BreakModel, found: FoundBreaks, size: Floats, pixels: Ints | slice) -> Floats:
    """(band, m) sizes in the units of the bands."""
    return np.asarray(model.whitening.undo((size * found.spread[pixels])[None])[0])


def _sizes(model: BreakModel, found: FoundBreaks, largest: LargestBreak) -> Floats:
    return _in_bands(model, found, largest.size, slice(None))


def _numbers(model: BreakModel, found: FoundBreaks, largest: LargestBreak) -> Floats:
    return np.asarray(found.cuts.sum(axis=0, dtype=np.float32)[None])


def _dates(model: BreakModel, found: FoundBreaks, largest: LargestBreak) -> Floats:
    """Midway between the last date before the break and the first after it."""
    pixels = np.arange(len(largest.place))
    before, after = (found.series.order[np.maximum(largest.place - back, 0), pixels] for back in (1, 0))
    when = (model.times[before] + model.times[after]) / 2
    return np.where(largest.place > 0, when, np.nan).astype(np.float32)[None]


def _steps(model: BreakModel, found: FoundBreaks, largest: LargestBreak) -> Floats:
    """(interval * band, n), in the interval that ends with the first date after the break."""
    bands = len(model.scales)
    drawn = np.zeros((len(found.series.values) - 1, bands, len(largest.place)), np.float32)
    for step in steps_of(found, model.along):
        interval = found.series.order[step.place, step.pixels] - 1
        drawn[interval, :, step.pixels] = _in_bands(model, found, step.size, step.pixels).T
    return drawn.reshape(-1, drawn.shape[2])


def _intervals(model: BreakModel, found: FoundBreaks, largest: LargestBreak) -> Floats:
    """Probability of each interval between dates, given that there is one break between those before and after it."""
    counts, dates = found.series.counts, len(found.series.values)
    weights = np.full((dates, len(counts)), -np.inf, np.float32)
    for place in range(1, dates):
        inside = (place - largest.previous >= model.shortest) & (largest.following - place >= model.shortest)
        cut = np.minimum(place, largest.following)
        both = found.explained.between(largest.previous, cut) + found.explained.between(cut, largest.following)
        weights[place] = np.where(inside, both / 2, -np.inf)
    peak = weights.max(axis=0)
    shares = np.where(np.isfinite(peak), np.exp(weights - np.where(np.isfinite(peak), peak, 0)), np.float32(0))
    total = shares.sum(axis=0)
    return _spread_over_gaps(shares / np.where(total > 0, total, 1), found.series.order)


def _spread_over_gaps(shares: Floats, order: Ints) -> Floats:
    """(time - 1, n): what lies between two dates of a pixel lies as likely in each interval between them."""
    drawn = np.zeros((len(shares) - 1, shares.shape[1]), np.float32)
    intervals = np.arange(len(drawn))[:, None]
    for place in range(1, len(shares)):
        first, last = order[place - 1], order[place]
        within = (intervals >= first) & (intervals < last)
        drawn += within * (shares[place] / np.maximum(last - first, 1).astype(np.float32))
    return drawn
