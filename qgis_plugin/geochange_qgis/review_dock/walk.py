"""The changes of a review in an order, which one is looked at, and how far one is. Imports nothing of QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

UNDECIDED = "unreviewed"
STATUSES = (UNDECIDED, "kept", "rejected", "unsure")

ORDERS = {
    "confidence": "Most confident first",
    "score": "Highest score first",
    "area": "Largest first",
    "place": "By place",
}
"""Names of the orders, and what they are called."""

Place = tuple[int, int, float]


class Row(NamedTuple):
    """What the order needs of a change."""

    fid: int
    """Of the feature in the layer."""
    number: int
    """`id` of the change."""
    status: str
    confidence: float | None = None
    score: float | None = None
    area: float | None = None
    """Square metres, or pixels where there are no metres."""


class Walk:
    """A walk through the changes: forwards, backwards, and back to what was decided last."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.current: int | None = None
        """`fid` of the change that is looked at."""
        self.order = "confidence"
        self.undecided_only = True
        self._places: Mapping[int, Place] = {}
        self._decided: list[tuple[int, str]] = []
        self._rows: dict[int, Row] = {}
        self.reload(rows)

    def reload(self, rows: Iterable[Row]) -> None:
        """Take the changes as they are now, and stay where one was."""
        number = self._rows[self.current].number if self.current is not None else None
        self._rows = {row.fid: row for row in rows}
        if self.current not in self._rows:  # a row that was taken in as new has another fid
            self.current = next((fid for fid, row in self._rows.items() if row.number == number), None)
        self._undecided = sum(row.status == UNDECIDED for row in self._rows.values())
        self._sort()

    def refresh(self, rows: Iterable[Row], count: int) -> bool | None:
        """Take the status of some changes as it is now.

        Args:
            rows: those that may have another status.
            count: of all changes.

        Returns:
            Whether a status is another one; None where changes are new or gone, so that all have to be read again.
        """
        rows = [*rows]
        if count != len(self._rows) or any(row.fid not in self._rows for row in rows):
            return None
        other = [row for row in rows if row.status != self._rows[row.fid].status]
        for row in other:
            self._set(row.fid, row.status)
        return bool(other)

    def arrange(self, order: str, places: Mapping[int, Place] | None = None) -> None:
        """Choose the order.

        Args:
            order: one of `ORDERS`.
            places: of each change, by its `fid`, as `neighbourhoods` gives them, for the order `place`.
        """
        self.order = order
        self._places = self._places if places is None else places
        self._sort()

    def _sort(self) -> None:
        self._fids = sorted(self._rows, key=self._key)
        self._rank = {fid: rank for rank, fid in enumerate(self._fids)}

    def _key(self, fid: int) -> tuple[object, ...]:
        row = self._rows[fid]
        if self.order == "place":
            return (*self._places.get(fid, (math.inf, 0, 0.0)), row.number, fid)
        first = {"confidence": row.confidence, "score": row.score, "area": row.area}[self.order]
        return (*_falling(first), *_falling(row.area), row.number, fid)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def decided(self) -> int:
        """Count changes that are decided."""
        return len(self._rows) - self._undecided

    def status(self, fid: int) -> str | None:
        """Return the status of a change; None where there is none of that `fid`."""
        row = self._rows.get(fid)
        return None if row is None else row.status

    def step(self, by: int) -> int | None:
        """Go on to the next change, or with -1 the one before; return it, or None at the end, where one stays."""
        start = (-1 if by > 0 else len(self._fids)) if self.current is None else self._rank[self.current]
        return self._go(range(start + by, len(self._fids) if by > 0 else -1, by), undecided_only=self.undecided_only)

    def next_undecided(self) -> int | None:
        """Go on to the next undecided change, from the end to the first; return it, or None where all are decided."""
        start = -1 if self.current is None else self._rank[self.current]
        return self._go([*range(start + 1, len(self._fids)), *range(start + 1)], undecided_only=True)

    def _go(self, ranks: Iterable[int], *, undecided_only: bool) -> int | None:
        for rank in ranks:
            fid = self._fids[rank]
            if not undecided_only or self._rows[fid].status == UNDECIDED:
                self.current = fid
                return fid
        return None

    def decide(self, fid: int, status: str) -> None:
        """Note a decision that has been saved, so that it can be taken back."""
        self._decided.append((fid, self._rows[fid].status))
        self._set(fid, status)

    def last_decision(self) -> tuple[int, str] | None:
        """Return what was decided last, as its `fid` and the status before; None where nothing is left to take back."""
        while self._decided and self._decided[-1][0] not in self._rows:
            self._decided.pop()
        return self._decided[-1] if self._decided else None

    def take_back(self) -> None:
        """Note that the last decision has been taken back, and go there."""
        fid, status = self._decided.pop()
        self._set(fid, status)
        self.current = fid

    def _set(self, fid: int, status: str) -> None:
        self._undecided += (status == UNDECIDED) - (self._rows[fid].status == UNDECIDED)
        self._rows[fid] = self._rows[fid]._replace(status=status)


def neighbourhoods(middles: Mapping[int, tuple[float, float]], side: float) -> dict[int, Place]:
    """Return the place of each change in the order in which one reads: squares row by row, and west to east in each.

    Args:
        middles: x and y of each change in map units, by its `fid`.
        side: of a square, in map units.
    """
    return {fid: (-math.floor(y / side), math.floor(x / side), x) for fid, (x, y) in middles.items()}


def _falling(value: float | None) -> tuple[bool, float]:
    """Sort large values first, and what has none last."""
    missing = value is None or math.isnan(value)
    return missing, 0.0 if missing else -value
