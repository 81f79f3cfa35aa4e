"""A run of geochange as a process of its own, followed by its events. It needs no QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Callable

LOOK = 0.1  # seconds between two looks at whether the user has cancelled
PATIENCE = {"INT": 10.0, "TERM": 60.0}
"""Seconds that a run has to end after a signal, until the next one. What it holds back for is short: a file that must
be whole."""


@dataclass
class Outcome:
    """How a run has ended."""

    code: int = 0
    answer: dict[str, Any] | None = None
    """What `--json` would print."""
    error: str = ""
    """One line."""
    printed: list[str] = field(default_factory=list)
    """Lines of standard output."""
    cancelled: bool = False


class Follower:
    """What receives the progress of a run; each method may be overridden."""

    def stage(self, name: str) -> None:
        """Receive the beginning of a stage."""

    def progress(self, share: float) -> None:
        """Receive how much of the stage is done, 0 to 1."""

    def end(self, name: str, seconds: float) -> None:
        """Receive the end of a stage."""

    def notice(self, text: str) -> None:
        """Receive a line that the user should know."""

    def line(self, text: str) -> None:
        """Receive a line that was printed."""

    def stray(self, text: str) -> None:
        """Receive a line on standard error that is no event: of a library."""

    def cancelled(self) -> bool:
        """Return whether the run is to be ended."""
        return False


def run(words: list[str], variables: Mapping[str, str], follower: Follower) -> Outcome:
    """Run a command line until it ends, or the follower ends it.

    Args:
        words: the command of geochange with its arguments, without `--progress json`.
        variables: the whole environment of the process.
        follower: receives what happens, on the thread of the caller.

    Raises:
        OSError: the program cannot be started.
    """
    process = _start(words, variables)
    lines: queue.Queue[tuple[str, str | None]] = queue.Queue()
    for name, stream in (("out", process.stdout), ("error", process.stderr)):
        threading.Thread(target=_read, args=(name, stream, lines), daemon=True).start()
    outcome, stopper, reading = Outcome(), Stopper(process), 2
    while reading:
        if follower.cancelled():
            outcome.cancelled = True
            stopper.step()
        try:
            name, text = lines.get(timeout=LOOK)
        except queue.Empty:
            continue
        if text is None:
            reading -= 1
        elif name == "out":
            outcome.printed.append(text)
            follower.line(text)
        else:
            _receive(text, follower, outcome)
    outcome.code = process.wait()
    if outcome.code and not outcome.error:
        outcome.error = f"geochange ended with code {outcome.code}, and said nothing"
    return outcome


def event_words(command: list[str], arguments: list[str]) -> list[str]:
    """Return the command line that reports its progress as events."""
    return [*command, "--progress", "json", *arguments]


def _start(words: list[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
    flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    return subprocess.Popen(
        words,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        creationflags=flags,
        start_new_session=sys.platform != "win32",
    )


def _read(name: str, stream: IO[str] | None, lines: queue.Queue[tuple[str, str | None]]) -> None:
    assert stream is not None
    with stream:
        for line in stream:
            lines.put((name, line.rstrip()))
    lines.put((name, None))


def read_event(text: str) -> dict[str, Any] | None:
    """Return the event of a line; None where the line is of something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found else None


def _receive(text: str, follower: Follower, outcome: Outcome) -> None:
    event = read_event(text)
    if event is None:
        follower.stray(text)
        return
    name = event["event"]
    if name == "begin":
        follower.stage(event["stage"])
    elif name == "advance" and event["blocks"]:
        follower.progress(event["done"] / event["blocks"])
    elif name == "end":
        follower.end(event["stage"], event["seconds"])
    elif name == "notice":
        follower.notice(event["text"])
    elif name == "answer":
        outcome.answer = event["answer"]
    elif name == "error":
        outcome.error = event["text"]


class Stopper:
    """Ends a process step by step: as Ctrl-C does, which leaves a run that can be resumed; then more firmly.

    A program that QGIS was started from may ignore Ctrl-C, which the process inherits: SIGTERM does the same. On
    Windows a program with a window has no console through which Ctrl-C could be sent: the process is ended at once, and
    its run is resumed from the blocks that are whole.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.due = 0.0
        self.steps: list[Callable[[], None]] = (
            [process.kill] if sys.platform == "win32" else [self._interrupt, self._terminate, self._kill]
        )

    def step(self) -> None:
        """Take the next step where the last one has had its time."""
        if self.steps and time.monotonic() >= self.due and self.process.poll() is None:
            self.steps.pop(0)()

    def _interrupt(self) -> None:
        self.due = time.monotonic() + PATIENCE["INT"]
        self.process.send_signal(signal.SIGINT)

    def _terminate(self) -> None:
        self.due = time.monotonic() + PATIENCE["TERM"]
        self.process.terminate()

    def _kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
