"""Bands by name: what is one name, what is not, and what an image says of its bands."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.enums import ColorInterp

from geochange.errors import BandMismatch
from geochange.scenes.band_names import colours_among, find_bands, list_bands
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.scene import open_array, open_file
from tests.stand_ins import textured, write_raster

NAMES = (("B02", "blue"), ("B04", "red"), ("B05", "rededge"), ("B06", "rededge"), ("B8A", "nir08"), ("B11", "swir16"))
CHOICES = (1, 2, 4, 5, 7, 8)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, CHOICES),
        ((7, 1), (7, 1)),
        (("red", "B02"), (2, 1)),
        (("RED", "b2", "B0002"), (2, 1, 1)),
        (("B8A", "b08a", "nir08"), (7, 7, 7)),
        (("nir",), (7,)),
        (("swir1", "SWIR16"), (8, 8)),
        ((4, "B05", "red"), (4, 4, 2)),
        (("red", "red"), (2, 2)),
    ],
)
def test_names_are_found_however_they_are_written(wanted, found):
    assert find_bands("image", wanted, CHOICES, NAMES) == found


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ((3,), "band 3 is out of range: image has bands 1, 2, 4, 5, 7, 8"),
        (("B8",), "band 'B8' is not known: image has B02/blue, B04/red, B05/rededge"),
        (("rededge",), "band 'rededge' is the name of several bands of image: B05, B06; give one"),
        (("nir09",), "band 'nir09' is not known"),
        (("3",), "band '3' is not known"),
    ],
)
def test_what_is_not_one_band_is_refused_with_what_there_is(wanted, told):
    with pytest.raises(BandMismatch) as caught:
        find_bands("image", wanted, CHOICES, NAMES)
    assert told in str(caught.value)


def test_an_image_without_names_asks_for_numbers():
    with pytest.raises(BandMismatch, match=r"image names no band; give numbers, 1\.\.3"):
        find_bands("image", ("red",), (1, 2, 3), ((), (), ()))


def test_nir_itself_goes_before_the_part_of_it():
    assert find_bands("image", ("nir", "nir08"), (1, 2), (("nir08",), ("nir",))) == (2, 1)


def test_lists_and_colours():
    assert [list_bands((1, 2, 3)), list_bands((2, 3)), list_bands((1, 3))] == ["1..3", "2..3", "1, 3"]
    assert colours_among([("B02", "blue"), ("B04", "Red"), ("green",)]) == (2, 3, 1)
    assert colours_among([("blue",), ("red",)]) is None


def test_a_file_names_bands_by_descriptions_and_by_colours(tmp_path):
    path = write_raster(tmp_path / "a.tif", textured((20, 20), bands=4), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
        dataset.set_band_description(4, "Near infrared")
    assert open_file(path, bands=("red", "nir", 2)).bands == (3, 4, 2)


def test_an_array_names_bands_by_coordinates_and_long_names():
    cube = xr.DataArray(textured((8, 9)), dims=("band", "y", "x"), coords={"band": ["red", "nir", "swir16"]})
    assert open_array(cube, "date", bands=("swir16", "red")).bands == (3, 1)
    named = xr.DataArray(textured((8, 9)), dims=("band", "y", "x"), attrs={"long_name": ["B04", "B03", "B02"]})
    assert open_array(named, "date", bands=("b2",)).bands == (3,)


def test_each_date_is_asked_by_itself(tmp_path):
    values, paths = textured((20, 30)), []
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        paths.append(write_raster(tmp_path / f"{name}.tif", values[list(order)]))
        with rasterio.open(paths[-1], "r+") as dataset:
            dataset.descriptions = tuple(("red", "green", "nir")[k] for k in order)
    scene = open_scene(paths, SceneOptions(bands=("nir", "red")))
    (first, second), _ = scene.read(scene.grid.area)
    assert [source.bands for source in scene.sources] == [(3, 1), (1, 2)]
    np.testing.assert_array_equal(first, second)
