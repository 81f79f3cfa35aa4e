from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.errors import BadOption
from geochange.scenes.options import TileOptions
from geochange.scenes.tiling import SQUARE, Tiling, cell_side, cut_axis, partition, sampled


@st.composite
def cuts(draw):
    stride = draw(st.sampled_from([1, 2, 8]))
    size = draw(st.integers(2, 12)) * 8
    overlaps = st.integers(0, size // stride // 2 - 1).map(lambda half: 2 * half * stride)  # margins fit in
    options = TileOptions(tile_size=size, overlap=draw(st.none() | overlaps), block_size=draw(st.integers(1, 300)))
    return cut_axis(
        draw(st.integers(1, 400)),
        options,
        radius=draw(st.integers(0, 20)),
        stride=stride,
        default_tile=512,
        default_overlap=draw(overlaps),
    )


@given(cuts())
def test_every_pixel_is_kept_by_one_or_two_tiles_with_its_margin(cut):
    kept = np.zeros(cut.length, int)
    for tile in range(cut.tiles):
        start = cut.tile_start(tile) + cut.margin
        kept[max(start, 0) : start + cut.tile_size(tile) - 2 * cut.margin] += 1
    assert kept.min() >= 1
    assert kept.max() <= 2


@given(cuts())
def test_only_the_last_tile_is_smaller_and_it_holds_what_is_needed_in_whole_strides(cut):
    *others, last = map(cut.tile_size, range(cut.tiles))
    assert set(others) <= {cut.size}
    end = cut.tile_start(cut.tiles - 1) + last
    assert cut.length + cut.margin <= end
    assert last == cut.size or (last % cut.stride == 0 and end < cut.length + cut.margin + cut.stride)


@given(cuts())
def test_blocks_partition_the_axis_and_the_tiles(cut):
    spans = [cut.block_span(block) for block in range(cut.blocks)]
    assert spans[0][0] == 0
    assert spans[-1][1] == cut.length
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert [tile for block in range(cut.blocks) for tile in cut.block_tiles(block)] == list(range(cut.tiles))


@given(cuts())
def test_a_block_reaches_no_further_than_its_next_neighbour(cut):
    for block in range(cut.blocks - 1):
        assert cut.block_span(block)[1] + cut.ramp <= max(cut.block_span(block + 1)[1], cut.length)


@settings(max_examples=30)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 90))
def test_tiles_of_all_blocks_do_not_depend_on_the_block_size(rows, cols, block):
    def tiles(side):
        options = TileOptions(tile_size=32, block_size=side)
        tiling = Tiling(
            *(cut_axis(n, options, radius=3, stride=1, default_tile=512, default_overlap=8) for n in (rows, cols))
        )
        return sorted(tile for block in tiling.blocks() for _, tile in tiling.tiles(block))

    assert tiles(block) == tiles(10**6)


def test_margin_is_exact_where_the_overlap_has_room():
    options = TileOptions(tile_size=64, overlap=16)
    assert cut_axis(100, options, radius=5, stride=1, default_tile=512, default_overlap=0).margin == 5
    assert cut_axis(100, options, radius=9, stride=1, default_tile=512, default_overlap=0).margin == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"tile_size": 0},
        {"tile_size": -512},
        {"tile_size": 512, "overlap": 512},
        {"tile_size": 512, "overlap": 600},
        {"overlap": -1},
        {"block_size": 0},
        {"block_size": -1},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(BadOption, match=r"must (lie in|be at least)"):
        TileOptions(**wrong)


def test_an_overlap_as_wide_as_the_detectors_own_tile_is_refused():
    with pytest.raises(BadOption, match="below the tile size 512"):
        cut_axis(2000, TileOptions(overlap=512), radius=3, stride=1, default_tile=512, default_overlap=8)


def test_partition_covers_each_pixel_once():
    seen = np.zeros((37, 53), int)
    for cell in partition(seen.shape, (10, 16)):
        seen[cell.slices()] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("every", [1, 2, 5])
