import numpy as np
import pytest
import rasterio

from geochange.errors import UnreadableInput
from geochange.scenes.grid import Tile
from geochange.scenes.numbers import open_numbers, single_band
from tests.stand_ins import write_raster

CLASSES = np.array([[[0, 1, 2], [255, 0, 3]]], np.uint8)


@pytest.mark.parametrize(
    ("nodata", "ignore", "missing"),
    [
        (None, (), None),
        (0, (), None),
        (0, (255, "cloud"), None),
        (0, (255, 0), 0),
        (255, (), 255),
        (255, (0,), 255),
        (1, (1,), 1),
    ],
)
def test_a_nodata_value_of_0_is_unchanged_unless_0_is_to_be_ignored(tmp_path, nodata, ignore, missing):
    source = open_numbers(write_raster(tmp_path / "classes.tif", CLASSES, nodata=nodata), ignore)
    values, valid = source.read(Tile(0, 0, 2, 3))
    np.testing.assert_array_equal(values, CLASSES)
    np.testing.assert_array_equal(valid, CLASSES[0] != missing)
    assert (source.fill, source.masked) == (missing, missing is not None)


def test_numbers_are_those_that_the_file_stores(tmp_path):
    scaled, coloured = (write_raster(tmp_path / f"{name}.tif", CLASSES, nodata=0) for name in ("scaled", "coloured"))
    with rasterio.open(scaled, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5,), (7.0,)
    with rasterio.open(coloured, "r+") as dataset:
        dataset.write_colormap(1, {0: (9, 8, 7, 255), 1: (200, 0, 10, 255)})
    for path in (scaled, coloured):
        values, valid = open_numbers(path).read(Tile(0, 0, 2, 3))
        assert values.dtype == np.uint8
        np.testing.assert_array_equal(values, CLASSES)
        assert valid.all()


@pytest.mark.parametrize("nodata", [None, 0])
def test_an_alpha_band_masks_classes_whatever_their_nodata_value(tmp_path, nodata):
    alpha = np.array([[[255, 255, 0], [255, 0, 255]]], np.uint8)
    path = write_raster(tmp_path / "classes.tif", np.concatenate([CLASSES, alpha]), nodata=nodata, alpha="yes")
    source = open_numbers(path)
    values, valid = source.read(Tile(0, 0, 2, 3))
    np.testing.assert_array_equal(values, CLASSES)
    np.testing.assert_array_equal(valid, alpha[0] > 0)
    assert source.masked


def test_a_mask_holds_whatever_the_nodata_value(tmp_path):
    mask = np.array([[True, True, False], [True, False, True]])
    path = write_raster(tmp_path / "classes.tif", CLASSES, nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    values, valid = open_numbers(path).read(Tile(0, 0, 2, 3))
    np.testing.assert_array_equal(values, CLASSES)
    np.testing.assert_array_equal(valid, mask)


def test_bands_that_are_all_alike_are_one_band_of_classes():
    for bands in (1, 2, 3):
        np.testing.assert_array_equal(single_band(np.repeat(CLASSES, bands, axis=0), "classes.png"), CLASSES[0])
    of_nan = np.where(CLASSES == 255, np.nan, CLASSES)
    np.testing.assert_array_equal(single_band(of_nan, "classes.tif"), of_nan[0])


@pytest.mark.parametrize("band", [0, 1, 2])
def test_bands_of_which_one_differs_are_colours(band):
    colours = np.repeat(CLASSES, 3, axis=0)
    colours[band, 1, 2] = 9
    with pytest.raises(UnreadableInput, match=r"^mask\.png has 3 bands that differ: .*give a raster of one band"):
        single_band(colours, "mask.png")
    with pytest.raises(UnreadableInput, match=r"^mask\.png has 2 bands that differ"):
        single_band(np.concatenate([CLASSES, CLASSES + 1]), "mask.png")
