"""When saved decisions are taken into the review: one process at a time. Imports nothing of QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

TAKEN_IN, BUSY, FAILED = "taken in", "busy", "failed"
IN_USE = " is in use by another "  # what `geochange review` says where another one has the run, or a GIS its file


class Outcome(NamedTuple):
    """How a command ended."""

    kind: str
    """`TAKEN_IN`, `BUSY` where it can be tried again later, or `FAILED`."""
    line: str = ""
    """What was wrong."""
    conflicts: tuple[str, ...] = ()
    """A line for each edit that was left."""


def outcome_of(code: int, printed: str, errors: str) -> Outcome:
    """Return what came of `geochange review OUT --take-in --json`.

    Args:
        code: its exit code.
        printed: what it wrote to stdout.
        errors: what it wrote to stderr.
    """
    lines = errors.strip().splitlines()
    line = lines[-1].removeprefix("geochange: ") if lines else f"geochange ended with exit code {code}"
    if code != 0:
        return Outcome(BUSY if IN_USE in line else FAILED, line)
    try:
        conflicts = json.loads(printed).get("conflicts", ())
    except (ValueError, AttributeError):
        return Outcome(FAILED, f"geochange answered {printed.strip()[:80]!r}")
    return Outcome(TAKEN_IN, "", tuple(map(str, conflicts)))


class TakeIns:
    """Saved edits that wait to be taken in; what is saved while a take-in runs is taken in by the next one."""

    def __init__(self, start: Callable[[], None]) -> None:
        """Begin with nothing.

        Args:
            start: starts a process, and has `ended` called at its end.
        """
        self.waiting = 0
        """Edits that are saved, and not taken in."""
        self.under_way = 0
        """Edits that the running process takes in."""
        self._start = start

    @property
    def running(self) -> bool:
        """Whether a process runs."""
        return self.under_way > 0

    def add(self, count: int = 1) -> None:
        """Have edits taken in that have been saved."""
        self.waiting += count
        self.go_on()

    def go_on(self) -> None:
        """Take in what waits, unless a process runs."""
        if self.waiting and not self.running:
            self.under_way, self.waiting = self.waiting, 0
            self._start()

    def ended(self, outcome: Outcome) -> None:
        """Note how the process ended; what it did not take in waits for the next edit, or for `go_on`."""
        taken, self.under_way = self.under_way, 0
        if outcome.kind == TAKEN_IN:
            self.go_on()
        else:
            self.waiting += taken
