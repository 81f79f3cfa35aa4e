"""How well scored objects are found: average precision as COCO has it (Lin 2014), and recall by false alarms. Pure.

The rules are those of pycocotools, for any number of objects in an image: matches are sought among neighbours alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.errors import BadOption

THRESHOLDS = tuple(np.round(np.linspace(0.5, 0.95, 10), 2).tolist())
RECALLS = np.linspace(0, 1, 101)
ANY = (0.0, float("inf"))
SIZES = {"tiny": (0.0, 10.0), "small": (10.0, 32.0), "medium": (32.0, 96.0), "large": (96.0, float("inf"))}
MEGA = 1e6  # pixels that false alarms are counted on


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects of some images: rows of one length."""

    polygons: Array
    """(n,) valid shapely geometries, in pixels of their image."""

    images: Ints
    """(n,) number of the image."""

    classes: Ints
    """(n,)."""

    scores: Floats | None = None
    """(n,) of what was found; None of what is there."""

    def __len__(self) -> int:
        return len(self.polygons)

    def where(self, chosen: Bools | Ints) -> Objects:
        """Choose objects, in their order."""
        scores = None if self.scores is None else self.scores[chosen]
        return Objects(self.polygons[chosen], self.images[chosen], self.classes[chosen], scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionOptions:
    """What is measured."""

    sizes: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(SIZES))
    """Name -> least and greatest size in pixels, the square root of an area. COCO's small ones are tiny or small."""

    alarms: float = 1.0
    """False alarms on a million pixels at which recall is given."""

    pixels: float | None = None
    """Of all images together; None: no recall by false alarms."""

    least: float = 0.5
    """Intersection over union of a find, where false alarms are counted."""

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise BadOption(f"IoU {self.least} of a find must lie above 0 and at most at 1")


@dataclass(frozen=True, slots=True)
class Precision:
    """Of objects of one range of sizes; None where there are none."""

    ap: float | None
    """Mean over intersections over union of 0.50, 0.55 ... 0.95."""
    ap50: float | None
    ap75: float | None
    recall: float | None
    """At the wanted number of false alarms, of objects of all sizes."""
    count: int
    """How many there are."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """Of all objects, and by their size."""

    all: Precision
    sizes: Mapping[str, Precision]
    threshold: float | None
    """Score at which there are the wanted false alarms; None where that was not asked for."""

    def to_dict(self) -> dict[str, Any]:
        """As a command's JSON has it."""
        sizes = {name: each.to_dict() for name, each in self.sizes.items()}
        return {**self.all.to_dict(), "threshold": self.threshold, "sizes": sizes}


def average_precision(found: Objects, there: Objects, options: PrecisionOptions | None = None) -> AveragePrecision:
    """Measure what was found by what is there.

    Args:
        found: with scores.
        there: without.
        options: sizes and false alarms.

    Raises:
        ValueError: what was found has no scores.
    """
    options = options or PrecisionOptions()
    if found.scores is None:
        raise ValueError("average precision needs a score for each object that was found")
    order = np.lexsort((found.images, -found.scores))
    matching = _Matching.of(found.where(order), there, found.scores[order])
    cutoff = None if options.pixels is None else _cutoff(matching, options, options.pixels)
    every = _measure(matching, ANY, options, cutoff)
    sizes = {name: _measure(matching, span, options, cutoff) for name, span in options.sizes.items()}
    return AveragePrecision(every, sizes, cutoff)


@dataclass(frozen=True, slots=True, eq=False)
class _Matching:
    """All that can be matched: what was found, best first, and candidates among what is there."""

    found: Objects
    there: Objects
    first: Ints
    """(pairs,) positions of what was found, ascending."""
    second: Ints
    """(pairs,) and of what is there, by falling IoU."""
    iou: Floats
    areas: tuple[Floats, Floats]
    scores: Floats
    """(found,)."""

    @classmethod
    def of(cls, found: Objects, there: Objects, scores: Floats) -> _Matching:
        one, other = _apart(found, there)
        first, second = _near(one, other)
        same = found.classes[first] == there.classes[second]
        first, second = first[same], second[same]
        areas = shapely.area(one), shapely.area(other)
        shared = shapely.area(shapely.intersection(one[first], other[second]))
        iou = shared / (areas[0][first] + areas[1][second] - shared)
        order = np.lexsort((-second, -iou, first))  # of equals pycocotools takes the last
        return cls(found, there, first[order], second[order], iou[order], areas, scores)

    def match(self, least: float, unwanted: Bools) -> Ints:
        """(found,) position of the match of each, -1 where it has none; those unwanted come after all others."""
        partner = np.full(len(self.found), -1)
        taken = np.zeros(len(self.there), bool)
        enough = self.iou >= min(least, 1 - 1e-10)
        first, second = self.first[enough], self.second[enough]
        rank = np.argsort(unwanted[second], kind="stable")
        rank = rank[np.argsort(first[rank], kind="stable")]
        for one, other in zip(first[rank].tolist(), second[rank].tolist(), strict=True):
            if partner[one] < 0 and not taken[other]:
                partner[one], taken[other] = other, True
        return partner


