"""The best partition of many series into levels, or lines, by dynamic programming. Pure.

Optimal partitioning (Jackson et al. 2005), of all pixels at once, with gaps closed: the n-th date of a pixel is the
n-th that it has. What a partition explains is counted beyond what one level, or line, for all dates explains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from geochange.arrays import Bools, Floats, Ints

TINY = 1e-6


class SegmentSums(Protocol):
    """What one level, or line, explains of a part of each series: its sum of squares, of noise of variance 1."""

    def of(self, starts: slice, stop: int) -> Floats:
        """Sum of squares, (starts, n), of the dates from each start to before `stop`."""

    def between(self, start: Ints, stop: Ints) -> Floats:
        """Sum of squares, (n,), of the dates from `start` to before `stop`, (n,) each."""

    def values_at(self, start: Ints, stop: Ints, times: Floats, pixels: Ints) -> Floats:
        """(k, m) at (m,) times, of what is fitted to the dates from `start` to before `stop` of m pixels."""


@dataclass(frozen=True, slots=True)
class Levels:
    """One level a part."""

    sums: Floats
    """(time + 1, k, n) of the values before each place."""

    def of(self, starts: slice, stop: int) -> Floats:
        """See `SegmentSums.of`."""
        lengths = np.arange(stop - starts.start, stop - starts.stop, -1, dtype=np.float32)
        return _squares(self.sums[stop] - self.sums[starts]) / lengths[:, None]

    def between(self, start: Ints, stop: Ints) -> Floats:
        """See `SegmentSums.between`."""
        difference = _at(self.sums, stop) - _at(self.sums, start)
        return np.asarray(_squares(difference[None])[0] / np.maximum(stop - start, 1).astype(np.float32))

    def values_at(self, start: Ints, stop: Ints, times: Floats, pixels: Ints) -> Floats:
        """See `SegmentSums.values_at`."""
        difference = self.sums[stop, :, pixels] - self.sums[start, :, pixels]
        return np.asarray(difference.T / (stop - start).astype(np.float32))


def levels_of(values: Floats, times: Floats, counts: Ints) -> Levels:
    """Return what levels explain of (time, k, n) values; their (time, n) times do not matter."""
    return Levels(_sums(_centred(values, counts)))


@dataclass(frozen=True, slots=True)
class Lines:
    """One line a part."""

    sums: Floats
    """(time + 1, k, n) of the values before each place."""
    products: Floats
    """(time + 1, k, n) of the values times their times."""
    times: Floats
    """(time + 1, n) of the times."""
    squares: Floats
    """(time + 1, n) of the squared times."""

    def of(self, starts: slice, stop: int) -> Floats:
        """See `SegmentSums.of`."""
        lengths = np.arange(stop - starts.start, stop - starts.stop, -1, dtype=np.float32)[:, None]
        sums, products = (each[stop] - each[starts] for each in (self.sums, self.products))
        times, squares = (each[stop] - each[starts] for each in (self.times, self.squares))
        return _explained_by_lines(sums, products, times, squares, lengths)

    def between(self, start: Ints, stop: Ints) -> Floats:
        """See `SegmentSums.between`."""
        tables = self.sums, self.products, self.times[:, None], self.squares[:, None]
        sums, products, times, squares = (_at(each, stop) - _at(each, start) for each in tables)
        lengths = np.maximum(stop - start, 1).astype(np.float32)
        return np.asarray(_explained_by_lines(sums[None], products[None], times, squares, lengths)[0])

    def values_at(self, start: Ints, stop: Ints, times: Floats, pixels: Ints) -> Floats:
        """See `SegmentSums.values_at`."""
        sums, products = ((each[stop, :, pixels] - each[start, :, pixels]).T for each in (self.sums, self.products))
        along, squares = (each[stop, pixels] - each[start, pixels] for each in (self.times, self.squares))
        lengths = (stop - start).astype(np.float32)
        across = squares - along * along / lengths
        slopes = np.where(across > TINY, (products - sums * along / lengths) / np.maximum(across, TINY), 0)
        return np.asarray(sums / lengths + slopes * (times - along / lengths), np.float32)


def lines_of(values: Floats, times: Floats, counts: Ints) -> Lines:
    """Return what lines explain of (time, k, n) values at (time, n) times."""
    held = np.arange(len(values))[:, None] < counts
    centred, along = _centred(values, counts), np.where(held, times, np.float32(0))
    return Lines(_sums(centred), _sums(centred * along[:, None]), _sums(along), _sums(along * along))


def _explained_by_lines(sums: Floats, products: Floats, times: Floats, squares: Floats, lengths: Floats) -> Floats:
    """(m, n) from sums over parts: (m, k, n) of values and products, (m, n) of times and their squares."""
    across = squares - times * times / lengths
    left = _squares(products - sums * (times / lengths)[:, None])
    sloping = np.where(across > TINY, left / np.maximum(across, TINY), np.float32(0))
    return np.asarray(_squares(sums) / lengths + sloping, np.float32)


def _centred(values: Floats, counts: Ints) -> Floats:
    held = np.arange(len(values))[:, None, None] < counts
    means = values.sum(axis=0) / np.maximum(counts, 1).astype(np.float32)
    return np.where(held, values - means, np.float32(0))


def _sums(values: Floats) -> Floats:
    """(time + 1, ...) of the (time, ...) values before each place."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]), np.float32)
    np.cumsum(values, axis=0, out=sums[1:])
    return sums


