"""Scores of predicted change against a reference, by pixel, with confidence intervals. Pure.

A scene is scored in three steps, of which only the first sees pixels, so a scene of any size needs little memory:
`confusion_by_cell` for each block that was read, `merge_cells` over all of them, `score_pixels` on the result.
`Evaluation` joins these scores with those of boundaries (`boundary_scores`) and of objects (`object_scores`).

Rows of a confusion matrix are the reference's classes and columns the predicted ones, as in scikit-learn. A figure
whose denominator is 0 is undefined and given as None: the precision of a class that was never predicted, the recall
of one that the reference lacks, kappa where both sides hold one and the same class only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.errors import BadOption
from geochange.evaluation.bootstrap import (
    Bootstrap,
    CellCounts,
    Figures,
    bound_figures,
    hit_rates,
    quotient,
    require_one_shape,
    resample_sums,
)
from geochange.evaluation.classes import Classes
from geochange.scenes.tiling import LARGEST_CELL

MEASURES = ("precision", "recall", "f1", "iou")
AVERAGES = ("micro", "macro", "weighted")


@dataclass(frozen=True, slots=True)
class PixelScores:
    """How well two label rasters agree, pixel by pixel."""

    classes: Classes
    confusion: Ints
    """(class, class) pixels; rows are the reference's classes, columns the predicted ones."""

    overall: Figures
    """Accuracy and Cohen's kappa."""

    per_class: Mapping[str, Figures]
    averages: Mapping[str, Figures]
    """micro (all pixels pooled), macro (classes count alike), weighted (by their pixels in the reference)."""

    cells: int
    """How many cells hold scored pixels, and so were resampled."""

    @property
    def headline(self) -> Figures:
        """Precision, recall, F1 and IoU of the class "change" where there are two, else their macro average."""
        per_class = list(self.per_class.values())
        return per_class[1] if len(per_class) == 2 else self.averages["macro"]

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON has it: plain numbers, lists and None."""
        headline, overall = self.headline.to_dict(), self.overall.to_dict()
        support = dict(zip(self.classes.names, self.confusion.sum(axis=1).tolist(), strict=True))
        return {
            **headline,
            **overall,
            "intervals": headline["intervals"] | overall["intervals"],
            "headline": self.classes.headline,
            "classes": list(self.classes.names),
            "labels": list(self.classes.labels),
            "confusion": self.confusion.tolist(),
            "per_class": {n: f.to_dict() | {"support": support[n]} for n, f in self.per_class.items()},
            **{name: figures.to_dict() for name, figures in self.averages.items()},
            "count": int(self.confusion.sum()),
            "cells": self.cells,
        }


def confusion(predicted: Array, reference: Array, valid: Bools, classes: Classes) -> Ints:
    """Count how often each class was predicted for each class of the reference.

    Args:
        predicted: (y, x) labels, of any numeric or boolean type.
        reference: as `predicted`, on the same grid.
        valid: (y, x), True where both rasters hold data.
        classes: which labels are scored.

    Returns:
        (class, class) int64; rows are the reference's classes, columns the predicted ones.

    Raises:
        GridMismatch: the arrays differ in shape.
        BadOption: a valid pixel holds a label that is not one of them.
    """
    require_one_shape(predicted, reference, valid)
    scored = valid.astype(bool)
    size = len(classes.labels)
    cols = _positions(predicted[scored], classes, "the prediction")
    rows = _positions(reference[scored], classes, "the reference")
    return np.bincount(rows * size + cols, minlength=size * size).reshape(size, size).astype(np.int64)


def _positions(labels: Array, classes: Classes, where: str) -> Ints:
    """Position of each label among the classes."""
    positions = np.full(labels.shape, -1, np.intp)
    for position, label in enumerate(classes.labels):
        positions[labels == label] = position
    if (positions < 0).any():
        unknown = labels[np.argmin(positions)]
        known = ", ".join(map(str, classes.labels))
        raise BadOption(f"{where} holds the label {unknown}, but classes are {known}: add it, or ignore it")
    return positions


def confusion_by_cell(
    predicted: Array,
    reference: Array,
    valid: Bools,
    classes: Classes,
    *,
    origin: tuple[int, int] = (0, 0),
    cell: int = LARGEST_CELL,
) -> CellCounts:
    """Confusion of one block for each cell of the scene's lattice that it touches.

    Law: however a scene is cut into blocks, `merge_cells` over them gives the same result.

    Args:
        predicted: (y, x) labels of a block.
        reference: as `predicted`.
        valid: (y, x), True where both hold data.
        classes: which labels are scored.
        origin: (row, col) of the block's first pixel in the scene.
        cell: pixels per side of a cell; cells start at multiples of it.

    Returns:
        Counts of (class, class).

    Raises:
        GridMismatch, BadOption: as `confusion`.
    """
    require_one_shape(predicted, reference, valid)
    cuts = [
        (index_row, index_col, np.s_[rows, cols])
        for index_row, rows in _cut_axis(origin[0], predicted.shape[0], cell)
        for index_col, cols in _cut_axis(origin[1], predicted.shape[1], cell)
    ]
    size = len(classes.labels)
    matrices = [confusion(predicted[part], reference[part], valid[part], classes) for *_, part in cuts]
    cells = np.array([(row, col) for row, col, _ in cuts], np.int64).reshape(-1, 2)
    return CellCounts(cells, np.array(matrices, np.int64).reshape(-1, size, size))


def _cut_axis(start: int, length: int, cell: int) -> list[tuple[int, slice]]:
    """Lattice index and slice of each cell along an axis of `length` pixels, whose first is pixel `start`."""
    indices = range(start // cell, -(-(start + length) // cell))
    return [(i, slice(max(i * cell - start, 0), min((i + 1) * cell - start, length))) for i in indices]


def score_pixels(matrices: Ints, classes: Classes | None = None, bootstrap: Bootstrap | None = None) -> PixelScores:
    """Score a scene from the confusion matrices of its cells.

    An average is taken over the classes for which the measure is defined, as scikit-learn does with
    `zero_division=nan`; the weighted one is undefined where the reference holds none of them.

    Args:
        matrices: (n, class, class) counts, one matrix for each cell that is resampled.
        classes: what the rows and columns stand for.
        bootstrap: how intervals are drawn.

    Raises:
        ValueError: the matrices do not have a row and a column for each class.
    """
    classes, bootstrap = classes or Classes(), bootstrap or Bootstrap()
    size = len(classes.labels)
    if matrices.shape[1:] != (size, size):
        raise ValueError(f"matrices of shape {matrices.shape[1:]} do not fit {size} classes")
    matrices = matrices[matrices.any(axis=(1, 2))]
    sums = resample_sums(matrices.reshape(-1, size * size), bootstrap).reshape(-1, size, size)
    whole = matrices.sum(axis=0)
    rates, drawn = _class_rates(whole), _class_rates(sums)
    columns = {
        name: bound_figures(MEASURES, rates[:, i], drawn[..., i], bootstrap.level)
        for i, name in enumerate((*range(size), *AVERAGES))
    }
    return PixelScores(
        classes=classes,
        confusion=whole,
        overall=bound_figures(("accuracy", "kappa"), _agreement(whole), _agreement(sums), bootstrap.level),
        per_class={name: columns[i] for i, name in enumerate(classes.names)},
        averages={name: columns[name] for name in AVERAGES},
        cells=len(matrices),
    )


def _class_rates(matrices: Array) -> Floats:
    """(..., class, class) counts -> (..., measure, class and average); NaN where undefined."""
    hits = np.diagonal(matrices, axis1=-2, axis2=-1).astype(float)
    support = matrices.sum(axis=-1)
    counts = [hits, matrices.sum(axis=-2) - hits, support - hits]
    per_class = hit_rates(*counts)
    micro = hit_rates(*(count.sum(axis=-1, keepdims=True) for count in counts))
    macro = _average(per_class, np.ones_like(per_class))
    weighted = _average(per_class, support[..., None, :])
    return np.concatenate([per_class, micro, macro[..., None], weighted[..., None]], axis=-1)


def _average(rates: Floats, weights: Array) -> Floats:
    """Weighted mean over the last axis of what is defined there."""
    weights = np.where(np.isnan(rates), 0, weights)
    return quotient((np.nan_to_num(rates) * weights).sum(axis=-1), weights.sum(axis=-1))


def _agreement(matrices: Array) -> Floats:
    """(..., class, class) counts -> (..., 2) accuracy and Cohen's kappa (Cohen 1960)."""
    matrices = matrices.astype(float)  # products of counts overflow int64 in large scenes
    total, agreed = matrices.sum(axis=(-2, -1)), np.trace(matrices, axis1=-2, axis2=-1)
    by_chance = (matrices.sum(axis=-1) * matrices.sum(axis=-2)).sum(axis=-1)
    kappa = quotient(total * agreed - by_chance, total**2 - by_chance)
    return np.stack([quotient(agreed, total), kappa], axis=-1)
