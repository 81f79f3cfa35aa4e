import numpy as np
import pytest

from geochange.pipeline.check import check
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.validity import find_doubts
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
