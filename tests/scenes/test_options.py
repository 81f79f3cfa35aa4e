"""Limits and defaults of the options of reading images and of cutting them into tiles."""

import re

import pytest

from geochange.errors import BadOption
from geochange.scenes.options import NodataOptions, SceneOptions, TileOptions


def test_without_options_all_is_left_to_the_images_and_the_detector():
    scene, tiles = SceneOptions(), TileOptions()
    assert (scene.nodata, scene.bands, scene.aoi, scene.align, scene.resampling) == (None, None, None, False, "cubic")
    assert (tiles.tile_size, tiles.overlap, tiles.block_size) == (None, None, None)
    assert NodataOptions().nodata is None


@pytest.mark.parametrize("size", [16, 17, 512, 16384])
def test_a_tile_size_within_its_limits_is_taken(size):
    assert TileOptions(tile_size=size).tile_size == size


@pytest.mark.parametrize("size", [-1, 0, 15, 16385])
def test_a_tile_size_beyond_its_limits_is_refused(size):
    with pytest.raises(BadOption, match=re.escape(f"tile size {size} must lie in 16..16384 pixels")):
        TileOptions(tile_size=size)


@pytest.mark.parametrize(("size", "overlap"), [(64, 0), (64, 63), (None, 0), (None, 16383)])
def test_an_overlap_below_the_tile_size_is_taken(size, overlap):
    assert TileOptions(tile_size=size, overlap=overlap).overlap == overlap


@pytest.mark.parametrize(
    ("size", "overlap", "limit"), [(64, -1, 64), (64, 64, 64), (None, -1, 16384), (None, 16384, 16384)]
)
def test_an_overlap_as_wide_as_a_tile_or_below_zero_is_refused(size, overlap, limit):
    message = f"overlap {overlap} must lie in 0..{limit - 1}, below the tile size {limit}"
    with pytest.raises(BadOption, match=re.escape(message)):
        TileOptions(tile_size=size, overlap=overlap)


def test_an_overlap_is_checked_against_the_tile_size_of_a_detector():
    options = TileOptions(overlap=100)
    options.require_overlap_below(101)
    with pytest.raises(BadOption, match=re.escape("overlap 100 must lie in 0..99, below the tile size 100")):
        options.require_overlap_below(100)
    TileOptions().require_overlap_below(1)


def test_a_block_holds_a_pixel_at_least():
    assert TileOptions(block_size=1).block_size == 1
    with pytest.raises(BadOption, match="block size 0 must be at least 1 pixel"):
        TileOptions(block_size=0)
