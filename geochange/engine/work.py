"""Tasks over the blocks of a grid: in order, on any workers, with progress and timing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from geochange.engine.cluster import ClusterOptions, Crew, open_crew
from geochange.engine.progress import Listener, Silent, Stages
from geochange.engine.workers import Needs
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.tiling import partition

R = TypeVar("R")

BLOCK_SIDE = 1024  # pixels per side of what a task reads at once


@dataclass(frozen=True, slots=True)
class Work:
    """Where tasks run, and who receives progress updates."""

    crew: Crew
    stages: Stages

    def map(self, stage: str, task: Callable[[Tile], R], tiles: Iterable[Tile]) -> Iterator[tuple[Tile, R]]:
        """Yield (tile, result) in the order of the tiles, timed as a stage."""
        tiles = list(tiles)
        with self.stages.stage(stage, len(tiles), sum(tile.size for tile in tiles)):
            yield from self.each(task, tiles)

    def each(self, task: Callable[[Tile], R], tiles: Sequence[Tile]) -> Iterator[tuple[Tile, R]]:
        """Yield (tile, result) in the order of the tiles, as progress of the stage that has begun."""
        for tile, result in zip(tiles, self.crew.map_ordered(task, tiles, block_name), strict=True):
            yield tile, result
            self.stages.listener.advance(tile.size)


@contextmanager
def open_work(cluster: ClusterOptions | None, listener: Listener | None, needs: Needs | None = None) -> Iterator[Work]:
    """Start workers, by default threads of this process; at the end they are gone.

    Args:
        cluster: where the work is done.
        listener: receives progress updates.
        needs: what workers of other machines must reach.

    Raises:
        BadOption: no scheduler answers at the address.
        ClusterFailed: the cluster cannot do the work.
    """
    stages = Stages(listener or Silent())
    with open_crew(cluster or ClusterOptions(), stages.notice, needs) as crew:
        yield Work(crew, stages)


def block_name(tile: Tile) -> str:
    """Return what messages call the work on some pixels."""
    rows, cols = f"{tile.row}..{tile.stop_row - 1}", f"{tile.col}..{tile.stop_col - 1}"
    return f"the block of rows {rows} and columns {cols}"


def grid_blocks(grid: Grid, side: int | None = None) -> list[Tile]:
    """Return a grid's pixels in blocks of so many pixels per side, `BLOCK_SIDE` by default, in raster order."""
    side = side or BLOCK_SIDE
    return list(partition(grid.shape, (side, side)))
