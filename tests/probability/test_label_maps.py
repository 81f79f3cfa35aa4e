"""Rasters and layers as label maps: what counts as a label, at which threshold, and on which grid."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from geopandas import GeoDataFrame
from pyproj import CRS
from shapely import box

from geochange.engine.work import open_work
from geochange.probability.label_maps import as_change, labels_on, open_labels
from geochange.scenes.grid import Grid
from tests.stand_ins import PLACE, UTM, write_raster

SHAPE = (3, 4)
GRID = Grid(CRS(UTM), PLACE, SHAPE)
CLASSES = np.array([[0, 1, 2, 7], [9, 2, 2, 0], [1, 0, 7, 2]], np.uint8)
PROBABILITY = np.array([[0.0, 0.25, 0.3, 0.45], [0.5, 0.55, 0.625, 0.7], [1.0, np.nan, 0.1, 0.2]], np.float32)


@pytest.fixture
def opened():
    """Opens labels, with values that are not scored."""
    with open_work(None, None) as work:
        yield lambda path, ignore=(): open_labels(path, work, ignore)


def probabilities(path, values, default=None):
    """A raster of (class, y, x) probabilities, with the threshold that its detector keeps."""
    write_raster(path, values, nodata=np.nan)
    if default is not None:
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(GEOCHANGE_THRESHOLDS=f'{{"default": {default}}}')
    return str(path)


@pytest.mark.parametrize("threshold", [None, 0.9])
def test_classes_are_labels_but_for_nodata_and_what_is_ignored(tmp_path, opened, threshold):
    raster = opened(write_raster(tmp_path / "classes.tif", CLASSES[None], nodata=9), (7,))
    labels, valid = labels_on(raster, GRID, threshold, (7,)).read(GRID.area)
    np.testing.assert_array_equal(valid, (CLASSES != 9) & (CLASSES != 7))
    np.testing.assert_array_equal(labels, np.where(valid, CLASSES, 0))


@pytest.mark.parametrize(
    ("default", "wanted", "used"), [(None, None, 0.5), (0.25, None, 0.25), (0.25, 0.625, 0.625), (0.25, 0.0, 0)]
)
def test_probabilities_are_change_from_the_wanted_threshold_else_the_detector_s_else_a_half(
    tmp_path, opened, default, wanted, used
):
    raster = opened(probabilities(tmp_path / "p.tif", PROBABILITY[None], default))
    labels, valid = labels_on(raster, GRID, wanted).read(GRID.area)
    np.testing.assert_array_equal(valid, ~np.isnan(PROBABILITY))
    np.testing.assert_array_equal(labels[valid], PROBABILITY[valid] >= used)


def test_the_largest_probability_of_several_gives_the_class(tmp_path, opened):
    values = np.stack([PROBABILITY, np.full(SHAPE, 0.5, np.float32)])
    labels, valid = labels_on(opened(probabilities(tmp_path / "p.tif", values)), GRID, 0.5).read(GRID.area)
    np.testing.assert_array_equal(valid, ~np.isnan(PROBABILITY))
    np.testing.assert_array_equal(labels, np.where(valid, np.where(np.nan_to_num(PROBABILITY) >= 0.5, 1, 2), 0))


def test_a_value_that_is_ignored_in_one_band_is_not_scored(tmp_path, opened):
    values = np.stack([PROBABILITY, np.full(SHAPE, 0.5, np.float32)])
    _, valid = labels_on(opened(probabilities(tmp_path / "p.tif", values)), GRID, 0.5, (1, 0)).read(GRID.area)
    np.testing.assert_array_equal(valid, ~np.isnan(PROBABILITY) & (PROBABILITY != 0) & (PROBABILITY != 1))


def test_labels_on_a_finer_grid_are_those_of_the_pixel_around(tmp_path, opened):
    raster = opened(write_raster(tmp_path / "classes.tif", CLASSES[None], nodata=9))
    fine = Grid(GRID.crs, PLACE @ PLACE.scale(0.5), (6, 8))
    labels, valid = labels_on(raster, fine, None).read(fine.area)
    around = CLASSES.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(valid, around != 9)
    np.testing.assert_array_equal(labels, np.where(valid, around, 0))


def test_what_polygons_cover_is_change(tmp_path, opened):
    left, top = PLACE.c, PLACE.f
    area = box(left + 2, top - 6, left + 8, top - 2)  # rows 1 and 2, columns 1 to 3
    GeoDataFrame(geometry=[area], crs=UTM).to_file(tmp_path / "layer.gpkg")
    layer = opened(tmp_path / "layer.gpkg")
    labels, valid = labels_on(layer, GRID, None).read(GRID.area)
    assert valid.all()
    np.testing.assert_array_equal(labels, np.pad(np.ones((2, 3)), ((1, 0), (1, 0))))
    vector = labels_on(layer, GRID, None)
    assert as_change(vector, {0, 255}) is vector


@pytest.mark.parametrize(("found", "one"), [({0, 2}, 2), ({2}, 2), ({0, 1}, None), ({0, 1, 2}, None), ({0}, None)])
def test_the_one_number_of_a_mask_becomes_1(tmp_path, opened, found, one):
    raster = opened(write_raster(tmp_path / "classes.tif", CLASSES[None], nodata=9))
    plain = labels_on(raster, GRID, None)
    labels, valid = as_change(plain, found).read(GRID.area)
    expected, known = plain.read(GRID.area)
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(labels, np.where(expected == one, 1, expected))


def test_labels_that_exchange_their_names_stay_apart(tmp_path, opened):
    plain = labels_on(opened(write_raster(tmp_path / "classes.tif", CLASSES[None], nodata=9)), GRID, None)
    labels, valid = replace(plain, rename={1: 2, 2: 7, 7: 1}).read(GRID.area)
    expected = np.select([CLASSES == 1, CLASSES == 2, CLASSES == 7], [2, 7, 1], 0)
    np.testing.assert_array_equal(valid, CLASSES != 9)
    np.testing.assert_array_equal(labels[valid], expected[valid])
