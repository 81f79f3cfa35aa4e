"""The block loop: results in order, progress of every block, and the same for any workers."""

import time

import pytest

from geochange.engine.cluster import ClusterOptions
from geochange.engine.work import grid_blocks, open_work
from geochange.errors import BlockFailed
from geochange.scenes.grid import Grid, Tile
from tests.stand_ins import PLACE

GRID = Grid(None, PLACE, (50, 70))


class Recorder:
    """Keeps what a listener receives."""

    def __init__(self):
        self.calls = []

    def begin(self, stage, blocks, pixels):
        self.calls.append(("begin", stage, blocks, pixels))

    def advance(self, pixels):
        self.calls.append(("advance", pixels))

    def end(self, stage, seconds):
        self.calls.append(("end", stage))


def first_pixel(tile):
    return tile.row, tile.col


def fail(tile):
    raise KeyError("broken")


def test_blocks_cover_a_grid_in_raster_order(monkeypatch):
    assert grid_blocks(GRID, 40) == [Tile(0, 0, 40, 40), Tile(0, 40, 40, 30), Tile(40, 0, 10, 40), Tile(40, 40, 10, 30)]
    assert grid_blocks(GRID) == [GRID.area]
    monkeypatch.setattr("geochange.engine.work.BLOCK_SIDE", 40)
    assert grid_blocks(GRID) == grid_blocks(GRID, 40)


@pytest.mark.parametrize("cluster", [None, ClusterOptions(threads=3), ClusterOptions(workers=1)])
def test_tiles_come_with_their_results_in_order(cluster):
    blocks = grid_blocks(GRID, 16)
    with open_work(cluster, None) as work:
        found = list(work.map("read", first_pixel, iter(blocks)))
    assert found == [(block, (block.row, block.col)) for block in blocks]


def test_a_listener_receives_every_block_of_a_stage_that_is_timed():
    recorder, blocks = Recorder(), grid_blocks(GRID, 40)
    with open_work(None, recorder) as work:
        for _ in work.map("read", first_pixel, blocks):
            pass
    sizes = [block.size for block in blocks]
    assert recorder.calls == [
        ("begin", "read", len(blocks), sum(sizes)),
        *(("advance", size) for size in sizes),
        ("end", "read"),
    ]
    assert list(work.stages.seconds) == ["read"]


def test_results_are_used_within_the_stage():
    recorder = Recorder()
    with open_work(None, recorder) as work:
        for tile, _ in work.map("read", first_pixel, grid_blocks(GRID, 40)):
            recorder.calls.append(("used", tile.size))
    assert recorder.calls[1:3] == [("used", 1600), ("advance", 1600)]
    assert recorder.calls[-1] == ("end", "read")


def test_each_is_progress_of_the_stage_that_has_begun():
    recorder = Recorder()
    with open_work(None, recorder) as work, work.stages.stage("fit"):
        assert [result for _, result in work.each(first_pixel, [GRID.area])] == [(0, 0)]
    assert recorder.calls == [("begin", "fit", 0, 0), ("advance", GRID.area.size), ("end", "fit")]


def test_a_stage_that_is_entered_twice_adds_up():
    with open_work(None, None) as work:
        for pause in (0.2, 0.0):
            with work.stages.stage("read"):
                time.sleep(pause)
    assert list(work.stages.seconds) == ["read"]
    assert work.stages.seconds["read"] >= 0.2


def test_a_task_that_fails_ends_the_loop(monkeypatch):
    monkeypatch.setattr("geochange.engine.cluster.time.sleep", lambda seconds: None)
    with open_work(None, None) as work, pytest.raises(BlockFailed, match="KeyError"):
        list(work.map("read", fail, grid_blocks(GRID, 40)))
