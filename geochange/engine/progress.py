"""How a run reports its progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from geochange.allocator import return_free_memory

log = logging.getLogger("geochange")


class Listener(Protocol):
    """Receives progress updates, on the coordinating thread."""

    def begin(self, stage: str, blocks: int, pixels: int) -> None:
        """Receive the start of a stage; blocks is 0 where it has no parts."""
        return

    def advance(self, pixels: int) -> None:
        """Receive one more block of the current stage, of so many pixels."""
        return

    def end(self, stage: str, seconds: float) -> None:
        """Receive the end of a stage."""
        return

    def report(self, figures: Mapping[str, float]) -> None:
        """Receive the figures of an epoch or a trial, by name."""
        return

    def notice(self, text: str) -> None:
        """Receive a line that a user should know."""
        return


class Silent(Listener):
    """Receives all and shows nothing."""


@dataclass(frozen=True)
class Relay(Listener):
    """Passes all on to a listener, but figures to a function in its place."""

    listener: Listener
    figures: Callable[[Mapping[str, float]], None]

    def begin(self, stage: str, blocks: int, pixels: int) -> None:
        """Pass on."""
        self.listener.begin(stage, blocks, pixels)

    def advance(self, pixels: int) -> None:
        """Pass on."""
        self.listener.advance(pixels)

    def end(self, stage: str, seconds: float) -> None:
        """Pass on."""
        self.listener.end(stage, seconds)

    def report(self, figures: Mapping[str, float]) -> None:
        """Call the function."""
        self.figures(figures)

    def notice(self, text: str) -> None:
        """Pass on."""
        self.listener.notice(text)


@dataclass
class Stages:
    """Times the stages of a run, and passes on what happens."""

    listener: Listener = field(default_factory=Silent)
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage -> seconds, in the order in which they were first entered."""

    def notice(self, text: str) -> None:
        """Pass on, and log, a line that a user should know."""
        log.info("%s", text)
        self.listener.notice(text)

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
