"""Tasks are small whatever they need, and do the same."""

from __future__ import annotations

from functools import partial

import dask.array
import numpy as np
import pytest
import xarray as xr

from geochange.engine.cluster import ClusterOptions, open_crew
from geochange.engine.packing import Packer, run_packed
from geochange.engine.work import Work, grid_blocks
from geochange.engine.workers import Needs
from geochange.scenes.pairing import open_scene

BOUND = 8 << 10  # bytes that travel with a task


def large(dtype="uint16", side=1500):
    values = np.random.default_rng(0).integers(1, 200, (2, side, side)).astype(dtype)
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"y": np.arange(side)[::-1], "x": np.arange(side)})


def in_memory():
    return large()


def by_dask():
    return large().chunk({"y": 500, "x": 500})


def of_dask():
    array = large()
    return array.copy(data=dask.array.from_array(array.values + 1, chunks=500))


@pytest.mark.parametrize("make", [in_memory, by_dask, of_dask])
def test_an_array_travels_once(tmp_path, make):
    scene, packer = open_scene([make(), make()]), Packer(tmp_path)
    read = scene.read
    blocks = grid_blocks(scene.grid)
    tasks = [packer.pack(read, block) for block in blocks]
    assert max(map(len, tasks)) < BOUND
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sum(path.stat().st_size for path in written) < 1.1 * 2 * scene.sources[0].array.nbytes
    for task, block in zip(tasks, blocks, strict=True):
        (before, after), valid = run_packed(task)
        assert valid.all()
        np.testing.assert_array_equal(before, read(block)[0][0])
        np.testing.assert_array_equal(after, before)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_what_is_small_and_what_shares_no_disk_travels_with_each_task(tmp_path):
    packer = Packer(tmp_path)
    assert run_packed(packer.pack(partial(np.add, np.arange(3)), 1)).tolist() == [1, 2, 3]
    assert not list(tmp_path.iterdir())
    values = np.arange(1 << 18, dtype=float)
    task = Packer(None).pack(partial(np.add, values), 1.0)
    assert len(task) > values.nbytes
    np.testing.assert_array_equal(run_packed(task), values + 1)


def test_two_arrays_in_one_place_are_two(tmp_path):
    """The place in memory of one that is gone may be that of the next."""
    packer = Packer(tmp_path)
    for value in range(5):
        values = np.full(1 << 20, value, np.uint8)
        assert run_packed(packer.pack(partial(np.max, values))) == value
        del values


@pytest.mark.parametrize("workers", [None, 1])
def test_arrays_are_left_alone_and_give_the_same_on_workers(tmp_path, workers):
    array = large("float32", 600)
    array[:, :50] = np.nan
    scene = open_scene([array, array])
    kept = array.copy(deep=True)
    with open_crew(ClusterOptions(workers=workers), needs=Needs(folder=tmp_path)) as crew:
        found = list(Work(crew, None).crew.map_ordered(scene.read, grid_blocks(scene.grid, 256)))
    for (dates, valid), block in zip(found, grid_blocks(scene.grid, 256), strict=True):
        expected, mask = open_scene([kept, kept]).read(block)
        np.testing.assert_array_equal(dates[0], expected[0])
        np.testing.assert_array_equal(valid, mask)
    xr.testing.assert_identical(array, kept)
    assert not list(tmp_path.iterdir())
