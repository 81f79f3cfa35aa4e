"""Scores of a network of objects on labelled samples: each region of a label is an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
import torch

from geochange.arrays import IGNORE, Bools, Floats, Ints
from geochange.datasets.collection import Collection, Sample
from geochange.detectors.boxes import PIXEL_PARTS, SCORE_STEPS, Boxes, boxes_of, suppress
from geochange.detectors.networks.checkpoint import Normalisation
from geochange.detectors.networks.object_network import ObjectNetwork, boxes_in
from geochange.evaluation.average_precision import Objects, PrecisionOptions, average_precision
from geochange.learning.scoring import ProbabilityHistogram, ScoringOptions, network_input


@dataclass(frozen=True, slots=True)
class ItemObjects:
    """What is in one item, and what was found."""

    there: Floats
    """(n, 4) left, top, right, bottom in pixels."""
    there_classes: Ints
    found: Floats
    """(m, 4)."""
    found_classes: Ints
    scores: Floats
    """(m,) in 0..1."""
    pixels: int
    """Labelled ones."""


def find_items(
    network: ObjectNetwork,
    collection: Collection,
    normalisation: Normalisation,
    options: ScoringOptions,
    indices: Iterable[int] | None = None,
) -> Iterator[ItemObjects]:
    """Find the objects of some items of a collection, or of all."""
    network.eval()
    zoom = collection.zoom(options.gsd)
    for index in range(len(collection)) if indices is None else indices:
        sample = collection.read(index)
        boxes = find_boxes(network, sample, normalisation, options.device, zoom)
        labelled = sample.labels != IGNORE
        centres = boxes.centres.clip(0, np.array(labelled.shape) - 1)
        boxes = boxes.where(labelled[centres[:, 0], centres[:, 1]])
        there, classes = boxes_in(sample.labels, sample.objects)
        corners, scores = boxes.corners / PIXEL_PARTS, boxes.scores / SCORE_STEPS
        yield ItemObjects(there, classes, corners, boxes.classes, scores, int(labelled.sum()))


def find_boxes(
    network: ObjectNetwork,
    sample: Sample,
    normalisation: Normalisation,
    device: torch.device | None = None,
    zoom: float = 1.0,
) -> Boxes:
    """Find the objects of a sample, in its pixels; each once."""
    dates = network_input(network, sample, normalisation, zoom)[0]
    with torch.inference_mode():
        rows = network.with_objects(dates.to(device or torch.device("cpu")))[1][:, 1:].cpu().numpy().astype(np.float64)
    rows[:, [0, 1, 2, 3, 6, 7]] /= zoom
    limits = np.array(sample.labels.shape[::-1] * 2)
    rows[:, :4] = np.clip(rows[:, :4], 0, limits)
    return suppress(boxes_of(rows[((rows[:, 2:4] - rows[:, :2]) >= 1).all(axis=1)]))


def object_figures(items: Sequence[ItemObjects]) -> dict[str, float]:
    """Return AP, AP50, and recall of half overlap at one false alarm on a million pixels; 0 without objects."""
    found, there = pool_objects(items)
    options = PrecisionOptions(pixels=float(sum(item.pixels for item in items)), sizes={})
    measured = average_precision(found, there, options).all
    return {"ap50": measured.ap50 or 0.0, "ap": measured.ap or 0.0, "object_recall": measured.recall or 0.0}


def score_histogram(items: Sequence[ItemObjects]) -> ProbabilityHistogram:
    """Count boxes by score and by whether they hit; what was not found counts as found with a score of 0."""
    histogram = ProbabilityHistogram()
    for item in items:
        hit = hits_of(item)
        histogram.add(item.scores, hit)
        missed = len(item.there) - int(hit.sum())
        histogram.add(np.zeros(missed), np.ones(missed, bool))
    return histogram


def hits_of(item: ItemObjects, least: float = 0.5) -> Bools:
    """Return (m,) whether each box is the best one of an object of its class that it overlaps by half."""
    hit, taken = np.zeros(len(item.found), bool), np.zeros(len(item.there), bool)
    overlaps = box_iou(item.found, item.there) * (item.found_classes[:, None] == item.there_classes)
    for k in np.argsort(-item.scores, kind="stable").tolist():
        free = np.where(taken, 0, overlaps[k])
        if free.size and free.max() >= least:
            hit[k] = taken[free.argmax()] = True
    return hit


def box_iou(one: Floats, other: Floats) -> Floats:
    """Return (n, m) intersection over union of (n, 4) and (m, 4) boxes."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (one, other)]
    iou: Floats = shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-9)
    return iou


def pool_objects(items: Sequence[ItemObjects]) -> tuple[Objects, Objects]:
    """Return what was found in all items, and what is there."""
    images = [np.full(len(item.found), k) for k, item in enumerate(items)]
    places = [np.full(len(item.there), k) for k, item in enumerate(items)]
    found = np.concatenate([np.zeros((0, 4)), *(item.found for item in items)])
    there = np.concatenate([np.zeros((0, 4)), *(item.there for item in items)])
    none = np.zeros(0, np.int64)
    return (
        Objects(
            shapely.box(*found.T),
            np.concatenate([none, *images]),
            np.concatenate([none, *(item.found_classes for item in items)]),
            np.concatenate([np.zeros(0), *(item.scores for item in items)]),
        ),
        Objects(
            shapely.box(*there.T),
            np.concatenate([none, *places]),
            np.concatenate([none, *(item.there_classes for item in items)]),
        ),
    )