def test_a_sample_is_one_square_in_so_many_along_rows_and_columns(every):
    seen = np.zeros((1400, 2900), int)
    for cell in sampled(seen.shape, every):
        seen[cell.slices()] += 1
    rows, cols = (np.arange(length) // SQUARE % every == 0 for length in seen.shape)
    np.testing.assert_array_equal(seen, np.outer(rows, cols))


def test_an_overlap_that_margins_do_not_fit_in_is_refused():
    with pytest.raises(BadOption, match="stride, 2"):
        cut_axis(500, TileOptions(tile_size=33, overlap=30), radius=9, stride=2, default_tile=512, default_overlap=0)


def test_an_overlap_wider_than_the_scene_makes_one_tile():
    cut = cut_axis(
        300, TileOptions(tile_size=1024, overlap=600), radius=136, stride=8, default_tile=512, default_overlap=0
    )
    assert (cut.tiles, cut.margin) == (1, 136)
    assert cut.tile_size(0) >= 300 + 2 * 136


@given(radius=st.integers(0, 40), stride=st.sampled_from([1, 4, 8, 16]))
def test_the_margin_covers_any_radius_in_whole_strides(radius, stride):
    options = TileOptions(tile_size=256)
    cut = cut_axis(2000, options, radius=radius, stride=stride, default_tile=512, default_overlap=96)
    assert cut.margin >= radius
    assert cut.margin % stride == 0


@given(
    length=st.integers(1, 200),
    radius=st.integers(0, 200),
    stride=st.sampled_from([1, 4, 8]),
    more=st.integers(0, 100),
    room=st.integers(16, 100),
)
def test_an_overlap_as_wide_as_the_scene_and_its_margins_makes_one_exact_tile(length, radius, stride, more, room):
    exact = -(-radius // stride) * stride
    overlap = -(-(length + 2 * exact) // stride) * stride + more
    options = TileOptions(tile_size=overlap + room, overlap=overlap)
    cut = cut_axis(length, options, radius=radius, stride=stride, default_tile=512, default_overlap=0)
    assert (cut.tiles, cut.margin, cut.ramp) == (1, exact, 0)
    assert (cut.tile_start(0), cut.tile_size(0)) == (-exact, -(-(length + 2 * exact) // stride) * stride)


@pytest.mark.parametrize("shape", [(40, 300), (300, 40), (150, 230)])
def test_the_tiles_of_a_block_reach_from_side_to_side_of_what_it_reads(shape):
    options = TileOptions(tile_size=64, overlap=16, block_size=100)
    tiling = Tiling(*(cut_axis(n, options, radius=3, stride=1, default_tile=512, default_overlap=0) for n in shape))
    for block in tiling.blocks():
        tiles = [tile for _, tile in tiling.tiles(block)]
        assert min(tile.row for tile in tiles) == block.context.row
        assert min(tile.col for tile in tiles) == block.context.col
        assert max(tile.stop_row for tile in tiles) == block.context.stop_row
        assert max(tile.stop_col for tile in tiles) == block.context.stop_col


@pytest.mark.parametrize(("rows", "cols"), [(0, 0), (16, 0), (0, 16), (16, 16)])
def test_tiles_are_blended_where_they_overlap_along_an_axis(rows, cols):
    cuts = [
        cut_axis(
            200, TileOptions(tile_size=64, overlap=overlap), radius=0, stride=1, default_tile=512, default_overlap=8
        )
        for overlap in (rows, cols)
    ]
    assert Tiling(*cuts).blended == (rows + cols > 0)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_cells_are_about_a_16th_of_the_longer_side_in_a_power_of_two(rows, cols):
    side, wanted = cell_side((rows, cols)), max(rows, cols) / 16
    assert side in (8, 16, 32, 64, 128, 256)
    assert side == 8 if wanted < 8 else side == 256 if wanted > 256 else abs(np.log2(side / wanted)) <= 0.5


@pytest.mark.parametrize(("block", "tiles"), [(1, 1), (134, 1), (154, 2), (246, 2), (254, 3), (1000, 10)])
def test_a_block_has_the_number_of_tiles_nearest_to_its_size(block, tiles):
    options = TileOptions(tile_size=116, overlap=16, block_size=block)
    cut = cut_axis(5000, options, radius=3, stride=1, default_tile=512, default_overlap=8)
    assert (cut.step, cut.tiles_per_block) == (100, tiles)
