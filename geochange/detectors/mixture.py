"""From a statistic of change to a probability with a usable range. Pure.

Any statistic T that is 0 for equal dates and has the nature of a squared length goes into one fine histogram, whose
bins are the leading bits of its float32: 256 to an octave, at no cost. The fourth root of chi-square is near to normal
(Hawkins and Wixley 1986); there a mixture of unchanged and changed is fitted by EM (Bruzzone and Prieto 2000), and its
log-odds become a table over the bins. Neighbours may vote in one step of mean-field inference in a Markov random
field, as in the second half of that paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import expit

from geochange.arrays import Array, Bools, Floats, Ints

SHIFT = 15  # bits of a float32 that a bin forgets; 8 of the mantissa are left
STATISTIC_BINS = 1 << (31 - SHIFT)  # not negative, so without the sign bit
CERTAIN_LOG_ODDS = 1e6  # log-odds that `robit` turns into exactly 0 or 1
EM_STEPS = 2000
EM_TOLERANCE = 1e-9  # mean move of a posterior at which EM has converged
FEW = 0.015  # share of pixels that may have any value without moving a threshold
ONE = 0.1  # the same distance, up to which two classes are one
DISTINCT = 1.5  # distance of two classes' means, in their deviations, from which they are not one
LAG = 5  # pixels between two whose statistics are compared: further than aligning and neighbourhoods reach
FEWEST_PAIRS = 400
LAG_ROWS = 4  # every so many-th row takes part
ORDER = 0.025  # correlation of their statistics from which a scene shows more order than noise has
SURE = 3.0  # standard errors of that correlation, which it is to reach as well
TAIL, FAR_OUT = 3.0, 0.015  # deviations, and the share of pixels above that many, which noise does not reach
NOISE_CUT = 4.0  # deviations above the mean from which a pixel counts as changed where all else is noise
MOST = 2 / 3  # share of change beyond which a mixture has split the unchanged, as crops of another year do
NARROWEST = 0.01  # deviation of a class, in units of the root's own size: an atom of equal pixels has none


def statistic_bins(statistic: Floats) -> Ints:
    """Histogram bins of a float32 statistic >= 0, of any shape."""
    return np.ascontiguousarray(statistic, np.float32).view(np.uint32) >> np.uint32(SHIFT)


def bin_values() -> Floats:
    """Return the (STATISTIC_BINS,) float64 statistic in the middle of each bin.

    It is 0 in the first, and the largest float32 beyond the last finite one.
    """
    bits = (np.arange(STATISTIC_BINS, dtype=np.uint32) << np.uint32(SHIFT)) + np.uint32(1 << (SHIFT - 1))
    with np.errstate(invalid="ignore"):  # the bits beyond infinity are signalling NaNs
        values = bits.view(np.float32).astype(np.float64)
    values[~np.isfinite(values)] = np.finfo(np.float32).max
    values[0] = 0.0
    return values


def bin_roots(negligible: float) -> Floats:
    """Return the (STATISTIC_BINS,) fourth roots of `bin_values`; statistics under `negligible` are rounding, and 0."""
    values = bin_values()
    values[values < negligible] = 0.0
    return values**0.25


def statistic_histogram(statistic: Floats, valid: Bools) -> Ints:
    """(STATISTIC_BINS,) int64 number of valid pixels in each bin."""
    bins = statistic_bins(statistic)
    return np.bincount(bins.ravel() if valid.all() else bins[valid], minlength=STATISTIC_BINS)


@dataclass(frozen=True, slots=True)
class StatisticCounts:
    """A statistic counted over a scene, and how alike it is some pixels on; counts of parts add up."""

    histogram: Ints
    """(STATISTIC_BINS,) int64."""
    pairs: Floats
    """(6,) sums over pairs of pixels in a row: of 1, x, y, x², y² and x y, of the bins x and y."""

    def __add__(self, other: StatisticCounts) -> StatisticCounts:
        return StatisticCounts(self.histogram + other.histogram, self.pairs + other.pairs)

    @property
    def ordered(self) -> bool:
        """Whether the statistic's logarithm (its bin) is correlated at pixels `LAG` apart, as land is and noise is not.

        Where there are too few pixels to tell, it counts as ordered.
        """
        size, x, y, xx, yy, xy = self.pairs
        variance = (size * xx - x**2) * (size * yy - y**2)
        if size < FEWEST_PAIRS or variance <= 0:
            return True
        return bool((size * xy - x * y) / np.sqrt(variance) >= max(ORDER, SURE / np.sqrt(size)))


def count_statistic(statistic: Floats, valid: Bools, reach: int = 1) -> StatisticCounts:
    """Count the valid pixels of a (y, x) statistic, each of which follows from so many pixels in a row."""
    rows, cols = slice(None, None, max(LAG_ROWS, reach)), slice(None, None, reach)
    both = (valid[rows, :-LAG] & valid[rows, LAG:])[:, cols]
    least = int(statistic_bins(np.full(1, 1e-6))[0])  # under it lies rounding, which has no logarithm to speak of
    bins = np.maximum(statistic_bins(statistic[rows]), least).astype(np.float64) - least
    x, y = bins[:, :-LAG][:, cols][both], bins[:, LAG:][:, cols][both]
    pairs = np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y])
    return StatisticCounts(statistic_histogram(statistic, valid), pairs)


def robit(log_odds: Floats | np.float64) -> Floats:
    """Probability from log-odds by Student's t with two degrees of freedom in place of the logistic (Liu 2004).

    As the logistic it is 1/2 with slope 1/4 at 0. Its tails fall as 1 / log_odds**2, because a mixture's own tails are
    an extrapolation: a byte still separates log-odds of 5 from 20.
    """
    return (log_odds / np.sqrt(log_odds * log_odds + 4) + 1) / 2


def otsu_split(values: Floats, counts: Array) -> float:
    """Find the threshold that separates two classes best (Otsu 1979); `> threshold` is the upper one.

    Args:
        values: (k,) ascending values of a histogram's bins.
        counts: (k,) their weights, at least two of them positive.

    Returns:
        A number midway between two occupied values.
    """
    occupied = counts > 0
    values, weights = values[occupied], counts[occupied] / counts.sum()
    below, mass = np.cumsum(weights)[:-1], np.cumsum(weights * values)
    between = (mass[-1] * below - mass[:-1]) ** 2 / (below * (1 - below))
    best = int(np.argmax(between))
    return float(values[best] + values[best + 1]) / 2


@dataclass(frozen=True, slots=True)
class Mixture:
    """Two normal classes of the statistic's fourth root: (unchanged, changed)."""

    share: float
    """Prior probability of change; 0 where nothing has changed."""
    means: tuple[float, float]
    deviations: tuple[float, float]

    @property
    def parabola(self) -> tuple[float, float, float]:
        """The log-odds of change as coefficients of root**2, root and 1."""
        (low, high), (still, moved) = self.means, (1 / deviation**2 for deviation in self.deviations)
        prior = np.log(self.share / (1 - self.share)) + np.log(moved / still) / 2
        return (still - moved) / 2, high * moved - low * still, prior + (low**2 * still - high**2 * moved) / 2

    def log_odds(self, root: Floats | np.float64) -> Floats:
        """Log of the odds of change at fourth roots of the statistic."""
        square, linear, constant = self.parabola
        return np.asarray((square * root + linear) * root + constant)

    def rising_log_odds(self, root: Floats | np.float64) -> Floats:
        """As `log_odds`, but rising everywhere.

        Beyond the turning point of the parabola, where two normal classes would predict the stillest pixels as change,
        they go on with a slope of one for each deviation of the unchanged.
        """
        if self.share == 0:
            return np.full(np.shape(root), -CERTAIN_LOG_ODDS)
        square, linear, _ = self.parabola
        if square == 0:
            return self.log_odds(root)
        turning = -linear / (2 * square)
        kept = np.maximum(root, turning) if square > 0 else np.minimum(root, turning)
        return self.log_odds(kept) + (root - kept) / self.deviations[0]

    @property
    def distinct(self) -> bool:
        """Whether the classes are two, not halves of one: by the distance of their means (Ashman et al. 1994)."""
        return 0 < self.share <= MOST and self.distance >= DISTINCT

    @property
    def distance(self) -> float:
        """Distance of the means, in deviations of both classes."""
        (low, high), (still, moved) = self.means, self.deviations
        return float((high - low) / np.hypot(still, moved) * np.sqrt(2))

    @property
    def even_root(self) -> float:
        """The fourth root at which change is as probable as not."""
        roots = bin_values() ** 0.25
        return float(roots[np.searchsorted(np.maximum.accumulate(self.rising_log_odds(roots)), 0)])


