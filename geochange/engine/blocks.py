"""Blocks as tasks: each leaves one file per raster, and hands strips to its neighbours where tiles are blended.

A block's file appears once it is final. Where tiles are blended, a block first leaves the strips that its tiles reach
into its neighbours to the right and below, then its own sums; when these neighbours' strips are there, the sums are
joined and quantised into its file. A strip goes when both sides have their files, so a killed run finds all it needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.engine.blend import unweighted
from geochange.engine.cluster import Crew, Pace, run_together
from geochange.engine.cog import encode_block
from geochange.engine.inference import Inference, score_block
from geochange.engine.progress import Listener
from geochange.engine.work import Work, block_name
from geochange.errors import ClusterFailed
from geochange.files import load_array, save_array, write_whole
from geochange.scenes.tiling import Block, Tiling

PROBABILITY = "probability"
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1))  # those that a block's tiles reach into


@dataclass(frozen=True)
class BlockStore:
    """Where block files, sums and strips lie."""

    folder: Path
    encode: Callable[[Floats, Bools], bytes]
    """(class, y, x) probabilities and (y, x) validity -> the block's file."""
    layers: tuple[str, ...] = ()

    def create(self) -> None:
        """Make the folders that are not there."""
        for name in (PROBABILITY, *self.layers):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("sums", "thumbnails", "boxes"):
            (self.folder / name).mkdir(exist_ok=True)

    def file(self, block: Block, raster: str = PROBABILITY) -> Path:
        """Return where a block's file of a raster lies."""
        return self.folder / raster / f"{block.name}.tif"

    def thumbnail(self, block: Block) -> Path:
        """Return where a block's part of the thumbnail lies."""
        return self.folder / "thumbnails" / f"{block.name}.npy"

    def boxes(self, block: Block) -> Path:
        """Return where the boxes that were found in a block lie."""
        return self.folder / "boxes" / f"{block.name}.npy"

    def sums(self, block: Block) -> Path:
        """Return where a block's own sums lie until they are joined."""
        return self.folder / "sums" / f"{block.name}.npy"

    def mask(self, block: Block) -> Path:
        """Return where a block's validity lies until its sums are joined."""
        return self.folder / "sums" / f"{block.name}-valid.npy"

    def strip(self, giver: Block, step: tuple[int, int]) -> Path:
        """Return where the sums lie that a block adds to the neighbour so many blocks further."""
        return self.folder / "sums" / f"{giver.name}-{step[0]}{step[1]}.npy"

    def is_final(self, block: Block) -> bool:
        """Return whether the block's file is there; one that a power cut emptied is not."""
        path = self.file(block)
        return path.exists() and path.stat().st_size > 0

    def is_scored(self, block: Block) -> bool:
        """Return whether only joining is left to do for a block."""
        return self.is_final(block) or self.sums(block).exists()

    def write(self, block: Block, probability: Floats, layers: dict[str, Floats], valid: Bools) -> None:
        """Write a block's files, layers first: the probability's file says that the block is final."""
        for name, layer in layers.items():
            write_whole(self.file(block, name), encode_block(layer, np.nan))
        write_whole(self.file(block), self.encode(probability, valid))


def run_blocks(work: Work, inference: Inference, store: BlockStore) -> None:
    """Score every block that has no file yet, and join it with its neighbours' strips."""
    store.create()
    blocks = {block.index: block for block in inference.tiling.blocks()}
    with work.stages.stage("score", len(blocks), inference.scene.grid.area.size) as listener:
        _run_blocks(_Tasks(work.crew, inference, store, len(blocks)), blocks, listener)


def _run_blocks(tasks: _Tasks, blocks: dict[tuple[int, int], Block], listener: Listener) -> None:
    store = tasks.store
    scored = {index for index, block in blocks.items() if store.is_scored(block)}
    final = {index for index, block in blocks.items() if store.is_final(block)}
    for index in final:
        listener.advance(blocks[index].area.size)
    _drop_spent_strips(store, blocks, final)
    todo = deque(block for index, block in blocks.items() if index not in scored)
    joins = [] if tasks.joined_at_once else _ready(blocks, scored, final, scored)
    try:
        while tasks.refill(joins, todo):
            for block, joined in tasks.done():
                scored.add(block.index)
                if joined:
                    final.add(block.index)
                    _drop_spent_strips(store, blocks, final, block)
                    listener.advance(block.area.size)
                else:
                    joins += _ready(blocks, scored, final, {block.index})
    except ClusterFailed as error:
        raise type(error)(f"{error}; {len(final)} of {len(blocks)} blocks are done") from error
    finally:
        tasks.cancel()


@dataclass(frozen=True)
class _Step:
    """Scoring, or joining."""

    task: Callable[[Block], None]
    together: Callable[[list[Block]], Any]
    pace: Pace
    joins: bool
    """Whether blocks are final behind it."""