def _apart(found: Objects, there: Objects) -> tuple[Array, Array]:
    """Both sets of polygons, each image beside the others."""
    bounds = shapely.bounds(np.concatenate([found.polygons, there.polygons])).reshape(-1, 4)
    width = float(np.ptp(bounds[:, [0, 2]])) + 1 if len(bounds) else 0.0

    def moved(each: Objects) -> Array:
        polygons = np.array(each.polygons, dtype=object)
        coordinates, owner = shapely.get_coordinates(polygons, return_index=True)
        coordinates[:, 0] += each.images[owner] * width
        shapely.set_coordinates(polygons, coordinates)
        return polygons

    return moved(found), moved(there)


def _near(one: Array, other: Array) -> tuple[Ints, Ints]:
    """Positions of pairs whose bounding boxes meet."""
    if not (len(one) and len(other)):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    first, second = shapely.STRtree(other).query(one)
    return first, second


def _measure(
    matching: _Matching, span: tuple[float, float], options: PrecisionOptions, cutoff: float | None
) -> Precision:
    """Of objects whose size lies in a span; what was found beyond it, and matches nothing in it, does not count."""
    low, high = (side**2 for side in span)
    beyond = [(area < low) | (area >= high) for area in matching.areas]
    wanted = int((~beyond[1]).sum())
    if not wanted:
        return Precision(None, None, None, None, 0)
    curves = [_class_precisions(matching, least, beyond) for least in THRESHOLDS]
    recall = None
    if cutoff is not None:
        partner = matching.match(options.least, np.zeros(len(matching.there), bool))
        hits = partner[(matching.scores >= cutoff) & (partner >= 0)]
        recall = float((~beyond[1][hits]).sum() / wanted)
    return Precision(float(np.mean(curves)), curves[0], curves[THRESHOLDS.index(0.75)], recall, wanted)


def _class_precisions(matching: _Matching, least: float, beyond: list[Bools]) -> float:
    """Mean over the classes that are there."""
    partner = matching.match(least, beyond[1])
    hit = partner >= 0
    counts = np.where(hit, ~beyond[1][partner] if len(matching.there) else False, ~beyond[0])
    precisions = []
    for kind in np.unique(matching.there.classes[~beyond[1]]):
        chosen = counts & (matching.found.classes == kind)
        total = int(((matching.there.classes == kind) & ~beyond[1]).sum())
        precisions.append(_area_under(hit[chosen], total))
    return float(np.mean(precisions))


def _area_under(hits: Bools, total: int) -> float:
    """Average the precision at 101 recalls, where it is the best at that recall or beyond."""
    if not hits.size:
        return 0.0
    right = np.cumsum(hits)
    precision = np.maximum.accumulate((right / np.arange(1, len(hits) + 1))[::-1])[::-1]
    place = np.searchsorted(right / total, RECALLS, side="left")
    return float(np.append(precision, 0.0)[place].mean())


def _cutoff(matching: _Matching, options: PrecisionOptions, pixels: float) -> float:
    """Find the lowest score down to which there are no more false alarms than wanted."""
    allowed = options.alarms * pixels / MEGA
    partner = matching.match(options.least, np.zeros(len(matching.there), bool))
    alarms = np.cumsum(partner < 0)
    scores = matching.scores
    last = np.append(scores[1:] != scores[:-1], True)  # equals come or go together
    fine = np.flatnonzero((alarms <= allowed) & last)
    return float(scores[fine[-1]]) if fine.size else float("inf")
