"""Progress as JSON, one event a line on stderr, for programs that run geochange (`--progress json`)."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from geochange.redaction import one_line

BETWEEN_ADVANCES = 0.25  # seconds


ProgressForm: TypeAlias = Literal["bar", "json"]
PROGRESS: ContextVar[ProgressForm] = ContextVar("progress", default="bar")
"""What `--progress` says for this call of the command line."""


def wants_events() -> bool:
    """Whether the command line was asked for events."""
    return PROGRESS.get() == "json"


def emit(event: str, **values: Any) -> None:
    """Write an event as one line on stderr, in ASCII, at once."""
    sys.stderr.write(json.dumps({"event": event, **values}, allow_nan=False) + "\n")
    sys.stderr.flush()


def finite(values: Any) -> Any:
    """Return JSON values with None for the numbers that JSON does not have: NaN and infinities."""
    if isinstance(values, float) and not math.isfinite(values):
        return None
    if isinstance(values, Mapping):
        return {key: finite(each) for key, each in values.items()}
    return [finite(each) for each in values] if isinstance(values, list | tuple) else values


@dataclass
class JsonEvents:
    """A `Listener` that writes an event for all that it receives; of the blocks of a stage a few a second.

    The first and the last block are always written, so that `done` ends at the number of blocks that were worked on. A
    stage may begin again, where it passes over its blocks more than once.
    """

    stage: str = ""
    blocks: int = 0
    done: int = 0
    pixels: int = 0
    written: int = 0
    """Blocks that were written as done."""
    due: float = 0.0
    """When the next block may be written, on the monotonic clock."""

    def begin(self, stage: str, blocks: int, pixels: int) -> None:
        """Write the name of a stage and its number of blocks, 0 where it has none."""
        self._write_rest()
        self.stage, self.blocks = stage, blocks
        self.done = self.pixels = self.written = 0
        self.due = 0.0
        emit("begin", stage=stage, blocks=blocks)

    def advance(self, pixels: int) -> None:
        """Count a block, and write how many are done where that is due."""
        self.done += 1
        self.pixels += pixels
        if time.monotonic() >= self.due:
            self._write_done()

    def end(self, stage: str, seconds: float) -> None:
        """Write the end of a stage."""
        self._write_rest()
        emit("end", stage=stage, seconds=round(seconds, 3))

    def report(self, figures: Mapping[str, float]) -> None:
        """Write the figures of an epoch or a trial."""
        emit("figures", figures=finite(dict(figures)))

    def notice(self, text: str) -> None:
        """Write a line that a user should know."""
        emit("notice", text=one_line(text))

    def _write_rest(self) -> None:
        if self.written < self.done:
            self._write_done()

    def _write_done(self) -> None:
        self.written, self.due = self.done, time.monotonic() + BETWEEN_ADVANCES
        emit("advance", stage=self.stage, done=self.done, blocks=self.blocks, pixels=self.pixels)
