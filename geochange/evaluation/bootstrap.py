"""Counts by cell of a scene, rates of hits, and confidence intervals from a bootstrap over cells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from geochange.arrays import Array, Floats, Ints
from geochange.errors import BadOption, GridMismatch

Interval: TypeAlias = tuple[float, float]
_COUNTS_AT_ONCE = 4_000_000  # bootstrap counts held at a time: 64 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How confidence intervals are drawn: cells of the scene, resampled with replacement (Efron 1979).

    Neighbouring pixels err together, so pixels would give intervals that are far too narrow; cells much larger than
    the errors are nearly independent (block bootstrap, Künsch 1989). Bounds are percentiles of the replicates in
    which the figure is defined. Cells in which nothing is scored are left out. Where just one cell is left there is
    nothing to resample, and where a figure is undefined there is nothing to bound: the interval is None.
    """

    replicates: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.replicates < 1 or not 0 < self.level < 1:
            raise BadOption(f"replicates {self.replicates} must be positive and level {self.level} inside 0..1")


@dataclass(frozen=True, slots=True)
class Figures:
    """Scores with their intervals: of one class, or averaged over classes."""

    values: Mapping[str, float | None]
    """Measure -> score."""

    intervals: Mapping[str, Interval | None]
    """Measure -> (low, high)."""

    def to_dict(self) -> dict[str, Any]:
        """Measures side by side, and below "intervals" as [low, high]; plain numbers and None."""
        bounds = {name: None if ends is None else list(ends) for name, ends in self.intervals.items()}
        return {**self.values, "intervals": bounds}


@dataclass(frozen=True, slots=True)
class CellCounts:
    """Counts of pixels in cells of the scene's lattice."""

    cells: Ints
    """(n, 2) row and column on the lattice."""

    counts: Ints
    """(n, ...) int64."""


def merge_cells(parts: Iterable[CellCounts]) -> CellCounts:
    """Add up the parts of cells that were read apart: counts of each cell, in lattice order.

    Raises:
        ValueError: there are no parts, or they differ in what is counted.
    """
    cells, counts = zip(*((part.cells, part.counts) for part in parts), strict=True)
    return CellCounts(*sum_by_cell(np.concatenate(cells), np.concatenate(counts)))


def require_one_shape(predicted: Array, reference: Array, valid: Array) -> None:
    """Raise GridMismatch where arrays that are compared differ in shape."""
    if not predicted.shape == reference.shape == valid.shape:
        shapes = f"{predicted.shape}, {reference.shape} and {valid.shape}"
        raise GridMismatch(f"predicted, reference and valid have shapes {shapes}: bring them to one grid first")


def hit_rates(hits: Floats, alarms: Floats, misses: Floats) -> Floats:
    """Precision, recall, F1 and IoU (Jaccard 1901) of counts (..., n): (..., measure, n), NaN where undefined."""
    return np.stack(
        [
            quotient(hits, hits + alarms),
            quotient(hits, hits + misses),
            quotient(2 * hits, 2 * hits + alarms + misses),
            quotient(hits, hits + alarms + misses),
        ],
        axis=-2,
    )


def sum_by_cell(cells: Array, counts: Array) -> tuple[Array, Array]:
    """Different cells (k, 2) in order, and the counts of each added up: (n, 2), (n, ...) -> (k, ...)."""
    different, place = np.unique(cells, axis=0, return_inverse=True)
    sums = np.zeros((len(different), *counts.shape[1:]), counts.dtype)
    np.add.at(sums, place.reshape(-1), counts)
    return different, sums


def quotient(numerator: Array, denominator: Array) -> Floats:
    """Divide; NaN where the denominator is 0, without numpy's warning."""
    nothing = np.full(np.shape(denominator), np.nan)
    found: Floats = np.divide(numerator, denominator, out=nothing, where=np.asarray(denominator) != 0)
    return found


def resample_sums(units: Array, bootstrap: Bootstrap) -> Floats:
    """Sum units (n, m) drawn n at a time with replacement: (replicates, m); no replicates for n < 2."""
    n = len(units)
    if n < 2:
        return np.zeros((0, units.shape[1]))
    rng, share = np.random.default_rng(bootstrap.seed), np.full(n, 1 / n)
    step = max(1, _COUNTS_AT_ONCE // n)
    sizes = [min(step, bootstrap.replicates - done) for done in range(0, bootstrap.replicates, step)]
    floats = units.astype(float)  # exact for counts, and integers have no fast product
    return np.concatenate([rng.multinomial(n, share, size).astype(float) @ floats for size in sizes])


def bound_figures(names: tuple[str, ...], values: Floats, drawn: Floats, level: float) -> Figures:
    """Scores (measure,) and the intervals of their replicates (replicate, measure), by name."""
    scores = {n: None if np.isnan(v) else float(v) for n, v in zip(names, values, strict=True)}
    bounds = {n: _interval(drawn[:, i], level) for i, n in enumerate(names)}
    return Figures(scores, {n: None if scores[n] is None else bounds[n] for n in names})


def _interval(drawn: Floats, level: float) -> Interval | None:
    """Percentiles that leave out equal shares at both ends; None where nothing is defined."""
    defined = drawn[~np.isnan(drawn)]
    if not defined.size:
        return None
    low, high = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
