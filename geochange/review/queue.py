"""The order in which changes are looked at. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from geochange.arrays import Floats, Ints
from geochange.review.base import Columns

SCREEN = 768  # pixels of the scene: changes this near each other are looked at together
SAMPLE_SEED = 20_240_229


def doubtful(columns: Columns) -> Ints:
    """Most doubtful neighbourhoods first, and in each the changes from west to east.

    A change's doubt is 1 - |2 p - 1| of its mean score p, weighted with the root of its area: doubt alone leads to
    specks.
    """
    weights = (1 - np.abs(2 * columns.scores - 1)) * np.sqrt(columns.areas)
    return _by_neighbourhood(columns, weights)


def largest(columns: Columns) -> Ints:
    """Largest first."""
    return np.lexsort([columns.ids, -columns.areas])


def by_place(columns: Columns) -> Ints:
    """Neighbourhood by neighbourhood, row by row, as one reads."""
    return _by_neighbourhood(columns, np.zeros(len(columns.ids)))


def by_class(columns: Columns) -> Ints:
    """Class by class, the largest of each first."""
    return np.lexsort([columns.ids, -columns.areas, columns.labels])


def random_sample(columns: Columns) -> Ints:
    """At random, always the same: the only order whose figures are those of all changes."""
    return np.random.default_rng(SAMPLE_SEED).permutation(len(columns.ids))


ORDERS: Mapping[str, Callable[[Columns], Ints]] = {
    "doubtful": doubtful,
    "size": largest,
    "place": by_place,
    "class": by_class,
    "random": random_sample,
}
"""Places in the columns, in order."""


def _by_neighbourhood(columns: Columns, weights: Floats) -> Ints:
    """Sort by the sum of weights of each neighbourhood, the heaviest first, then by place."""
    middles = (columns.boxes[:, :2] + columns.boxes[:, 2:]) / 2
    cells = np.floor(middles / SCREEN).astype(np.int64)
    _, cell = np.unique(cells[:, ::-1], axis=0, return_inverse=True)
    sums = np.bincount(cell, weights, minlength=1)[cell]
    return np.lexsort([columns.ids, middles[:, 0], cell, -sums])
