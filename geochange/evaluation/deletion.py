"""A check of an explanation: deleting what it marks must lower a score more than deleting as much elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geochange.arrays import Bools, Floats

SHARE, DRAWS = 0.05, 8


@dataclass(frozen=True, slots=True)
class Deletion:
    """Scores of a change with and without parts of the images."""

    whole: float
    without_marked: float
    without_others: float
    """The mean over draws of other places."""

    @property
    def holds(self) -> bool:
        """Whether what is marked matters more."""
        return self.without_marked < self.without_others


def check_by_deletion(
    score: Callable[[Floats], float], dates: Floats, heat: Floats, *, share: float = SHARE, draws: int = DRAWS
) -> Deletion:
    """Delete what an explanation marks most, and as much elsewhere (after Petsiuk 2018).

    What is deleted at a date is the difference: its pixels take the mean of the other dates' values.

    Args:
        score: of (time, band, y, x) dates.
        dates: (time, band, y, x).
        heat: (time, y, x), NaN where there are no data.
        share: of all pixels of all dates, to delete.
        draws: other places: the same shape, moved about within the images.
    """
    marked = most_marked(heat, share)
    rng, rows, cols = np.random.default_rng(0), *heat.shape[-2:]
    moved = [
        np.roll(marked, (int(rng.integers(rows // 4, 3 * rows // 4 + 1)), int(rng.integers(0, cols))), axis=(-2, -1))
        for _ in range(draws)
    ]
    return Deletion(
        score(dates),
        score(without(dates, marked)),
        float(np.mean([score(without(dates, each)) for each in moved])),
    )


def most_marked(heat: Floats, share: float) -> Bools:
    """(time, y, x) the share of pixels with the greatest heat; never those without any."""
    known = np.nan_to_num(heat, nan=0.0)
    count = max(round(share * known.size), 1)
    least = np.partition(known.ravel(), -count)[-count]
    marked: Bools = (known >= least) & (known > 0)
    return marked


def without(dates: Floats, deleted: Bools) -> Floats:
    """(time, band, y, x) dates, in which (time, y, x) deleted pixels have the mean of the other dates' values."""
    others = (dates.sum(axis=0) - dates) / (len(dates) - 1)
    return np.where(deleted[:, None], others, dates).astype(dates.dtype, copy=False)
