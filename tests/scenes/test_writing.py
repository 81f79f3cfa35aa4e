import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.enums import ColorInterp

from geochange.scenes.grid import Tile
from geochange.scenes.scene import open_array, open_file
from geochange.scenes.writing import describe_like, geotiff_profile
from tests.stand_ins import PLACE, UTM, textured, write_raster

COLOURS = ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.alpha
NAMES = "blue", None, "red", "near infrared"
SCALES, OFFSETS = (0.1, 0.2, 0.3, 0.4), (-1.0, -2.0, -3.0, -4.0)


def written_like(path, source, **how):
    """Open a file that takes over what it can from a source."""
    with rasterio.open(path, "w", **geotiff_profile(source.grid, len(source.bands), source.dtype, tile=16)) as dataset:
        describe_like(dataset, source, **how)
    return rasterio.open(path)


@pytest.fixture
def described(tmp_path):
    """A file whose bands differ in everything that describes a band; the fourth varies, so it is no mask."""
    path = write_raster(tmp_path / "given.tif", textured((20, 30), bands=4), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp, dataset.scales, dataset.offsets = COLOURS, SCALES, OFFSETS
        for band, name in enumerate(NAMES, 1):
            if name:
                dataset.set_band_description(band, name)
        dataset.update_tags(TIFFTAG_DATETIME="2020:08:31 17:05:00", ACQUISITION_DATE="2020-08-31", SENSOR="any")
    return path


@pytest.mark.parametrize("bands", [(1, 2, 3, 4), (4, 1), (2,), (3, 2, 1)])
def test_each_band_is_described_as_the_one_that_it_comes_from(tmp_path, described, bands):
    with written_like(tmp_path / "new.tif", open_file(described, bands=bands)) as dataset:
        known = [ColorInterp.undefined if COLOURS[b - 1] is ColorInterp.alpha else COLOURS[b - 1] for b in bands]
        assert list(dataset.colorinterp) == known
        assert dataset.descriptions == tuple(NAMES[b - 1] for b in bands)
        assert dataset.scales == tuple(SCALES[b - 1] for b in bands)
        assert dataset.offsets == tuple(OFFSETS[b - 1] for b in bands)
        tags = dataset.tags()
        assert (tags["TIFFTAG_DATETIME"], tags["ACQUISITION_DATE"]) == ("2020:08:31 17:05:00", "2020-08-31")
        assert "SENSOR" not in tags


def test_values_that_were_scaled_while_reading_are_not_scaled_again(tmp_path, described):
    with written_like(tmp_path / "new.tif", open_file(described), with_scales=False) as dataset:
        assert dataset.scales == (1.0,) * 4
        assert dataset.offsets == (0.0,) * 4
        assert dataset.descriptions == NAMES


@pytest.mark.parametrize("bands", [(1, 2, 3), (3, 1), (2,)])
def test_bands_of_a_colour_table_are_the_colours_that_they_show(tmp_path, bands):
    path = write_raster(tmp_path / "classes.tif", np.ones((1, 20, 30), np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {0: (9, 8, 7, 255), 1: (200, 0, 10, 255)})
    with written_like(tmp_path / "new.tif", open_file(path, bands=bands)) as dataset:
        assert [colour.name for colour in dataset.colorinterp] == [("red", "green", "blue")[b - 1] for b in bands]


def test_of_a_date_in_memory_nothing_is_taken_over(tmp_path):
    source = open_array(xr.DataArray(np.ones((2, 20, 30), np.float32), dims=("band", "y", "x")), "array")
    with written_like(tmp_path / "new.tif", source) as dataset:
        assert dataset.descriptions == (None, None)
        assert (dataset.scales, dataset.offsets) == ((1.0, 1.0), (0.0, 0.0))


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", None), ("int16", -9999), ("float32", float("nan"))])
def test_a_new_file_has_the_place_type_and_tiles_that_it_was_given(tmp_path, dtype, nodata):
    values = textured((40, 70), bands=4).astype(dtype)
    grid = open_file(write_raster(tmp_path / "given.tif", values)).grid
    with rasterio.open(tmp_path / "new.tif", "w", **geotiff_profile(grid, 4, dtype, nodata, tile=32)) as dataset:
        dataset.write(values)
    with rasterio.open(tmp_path / "new.tif") as dataset:
        assert (dataset.crs, dataset.transform, dataset.shape) == (UTM, PLACE, (40, 70))
        assert set(dataset.dtypes) == {dtype}
        assert dataset.nodata == pytest.approx(nodata, nan_ok=True)
        assert set(dataset.block_shapes) == {(32, 32)}
        assert ColorInterp.alpha not in dataset.colorinterp
    read, valid = open_file(str(tmp_path / "new.tif")).read(Tile(0, 0, 40, 70))
    np.testing.assert_array_equal(read, values)
    assert valid.all()
