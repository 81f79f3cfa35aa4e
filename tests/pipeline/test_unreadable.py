"""Images with parts that cannot be read: an error, or no data there, as is asked for."""

import json

import numpy as np
import pytest
import rasterio

import geochange
from geochange.errors import UnreadableInput
from geochange.scenes.grid import Tile
from geochange.scenes.unread import stored_parts
from tests.scenes.test_shift_field import bend, waves
from tests.stand_ins import changed_pair, write_raster

SHAPE, BLOCK = (200, 230), 64


def written(folder, dates, broken=()):
    folder.mkdir()
    stored = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "nodata": 0}
    paths = [write_raster(folder / f"{k}.tif", date, **stored) for k, date in enumerate(dates)]
    for date, row, col in broken:
        with rasterio.open(paths[date]) as dataset:
            place = int(dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1))
        with open(paths[date], "r+b") as file:
            file.seek(place)
            file.write(bytes(64))
    return paths


@pytest.fixture(scope="module")
def dates():
    return [np.maximum(date, 1) for date in changed_pair(SHAPE)]


BROKEN = ((1, 1, 2), (1, 3, 3), (0, 0, 0))


@pytest.fixture(scope="module")
def missing(dates):
    """The dates with no data where blocks are broken."""
    holed = [date.copy() for date in dates]
    for date, row, col in BROKEN:
        holed[date][:, row * BLOCK : (row + 1) * BLOCK, col * BLOCK : (col + 1) * BLOCK] = 0
    return holed


@pytest.mark.parametrize("way", [{"threads": 2}, {"threads": 1, "block_size": 100}, {"workers": 1}], ids=str)
def test_what_cannot_be_read_holds_no_data_and_is_listed(dates, missing, tmp_path, way):
    broken = written(tmp_path / "broken", dates, BROKEN)
    found = geochange.detect(*broken, tmp_path / "found", unreadable="nodata", **way)
    wanted = geochange.detect(*written(tmp_path / "missing", missing), tmp_path / "wanted")
    np.testing.assert_array_equal(found.open().values, wanted.open().values)
    assert (tmp_path / "found" / "changes.geojson").read_bytes() == (
        tmp_path / "wanted" / "changes.geojson"
    ).read_bytes()
    listed = json.loads((tmp_path / "found" / "run.json").read_text())["unreadable"]
    assert listed == [
        {"image": broken[0], "rows": [0, 64], "columns": [0, 64]},
        {"image": broken[1], "rows": [64, 128], "columns": [128, 192]},
        {"image": broken[1], "rows": [192, 200], "columns": [192, 230]},
    ]
    assert "unreadable" not in wanted.record


def test_otherwise_it_ends_the_run_which_can_be_gone_on_with(dates, tmp_path, run):
    broken, out = written(tmp_path / "broken", dates, BROKEN[:1]), tmp_path / "out"
    with pytest.raises(UnreadableInput, match=r"1\.tif cannot be read"):
        geochange.detect(*broken, out)
    code, printed, errors = run("detect", *broken, "-o", out, "--resume", "--unreadable", "nodata")
    assert code == 0, errors
    assert [line for line in errors if "1.tif: 1 blocks cannot be read, and hold no data" in line], (printed, errors)
    assert len(json.loads((out / "run.json").read_text())["unreadable"]) == 1


def test_an_image_that_is_gone_is_an_error_all_the_same(dates, tmp_path):
    from geochange.pipeline.options import DetectOptions
    from geochange.scenes.pairing import open_scene

    paths = written(tmp_path / "images", dates)
    scene = open_scene(paths, DetectOptions()).noting_unread(tmp_path / "unread")
    (tmp_path / "images" / "1.tif").unlink()
    with pytest.raises(UnreadableInput, match=r"1\.tif does not exist"):
        scene.read(Tile(0, 0, 50, 60))
    assert not (tmp_path / "unread").exists()


def test_blocks_are_those_that_a_tile_touches():
    tile = Tile(10, 60, 60, 10)
    assert list(stored_parts(tile, (64, 64), (100, 90))) == [
        Tile(0, 0, 64, 64), Tile(0, 64, 64, 26), Tile(64, 0, 36, 64), Tile(64, 64, 36, 26),
    ]  # fmt: skip
    assert list(stored_parts(Tile(3, 4, 2, 5), (1, 90), (100, 90))) == [Tile(3, 0, 1, 90), Tile(4, 0, 1, 90)]


@pytest.mark.parametrize("removed", ["remove_shift", "remove_local_shift", "normalize", "by default"])
def test_what_is_measured_of_the_scene_goes_on_without_it_too(tmp_path, removed):
    shape = (330, 350)
    before, straight = changed_pair(shape)
    dates = [np.maximum(before, 1), np.maximum(bend(straight, waves(shape, 2.5, length=400)), 1).astype("uint8")]
    broken = written(tmp_path / "broken", dates, ((1, 2, 2),))
    settings = {"detector": "change-vector", "unreadable": "nodata"}
    settings |= {} if removed == "by default" else {removed: True}
    found = geochange.detect(*broken, tmp_path / "found", **settings)
    assert [each["rows"] for each in found.record["unreadable"]] == [[128, 192]]
    assert found.record["scene"]["removed_local_shift"] is not None or removed == "remove_shift"
