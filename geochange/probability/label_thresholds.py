"""Thresholds for a wanted precision or recall from a few labels. Pure.

Few labels are little evidence: ten pixels of one field are hardly more than one. So what must reach the wanted share
is not the share that was counted, but its lower bound (Wilson 1927), and pixels of one cell of the scene's lattice
count as one look: n cells of one size count as n, many pixels in few of them as little more than these few (Kish 1965).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geochange.arrays import Array, Floats, Ints
from geochange.errors import BadOption, NothingValid

CERTAINTY = 0.9
"""How certain it is, by the labels, that the wanted share is reached at a threshold; choosing among many, a little
less.
"""

QUANTILE = 1.2815515655446004  # of the standard normal distribution at CERTAINTY

UNCHANGED, CHANGED, NOT_LABELLED = 0, 1, 255


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """Labelled pixels over the thresholds, and their squares summed over cells; counts of parts add up."""

    changed: Ints
    """(k,) int64 pixels labelled as changed whose bin is this one or a higher one."""

    called: Ints
    """(k,) int64 labelled pixels whose bin is this one or a higher one."""

    called_squares: Ints
    """(k,) int64 sum over cells of `called` squared."""

    changed_squares: int
    """Sum over cells of their changed pixels squared."""

    cells: int
    """That hold labelled pixels."""

    def __add__(self, other: LabelCounts) -> LabelCounts:
        return LabelCounts(
            self.changed + other.changed,
            self.called + other.called,
            self.called_squares + other.called_squares,
            self.changed_squares + other.changed_squares,
            self.cells + other.cells,
        )


def no_labels(bins: int) -> LabelCounts:
    """Return counts of nothing."""
    nothing = np.zeros(bins, np.int64)
    return LabelCounts(nothing, nothing, nothing, 0, 0)


def label_counts(place: Ints, labels: Ints, cell: Ints, bins: int) -> LabelCounts:
    """Count the labelled pixels of whole cells.

    Args:
        place: (n,) bin of each pixel's probability, from 0.
        labels: (n,) UNCHANGED, CHANGED or NOT_LABELLED.
        cell: (n,) number of the cell of each pixel.
        bins: how many there are.
    """
    known = labels != NOT_LABELLED
    names, cell = np.unique(cell[known], return_inverse=True)
    if not len(names):
        return no_labels(bins)
    key = (cell * 2 + (labels[known] == CHANGED)) * bins + place[known]
    counts = np.bincount(key, minlength=2 * bins * len(names)).reshape(len(names), 2, bins)
    reached = counts[:, :, ::-1].cumsum(axis=2, dtype=np.int64)[:, :, ::-1]  # (cell, label, k)
    called, changed = reached.sum(axis=1), reached[:, CHANGED]
    return LabelCounts(
        changed.sum(axis=0),
        called.sum(axis=0),
        (called**2).sum(axis=0),
        int((changed[:, 0] ** 2).sum()),
        len(names),
    )


FIGURES = ("precision", "precision_lower", "recall", "recall_lower", "f1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledThreshold:
    """A threshold, and what the labels say of it."""

    wanted: str
    threshold: float
    precision: float
    precision_lower: float
    """That it is reached with a certainty of 90 %."""
    recall: float
    recall_lower: float
    f1: float
    changed_px: int
    unchanged_px: int
    cells: int
    """That hold labels, and so are as many looks at most."""
    held_out: LabelledThreshold | None = None
    """The figures of the same threshold on labels that had no part in choosing it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for run.json."""
        held_out = {} if self.held_out is None else {"held_out": self.held_out.to_dict()}
        return {name: value for name, value in asdict(self).items() if name != "held_out"} | held_out


def choose_threshold(counts: LabelCounts, wanted: str, least: float = 0.0) -> LabelledThreshold:
    """Choose the lowest threshold of a wanted precision, the highest of a wanted recall, or that of the best F1.

    Args:
        counts: of all labels; bins are equal steps of the probability from 0 to 1.
        wanted: "precision=0.9", "recall=0.9" or "f1".
        least: the lowest threshold that may be chosen.

    Raises:
        NothingValid: no pixel is labelled as changed, or none as unchanged.
        BadOption: the labels show no such threshold; the message names the nearest.
    """
    total, changed = int(counts.called[0]), int(counts.changed[0])
    if not 0 < changed < total:
        what = "changed" if changed == 0 else "unchanged"
        raise NothingValid(f"the labels mark {total:,} pixels with data, none of them as {what}; label some of both")
    figures, first = _figures(counts), round(least * (len(counts.called) - 1))
    name, _, text = wanted.partition("=")
    if name == "f1":
        return _describe(counts, figures, first + int(np.argmax(figures["f1"][first:])), wanted, least)
    share, bound = _parse_share(wanted, text), figures[f"{name}_lower"]
    fits = first + np.flatnonzero(bound[first:] >= share)
    if not len(fits):
        raise BadOption(_shortfall(wanted, name, figures))
    if name == "precision" and fits[0] == 0:
        raise BadOption(
            f"{changed / total:.0%} of the labelled pixels have changed, so any threshold has {wanted}; "
            "label more that is unchanged, as it comes in the scene"
        )
    return _describe(counts, figures, int(fits[0] if name == "precision" else fits[-1]), wanted, least)


def score_threshold(counts: LabelCounts, chosen: LabelledThreshold) -> LabelledThreshold | None:
    """Return the figures of a threshold on other labels; None where these hold none of one kind."""
    if not 0 < int(counts.changed[0]) < int(counts.called[0]):
        return None
    bins = len(counts.called)
    place = min(round(chosen.threshold * (bins - 1) + 0.5), bins - 1)
    return _describe(counts, _figures(counts), place, chosen.wanted, chosen.threshold)


def _figures(counts: LabelCounts) -> dict[str, Floats]:
    """(k,) each: precision, recall, their lower bounds, and F1, were each bin's lower edge the threshold."""
    changed = counts.changed.astype(np.float64)
    precision = changed / np.maximum(counts.called, 1)
    recall = changed / changed[0]
    return {
        "precision": precision,
        "precision_lower": lower_bound(precision, _looks(counts.called, counts.called_squares)),
        "recall": recall,
        "recall_lower": lower_bound(recall, changed[0] ** 2 / counts.changed_squares),
        "f1": 2 * changed / (counts.called + changed[0]),
    }


