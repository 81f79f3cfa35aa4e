import numpy as np
import pytest
import shapely
from rasterio.features import rasterize

from geochange.polygons import region_ids
from geochange.polygons.region_ids import RegionIds
from geochange.scenes.grid import Tile

SHAPE = (100, 130)


@pytest.fixture
def polygons():
    random = np.random.default_rng(0)
    places = shapely.points(random.uniform(-5, 135, (80, 2)))
    return shapely.buffer(places, random.uniform(1, 9, 80))


@pytest.mark.parametrize("block", [16, 64, 1024])
@pytest.mark.parametrize("chunk", [1, 13, 80])
def test_numbers_do_not_depend_on_blocks_and_chunks(tmp_path, monkeypatch, polygons, block, chunk):
    monkeypatch.setattr(region_ids, "ID_BLOCK", block)
    ids = RegionIds(tmp_path / "ids", SHAPE)
    for start in range(0, 80, chunk):
        ids.burn(polygons[start : start + chunk], start + 1)
    expected = rasterize(zip(polygons, range(1, 81), strict=True), SHAPE, dtype=np.int32)
    np.testing.assert_array_equal(ids.read(Tile(0, 0, *SHAPE)), expected)
    around = np.pad(expected, 7)[:40, 60:]
    np.testing.assert_array_equal(ids.read(Tile(-7, 53, *around.shape)), around)
    assert ids.at(50, 60) == expected[50, 60]


def test_where_there_are_no_polygons_there_are_no_files(tmp_path):
    ids = RegionIds(tmp_path / "ids", SHAPE)
    ids.burn(np.array([shapely.box(500, 500, 510, 510), shapely.Polygon()]), 1)
    assert not (tmp_path / "ids").exists()
    assert not ids.read(Tile(0, 0, *SHAPE)).any()


def test_only_blocks_with_a_polygon_have_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(region_ids, "ID_BLOCK", 16)
    ids = RegionIds(tmp_path / "ids", SHAPE)
    ids.burn(np.array([shapely.box(2, 3, 9, 8), shapely.box(70, 20, 75, 25)]), 1)
    assert sorted(file.name for file in (tmp_path / "ids").iterdir()) == ["ids-00000-00000.npy", "ids-00001-00004.npy"]
    assert (ids.at(5, 5), ids.at(22, 72), ids.at(22, 5)) == (1, 2, 0)
