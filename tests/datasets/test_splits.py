"""geochange.datasets.splits."""

from collections import Counter

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geochange.datasets.collection import open_collection
from geochange.datasets.listings import SPLITS
from geochange.datasets.options import CollectionOptions
from geochange.datasets.splits import (
    SplitOptions,
    group_of,
    places_of,
    split_by_blocks,
    split_by_name,
    split_collection,
)
from geochange.errors import BadOption
from tests.stand_ins import PLACE, textured, write_raster
from tests.tiny_network import write_pairs

SHARES = st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.3, 0.2), (0.8, 0.2, 0.0), (0.0, 0.5, 0.5)])


@st.composite
def tiled_sites(draw):
    """Tiles of one or two scenes, in raster order, that may overlap; and how to divide them."""
    size = draw(st.integers(8, 20))
    step = draw(st.integers(size // 2, size))
    sites, areas = [], []
    for site in range(draw(st.integers(1, 2))):
        rows, cols = draw(st.integers(1, 14)), draw(st.integers(1, 14))
        for row in range(rows):
            for col in range(cols):
                sites.append(site)
                areas.append((row * step, col * step, row * step + size, col * step + size))
    options = SplitOptions(
        shares=draw(SHARES),
        seed=draw(st.integers(0, 100)),
        block=draw(st.integers(10, 80)),
        gap=draw(st.integers(0, 12)),
    )
    return sites, np.array(areas, float), options


def apart(first, second):
    """Pixels between two areas, along the axis on which they lie further apart; below 0 where they overlap."""
    return max(max(a, b) - min(c, d) for a, b, c, d in zip(first[:2], second[:2], first[2:], second[2:], strict=True))


@given(tiled_sites())
def test_tiles_of_different_splits_lie_further_apart_than_the_gap(case):
    sites, areas, options = case
    splits = split_by_blocks(*case)
    assert len(splits) == len(sites)
    assert {*splits} <= {*SPLITS, None}
    kept = [k for k, split in enumerate(splits) if split is not None]
    for one in kept:
        for other in kept:
            if splits[one] != splits[other] and sites[one] == sites[other]:
                assert apart(areas[one], areas[other]) > options.gap


@given(tiled_sites())
def test_a_dropped_tile_was_too_near_to_one_of_another_split(case):
    sites, areas, options = case
    splits = split_by_blocks(*case)
    for k, split in enumerate(splits):
        if split is None:
            near = [
                other
                for other, theirs in enumerate(splits)
                if theirs is not None and sites[other] == sites[k] and apart(areas[k], areas[other]) <= options.gap
            ]
            assert near


@given(tiled_sites())
def test_shares_are_met_to_within_a_block(case):
    sites, areas, options = case
    sites = list(range(len(sites)))  # each on its own, so that none is dropped
    counts = Counter(split_by_blocks(sites, areas, options))
    for split, share in zip(SPLITS, options.shares, strict=True):
        assert abs(counts[split] - share * len(sites)) <= len(SPLITS)


def test_blocks_stay_together():
    areas = np.array([(row, col, row + 1, col + 1) for row in range(40) for col in range(40)], float)
    splits = np.array(split_by_blocks([0] * 1600, areas, SplitOptions(block=10)), object).reshape(40, 40)
    for row in range(0, 40, 10):
        for col in range(0, 40, 10):
            assert len({*splits[row : row + 10, col : col + 10].ravel()} - {None}) <= 1
    assert Counter(splits.ravel())["val"] > 0.1 * 1600


def test_another_seed_gives_another_division():
    areas = np.array([(row * 20, 0, row * 20 + 10, 10) for row in range(30)], float)
    ways = {split_by_blocks([0] * 30, areas, SplitOptions(block=20, seed=seed)) for seed in (0, 0, 1)}
    assert len(ways) == 2


@given(st.sets(st.text("abc0_", min_size=1, max_size=6), min_size=2), st.integers(0, 50), SHARES)
def test_the_split_of_a_name_does_not_depend_on_other_names(names, seed, shares):
    names, options = sorted(names), SplitOptions(seed=seed, shares=shares)
    every = split_by_name(names, options)
    assert split_by_name(names[1:], options) == every[1:]
    assert all(shares[SPLITS.index(split)] > 0 for split in every)


def test_shares_of_many_names_are_roughly_met():
    counts = Counter(split_by_name([f"image{k}" for k in range(3000)], SplitOptions(shares=(0.6, 0.3, 0.1))))
    assert [counts[split] / 3000 for split in SPLITS] == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_images_of_a_group_stay_together():
    names = [f"val{scene:03d}_{row}_{col}" for scene in range(40) for row in range(2) for col in range(2)]
    splits = split_by_name(names, SplitOptions(group=r"[a-z]+\d+"))
    assert all(len({*splits[k : k + 4]}) == 1 for k in range(0, 160, 4))
    assert {*splits} == {*SPLITS}


@pytest.mark.parametrize(
    ("pattern", "group"),
    [(None, "val004_0_3"), (r"val\d+", "val004"), (r"val(\d+)", "004"), (r"\d+", "val004_0_3")],
)
def test_the_group_of_a_name_is_what_the_pattern_matches(pattern, group):
    assert group_of("val004_0_3", pattern) == group


@pytest.mark.parametrize(
    "wrong", [{"shares": (0.5, 0.5, 0.5)}, {"shares": (1.5, -0.5, 0)}, {"block": 0}, {"gap": -1}, {"group": "("}]
)
def test_options_that_make_no_sense_are_refused(wrong):
    with pytest.raises(BadOption):
        SplitOptions(**wrong)


def test_plain_images_are_divided_by_name(tmp_path):
    collection = open_collection(write_pairs(tmp_path, [f"{letter}{k}" for letter in "ab" for k in range(10)]))
    divided = split_collection(collection, SplitOptions(shares=(0.5, 0.3, 0.2), seed=1))
    names = [item.pair.name for item in divided.items]
    assert names == [item.pair.name for item in collection.items]
    wanted = split_by_name(names, SplitOptions(shares=(0.5, 0.3, 0.2), seed=1))
    assert tuple(item.pair.split for item in divided.items) == wanted
    assert [item.tile for item in divided.items] == [item.tile for item in collection.items]


def write_scenes(folder, places):
    """A table of scenes of 96 x 96 pixels, each with its own files, that start at these (row, col)."""
    rows = ["before,after,labels"]
    for k, (row, col) in enumerate(places):
        names = [f"{kind}{k}.tif" for kind in ("before", "after", "labels")]
        rows.append(",".join(names))
        for name in names:
            values = np.zeros((1, 96, 96), np.uint8) if name.startswith("l") else textured((96, 96))
            write_raster(folder / name, values, transform=PLACE @ Affine.translation(col, row))
    (folder / "scenes.csv").write_text("\n".join(rows))
    return open_collection(folder / "scenes.csv", CollectionOptions(tile_size=16))


def test_scenes_that_overlap_are_divided_as_one(tmp_path):
    collection = write_scenes(tmp_path, [(0, 0), (40, 50), (0, 5000)])
    sites, areas = places_of(collection.items)
    assert sites.tolist() == [0] * 72 + [2] * 36
    assert areas[36].tolist() == [40, 50, 56, 66]
    divided = split_collection(collection, SplitOptions(shares=(0.6, 0.2, 0.2), block=32))
    kept, places = divided.items, zip(*places_of(divided.items), strict=True)
    placed = list(zip(kept, places, strict=True))
    assert 20 < len(kept) < len(collection)
    for item, (site, area) in placed:
        for other, (their_site, theirs) in placed:
            if site == their_site and item.pair.split != other.pair.split:
                assert apart(area, theirs) > 0


def test_a_split_that_gets_nothing_is_said(tmp_path):
    collection = write_scenes(tmp_path, [(0, 0)])
    with pytest.raises(BadOption, match=r"nothing falls to val, which should get 0\.15 of 36 items; choose smaller"):
        split_collection(collection, SplitOptions())
