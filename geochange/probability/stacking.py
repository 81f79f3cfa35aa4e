"""Fitting a stacking model on labelled ground, and its files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.engine.work import Work, grid_blocks
from geochange.errors import BadOption, BandMismatch, NothingValid
from geochange.files import write_whole
from geochange.parsing import parsing
from geochange.probability.fusion import StackingModel, best_threshold, fit_logistic, stacked, stacking_features
from geochange.probability.label_maps import LabelMap, labels_on, open_labels
from geochange.probability.label_thresholds import NOT_LABELLED
from geochange.probability.options import FitOptions
from geochange.probability.stack import SourceStack
from geochange.scenes.grid import Tile

METHOD = "stacking"
PIXELS_DRAWN = 200_000  # pixels that a model is fitted on, at most
DRAWING_CELL = 512  # px; the lattice on which pixels are drawn, which no option changes


@dataclass(frozen=True)
class ClassLabels:
    """Labels of pixels as classes: 0 unchanged, k for the k-th."""

    labels: LabelMap
    classes: int
    ignored: frozenset[int] = frozenset({NOT_LABELLED})

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """Return (y, x) classes, and (y, x) where a pixel is labelled."""
        labels, known = self.labels.read(tile)
        known &= ~np.isin(labels, list(self.ignored))
        return ((labels != 0).astype(np.int64) if self.classes == 1 else labels), known


@dataclass(frozen=True, slots=True)
class LabelledPixels:
    """Pixels of known class, drawn over a scene."""

    probability: Floats
    """(source, class, n) float32."""

    present: Bools
    """(source, n)."""

    labels: Ints
    """(n,) 0 unchanged, k for the k-th class."""


def fit_stacking(stack: SourceStack, labels: str | os.PathLike[str], options: FitOptions, work: Work) -> StackingModel:
    """Fit a logistic regression for each class on labelled pixels, drawn at random over all of the scene.

    As many unchanged pixels are drawn as of each class, or all where there are fewer, and each counts as many pixels as
    it stands for: so the fused probability goes with the share of change that the labels have.

    Args:
        stack: what is to be fused.
        labels: a raster on any grid, or a layer of polygons around change. 0 is unchanged and 255 not labelled; any
            other number is change where there is one class (255, too, where only 0 and 255 occur), and 1 .. k are the
            classes of the first raster, in their order, where there are several.
        options: penalty, seed.
        work: where tasks run.

    Raises:
        UnreadableInput: the labels are neither a raster nor a layer.
        GridMismatch: only one of labels and rasters has a CRS.
        NothingValid: no pixel is labelled as unchanged, or none as one of the classes.
        BadOption: a label stands for no class.
    """
    name = os.fspath(labels)
    opened = ClassLabels(labels_on(open_labels(name, work), stack.grid, None), len(stack.classes))
    cells = grid_blocks(stack.grid, DRAWING_CELL)
    count = partial(_count_task, stack, opened.labels)
    found, counts = _count_labels(part for _, part in work.map("fit", count, cells))
    if len(stack.classes) == 1 and found == {0, NOT_LABELLED}:
        opened = replace(opened, ignored=frozenset())  # a mask whose change is 255
    shares = _shares(opened, counts, name, stack.classes)
    draw = partial(_draw_task, stack, opened, shares, options.seed)
    parts = [part for _, part in work.map("fit", draw, cells)]
    sample = LabelledPixels(*(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)))
    weights = 1 / np.array(shares)[sample.labels]
    return fit_sample(sample, weights, sources=stack.names, classes=stack.classes, penalty=options.penalty)


def _count_task(stack: SourceStack, labels: LabelMap, cell: Tile) -> tuple[set[int], Counter[int]]:
    """Return all stored labels of a cell, and label -> pixels where a source holds data."""
    values, known = labels.read(cell)
    fusable = known & stack.read(cell)[1].any(axis=0)
    different, counts = np.unique(values[fusable], return_counts=True)
    return set(np.unique(values[known]).tolist()), Counter(dict(zip(different.tolist(), counts.tolist(), strict=True)))


def _count_labels(parts: Iterable[tuple[set[int], Counter[int]]]) -> tuple[set[int], Counter[int]]:
    found: set[int] = set()
    counts: Counter[int] = Counter()
    for labels, counted in parts:
        found |= labels
        counts.update(counted)
    return found, counts


def _shares(opened: ClassLabels, counts: Mapping[int, int], name: str, classes: tuple[str, ...]) -> list[float]:
    """Return the share of the pixels of each class, 0 for unchanged, that is drawn."""
    totals: Counter[int] = Counter()
    for label, count in counts.items():
        if label not in opened.ignored:
            totals[int(label != 0) if len(classes) == 1 else label] += count
    if unknown := sorted(set(totals) - set(range(len(classes) + 1))):
        raise BadOption(
            f"{name} holds the label {unknown[0]}, the rasters have {len(classes)} classes; 0 must be unchanged, "
            f"1 to {len(classes)} {', '.join(classes)}, and {NOT_LABELLED} not labelled"
        )
    _require_all(set(totals), name, classes)
    quota = PIXELS_DRAWN // len(totals)
    return [min(1.0, quota / totals[label]) for label in range(len(totals))]


def _require_all(labels: set[int], name: str, classes: tuple[str, ...]) -> None:
    """Raise NothingValid where a class, or no change, was not found."""
    lacking = [said for label, said in enumerate(("unchanged", *classes)) if label not in labels]
    if lacking:
        raise NothingValid(
            f"{name} has no pixel labelled {lacking[0]} where the rasters hold data; stacking learns from both "
            "changed and unchanged ground"
        )


def _draw_task(
    stack: SourceStack, opened: ClassLabels, shares: list[float], seed: int, cell: Tile
) -> tuple[Floats, Bools, Ints]:
    """Draw the fields of the `LabelledPixels` of a cell."""
    labels, known = opened.read(cell)
    drawn = np.random.default_rng((seed, cell.row, cell.col)).random(cell.shape)
    probability, present = stack.read(cell)
    chosen = known & present.any(axis=0)
    chosen &= drawn < np.array(shares)[np.where(known, labels, 0)]
    return probability[:, :, chosen], present[:, chosen], labels[chosen]


def fit_sample(
    sample: LabelledPixels, weights: Floats, *, sources: tuple[str, ...], classes: tuple[str, ...], penalty: float = 1.0
) -> StackingModel:
    """Fit the regression of each class, and the threshold of all.

    Args:
        sample: holding unchanged pixels and some of each class.
        weights: (n,) how many pixels each stands for.
        sources: their names.
        classes: their names.
        penalty: of squared coefficients, beside pixels that count 1 on average.
    """
    weights = weights / weights.mean()
    fits = [
        fit_logistic(
            stacking_features(sample.probability[:, number], sample.present),
            sample.labels == number + 1,
            weights,
            penalty=penalty,
        )
        for number in range(len(classes))
    ]
    count = len(sources)
    model = StackingModel(
        sources=sources,
        classes=classes,
        intercept=tuple(intercept for intercept, _ in fits),
        weights=tuple(tuple(coefficients[:count].tolist()) for _, coefficients in fits),
        missing=tuple(tuple(coefficients[count:].tolist()) for _, coefficients in fits),
        threshold=0.5,
        pixels={name: int((sample.labels == k).sum()) for k, name in enumerate(("unchanged", *classes))},
    )
    fused = stacked(sample.probability[:, :, None], sample.present[:, None], model=model)
    return replace(model, threshold=best_threshold(fused.max(axis=0)[0], sample.labels > 0, weights))


def write_model(model: StackingModel, path: Path) -> None:
    """Write a model as JSON, whole."""
    record = {"method": METHOD, **model.to_dict()}
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())


def read_model(path: str | os.PathLike[str], stack: SourceStack) -> StackingModel:
    """Read what `write_model` wrote, for use on other rasters.

    Raises:
        UnreadableInput: the file is missing, or holds something else.
        BandMismatch: it was fitted for other classes.
        BadOption: it was fitted on more sources, or fewer.
    """
    name = os.fspath(path)
    with parsing(name, "a model that `geochange fuse --save-model` left"):
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record["method"] != METHOD:
            raise ValueError(f"its method is {record['method']}")
        model = StackingModel.from_dict(record)
    if len(model.sources) != len(stack.sources):
        raise BadOption(
            f"{name} was fitted on {len(model.sources)} rasters ({', '.join(model.sources)}), {len(stack.sources)} "
            "were given; give as many, in the same order"
        )
    if model.classes != stack.classes:
        raise BandMismatch(
            f"{name} was fitted for {', '.join(model.classes)}, the rasters have {', '.join(stack.classes)}"
        )
    return model
