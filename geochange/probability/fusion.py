"""Several probabilities of change of one place → one. Pure.

Every function takes (source, class, y, x) probabilities in 0..1 and (source, y, x) where a source holds data, and gives
(class, y, x) float32: NaN where no source holds data, and elsewhere what the sources that do say together. Sums run
over ascending terms in float64, so that the order of the sources changes no bit, and neither does the cut into blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any, Protocol, Self

import numpy as np
from scipy.special import expit

from geochange.arrays import Array, Bools, Floats
from geochange.probability.raster import LEVELS

ODDS_MARGIN = 0.5 / LEVELS
"""Log-odds are taken of probabilities at least this far from 0 and 1: half a step of one byte."""

MOST_STEPS = 100  # of Newton's method; a dozen are enough
STANDSTILL = 1e-10  # largest step of a coefficient, beside its size, at which the fit ends


class FusionRule(Protocol):
    """A way of fusing, with all that it needs to know."""

    def __call__(self, probability: Floats, present: Bools) -> Floats:
        """Return (class, y, x) float32 of (source, class, y, x) probabilities and (source, y, x) presence."""


def weighted_mean(probability: Floats, present: Bools, *, weights: Sequence[float]) -> Floats:
    """Average the sources that hold data, each counted by its weight.

    Args:
        probability: (source, class, y, x).
        present: (source, y, x).
        weights: of each source, 0 or more; a source of weight 0 counts as one without data.
    """
    weight = np.asarray(weights, np.float64)[:, None, None] * present
    values = np.where(weight[:, None] > 0, probability, 0)
    return _quotient(_ordered_sum(weight[:, None] * values), _ordered_sum(weight))


def maximum(probability: Floats, present: Bools) -> Floats:
    """Return the largest probability of the sources that hold data."""
    largest = np.where(present[:, None], probability, -1).max(axis=0)
    return np.where(largest < 0, np.nan, largest).astype(np.float32)


def vote_share(probability: Floats, present: Bools, *, thresholds: Sequence[float]) -> Floats:
    """Return the share of the sources with data whose probability reaches their own threshold: 0.5 is at least half.

    Args:
        probability: (source, class, y, x).
        present: (source, y, x).
        thresholds: of each source. Compared as float32, as which a stored value that equals one reaches it.
    """
    reached = probability.astype(np.float32) >= np.asarray(thresholds, np.float32)[:, None, None, None]
    return _quotient((reached & present[:, None]).sum(axis=0), present.sum(axis=0))


def noisy_or(probability: Floats, present: Bools) -> Floats:
    """Return the probability that one source at least is right, if each errs by itself: 1 - prod(1 - p) (Pearl 1988).

    Sources that look at the same images do not err by themselves, so what comes out is too high for them.
    """
    with np.errstate(divide="ignore"):  # a source that is certain: log(0)
        doubt = np.log1p(-np.where(present[:, None], probability, 0).astype(np.float64))
    return np.where(present.any(axis=0), -np.expm1(_ordered_sum(doubt)), np.nan).astype(np.float32)


def _ordered_sum(terms: Floats) -> Floats:
    """Sum over the first axis, smallest first; one term after the other, whatever the shape."""
    ordered = np.sort(terms.astype(np.float64), axis=0)
    total: Floats = reduce(np.add, ordered)
    return total


def _quotient(numerator: Array, denominator: Array) -> Floats:
    """Divide (class, y, x) by (y, x), as float32; NaN where that is 0."""
    nothing = denominator == 0
    return np.where(nothing, np.nan, numerator / np.where(nothing, 1, denominator)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackingModel:
    """Logistic regression on the log-odds of several sources (stacked generalisation, Wolpert 1992), class by class."""

    sources: tuple[str, ...]
    """What it was fitted on, in the order of the coefficients."""

    classes: tuple[str, ...]
    intercept: tuple[float, ...]
    """(class,)."""

    weights: tuple[tuple[float, ...], ...]
    """(class, source), of the log-odds."""

    missing: tuple[tuple[float, ...], ...]
    """(class, source), in place of weight times log-odds where the source holds no data."""

    threshold: float
    """On the fused probability: that of the best F1 on the pixels of the fit."""

    pixels: Mapping[str, int]
    """How many the fit has seen: "unchanged", and of each class."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON."""
        return {name: _lists(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        sources, classes = (tuple(map(str, record[name])) for name in ("sources", "classes"))
        shape, threshold = (len(classes), len(sources)), float(record["threshold"])
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold {threshold} lies outside 0..1")
        return cls(
            sources=sources,
            classes=classes,
            intercept=_numbers(record["intercept"], shape[:1]),
            weights=_numbers(record["weights"], shape),
            missing=_numbers(record["missing"], shape),
            threshold=threshold,
            pixels={str(k): int(v) for k, v in record["pixels"].items()},
        )


def _lists(value: Any) -> Any:
    return [_lists(part) for part in value] if isinstance(value, tuple) else value


def _numbers(values: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return nested lists of finite numbers as nested tuples; ValueError where they have another shape."""
    array = np.asarray(values, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{shape} finite numbers are needed, not {values}")
    return tuple(tuple(row) if isinstance(row, list) else row for row in array.tolist())


def stacked(probability: Floats, present: Bools, *, model: StackingModel) -> Floats:
    """Apply a model to its sources, in their order.

    A source without data adds the model's term for that, so no value takes its place.
    """
    odds = log_odds(probability)
    fused = []
    for number, intercept in enumerate(model.intercept):
        sums = np.full(present.shape[1:], intercept)
        coefficients = zip(odds[:, number], present, model.weights[number], model.missing[number], strict=True)
        for odd, there, weight, missing in coefficients:
            sums += np.where(there, weight * odd, missing)
        fused.append(np.where(present.any(axis=0), expit(sums), np.nan))
    return np.stack(fused).astype(np.float32)


def log_odds(probability: Floats) -> Floats:
    """Return float64 log of p / (1 - p), of probabilities kept away from 0 and 1; of NaN, that of the smallest."""
    kept = np.clip(np.nan_to_num(probability.astype(np.float64)), ODDS_MARGIN, 1 - ODDS_MARGIN)
    return np.log(kept) - np.log1p(-kept)


def stacking_features(probability: Floats, present: Bools) -> Floats:
    """Return the features of one class's regression.

    Args:
        probability: (source, n).
        present: (source, n).

    Returns:
        (n, 2 source): log-odds, 0 where a source holds no data, then 1 where it holds none.
    """
    return np.concatenate([np.where(present, log_odds(probability), 0), ~present]).T


def fit_logistic(
    features: Floats, changed: Bools, weights: Floats | None = None, *, penalty: float = 1.0
) -> tuple[float, Floats]:
    """Fit a logistic regression by Newton's method (iteratively reweighted least squares), in float64.

    Minimises the summed, weighted logarithmic loss and half the penalty times the squared coefficients, the intercept
    apart: scikit-learn's LogisticRegression with C = 1 / penalty.

    Args:
        features: (n, k).
        changed: (n,), holding both.
        weights: (n,) of the pixels; None: 1.
        penalty: above 0.

    Returns:
        The intercept and (k,) coefficients.
    """
    columns = np.column_stack([np.ones(len(features)), features])
    ridge = np.array([0.0, *[penalty] * features.shape[1]])
    weights = np.ones(len(changed)) if weights is None else weights
    found = np.zeros(columns.shape[1])

    def cost(coefficients: Floats) -> float:
        sums = columns @ coefficients
        loss = weights @ (np.logaddexp(0, sums) - changed * sums)
        return float(loss + coefficients @ (ridge * coefficients) / 2)

    for _ in range(MOST_STEPS):
        share = expit(columns @ found)
        gradient = columns.T @ (weights * (share - changed)) + ridge * found
        curvature = (columns.T * (weights * share * (1 - share))) @ columns + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        before = cost(found)
        while cost(found - step) > before + 1e-12 * abs(before) and np.abs(step).max() > STANDSTILL:
            step = step / 2
        found = found - step
        if np.abs(step).max() <= STANDSTILL * (1 + np.abs(found).max()):
            break
    return float(found[0]), found[1:]


def best_threshold(probability: Floats, changed: Bools, weights: Floats) -> float:
    """Return the threshold of the greatest F1, the middle one of equals: between two values that one byte can hold.

    Args:
        probability: (n,).
        changed: (n,), some of them True.
        weights: (n,) of the pixels.
    """
    codes = np.rint(probability * LEVELS).astype(np.intp)
    hits, alarms = (np.bincount(codes, weights * part, LEVELS + 1)[::-1].cumsum()[::-1] for part in (changed, ~changed))
    f1 = 2 * hits / (hits + alarms + hits[0])
    best = np.flatnonzero(f1[1:] >= f1[1:].max() - 1e-12) + 1
    return float(best[len(best) // 2] - 0.5) / LEVELS
