"""What a command prints while it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.text import Text

from geochange.cli.events import JsonEvents, wants_events
from geochange.engine.progress import Listener, Silent
from geochange.redaction import one_line


class PixelRate(TextColumn):
    """Megapixels a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        """Return the rate of a task."""
        done = task.fields["pixels"]
        return Text(f"{done / 1e6 / task.elapsed:6.1f} Mpx/s" if done and task.elapsed else "")


SHOWN = {"loss": "loss", "accuracy": "accuracy", "f1": "F1", "iou": "IoU", "ap50": "AP50"}


def epoch_line(figures: Mapping[str, float]) -> str:
    """Return figures of an epoch: those of its training batches, then those of the held-out items."""
    parts = [f"trial {figures['trial']}"] if "trial" in figures else []
    steps = int(figures["steps"])
    parts.append(f"step {int(figures['step']):{len(str(steps))}d}/{steps}")
    for name, prefix in (("train", ""), ("val", "val_")):
        found = [f"{word} {figures[prefix + key]:.4f}" for key, word in SHOWN.items() if prefix + key in figures]
        if found:
            parts.append(f"{name}: {' '.join(found)}")
    return " | ".join([*parts, f"{figures['seconds']:.0f} s"])


@dataclass
class Bar:
    """A `Listener` that moves a bar, and prints figures and notices."""

    progress: Progress
    task: TaskID | None = None

    def begin(self, stage: str, blocks: int, pixels: int) -> None:
        """Show the bar of a stage."""
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(stage, total=blocks or None, pixels=0)

    def advance(self, pixels: int) -> None:
        """Move the bar by a block."""
        if self.task is not None:
            done = self.progress.tasks[-1].fields["pixels"] + pixels
            self.progress.update(self.task, advance=1, pixels=done)

    def end(self, stage: str, seconds: float) -> None:
        """Remove the bar."""
        if self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None

    def report(self, figures: Mapping[str, float]) -> None:
        """Print a line on stdout."""
        print(epoch_line(figures))

    def notice(self, text: str) -> None:
        """Print a line on stderr."""
        print(one_line(text), file=sys.stderr)


class PrintedEvents(JsonEvents):
    """Events on stderr, and beside them the figures on stdout, as `Bar` prints them."""

    def report(self, figures: Mapping[str, float]) -> None:
        """Write the figures twice."""
        super().report(figures)
        print(epoch_line(figures))


@contextmanager
def progress_bar(*, quiet: bool, as_json: bool = False) -> Iterator[Listener]:
    """Give the listener of a command.

    A bar on stderr where that is a terminal, figures on stdout, notices on stderr; with `--progress json` events on
    stderr.

    Args:
        quiet: give one that is silent.
        as_json: keep stdout for the answer; without events silent.
    """
    if quiet or (as_json and not wants_events()):
        yield Silent()
    elif wants_events():
        yield JsonEvents() if as_json else PrintedEvents()
    else:
        with _bar() as bar:
            yield bar


@contextmanager
def _bar() -> Iterator[Bar]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        PixelRate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress)
