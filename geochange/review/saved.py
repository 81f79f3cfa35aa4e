"""A review as its file holds it: the run, its changes, and what has been decided of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geochange.arrays import IGNORE, Bools
from geochange.review.actions import STATUSES, TEXTS, Action, Fields, Status, is_change
from geochange.review.base import Base, Columns, wkb_of
from geochange.review.cells import Cells
from geochange.review.changes import SCORES, Changes
from geochange.review.labels import UNCHANGED, ReviewLabels
from geochange.review.run import ReviewRun, begin, digest, layer_of, open_run
from geochange.review.state import FOUND, LOOKED, ReviewState, fold
from geochange.review.store import TRUTH, read_actions
from geochange.scenes.grid import Tile
from geochange.scenes.layers import in_pixels

LAYERED = {"rejected": 0, "kept": 1, "unreviewed": 2, "unsure": 2}
"""Which changes lie on top of which, where they overlap."""

DECIDED_FIELDS = ("geometry", *TEXTS)
"""Attributes that reviewers decide."""


@dataclass(frozen=True)
class SavedReview:
    """A run, and the actions on it that are on the disk."""

    run: ReviewRun
    last: int | None = None
    """The last action that is known; None: all."""

    @classmethod
    def open(
        cls, out: Path, *, remote: bool = False, beginning: bool = False, layer: Path | None = None
    ) -> SavedReview:
        """Open the review of a run, beside a live server too.

        Args:
            out: folder of a finished run of `detect`.
            remote: whether images may be read over the network.
            beginning: whether a review begins, or goes on: its layer is copied.
            layer: any layer of polygons that a review begins with, in place of the run's.

        Raises:
            UnreadableInput: the folder holds no finished run, or an input has changed since.
            BadOption: an input would be read over the network.
        """
        run = open_run(out.absolute(), remote=remote)
        if beginning:
            begin(run, layer)
        return cls(run)

    @property
    def truth(self) -> Path:
        """The file of actions."""
        return self.run.folder / TRUTH

    @cached_property
    def base(self) -> Base:
        """The changes as the review began."""
        return Base(layer_of(self.run), self.run.scene.grid.transform, self.run.classes)

    @cached_property
    def cells(self) -> Cells:
        """Where one looks."""
        return Cells(self.run.scene.shape)

    @cached_property
    def changes(self) -> Changes:
        """What was found, with what reviewers have made of it."""
        return Changes(self.base, self.run.scene.grid)

    def untouched(self, key: str) -> Fields | None:
        """Fields of a change as it was found, or of a cell."""
        if key in self.cells.places:
            return LOOKED
        if not is_change(key) or (place := self.base.places.get(int(key))) is None:
            return None
        return {**FOUND, "label": self.run.classes[self.base.columns.labels[place]]}

    def facts(self) -> dict[str, str]:
        """Return what the review is of."""
        return {"layer": digest(self.base.path), "classes": ", ".join(self.run.classes)}

    @cached_property
    def actions(self) -> list[Action]:
        """All that is on the disk now."""
        found = read_actions(self.truth) if self.truth.exists() else []
        return found[: self.last]

    def until(self, last: int) -> SavedReview:
        """Return the review as it was after so many actions."""
        return replace(self, last=last)

    @cached_property
    def state(self) -> ReviewState:
        """What has been decided so far."""
        return fold(self.untouched, self.actions, self.changes.top)

    def identity(self) -> dict[str, Any]:
        """Return what tells this state of the review from others: the number of actions, and a hash of them."""
        told = sha256()
        for action in self.actions:
            told.update(f"{action.seq} {action.op} {action.items_json()}\n".encode())
        return {"actions": self.state.seq, "sha256": told.hexdigest()}

    def tally(self) -> dict[str, int]:
        """Count changes of each status, and cells looked at."""
        return self.state.tally(len(self.base.places))

    def features(self, wanted: Sequence[Status] | None, names: list[str]) -> Iterator[list[dict[str, Any]]]:
        """Yield changes by ascending id, in chunks: `geometry` as WKB in map units, attributes, and what was decided.

        Args:
            wanted: statuses; None: all but those that were deleted.
            names: attributes of the layer, beside what reviewers decide.
        """
        names = [name for name in names if name not in DECIDED_FIELDS]
        statuses = {*STATUSES} - {"deleted"} if wanted is None else {*wanted}
        drawn = dict(self.changes.edited(self.state))
        for rows in self.base.rows(names):
            kept = []
            for number, blob, values in rows:
                fields = self._fields(str(number))
                if fields["status"] in statuses:
                    own = (
                        {**values, "geometry": wkb_of(blob)}
                        if number not in drawn
                        else self._drawn(drawn[number], values)
                    )
                    kept.append(own | {name: fields[name] for name in TEXTS})
                drawn.pop(number, None)
            yield kept
        fresh = {number: shape for number, shape in drawn.items() if self._fields(str(number))["status"] in statuses}
        yield [
            self._drawn(shape, {**self._dates(), "id": number})
            | {name: self._fields(str(number))[name] for name in TEXTS}
            for number, shape in fresh.items()
        ]

    def _drawn(self, shape: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row of a change whose outline somebody drew."""
        blank = dict.fromkeys(SCORES)
        if self.base.geometry_type == "MultiPolygon" and shape.geom_type == "Polygon":
            shape = shapely.MultiPolygon([shape])
        return {**blank, **values, **self.changes.measured([shape])[0], "geometry": shapely.to_wkb(shape)}

    def _dates(self) -> dict[str, str | None]:
        before, *_, after = self.run.scene.sources
        said = self.run.record["identity"]["options"]
        return {
            "date_before": said.get("date_before") or before.date,
            "date_after": said.get("date_after") or after.date,
        }

    @cached_property
    def looked(self) -> tuple[Tile, ...]:
        """Cells that somebody has looked at."""
        return tuple(tile for place, tile in enumerate(self.cells.tiles) if self.looked_at(place))

    def undecided_where_looked(self) -> int:
        """Count changes in cells that were looked at of which nobody is sure."""
        inside = self._columns.ids[self._meeting_looked()].tolist()
        return sum(self._label(number) == IGNORE for number in inside if self._is_there(number))

    def labels(self) -> ReviewLabels:
        """Return what is known of the scene's pixels."""
        told = [(number, self._label(number)) for number in self._telling()]
        shapes = self.changes.shapes(self.state, [number for number, _ in told])
        polygons = in_pixels(np.array([shapes[number] for number, _ in told], object), self.run.scene.grid)
        order = sorted(range(len(told)), key=lambda place: (*self._rank(told[place][0]), place))
        labels = np.array([label for _, label in told], int)
        return ReviewLabels(self.looked, polygons[order], labels[order])

    @property
    def _columns(self) -> Columns:
        return self.changes.columns(self.state)

    def _is_there(self, number: int) -> bool:
        return self._fields(str(number))["status"] != "deleted"

    def looked_at(self, place: int) -> bool:
        """Whether somebody has looked at a cell."""
        touched = self.state.touched.get(self.cells.key(place))
        return touched is not None and bool(touched.fields["looked"])

    def _telling(self) -> list[int]:
        """Ids of changes of which something is known, or that lie where somebody looked."""
        ids = self._columns.ids
        told = np.isin(ids, [int(key) for key in self.state.touched if key.isdecimal()]) | self._meeting_looked()
        return [int(number) for number in ids[told] if self._is_there(int(number))]

    def _meeting_looked(self) -> Bools:
        """(n,) whether the box of each change meets a cell that was looked at."""
        boxes = self._columns.boxes
        cells = [shapely.box(tile.col, tile.row, tile.stop_col, tile.stop_row) for tile in self.looked]
        found = np.zeros(len(boxes), bool)
        found[shapely.STRtree(cells).query(shapely.box(*boxes.T))[0]] = True
        return found

    def _label(self, number: int) -> int:
        fields = self._fields(str(number))
        if fields["status"] == "kept":
            return self.run.classes.index(str(fields["label"])) + 1
        return UNCHANGED if fields["status"] == "rejected" else IGNORE

    def _rank(self, number: int) -> tuple[int, int]:
        """Return what a change lies on top of: its status, and how late it is."""
        return LAYERED[str(self._fields(str(number))["status"])], number

    def _fields(self, key: str) -> Fields:
        now = self.state.of(key)
        assert now is not None
        return now.fields
