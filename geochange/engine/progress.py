"""How a run tells what it is doing, whoever listens."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from geochange.allocator import return_free_memory

log = logging.getLogger("geochange")


class Listener(Protocol):
    """Hears of stages and of pixels done, on the coordinating thread."""

    def begin(self, stage: str, blocks: int, pixels: int) -> None:
        """A stage starts; blocks is 0 where it has no parts."""

    def advance(self, pixels: int) -> None:
        """One more block of the current stage, of so many pixels, is done."""

    def end(self, stage: str, seconds: float) -> None:
        """The stage is done."""


class Silent:
    """Hears and says nothing."""

    def begin(self, stage: str, blocks: int, pixels: int) -> None: ...

    def advance(self, pixels: int) -> None: ...

    def end(self, stage: str, seconds: float) -> None: ...


@dataclass
class Stages:
    """Times the stages of a run, and passes on what happens."""

    listener: Listener = field(default_factory=Silent)
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> seconds, in the order in which they were first entered."""

    @contextmanager
    def stage(self, name: str, blocks: int = 0, pixels: int = 0) -> Iterator[Listener]:
        """Time what happens inside; a stage entered twice adds up."""
        start = time.perf_counter()
        self.listener.begin(name, blocks, pixels)
        yield self.listener
        spent = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self.listener.end(name, spent)
        return_free_memory()
        log.info("%s: %.2f s", name, spent)
