"""How far two reviews of one layer agree, and how accurate the layer is by a random sample of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely

from geochange.errors import BadOption
from geochange.probability.label_thresholds import lower_bound
from geochange.review.actions import DECIDED
from geochange.review.queue import random_sample
from geochange.review.saved import SavedReview

FEWEST = 10  # changes of a sample that say something
QUANTILE = 1.959964  # of the normal distribution, for an interval of 95 %


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two reviewers made of the same changes."""

    decided: int
    """Changes that both have decided on."""
    same: int
    """Of them, those on which they decided alike."""
    kappa: float | None
    """Cohen's (1960): agreement beyond that of chance; None where there is none to be had."""
    pairs: dict[str, dict[str, int]]
    """Decision of the first -> of the second -> changes."""
    kept_iou: float | None
    """Of the ground within kept and drawn changes of both; None where neither has any."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def compare(first: SavedReview, second: SavedReview) -> Agreement:
    """Compare two reviews that began with the same layer.

    Raises:
        BadOption: they began with different ones.
    """
    if first.facts() != second.facts():
        raise BadOption(f"{first.run.out} and {second.run.out} are not reviews of one layer")
    counts = Counter(
        (str(one.fields["status"]), str(other.fields["status"]))
        for key, one in first.state.touched.items()
        if key.isdecimal() and one.fields["origin"] == "found" and (other := second.state.of(key)) is not None
    )
    counts = Counter({pair: count for pair, count in counts.items() if all(each in DECIDED for each in pair)})
    total, same = counts.total(), sum(count for (one, other), count in counts.items() if one == other)
    return Agreement(
        total,
        same,
        _kappa(counts),
        {one: {other: counts[one, other] for other in DECIDED} for one in DECIDED},
        _kept_iou(first, second),
    )


def _kappa(counts: Counter[tuple[str, str]]) -> float | None:
    total = counts.total()
    if not total:
        return None
    observed = sum(counts[each, each] for each in DECIDED) / total
    firsts = {each: sum(counts[each, other] for other in DECIDED) / total for each in DECIDED}
    seconds = {each: sum(counts[other, each] for other in DECIDED) / total for each in DECIDED}
    chance = sum(firsts[each] * seconds[each] for each in DECIDED)
    return None if chance == 1 else (observed - chance) / (1 - chance)


def _kept_iou(first: SavedReview, second: SavedReview) -> float | None:
    one, other = (shapely.union_all(kept_shapes(each)) for each in (first, second))
    either = shapely.union(one, other).area
    return float(shapely.intersection(one, other).area / either) if either else None


def kept_shapes(saved: SavedReview) -> list[Any]:
    """Return the outlines, in map units, of changes that were kept."""
    touched = saved.state.touched.items()
    kept = [int(key) for key, each in touched if key.isdecimal() and each.fields["status"] == "kept"]
    return [*saved.changes.shapes(saved.state, kept).values()]


def sampled_precision(saved: SavedReview) -> dict[str, Any] | None:
    """Estimate the share of right changes in all that was found, by those that come first in the random order.

    The sample ends with the first change of that order that nobody has decided on; those that somebody was unsure of,
    or has cut, merged or deleted, count as wrong at the lower end of the interval (Wilson 1927, 95 %), and as right at
    the upper one.

    Returns:
        `changes` in the sample, `kept`, `unsure`, `precision` and `interval`; None with fewer than `FEWEST`.
    """
    statuses: list[str] = []
    columns = saved.base.columns
    for number in columns.ids[random_sample(columns)].tolist():
        now = saved.state.of(str(number))
        status = "unreviewed" if now is None else str(now.fields["status"])
        if status not in (*DECIDED, "deleted"):
            break
        statuses.append("unsure" if status == "deleted" else status)
    if len(statuses) < FEWEST:
        return None
    count, kept, unsure = len(statuses), statuses.count("kept"), statuses.count("unsure")
    shares = np.array([kept, count - kept - unsure]) / count
    low, missed = (float(each) for each in lower_bound(shares, count, QUANTILE))
    high = 1 - missed
    known = count - unsure
    return {
        "changes": count,
        "kept": kept,
        "unsure": unsure,
        "precision": round(kept / known, 4) if known else None,
        "interval": [round(low, 4), round(high, 4)],
    }