NO_CHANGE = Mixture(0.0, (0.0, 0.0), (1.0, 1.0))


def fit_mixture(counts: Ints, negligible: float = 0.0) -> Mixture:
    """Fit unchanged and changed to a scene's histogram by expectation-maximisation, from Otsu's split.

    Args:
        counts: (STATISTIC_BINS,) of `statistic_histogram`.
        negligible: statistics under this are rounding, and count as 0.

    Returns:
        The mixture; `NO_CHANGE` where all pixels are equal, or no pixel's worth of change is found.
    """
    roots, weights = _roots(counts, negligible)
    if len(roots) < 2:
        return NO_CHANGE
    return fit_normals(roots, weights, NARROWEST * np.sqrt(np.average(roots**2, weights=weights)))


def fit_normals(values: Floats, weights: Floats, floor: float) -> Mixture:
    """Fit two normal classes to weighted values by expectation-maximisation, from Otsu's split.

    Args:
        values: (k,) ascending, at least two.
        weights: (k,) pixels of each, above 0.
        floor: what each class's deviation is widened by.

    Returns:
        The mixture; `NO_CHANGE` where one class loses its last pixel, or both are one.
    """
    changed = (values > otsu_split(values, weights)).astype(np.float64)
    for _ in range(EM_STEPS):
        mixture = _maximise(values, weights, changed, floor)
        update = expit(mixture.log_odds(values))
        moved = np.average(np.abs(update - changed), weights=weights)
        changed = update
        if not 1 <= changed @ weights <= weights.sum() - 1:
            return NO_CHANGE
        if moved < EM_TOLERANCE:
            break
    return mixture if mixture.distance > ONE else NO_CHANGE


