"""All changes of a review as they are now: those that were found, some of them reshaped, and those that were drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely

from geochange.arrays import Array, Floats
from geochange.polygons.features import outline_measures
from geochange.review.base import Base, Columns
from geochange.review.state import ReviewState
from geochange.scenes.grid import Grid
from geochange.scenes.layers import in_pixels

SCORES = ("score_mean", "score_max", "contrast", "confidence")


@dataclass(frozen=True)
class Changes:
    """What was found, with what reviewers have made of it."""

    base: Base
    grid: Grid

    @property
    def top(self) -> int:
        """The highest id of a change that was found."""
        return int(self.base.columns.ids.max(initial=0))

    @cached_property
    def _last(self) -> dict[str, Any]:
        """What was asked for last, as it is asked for again and again."""
        return {}

    def edited(self, state: ReviewState) -> Mapping[int, Any]:
        """Id -> geometry in map units, of those that were reshaped or drawn and are not deleted, by ascending id."""
        seq = state.seq  # read first: actions that come meanwhile are read again
        if self._last.get("seq") != seq:
            told = {
                int(key): str(touched.fields["geometry"])
                for key, touched in list(state.touched.items())
                if touched.fields.get("geometry") and touched.fields["status"] != "deleted"
            }
            shapes = shapely.from_wkb([bytes.fromhex(told[number]) for number in sorted(told)])
            edited = dict(zip(sorted(told), shapes.tolist(), strict=True))
            self._last.update(edited=edited, columns=self._columns(edited), seq=seq)
        found: Mapping[int, Array] = self._last["edited"]
        return found

    def columns(self, state: ReviewState) -> Columns:
        """Return what the page knows of every change; of those that were found also when they are deleted."""
        self.edited(state)
        found: Columns = self._last["columns"]
        return found

    def _columns(self, edited: Mapping[int, Array]) -> Columns:
        base = self.base.columns
        if not edited:
            return base
        pixels = in_pixels(np.array([*edited.values()], object), self.grid)
        bounds, areas = shapely.bounds(pixels).astype(np.float32), shapely.area(pixels).astype(np.float32)
        numbers = np.array([*edited], np.int64)
        places = np.array([self.base.places.get(number, -1) for number in edited])
        there, fresh = places >= 0, places < 0
        boxes, known = base.boxes.copy(), base.areas.copy()
        boxes[places[there]], known[places[there]] = bounds[there], areas[there]
        count = int(fresh.sum())
        return Columns(
            np.concatenate([base.ids, numbers[fresh]]),
            np.concatenate([base.labels, np.zeros(count, np.uint8)]),
            np.concatenate([base.scores, np.full(count, np.nan, np.float32)]),
            np.concatenate([known, areas[fresh]]),
            np.concatenate([boxes, bounds[fresh]]),
            np.concatenate([base.confidences, np.full(count, np.nan, np.float32)]),
        )

    def shapes(self, state: ReviewState, ids: list[int]) -> dict[int, Array]:
        """Geometries in map units of some changes, by id."""
        edited = self.edited(state)
        stored = self.base.shapes([number for number in ids if number not in edited])
        found = dict(zip(stored, shapely.from_wkb([*stored.values()]).tolist(), strict=True))
        return {**found, **{number: edited[number] for number in ids if number in edited}}

    def attributes(self, state: ReviewState, number: int) -> dict[str, Any]:
        """Attributes of one change, by name; what was drawn has no score."""
        found = self.base.attributes(number) if number in self.base.places else dict.fromkeys(SCORES)
        shape = self.edited(state).get(number)
        return found if shape is None else found | self.measured([shape])[0]

    def measured(self, shapes: list[Array]) -> list[dict[str, Any]]:
        """Measure geometries in map units: the attributes that depend on the outline."""
        if not shapes:
            return []
        mapped = np.array(shapes, object)
        pixels = in_pixels(mapped, self.grid)
        measured = outline_measures(pixels, self.grid, mapped)
        rows, cols = self.grid.shape
        left, top, right, bottom = shapely.bounds(pixels).round(6).T
        on_edge = (left <= 0) | (top <= 0) | (right >= cols) | (bottom >= rows)
        return [
            {
                **{name: _number(values[place]) for name, values in measured.items()},
                "area_px": round(float(size)),
                "on_edge": int(on_edge[place]),
            }
            for place, size in enumerate(shapely.area(pixels))
        ]


def _number(value: Floats) -> float | None:
    return None if np.isnan(value) else float(value)