def _squares(differences: Floats) -> Floats:
    """(m, n) sums of squares of (m, k, n), plane by plane."""
    total = np.square(differences[:, 0])
    for k in range(1, differences.shape[1]):
        total += np.square(differences[:, k])
    return total


def _at(sums: Floats, places: Ints) -> Floats:
    """(k, n) of (time + 1, k, n) at (n,) places."""
    found: Floats = np.take_along_axis(sums, places[None, None], axis=0)[0]
    return found


@dataclass(frozen=True, slots=True)
class Partition:
    """The parts of each of n series."""

    gain: Floats
    """(n,) what it explains beyond a single part, less the penalty of each cut; 0 where that is the best."""
    cuts: Bools
    """(time + 1, n) at which places a part begins that is not the first."""


def best_partition(explained: SegmentSums, counts: Ints, penalty: Floats, shortest: int, dates: int) -> Partition:
    """Find the partition that explains most, less a penalty for each cut.

    Args:
        explained: by parts.
        counts: (n,) dates of each series.
        penalty: (n,) of each cut.
        shortest: dates that a part has at least.
        dates: of the longest.
    """
    best = np.zeros((dates + 1, len(counts)), np.float32)
    come_from = np.zeros((dates + 1, len(counts)), np.int16)
    for stop in range(shortest, dates + 1):
        best[stop] = explained.of(slice(0, 1), stop)[0]
        starts = slice(shortest, stop - shortest + 1)
        if starts.stop <= starts.start:
            continue
        found = explained.of(starts, stop)
        found += best[starts]
        which = found.argmax(axis=0)
        most = np.take_along_axis(found, which[None], axis=0)[0] - penalty
        cut = most > best[stop]
        best[stop, cut] = most[cut]
        come_from[stop, cut] = which[cut] + shortest
    whole = explained.between(np.zeros_like(counts), counts)
    return Partition(_at(best[:, None], counts)[0] - whole, _traced(come_from, counts))


def _traced(come_from: Ints, counts: Ints) -> Bools:
    cuts, at, pixels = np.zeros(come_from.shape, bool), counts, np.arange(len(counts))
    while at.any():
        at = come_from[at, pixels].astype(np.int64)
        cuts[at, pixels] = True
    cuts[0] = False
    return cuts


def best_cuts(explained: SegmentSums, counts: Ints, shortest: int, dates: int) -> tuple[Floats, Floats]:
    """Return (n,) what the best single cut explains, and the two best; -inf where the dates are too few."""
    one = np.full((dates + 1, len(counts)), -np.inf, np.float32)  # with one cut before each place
    two, first = one.copy(), one.copy()
    for stop in range(shortest, dates + 1):
        first[stop] = explained.of(slice(0, 1), stop)[0]
        starts = slice(shortest, stop - shortest + 1)
        if starts.stop > starts.start:
            found = explained.of(starts, stop)
            one[stop] = (found + first[starts]).max(axis=0)
            two[stop] = (found + one[starts]).max(axis=0)
    whole = explained.between(np.zeros_like(counts), counts)
    return _at(one[:, None], counts)[0] - whole, _at(two[:, None], counts)[0] - whole


def best_cut(explained: SegmentSums, counts: Ints, shortest: int, dates: int) -> tuple[Floats, Ints]:
    """Return (n,) what the best single cut explains, -inf where the dates are too few; and before which place it is."""
    first, last = np.zeros_like(counts), counts
    found, at = np.full(len(counts), -np.inf, np.float32), np.zeros_like(counts)
    for cut in range(shortest, dates - shortest + 1):
        place = np.minimum(cut, counts)
        both = explained.between(first, place) + explained.between(place, last)
        better = (both > found) & (counts - cut >= shortest)
        found[better], at[better] = both[better], cut
    return np.asarray(found - explained.between(first, last)), at