class _Tasks:
    """Tasks under way: joins go before scoring, so that sums and strips do not pile up."""

    def __init__(self, crew: Crew, inference: Inference, store: BlockStore, blocks: int) -> None:
        self.crew, self.store = crew, store
        self.joined_at_once = not inference.tiling.blended
        score, join = partial(score_task, inference, store), partial(join_task, inference.tiling, store)
        self.score = _Step(score, partial(run_together, score), Pace(crew, blocks, long=True), self.joined_at_once)
        self.join = _Step(join, partial(run_together, join), Pace(crew, None), joins=True)
        self.pending: dict[Future[Any], tuple[_Step, list[Block]]] = {}
        self.arrivals = crew.arrivals()

    def refill(self, joins: list[Block], todo: deque[Block]) -> bool:
        """Keep every worker busy with one task in reserve; False when nothing is left to do.

        Joins wait until there are enough for a task, or no block is left to score.
        """
        while len(self.pending) < self.score.pace.tasks:
            together = self.join.pace.take()
            if len(joins) >= together or (joins and not todo):
                self._start(self.join, [joins.pop() for _ in range(min(together, len(joins)))])
            elif todo:
                self._start(self.score, [todo.popleft() for _ in range(min(self.score.pace.take(), len(todo)))])
            else:
                break
        return bool(self.pending)

    def _start(self, step: _Step, group: list[Block]) -> None:
        future = self.crew.submit(step.together, group)
        self.pending[future] = step, group
        self.arrivals.add(future)

    def done(self) -> Iterator[tuple[Block, bool]]:
        """Yield blocks that are done, and whether they are joined too."""
        for future in self.arrivals.wait():
            step, group = self.pending[future]
            step.pace.results(step.task, group, future, lambda block: block_name(block.area))
            del self.pending[future]
            for block in group:
                yield block, step.joins

    def cancel(self) -> None:
        """Begin none of those that are left."""
        for future in self.pending:
            future.cancel()


def score_task(inference: Inference, store: BlockStore, block: Block) -> None:
    """Score a block; leave its file, or its strips and sums where tiles are blended."""
    scored = score_block(inference, block)
    if scored.thumbnail is not None:
        save_array(store.thumbnail(block), scored.thumbnail.astype(np.float32))
    if scored.boxes is not None:
        save_array(store.boxes(block), scored.boxes.pack())
    if scored.probability is not None:
        store.write(block, scored.probability, scored.layers, scored.valid)
        return
    assert scored.totals is not None
    for step, neighbour in _neighbours(inference.tiling, block):
        rows, cols = block.reach.intersect(neighbour.area).slices((block.reach.row, block.reach.col))
        save_array(store.strip(block, step), scored.totals[:, rows, cols])
    for name, layer in scored.layers.items():
        write_whole(store.file(block, name), encode_block(layer, np.nan))
    save_array(store.mask(block), scored.valid)
    own = scored.totals[:, : block.area.height, : block.area.width]
    save_array(store.sums(block), own)  # last: it says that all the others are there


def join_task(tiling: Tiling, store: BlockStore, block: Block) -> None:
    """Add the neighbours' strips to a block's sums, and leave its file. It may be run again, as Dask does at times."""
    if not store.is_final(block):
        totals: Ints = load_array(store.sums(block))
        for giver, step in _givers(tiling, block):
            part = giver.reach.intersect(block.area)
            rows, cols = part.slices((block.area.row, block.area.col))
            totals[:, rows, cols] += load_array(store.strip(giver, step))
        store.write(block, unweighted(totals), {}, load_array(store.mask(block)))
    store.sums(block).unlink(missing_ok=True)
    store.mask(block).unlink(missing_ok=True)


def _neighbours(tiling: Tiling, block: Block) -> Iterator[tuple[tuple[int, int], Block]]:
    """(step, block) of each neighbour that this block's tiles reach into."""
    rows, cols = tiling.shape
    for step in _NEIGHBOURS:
        index = block.index[0] + step[0], block.index[1] + step[1]
        if index[0] < rows and index[1] < cols:
            yield step, tiling.block(index)


def _givers(tiling: Tiling, block: Block) -> Iterator[tuple[Block, tuple[int, int]]]:
    """(block, step) of each neighbour whose tiles reach into this block."""
    for step in _NEIGHBOURS:
        index = block.index[0] - step[0], block.index[1] - step[1]
        if min(index) >= 0:
            yield tiling.block(index), step


def _ready(
    blocks: dict[tuple[int, int], Block],
    scored: set[tuple[int, int]],
    final: set[tuple[int, int]],
    changed: set[tuple[int, int]],
) -> list[Block]:
    """Scored blocks whose givers are all scored, among those that a change in `changed` can concern."""
    touched = {(i + di, j + dj) for i, j in changed for di, dj in ((0, 0), *_NEIGHBOURS)}
    return [
        blocks[index]
        for index in sorted(touched & scored - final)
        if all(
            (index[0] - di, index[1] - dj) in scored for di, dj in _NEIGHBOURS if min(index[0] - di, index[1] - dj) >= 0
        )
    ]


def _drop_spent_strips(
    store: BlockStore, blocks: dict[tuple[int, int], Block], final: set[tuple[int, int]], around: Block | None = None
) -> None:
    """Remove strips whose giver and taker are both final: all of them, or those of one block."""
    takers = final if around is None else _with_takers(around.index)
    for taker in takers & final:
        for step in _NEIGHBOURS:
            giver = taker[0] - step[0], taker[1] - step[1]
            if giver in final:
                store.strip(blocks[giver], step).unlink(missing_ok=True)


def _with_takers(index: tuple[int, int]) -> set[tuple[int, int]]:
    return {index, *((index[0] + di, index[1] + dj) for di, dj in _NEIGHBOURS)}
