"""The order in which changes are looked at. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from geochange.arrays import Floats, Ints
from geochange.review.base import Columns

SCREEN = 768  # pixels of the scene: changes this near each other are looked at together
AT_ONCE = 12  # doubtful changes of a neighbourhood, before the next one's
SAMPLE_SEED = 20_240_229


def doubtful(columns: Columns) -> Ints:
    """Most doubtful first, in rounds: of each neighbourhood so many of them, from west to east, then of the next one.

    A change's doubt is 1 - |2 p - 1| of its mean score p, weighted with the root of its area: doubt alone leads to
    specks.
    """
    weights = (1 - np.abs(2 * columns.scores - 1)) * np.sqrt(columns.areas)
    cell, x = _neighbourhoods(columns)
    order = np.lexsort([columns.ids, -weights, cell])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(cell[order], cell[order])
    turn = rank // AT_ONCE
    _, group = np.unique(np.stack([turn, cell]), axis=1, return_inverse=True)
    return np.lexsort([columns.ids, x, cell, -np.bincount(group, weights, minlength=1)[group], turn])


def largest(columns: Columns) -> Ints:
    """Largest first."""
    return np.lexsort([columns.ids, -columns.areas])


def most_confident(columns: Columns) -> Ints:
    """Those first that are most likely worth a look, by their width and contrast; last those without confidence."""
    return np.lexsort([columns.ids, -columns.areas, -columns.confidences])


def by_place(columns: Columns) -> Ints:
    """Neighbourhood by neighbourhood, row by row, as one reads."""
    cell, x = _neighbourhoods(columns)
    return np.lexsort([columns.ids, x, cell])


def by_class(columns: Columns) -> Ints:
    """Class by class, the largest of each first."""
    return np.lexsort([columns.ids, -columns.areas, columns.labels])


def random_sample(columns: Columns) -> Ints:
    """At random, always the same: the only order whose figures are those of all changes."""
    return np.random.default_rng(SAMPLE_SEED).permutation(len(columns.ids))


def cell_sample(count: int) -> Ints:
    """(count,) numbers of cells at random, always the same."""
    return np.random.default_rng(SAMPLE_SEED).permutation(count)


ORDERS: Mapping[str, Callable[[Columns], Ints]] = {
    "doubtful": doubtful,
    "confidence": most_confident,
    "size": largest,
    "place": by_place,
    "class": by_class,
    "random": random_sample,
}
"""Places in the columns, in order."""


def _neighbourhoods(columns: Columns) -> tuple[Ints, Floats]:
    """(n,) number of the neighbourhood of each change, row by row, and (n,) column of its middle."""
    middles = (columns.boxes[:, :2] + columns.boxes[:, 2:]) / 2
    _, cell = np.unique(np.floor(middles[:, ::-1] / SCREEN).astype(np.int64), axis=0, return_inverse=True)
    return cell, middles[:, 0]
