"""Files -> arrays -> `detect` must be files -> `detect`."""

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

import geochange
from geochange.errors import UnreadableInput
from geochange.scenes.grid import Tile
from geochange.scenes.scene import open_array, open_file
from tests.stand_ins import PLACE, changed_pair, textured, write_raster

SHAPE = (90, 110)
HOLE = np.s_[:, 20:45, 30:60]


def write_holed(folder, hole, dtype="uint8", **profile):
    """Two dates of which the first has a hole of one value; their paths."""
    before, after = changed_pair(SHAPE, dtype=dtype)
    before[HOLE] = hole
    return write_raster(folder / "a.tif", before, **profile), write_raster(folder / "b.tif", after, **profile)


def probability(*arguments, **settings):
    return geochange.detect(*arguments, **settings).probability.read_bytes()


@pytest.mark.parametrize(
    ("dtype", "hole", "profile", "settings", "expected"),
    [
        ("uint8", 7, {}, {}, "uint8"),
        ("uint8", 0, {"nodata": 0}, {}, "uint8"),
        ("uint8", 0, {"nodata": 0}, {"nodata": "any"}, "uint8"),
        ("float32", np.nan, {}, {}, "float32"),
        ("float32", -9999, {"nodata": -9999}, {}, "float32"),
        ("uint8", 7, {}, {"nodata": 7.0}, "float32"),
        ("uint8", 7, {"nodata": 0}, {"nodata": 7.0}, "float32"),
        ("uint16", 7, {}, {"nodata": 7.0}, "float32"),
        ("uint32", 7, {}, {"nodata": 7.0}, "float64"),
    ],
)
def test_arrays_give_the_bytes_that_files_give(tmp_path, dtype, hole, profile, settings, expected):
    pair = write_holed(tmp_path, hole, dtype, **profile)
    arrays = geochange.open_pair(*pair, **settings)
    assert arrays[0].dtype == expected
    by_files = probability(*pair, tmp_path / "files", **settings)
    assert probability(*arrays, tmp_path / "arrays") == by_files


def test_a_number_as_nodata_rule_leaves_nan(tmp_path):
    path, _ = write_holed(tmp_path, 7)
    array, _ = geochange.open_pair(path, path, nodata=7.0)
    assert np.isnan(array.rio.nodata)
    values = np.isnan(array.values)
    assert values[HOLE].all()
    assert values.sum() == values[HOLE].size
    found = geochange.detect(array, array + 0, tmp_path / "out", detector="difference")
    with rasterio.open(found.probability) as dataset:
        np.testing.assert_array_equal(dataset.read_masks(1) == 0, values[0])


def test_a_number_as_nodata_rule_makes_the_files_nodata_value_a_value_like_others(tmp_path):
    values = textured(SHAPE)
    values[:, :5] = 0
    path = write_raster(tmp_path / "a.tif", values, nodata=0)
    array, _ = geochange.open_pair(path, path, nodata=7.0)
    np.testing.assert_array_equal(array.values, values)


def test_an_aligned_date_without_nodata_value_has_nan_outside(tmp_path):
    before, after = changed_pair(SHAPE)
    first = write_raster(tmp_path / "a.tif", before)
    with rasterio.open(first) as dataset:
        turned = dataset.transform @ dataset.transform.rotation(10)
    second = write_raster(tmp_path / "b.tif", after, transform=turned)
    early, late = geochange.open_pair(first, second, align=True)
    assert early.dtype == "uint8"
    assert late.dtype == "float32"
    assert np.isnan(late.values).any()


def test_arrays_without_nodata_stay_as_they_are(tmp_path):
    pair = write_holed(tmp_path, 7)
    again = geochange.open_pair(*geochange.open_pair(*pair))
    assert [array.dtype for array in again] == ["uint8", "uint8"]


def test_dates_of_acquisition_are_carried(tmp_path):
    pair = write_holed(tmp_path, 7)
    for path, year in zip(pair, (2009, 2020), strict=True):
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(TIFFTAG_DATETIME=f"{year}:08:31 17:05:00")
    arrays = geochange.open_pair(*pair)
    assert [array.attrs["date"] for array in arrays] == ["2009-08-31T17:05:00", "2020-08-31T17:05:00"]
    assert open_array(arrays[1], "after").date == "2020-08-31T17:05:00"


def test_a_tiff_tag_among_the_attributes_is_the_date():
    array = xr.DataArray(np.ones((4, 5)), dims=("y", "x"), attrs={"TIFFTAG_DATETIME": "2020:08:31 17:05:00"})
    assert open_array(array, "a").date == "2020-08-31T17:05:00"
    assert open_array(array.drop_attrs(), "a").date is None


@pytest.mark.parametrize("order", [("y", "x", "band"), ("x", "band", "y"), ("band", "x", "y")])
def test_the_order_of_dimensions_does_not_matter(tmp_path, order):
    path, _ = write_holed(tmp_path, 0, nodata=0)
    array, _ = geochange.open_pair(path, path)
    ours, theirs = open_array(array.transpose(*order), "a"), open_file(path)
    assert ours.grid == theirs.grid
    for read, expected in zip(ours.read(Tile(3, 5, 40, 50)), theirs.read(Tile(3, 5, 40, 50)), strict=True):
        np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("names", [{"y": "latitude", "x": "longitude"}, {"y": "row", "x": "col"}])
def test_rows_and_columns_may_have_other_names(tmp_path, names):
    path, _ = write_holed(tmp_path, 0, nodata=0)
    array, _ = geochange.open_pair(path, path)
    renamed = array.rename(names).rio.set_spatial_dims(names["x"], names["y"]).transpose(..., "band")
    renamed.rio.set_spatial_dims(names["x"], names["y"], inplace=True)
    source = open_array(renamed, "a")
    assert source.grid == open_file(path).grid
    np.testing.assert_array_equal(source.read(source.grid.area)[0], array.values)


@pytest.mark.parametrize("dims", [("a", "b"), ("band", "row", "col"), ("time", "band", "y", "x"), ("x",)])
def test_other_dimensions_are_refused_by_name(dims):
    with pytest.raises(UnreadableInput, match=dims[0]):
        open_array(xr.DataArray(np.ones((3,) * len(dims)), dims=dims), "cube")


def test_aligned_bands_keep_their_own_scale_and_offset(tmp_path):
    before, after = changed_pair((60, 80))
    moved = PLACE @ Affine.translation(5.5, 0)
    pair = [write_raster(tmp_path / "b.tif", before), write_raster(tmp_path / "a.tif", after, transform=moved)]
    for path in pair:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (0.1, 0.2, 0.3), (1, 2, 3)
    geochange.align(*pair, tmp_path / "out.tif", bands=(3, 1))
    with rasterio.open(tmp_path / "out.tif") as dataset:
        assert (dataset.scales, dataset.offsets) == ((0.3, 0.1), (3, 1))
