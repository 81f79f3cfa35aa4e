"""How well the boundaries of predicted change follow those of a reference, within a tolerance. Pure.

The boundary of a class are its pixels beside which, above, below, left or right, another class lies. What is not
scored (nodata, ignored labels, all beyond the scene) has no boundary: nobody knows what lies there. Precision is the
share of predicted boundary pixels with a boundary pixel of the reference within the tolerance, recall the reverse
share, F their harmonic mean (Csurka et al. 2013; with distances between pixel centres, as Perazzi et al. 2016).

As with pixel scores, only the first of three steps sees pixels: `boundaries_by_cell` for each block,
`merge_cells` over all of them, `score_boundaries` on the result. Counts are whole numbers, so that the scores do
not depend on how the scene was cut. A figure without a denominator is None: precision where no boundary is
predicted, recall where the reference has none, F where neither has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.evaluation.bootstrap import (
    Bootstrap,
    CellCounts,
    Figures,
    bound_figures,
    quotient,
    require_one_shape,
    resample_sums,
)
from geochange.evaluation.classes import Classes
from geochange.scenes.tiling import LARGEST_CELL

TOLERANCES = (1, 2, 4)  # pixels
BOUNDARY_HALO = max(TOLERANCES) + 1  # pixels around a block: as far as a boundary may lie, and what makes it one
_SIDES = ("predicted", "reference")


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """How well two label rasters agree about where things end."""

    classes: Classes
    tolerances: tuple[int, ...]
    counts: Ints
    """(class, side, 1 + tolerance), as `boundaries_by_cell` has them, of the whole scene."""

    per_class: Mapping[str, Figures]
    """Measures such as `f1_2px`, of each class but the first."""

    micro: Figures
    """The same with the boundary pixels of all classes pooled."""

    cells: int
    """How many cells hold boundary pixels, and so were resampled."""

    @property
    def headline(self) -> Figures:
        """Of the class "change" where there are two, else of all classes pooled."""
        return self.micro

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON has it: plain numbers, lists and None."""
        support = [dict(zip(_SIDES, counts[:, 0].tolist(), strict=True)) for counts in self.counts]
        named = zip(self.per_class.items(), support, strict=True)
        return {
            **self.headline.to_dict(),
            "headline": self.classes.names[1] if len(self.classes.names) == 2 else "micro",
            "tolerances": list(self.tolerances),
            "per_class": {name: figures.to_dict() | {"support": pixels} for (name, figures), pixels in named},
            "support": dict(zip(_SIDES, self.counts[:, :, 0].sum(axis=0).tolist(), strict=True)),
            "cells": self.cells,
        }


def boundary_pixels(labels: Array, scored: Bools) -> Bools:
    """Pixels with another label beside them, both being scored; beyond the array nothing is.

    Args:
        labels: (y, x).
        scored: (y, x).

    Returns:
        (y, x): as scikit-image's `find_boundaries` in mode "thick", where all is scored.
    """
    found = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        first = tuple(slice(None, -1) if each == axis else slice(None) for each in (0, 1))
        second = tuple(slice(1, None) if each == axis else slice(None) for each in (0, 1))
        differ = (labels[first] != labels[second]) & scored[first] & scored[second]
        found[first] |= differ
        found[second] |= differ
    return found


