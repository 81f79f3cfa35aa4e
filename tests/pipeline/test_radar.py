"""The laws of radar detectors, on the whole path from files to polygons."""

import geopandas
import numpy as np
import pytest
import rasterio

import geochange
from geochange.detectors.catalogue import RADAR
from tests.detectors.radar_scenes import speckled_pair
from tests.stand_ins import write_raster


@pytest.fixture(scope="module")
def dates(tmp_path_factory):
    """Two dates with zeros declared as nodata, and where these are."""
    scene, truth = speckled_pair((4, 4), 0.05, -9)
    pixels = np.rint(scene.pixels).clip(1, 255).astype(np.uint8)
    pixels[0, :, :20, :30] = pixels[1, :, 100:, 110:] = 0
    folder = tmp_path_factory.mktemp("radar")
    paths = [write_raster(folder / f"{k}.tif", date, nodata=0) for k, date in enumerate(pixels)]
    return paths, truth, (pixels == 0).any(axis=(0, 1))


def read(found):
    with rasterio.open(found.probability) as dataset:
        return dataset.read(1)


@pytest.mark.parametrize("name", RADAR)
def test_any_tiles_blocks_and_threads_give_the_same(dates, tmp_path, name):
    paths, _, missing = dates
    options = {"detector_options": {"filter": "boxcar", "window": "3"}, "detector": name, "dtype": "float32"}
    one = geochange.detect(*paths, tmp_path / "one", threads=1, **options)
    same = geochange.detect(*paths, tmp_path / "same", threads=2, block_size=70, **options)
    tiled = geochange.detect(*paths, tmp_path / "tiled", tile_size=96, **options)
    assert one.probability.read_bytes() == same.probability.read_bytes()
    np.testing.assert_allclose(read(one), read(tiled), atol=1e-5)
    np.testing.assert_array_equal(np.isnan(read(one)), missing)


def test_the_polygons_of_a_pair_are_where_it_changed_and_have_its_ratio(dates, tmp_path):
    paths, truth, missing = dates
    found = geochange.detect(*paths, tmp_path / "out", detector="log-ratio", layers=("ratio",))
    changed = read(found)[~missing] >= 127
    assert 2 * np.sum(changed & truth[~missing]) / (changed.sum() + truth[~missing].sum()) > 0.85
    layer = geopandas.read_file(found.folder / "changes.gpkg", layer="changes")
    assert (layer.loc[layer.area_px > 20, "ratio"] < -4).all()


def test_the_polygons_of_a_series_have_the_interval_of_their_change(dates, tmp_path):
    (before, after), _, _ = dates
    settings = {"detector": "omnibus", "layers": ("interval",), "min_area": "20px", "dates": ("2020", "2021", "2022")}
    settings["detector_options"] = {"filter": "boxcar", "window": "3", "significance": "1e-4"}
    found = geochange.detect(before, after, tmp_path / "out", between=(before,), **settings)
    layer = geopandas.read_file(found.folder / "changes.gpkg", layer="changes")
    assert len(layer) > 0
    assert set(layer.interval) == {2}
    assert set(layer.changed_by) == {"2022"}
