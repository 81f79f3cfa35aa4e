"""What a terminal shows while a run works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Task as RichTask
from rich.text import Text

from geochange.engine.progress import Listener, Silent


class PixelRate(TextColumn):
    """Megapixels a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        done = task.fields["pixels"]
        return Text(f"{done / 1e6 / task.elapsed:6.1f} Mpx/s" if done and task.elapsed else "")


@dataclass
class Bar:
    """A `Listener` that moves a bar."""

    progress: Progress
    task: TaskID | None = None

    def begin(self, stage: str, blocks: int, pixels: int) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(stage, total=blocks or None, pixels=0)

    def advance(self, pixels: int) -> None:
        if self.task is not None:
            done = self.progress.tasks[-1].fields["pixels"] + pixels
            self.progress.update(self.task, advance=1, pixels=done)

    def end(self, stage: str, seconds: float) -> None:
        if self.task is not None:
            self.progress.remove_task(self.task)
            self.task = None


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Listener]:
    """A bar on stderr where that is a terminal; else silence."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Silent()
        return
    columns = (
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        PixelRate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)