def _roots(counts: Ints, negligible: float) -> tuple[Floats, Floats]:
    """Fourth roots that occur, ascending, and how often."""
    occupied = np.flatnonzero(counts)
    roots, where = np.unique(bin_roots(negligible)[occupied], return_inverse=True)
    return roots, np.bincount(where, counts[occupied]).astype(np.float64)


def _maximise(values: Floats, weights: Floats, changed: Floats, floor: float) -> Mixture:
    masses = [weights * (1 - changed), weights * changed]
    means = [float(np.average(values, weights=mass)) for mass in masses]
    variances = [np.average((values - mean) ** 2, weights=mass) for mean, mass in zip(means, masses, strict=True)]
    narrow, wide = (float(np.hypot(np.sqrt(variance), floor)) for variance in variances)
    return Mixture(float(masses[1].sum() / weights.sum()), (means[0], means[1]), (narrow, wide))


@dataclass(frozen=True)
class Posterior:
    """Statistic -> probability of change, by one table for a scene."""

    mixture: Mixture
    otsu: float
    """Otsu's threshold of the root of the statistic (a length), as a statistic."""
    even: float = 0.0
    """Log-odds of the mixture that count as even: those at the detector's own threshold."""
    context: float = 0.0
    """Log-odds that a neighbour which has certainly changed adds to a pixel; 0 to judge each pixel alone."""
    noise: bool = False
    """Whether the statistic looks like that of noise alone, from which a few pixels at most stand out."""
    negligible: float = 0.0
    """Statistics under this are rounding, and as probable as 0."""

    @cached_property
    def log_odds(self) -> Floats:
        """(STATISTIC_BINS,) float32, never falling, not even by rounding."""
        rising = np.maximum.accumulate(self.mixture.rising_log_odds(bin_roots(self.negligible)))
        return (rising - self.even).astype(np.float32)

    @cached_property
    def leaning(self) -> Floats:
        """(STATISTIC_BINS,) float32 expected state of a pixel, -1 unchanged to 1 changed."""
        return np.tanh(self.log_odds / 2)

    @property
    def radius(self) -> int:
        """Pixels of context that `probability` needs."""
        return 1 if self.context else 0

    @property
    def quiet(self) -> float:
        """The largest statistic that is no change whatever its neighbours are."""
        return self._last_below(-8 * self.context - 1)

    @property
    def even_statistic(self) -> float:
        """The statistic from which a pixel among undecided neighbours is changed."""
        return self._last_below(0)

    def _last_below(self, log_odds: float) -> float:
        """Return the statistic of the last bin whose log-odds are less; 0 where all are more."""
        bin_ = int(np.searchsorted(self.log_odds, log_odds))
        return float(bin_values()[bin_ - 1]) if bin_ else 0.0

    def probability(self, statistic: Floats, valid: Bools) -> Floats:
        """(n, y, x) float32 probability of change of a statistic; pixels that are not valid do not count.

        The arrays are mirrored beyond their edges.
        """
        bins = statistic_bins(statistic)
        log_odds = self.log_odds[bins]
        if self.context:
            leaning = self.leaning[bins]
            leaning *= valid
            log_odds += np.float32(self.context) * neighbour_sum(leaning)
        return robit(log_odds)

    def remarks(self) -> dict[str, str]:
        """Return a `note` on the scene where there is something to be said of it, for run.json."""
        if self.mixture.share == 0:
            return {"note": "nothing has changed"}
        if self.noise:
            return {"note": "the dates differ as by noise alone; only what stands out far from it counts as change"}
        return {}

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Probabilities that stand for thresholds of the statistic."""
        if self.mixture.share == 0:
            return {"default": 0.5, "em": 0.5, "otsu": 0.5}
        return {"default": 0.5, "em": float(robit(np.float64(-self.even))), "otsu": self.threshold_at(self.otsu)}

    def threshold_at(self, statistic: float) -> float:
        """Return the probability of a pixel with this statistic among undecided neighbours."""
        odds = self.mixture.rising_log_odds(np.float64(statistic) ** 0.25) - self.even
        return float(robit(np.float64(odds)))

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, from which `from_json` makes an equal posterior."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Posterior:
        """Read what `to_json` returned."""
        parts = dict(saved)
        mixture = parts.pop("mixture")
        means, deviations = tuple(mixture["means"]), tuple(mixture["deviations"])
        return cls(Mixture(mixture["share"], means, deviations), **parts)


def fit_posterior(counts: Ints, context: float = 0.0, negligible: float = 0.0, ordered: bool = True) -> Posterior:
    """Fit the posterior of a scene's statistic.

    What counts as even lies midway, among fourth roots, between the mixture's own threshold and Otsu's. They err to
    opposite sides: the mixture takes the heavy tail of many covers that hardly changed for change, and Otsu's split
    leaves out weak change where there is strong change too. Where EM predicts more than `MOST` of the scene as change,
    it has split the unchanged, and Otsu's counts alone. Where the statistic is that of noise alone, any split halves
    the noise, and only what stands out far from it counts.

    Args:
        counts: (STATISTIC_BINS,) of `statistic_histogram`.
        context: as in `Posterior`.
        negligible: statistics under this are rounding.
        ordered: as in `StatisticCounts`.
    """
    counts = capped(counts, negligible)
    mixture = fit_mixture(counts, negligible)
    if mixture.share == 0:
        return Posterior(mixture, 0.0, context=context, negligible=negligible)
    otsu = otsu_statistic(counts)
    if not ordered and (alone := _noise_alone(counts, negligible)):
        return Posterior(alone, otsu, context=context, noise=True, negligible=negligible)
    root = otsu**0.25
    if mixture.share <= MOST:
        root = (root + mixture.even_root) / 2
    even = float(mixture.rising_log_odds(np.float64(root)))
    return Posterior(mixture, otsu, even, context, negligible=negligible)


def _noise_alone(counts: Ints, negligible: float) -> Mixture | None:
    """Return the mixture of noise and what stands out from it; None where there is more than noise.

    Noise has no order, for land and what becomes of it lie together in an image; and it has no long tail.
    """
    roots, weights = _roots(counts, negligible)
    mean = float(np.average(roots, weights=weights))
    deviation = float(np.sqrt(np.average((roots - mean) ** 2, weights=weights)))
    tail = weights[roots > mean + TAIL * deviation].sum() / weights.sum()
    if tail >= FAR_OUT:
        return None
    return Mixture(0.5, (mean, mean + 2 * NOISE_CUT * deviation), (deviation, deviation))


def capped(counts: Ints, negligible: float = 0.0) -> Ints:
    """Count a few statistics far above a clear change as no larger than the largest of that change.

    Otsu's upper class is left out again and again as long as all that is left out holds `FEW` of the pixels at most;
    the last time that what is below was a mixture of two distinct classes counts. So saturated, dead and hot pixels
    move no threshold, and a scene whose only changes are few and strong keeps them.

    Args:
        counts: (STATISTIC_BINS,) of `statistic_histogram`.
        negligible: as in `fit_mixture`.
    """
    lengths, found = np.sqrt(bin_values()), counts
    while np.count_nonzero(counts) > 1:
        first = int(np.searchsorted(lengths, otsu_split(lengths, counts), side="right"))
        few = counts[first:].sum()
        if few > FEW * counts.sum():
            break
        counts = counts.copy()
        counts[first:] = 0
        distinct = fit_mixture(counts, negligible).distinct
        counts[np.flatnonzero(counts)[-1]] += few
        found = counts if distinct else found
    return found


def ceiling_of(counts: Ints, negligible: float = 0.0) -> float:
    """Return the largest statistic that `capped` leaves; infinite where it leaves all."""
    found = capped(counts, negligible)
    return float("inf") if found is counts else float(bin_values()[np.flatnonzero(found)[-1]])


def otsu_statistic(counts: Ints) -> float:
    """Otsu's threshold of the statistic's square root, as a statistic; 0 where all pixels are in one bin."""
    if np.count_nonzero(counts) < 2:
        return 0.0
    return otsu_split(np.sqrt(bin_values()), counts) ** 2


def neighbour_sum(field: Floats) -> Floats:
    """Sum of the eight neighbours in (n, y, x), mirrored at the edges."""
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)), mode="reflect")
    rows = padded[:, :-2] + padded[:, 1:-1]
    rows += padded[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1]
    total += rows[:, :, 2:]
    total -= field
    return total
