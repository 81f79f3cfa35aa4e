import pickle
from dataclasses import fields

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geochange.polygons.regions import RegionFilter, concatenate
from geochange.polygons.seams import SeamMerger
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition
from tests.region_cases import Map, maps, trace_in_blocks, trace_one, trace_whole

cells = st.tuples(st.integers(1, 6), st.integers(1, 6))


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.first, theirs.first)
    for column in fields(ours.counts):
        np.testing.assert_array_equal(getattr(ours.counts, column.name), getattr(theirs.counts, column.name))
    assert shapely.to_wkb(ours.polygons).tolist() == shapely.to_wkb(theirs.polygons).tolist()


def one_class(rows):
    classes = np.array(rows, np.uint8)
    return Map(classes, np.zeros(classes.shape, np.int64), np.ones(classes.shape, bool))


@given(maps(), cells, st.sampled_from([4, 8]), st.sampled_from([1, 10**9]), st.randoms())
def test_merged_regions_are_those_of_the_uncut_scene_byte_for_byte(scene, cell, connectivity, waiting_corners, random):
    blocks = list(partition(scene.shape, cell))
    random.shuffle(blocks)

    merged = trace_in_blocks(scene, blocks, connectivity, waiting_corners=waiting_corners)

    assert_same(merged, trace_whole(scene, connectivity))


@given(maps(), cells, st.integers(0, 6), st.integers(0, 255))
def test_filter_acts_on_merged_regions(scene, cell, min_area, min_peak):
    keep = RegionFilter(min_area=min_area, min_peak=min_peak)
    blocks = list(partition(scene.shape, cell))

    assert_same(trace_in_blocks(scene, blocks, keep=keep), trace_whole(scene, keep=keep))


@pytest.mark.parametrize(("connectivity", "count"), [(4, 2), (8, 1)])
def test_pixels_that_touch_at_a_corner_of_four_blocks(connectivity, count):
    scene = one_class([[1, 0], [0, 1]])

    regions = trace_in_blocks(scene, list(partition(scene.shape, (1, 1))), connectivity)

    assert len(regions) == count
    assert shapely.get_num_geometries(regions.polygons).sum() == 2


def test_ring_over_four_blocks_keeps_its_hole():
    scene = one_class([[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]])

    regions = trace_in_blocks(scene, list(partition(scene.shape, (2, 2))))

    assert [len(polygon.interiors) for polygon in regions.polygons] == [1]


def test_regions_are_given_back_while_blocks_arrive():
    scene = one_class([[1, 1, 0] * 40])
    blocks = list(partition(scene.shape, (1, 1)))
    merger = SeamMerger(blocks, waiting_corners=1)

    early = sum(len(merger.add(trace_one(scene, block))) for block in blocks)

    assert early >= 38
    assert early + len(merger.finish()) == 40


def test_blocks_of_uneven_sizes_are_joined():
    scene = one_class(np.ones((3, 4)))
    blocks = [Tile(0, 0, 3, 1), Tile(0, 1, 1, 3), Tile(1, 1, 2, 2), Tile(1, 3, 2, 1)]

    assert_same(trace_in_blocks(scene, blocks), trace_whole(scene))


def test_missing_block_is_an_error():
    merger = SeamMerger([Tile(0, 0, 2, 2)])

    with pytest.raises(ValueError, match="1 of 1 blocks have not arrived"):
        merger.finish()


def test_block_that_comes_twice_is_an_error():
    scene = one_class([[1]])
    block = Tile(0, 0, 1, 1)
    traced = trace_one(scene, block)
    merger = SeamMerger([block])
    merger.add(traced)

    with pytest.raises(ValueError, match="arrived before"):
        merger.add(traced)


def test_traced_block_travels_between_processes():
    scene = one_class(np.eye(4))
    blocks = list(partition(scene.shape, (2, 2)))
    merger = SeamMerger(blocks)

    done = [merger.add(pickle.loads(pickle.dumps(trace_one(scene, block)))) for block in blocks]

    assert_same(concatenate([*done, merger.finish()]).sort(), trace_whole(scene))
