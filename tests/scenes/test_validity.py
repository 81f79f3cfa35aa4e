import numpy as np
import pytest

from geochange.pipeline.check import check
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.validity import find_doubts, sample_tiles
from tests.stand_ins import textured, write_raster


def opened(folder, before, after, **options):
    paths = [write_raster(folder / name, each, **options) for name, each in (("b.tif", before), ("a.tif", after))]
    return paths, open_scene(paths)


def test_plain_dates_leave_no_doubt(tmp_path):
    _, scene = opened(tmp_path, textured((200, 220), 3), textured((200, 220), 3, seed=1), nodata=0)
    assert find_doubts(scene) == []


def test_nodata_in_single_bands_is_counted_and_said(tmp_path):
    before, after = (textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1))
    after[1, :, 11:22] = 0
    paths, scene = opened(tmp_path, before, after, nodata=0)
    (doubt,) = find_doubts(scene)
    assert doubt.text.startswith("5.")
    assert "some band only" in doubt.text
    assert "--nodata any" in doubt.fix
    assert doubt in check(*paths).doubts
    assert find_doubts(open_scene(paths, SceneOptions(nodata="any"))) == []


@pytest.mark.parametrize("place", [0, 1])
def test_nodata_in_single_bands_of_one_date_alone_is_said(tmp_path, place):
    dates = [textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1)]
    dates[place][2, :, 11:22] = 0
    paths = [
        write_raster(tmp_path / f"{k}.tif", date, nodata=0 if k == place else None) for k, date in enumerate(dates)
    ]
    (doubt,) = find_doubts(open_scene(paths))
    assert doubt.text.startswith("5.")


def test_partly_nodata_counts_where_the_pixel_is_data_at_both_dates(tmp_path):
    dates = [textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1)]
    dates[0][:, :, :11] = dates[1][1, :, :22] = 0  # the first half of the second date's is nodata at the first
    (doubt,) = find_doubts(opened(tmp_path, *dates, nodata=0)[1])
    assert doubt.text.startswith("5.0%")


def test_the_share_of_a_frame_is_that_of_all_pixels(tmp_path):
    dates = [textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1)]
    for date in dates:
        date[:, :, :22], date[:, 100:] = 255, 0
    (doubt,) = find_doubts(opened(tmp_path, *dates, nodata=0)[1])
    assert doubt.text.startswith("5.0%")


def test_nodata_of_the_only_band_leaves_no_doubt(tmp_path):
    dates = [textured((200, 220), 1, seed=seed) // 2 + 20 for seed in (0, 1)]
    dates[0][0, :, 11:22] = 0
    assert find_doubts(opened(tmp_path, *dates, nodata=0)[1]) == []


@pytest.mark.parametrize("value", [0, 255])
def test_a_frame_of_one_value_is_counted_and_said(tmp_path, value):
    before, after = (textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1))
    before[:, :, :66] = after[:, :, :66] = value
    paths, scene = opened(tmp_path, before, after)
    (doubt,) = find_doubts(scene)
    assert doubt.text.startswith(("29.", "30."))
    assert f"--nodata {value}" in doubt.fix
    assert check(*paths).verdict == "usable with care"
    assert find_doubts(open_scene(paths, SceneOptions(nodata=value))) == []


def test_a_scene_of_one_value_is_not_framed(tmp_path):
    flat = np.zeros((1, 50, 60), np.uint8)
    assert find_doubts(opened(tmp_path, flat, flat)[1]) == []


@pytest.mark.parametrize(
    ("pixels", "told"), [(20, None), (31, "0.07%"), (43, "0.10%"), (44, "0.1%"), (4401, "10.0%"), (22_000, "50.0%")]
)
def test_shares_are_told_with_as_many_digits_as_they_need(tmp_path, pixels, told):
    before, after = (textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1))
    after[1].flat[:pixels] = 0
    _, scene = opened(tmp_path, before, after, nodata=0)
    texts = [doubt.text for doubt in find_doubts(scene)]
    assert [text.split(" ")[0] for text in texts] == ([] if told is None else [told])


@pytest.mark.parametrize(
    ("value", "columns", "framed"), [(100, 66, False), (0, 4, False), (0, 11, True), (255, 12, True)]
)
def test_a_frame_is_of_an_extreme_value_and_a_twentieth_of_the_pixels(tmp_path, value, columns, framed):
    before, after = (textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1))
    before[:, :, :columns] = after[:, :, :columns] = value
    _, scene = opened(tmp_path, before, after)
    assert [f"--nodata {value}" in doubt.fix for doubt in find_doubts(scene)] == [True] * framed


def test_a_frame_is_told_of_pixels_that_hold_data_at_both_dates_and_are_alike_in_all_bands(tmp_path):
    before, after = (textured((200, 220), 3, seed=seed) // 2 + 20 for seed in (0, 1))
    before[:, :, :66] = after[:, :, :66] = 255
    one_date, one_band = before.copy(), before.copy()
    one_date[:, :, :66] = 7
    one_band[1, :, :66] = 200
    paths = [write_raster(tmp_path / "b.tif", one_date, nodata=7), write_raster(tmp_path / "a.tif", after)]
    assert find_doubts(open_scene(paths)) == []
    assert find_doubts(opened(tmp_path, one_band, after)[1]) == []
    assert len(find_doubts(opened(tmp_path, before, after)[1])) == 1


@pytest.mark.parametrize("shape", [(30, 50), (512, 100), (2000, 513), (700, 5000)])
def test_sampled_tiles_lie_in_the_scene_apart_and_reach_to_its_ends(shape):
    tiles = [*sample_tiles(shape)]
    seen = np.zeros(shape, int)
    for tile in tiles:
        seen[tile.slices()] += 1
    assert seen.max() == 1
    assert seen[0, 0] == seen[-1, -1] == seen[0, -1] == seen[-1, 0] == 1
    assert seen.sum() == sum(tile.size for tile in tiles) == np.prod(np.minimum(shape, 512))
