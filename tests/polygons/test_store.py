import pickle
import sqlite3
import sys
from contextlib import closing
from dataclasses import fields

import numpy as np
import pytest
import shapely

from geochange.errors import DiskFull
from geochange.polygons.regions import Counts, concatenate
from geochange.polygons.store import JOINED, RegionStore, save_part
from geochange.scenes.grid import Tile
from tests.forked_commands import files_at_most
from tests.region_cases import Map, trace_whole


@pytest.fixture(scope="module")
def regions():
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, (20, 30)).astype(np.uint8)
    return trace_whole(Map(classes, random.integers(0, 2**40, classes.shape), random.random(classes.shape) < 0.9))


def test_regions_come_back_sorted_in_chunks(regions, tmp_path):
    shuffled = regions.where(np.random.default_rng(1).permutation(len(regions)))

    with RegionStore(tmp_path) as store:
        for start in range(0, len(regions), 50):
            store.add(shuffled.where(np.arange(start, min(start + 50, len(regions)))))
        chunks = list(store.chunks(7))

    back = concatenate(chunks)
    assert {len(chunk) for chunk in chunks[:-1]} == {7}
    np.testing.assert_array_equal(back.first, regions.first)
    for column in (each.name for each in fields(Counts)):
        np.testing.assert_array_equal(getattr(back.counts, column), getattr(regions.counts, column))
    assert shapely.to_wkb(back.polygons).tolist() == shapely.to_wkb(regions.polygons).tolist()


def with_parts(store, regions, blocks, seed=0):
    """Leave some regions of each block as its part, and give the store the others in any order."""
    random = np.random.default_rng(seed)
    whole, rest = random.random(len(regions)) < 0.6, np.ones(len(regions), bool)
    for block in blocks:
        inside = (regions.first >= (block.row, block.col)) & (regions.first < (block.stop_row, block.stop_col))
        own = regions.where(whole & inside.all(axis=1))
        save_part(store.folder, block, own.where(random.permutation(len(own))))
        store.add_part(block, len(own), int(own.counts.area_px.sum()))
        rest &= ~(whole & inside.all(axis=1))
    others = np.flatnonzero(rest)
    for chosen in np.array_split(random.permutation(others), 5):
        store.add(regions.where(chosen))


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("rows", [(0,), (0, 8, 16)])
def test_regions_of_parts_and_those_that_were_added_come_back_as_if_added_alone(regions, tmp_path, rows, size):
    blocks = [Tile(row, col, 8, 10) for row in (0, 8, 16) for col in (0, 10, 20)]
    with RegionStore(tmp_path, rows) as store:
        with_parts(store, regions, blocks)
        assert (len(store), store.area_px()) == (len(regions), regions.counts.area_px.sum())
        bands = store.bands()
        assert [band.count for band in bands] == [sum(map(len, band.chunks())) for band in bands]
        assert len(bands) == len(rows)
        chunks = list(store.chunks(size))
    back = concatenate(chunks)
    assert max(map(len, chunks)) <= size
    np.testing.assert_array_equal(back.first, regions.first)
    for column in (each.name for each in fields(Counts)):
        found, wanted = getattr(back.counts, column), getattr(regions.counts, column)
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
    assert shapely.to_wkb(back.polygons).tolist() == shapely.to_wkb(regions.polygons).tolist()


def test_a_band_is_read_where_only_the_folder_is_known(regions, tmp_path):
    with RegionStore(tmp_path, (0, 8)) as store:
        with_parts(store, regions, [Tile(0, 0, 8, 30), Tile(8, 0, 12, 30)])
        lower = pickle.loads(pickle.dumps(store.bands()[1]))
        assert (concatenate(list(lower.chunks())).first == regions.where(regions.first[:, 0] >= 8).first).all()


def test_a_region_that_is_in_a_part_and_added_is_an_error(regions, tmp_path):
    block = Tile(0, 0, 20, 30)
    with RegionStore(tmp_path) as store:
        save_part(store.folder, block, regions)
        store.add_part(block, len(regions), 1)
        store.add(regions.where([3]))
        with pytest.raises(ValueError, match="begin at one pixel"):
            list(store.chunks())


def test_rows_far_down_are_sorted_too(regions, tmp_path):
    moved = regions.where(np.arange(2))
    moved.first[:] = [[2**31 - 1, 0], [5, 2**31 - 1]]

    with RegionStore(tmp_path) as store:
        store.add(moved)
        (chunk,) = store.chunks()

    assert chunk.first.tolist() == [[5, 2**31 - 1], [2**31 - 1, 0]]


def test_length_is_the_number_of_regions(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        store.add(regions)

        assert len(store) == len(regions)


def test_empty_store_has_no_chunks(tmp_path):
    with RegionStore(tmp_path) as store:
        assert list(store.chunks()) == []


def test_region_that_comes_twice_is_an_error(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        store.add(regions)

        with pytest.raises(ValueError, match="begin at one pixel"):
            store.add(regions.where([3]))


def test_file_is_gone_at_the_end(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        store.add(regions)
        assert list(tmp_path.iterdir())

    assert not list(tmp_path.iterdir())


def test_closing_again_does_no_harm(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        store.add(regions)
        store.close()

    assert not list(tmp_path.iterdir())


def test_pixels_are_those_of_all_regions(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        assert store.area_px() == 0
        store.add(regions)
        assert store.area_px() == regions.counts.area_px.sum()


def test_a_full_disk_is_reported_with_the_folder_and_leaves_no_file(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        store._database.execute("PRAGMA max_page_count = 3")
        with pytest.raises(DiskFull, match=f"the disk is full: {tmp_path} has no room for regions"):
            store.add(regions)

    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of file size there")
def test_a_quota_that_is_used_up_is_told_as_a_full_disk(regions, tmp_path):
    refused = pytest.raises(DiskFull, match=f"the disk is full: {tmp_path} has no room for regions")
    with RegionStore(tmp_path) as store, files_at_most(20_000), refused:
        store.add(regions)

    assert not list(tmp_path.iterdir())


def test_other_failures_of_the_database_are_not_taken_for_a_full_disk(regions, tmp_path):
    with RegionStore(tmp_path) as store:
        with closing(sqlite3.connect(store.folder / JOINED)) as database:
            database.execute("DROP TABLE regions")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            store.add(regions)