def _looks(total: Ints, squares: Ints) -> Floats:
    """Return (k,) how many looks pixels in cells are worth: (sum of n)² / sum of n² (Kish 1965)."""
    return total.astype(np.float64) ** 2 / np.maximum(squares, 1)


def lower_bound(share: Array, looks: Array | float, quantile: float = QUANTILE) -> Floats:
    """Return the lower end of Wilson's interval of a share that was counted in so many independent looks; 0 of none."""
    counted = np.maximum(looks, 1e-9)
    square = quantile**2 / counted
    spread = quantile * np.sqrt(share * (1 - share) / counted + square / (4 * counted))
    bound: Floats = np.where(np.asarray(looks) > 0, (share + square / 2 - spread) / (1 + square), 0.0)
    return bound


def _parse_share(wanted: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = np.nan
    if not 0 < share < 1:
        raise BadOption(f"threshold {wanted!r} must be as in precision=0.9: a share above 0 and below 1")
    return share


def _shortfall(wanted: str, name: str, figures: dict[str, Floats]) -> str:
    bound = figures[f"{name}_lower"]
    best = int(np.flatnonzero(bound == bound.max())[0 if name == "precision" else -1])
    return (
        f"the labels do not show {wanted} at any threshold: the best is {bound[best]:.3f} with a certainty of "
        f"{CERTAINTY:.0%} ({figures[name][best]:.3f} as counted) at {lower_edge(best, len(bound)):.3f}; "
        "label more places, or ask for less"
    )


def lower_edge(place: int, bins: int) -> float:
    """Return the lowest probability that is counted in a bin."""
    return max(place - 0.5, 0.0) / (bins - 1)


def _describe(
    counts: LabelCounts, figures: dict[str, Floats], place: int, wanted: str, least: float
) -> LabelledThreshold:
    precision, precision_lower, recall, recall_lower, f1 = (round(float(figures[name][place]), 6) for name in FIGURES)
    return LabelledThreshold(
        wanted=wanted,
        threshold=max(lower_edge(place, len(counts.called)), least),
        precision=precision,
        precision_lower=precision_lower,
        recall=recall,
        recall_lower=recall_lower,
        f1=f1,
        changed_px=int(counts.changed[0]),
        unchanged_px=int(counts.called[0] - counts.changed[0]),
        cells=counts.cells,
    )