def boundaries_by_cell(
    predicted: Array,
    reference: Array,
    scored: Bools,
    classes: Classes,
    *,
    origin: tuple[int, int] = (0, 0),
    cell: int = LARGEST_CELL,
) -> CellCounts:
    """Boundary pixels of one block for each cell of the scene's lattice that it touches.

    Law: however a scene is cut into blocks, `merge_cells` over them gives the same result.

    Args:
        predicted: (y, x) labels of a block and `BOUNDARY_HALO` pixels more on each side.
        reference: as `predicted`.
        scored: as `predicted`, True where both hold data that is scored; False beyond the scene.
        classes: the labels that are scored.
        origin: (row, col) of the block's first pixel in the scene.
        cell: pixels per side of a cell; cells start at multiples of it.

    Returns:
        Counts of (class, side, 1 + tolerance): boundary pixels of predicted and reference, and how many of them have
        one of the other side within each tolerance. Classes are all but the first, which stands for no change.

    Raises:
        GridMismatch: the arrays differ in shape.
    """
    require_one_shape(predicted, reference, scored)
    sides = [_boundary_classes(labels, scored, classes) for labels in (predicted, reference)]
    (rows, row), (cols, col) = (
        np.unique((start + np.arange(length - 2 * BOUNDARY_HALO)) // cell, return_inverse=True)
        for start, length in zip(origin, scored.shape, strict=True)
    )
    cells = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    counts = np.zeros((len(cells), len(classes.labels), 2, 1 + len(TOLERANCES)), np.int64)
    for side in (0, 1):
        at, squared = _nearest_alike(sides[side], sides[1 - side])
        place, own = row[at[0] - BOUNDARY_HALO] * cols.size + col[at[1] - BOUNDARY_HALO], sides[side][at]
        near = squared[:, np.newaxis] <= np.square((np.inf, *TOLERANCES))
        np.add.at(counts[:, :, side], (place, own), near)
    return CellCounts(cells, counts[:, 1:])


def _boundary_classes(labels: Array, scored: Bools, classes: Classes) -> Ints:
    """(y, x) int16 position of the label among the classes at boundary pixels, 0 elsewhere."""
    order, edge = np.argsort(classes.labels), boundary_pixels(labels, scored)
    found = np.zeros(labels.shape, np.int16)
    found[edge] = order[np.searchsorted(np.array(classes.labels)[order], labels[edge])]
    return found


def _nearest_alike(own: Ints, other: Ints) -> tuple[tuple[Ints, Ints], Floats]:
    """Boundary pixels within the halo, and how far it is from each to the next one of its class on the other side.

    Args:
        own: (y, x) position of the class at boundary pixels, 0 elsewhere.
        other: as `own`.

    Returns:
        ((n,) rows, (n,) cols) and (n,) squared distances, infinite where none lies within the largest tolerance.
    """
    inner = (slice(BOUNDARY_HALO, -BOUNDARY_HALO), slice(BOUNDARY_HALO, -BOUNDARY_HALO))
    rows, cols = (index + BOUNDARY_HALO for index in np.nonzero(own[inner]))
    wanted, squared = own[rows, cols], np.full(rows.size, np.inf)
    reach = range(-max(TOLERANCES), max(TOLERANCES) + 1)
    for down, right in product(reach, reach):
        distance = down**2 + right**2
        if distance <= max(TOLERANCES) ** 2:
            alike = other[rows + down, cols + right] == wanted
            squared[alike] = np.minimum(squared[alike], distance)
    return (rows, cols), squared


def score_boundaries(
    counts: Ints, classes: Classes | None = None, bootstrap: Bootstrap | None = None
) -> BoundaryScores:
    """Score a scene from the boundary pixels of its cells.

    Args:
        counts: (n, class, side, 1 + tolerance), one for each cell that is resampled.
        classes: the labels that were scored.
        bootstrap: how intervals are drawn.

    Raises:
        ValueError: there are not as many classes as labels of change.
    """
    classes, bootstrap = classes or Classes(), bootstrap or Bootstrap()
    shape = len(classes.labels) - 1, 2, 1 + len(TOLERANCES)
    if counts.shape[1:] != shape:
        raise ValueError(f"counts of shape {counts.shape[1:]} do not fit {shape[0]} classes and {TOLERANCES} px")
    counts = counts[counts.any(axis=(1, 2, 3))]
    whole = counts.sum(axis=0)
    sums = resample_sums(counts.reshape(len(counts), whole.size), bootstrap).reshape(-1, *shape)
    names = tuple(f"{measure}_{tolerance}px" for tolerance in TOLERANCES for measure in ("precision", "recall", "f1"))
    each = [bound_figures(names, _rates(whole[i]), _rates(sums[:, i]), bootstrap.level) for i in range(shape[0])]
    return BoundaryScores(
        classes=classes,
        tolerances=TOLERANCES,
        counts=whole,
        per_class=dict(zip(classes.names[1:], each, strict=True)),
        micro=bound_figures(names, _rates(whole.sum(axis=0)), _rates(sums.sum(axis=1)), bootstrap.level),
        cells=len(counts),
    )


def _rates(counts: Array) -> Floats:
    """(..., side, 1 + tolerance) counts -> (..., figure): precision, recall and F of each tolerance."""
    near, every = counts[..., 1:], np.repeat(counts[..., :1], counts.shape[-1] - 1, axis=-1)
    share = quotient(near, every)
    known = np.nan_to_num(share)
    harmonic = np.nan_to_num(quotient(2 * known.prod(axis=-2), known.sum(axis=-2)))
    f1 = np.where(every.sum(axis=-2) == 0, np.nan, harmonic)
    figures = np.stack([share[..., 0, :], share[..., 1, :], f1], axis=-1)
    return figures.reshape(*figures.shape[:-2], 3 * figures.shape[-2])
