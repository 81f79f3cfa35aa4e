"""How far sizes and places that a network estimated are off, beside those of the outlines themselves. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import shapely

from geochange.arrays import Array, Floats
from geochange.evaluation.object_scores import match_objects


@dataclass(frozen=True, slots=True)
class Estimates:
    """What was estimated of each predicted object; NaN where it was not."""

    areas: Floats | None
    """(n,) in square units of the CRS."""
    centres: Floats | None
    """(n, 2) x and y in the CRS."""


@dataclass(frozen=True, slots=True)
class ErrorOf:
    """Means over matched objects; None where none has an estimate."""

    count: int
    estimated: float | None
    outlined: float | None
    """The same error of the outline's own area or centroid."""


@dataclass(frozen=True, slots=True)
class EstimateErrors:
    """Errors of estimates."""

    size: ErrorOf | None
    """As a share of the true area; None where sizes were not estimated."""
    place: ErrorOf | None
    """Distance to the true centroid, in units of the CRS; None where places were not estimated."""

    def to_dict(self) -> dict[str, Any]:
        """As the command's JSON has it."""
        return asdict(self)


def score_estimates(predicted: Array, estimates: Estimates, reference: Array, threshold: float = 0.5) -> EstimateErrors:
    """Score estimates of predicted objects that have a counterpart.

    Args:
        predicted: (n,) valid shapely polygons.
        estimates: of each of them.
        reference: (m,) likewise, in the same CRS.
        threshold: the least intersection over union of a match, see `match_objects`.
    """
    matches = match_objects(predicted, reference, threshold)
    found, there = predicted[matches.predicted], reference[matches.reference]
    size = place = None
    if estimates.areas is not None:
        wanted = shapely.area(there)
        off = (np.abs(each - wanted) / wanted for each in (estimates.areas[matches.predicted], shapely.area(found)))
        size = _error(*off)
    if estimates.centres is not None:
        middle = _centroids(there)
        off = (
            np.linalg.norm(each - middle, axis=1) for each in (estimates.centres[matches.predicted], _centroids(found))
        )
        place = _error(*off)
    return EstimateErrors(size, place)


def _centroids(polygons: Array) -> Floats:
    coordinates: Floats = shapely.get_coordinates(shapely.centroid(polygons))
    return coordinates


def _error(estimated: Floats, outlined: Floats) -> ErrorOf:
    known = np.isfinite(estimated)
    if not known.any():
        return ErrorOf(0, None, None)
    return ErrorOf(int(known.sum()), float(estimated[known].mean()), float(outlined[known].mean()))
