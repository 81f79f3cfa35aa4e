"""What an opened image says of itself."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from geochange.errors import UnreadableInput
from geochange.scenes.interpretation import (
    grid_of,
    palette_of,
    require_grid,
    scaling_of,
    scaling_of_attributes,
    transform_of,
    usual_rule,
)
from tests.stand_ins import PLACE, UTM, textured, write_raster


@pytest.mark.parametrize(
    ("dtype", "fills", "rule"),
    [
        ("uint8", [255], "all"),
        ("uint8", [0], "all"),
        ("int8", [-128], "any"),
        ("int8", [127], "all"),
        ("uint16", [65535], "any"),
        ("uint16", [65534], "all"),
        ("int16", [32767], "any"),
        ("int16", [-9999], "any"),
        ("int32", [2**31 - 1], "any"),
        ("float32", [-9999.0], "any"),
        ("float32", [1e20], "any"),
        ("float64", [9.99e19], "all"),
        ("float32", [float("nan")], "all"),
        ("float32", [float("nan"), -1.0], "any"),
        ("int16", [None], "all"),
        ("int16", [], "all"),
        ("int16", [None, -1], "any"),
        ("int16", [-1, 0], "all"),
        ("uint16", [65535, 0], "all"),
        ("int16", [-1, 32767], "any"),
    ],
)
def test_a_nodata_value_counts_in_any_band_where_no_band_can_measure_it(dtype, fills, rule):
    assert usual_rule(fills, np.dtype(dtype)) == rule


@pytest.mark.parametrize(
    ("scales", "offsets", "choices", "expected"),
    [
        ((1.0, 1.0), (0.0, 0.0), (1, 2), None),
        ((1.0, 0.5), (0.0, 0.0), (1, 2), ((1.0, 0.0), (0.5, 0.0))),
        ((1.0, 1.0), (0.0, 3.0), (1, 2), ((1.0, 0.0), (1.0, 3.0))),
        ((0.5, 0.25), (1.0, 2.0), (2, 1), ((0.25, 2.0), (0.5, 1.0))),
        ((0.5, 1.0), (1.0, 0.0), (2,), None),
    ],
)
def test_bands_are_scaled_each_by_itself(scales, offsets, choices, expected):
    assert scaling_of(SimpleNamespace(scales=scales, offsets=offsets), choices) == expected


@pytest.mark.parametrize(
    ("attributes", "count", "expected"),
    [
        ({}, 2, None),
        ({"scale_factor": 0.5}, 2, ((0.5, 0.0),) * 2),
        ({"add_offset": 3}, 1, ((1.0, 3.0),)),
        ({"scale_factor": 1.0, "add_offset": 0.0}, 3, None),
        ({"scales": (1.0, 0.5), "offsets": (0.0, 2.0), "scale_factor": 9.0, "add_offset": 9.0}, 2, ((1, 0), (0.5, 2))),
        ({"scales": (0.5, 0.5), "add_offset": 1.0}, 2, ((0.5, 1.0),) * 2),
    ],
)
def test_attributes_of_an_array_scale_its_bands_those_of_single_bands_before_those_of_all(attributes, count, expected):
    assert scaling_of_attributes(attributes, count) == expected


def test_a_colour_table_may_have_gaps(tmp_path):
    table = {0: (1, 2, 3, 255), 3: (4, 5, 6, 0), 250: (7, 8, 9, 100)}
    colours = np.frombuffer(
        palette_of(SimpleNamespace(count=1, colorinterp=[ColorInterp.palette], colormap=lambda band: table)), np.uint8
    ).reshape(-1, 4)
    assert len(colours) == 251
    for value, colour in enumerate(colours.tolist()):
        assert tuple(colour) == table.get(value, (0, 0, 0, 0))


@pytest.mark.parametrize(("count", "colour"), [(2, ColorInterp.palette), (1, ColorInterp.gray)])
def test_only_the_single_band_of_a_file_has_a_colour_table(count, colour):
    dataset = SimpleNamespace(count=count, colorinterp=[colour] * count, colormap=lambda band: {0: (1, 2, 3, 4)})
    assert palette_of(dataset) is None


@pytest.mark.parametrize(("crs", "transform"), [(UTM, None), (None, PLACE)])
def test_an_image_with_a_grid_may_have_points_beside_it(tmp_path, crs, transform):
    points = [GroundControlPoint(row, col, 10.0 + col, 50.0 - row) for row, col in ((0, 0), (0, 9), (9, 0))]
    tags = SimpleNamespace(
        crs=crs, transform=transform or Affine.identity(), gcps=(points, None), rpcs=None, tags=lambda ns: {}
    )
    require_grid(tags, "a.tif")
    with pytest.raises(UnreadableInput, match="3 ground control points alone; give it a grid with `gdalwarp -tps"):
        require_grid(SimpleNamespace(**{**vars(tags), "crs": None, "transform": Affine.identity()}), "a.tif")


@pytest.mark.parametrize(
    "place", [PLACE, Affine(2, 0, 100, 0, 2, 50), Affine(1, 0.5, 3, 0.5, -1, 7), Affine(1, 0, 0, 0, 1, 1)]
)
def test_a_place_without_a_crs_is_kept(tmp_path, place):
    with rasterio.open(write_raster(tmp_path / "a.tif", textured((6, 9)), crs=None, transform=place)) as dataset:
        grid = grid_of(dataset)
    assert (grid.crs, grid.transform, grid.shape) == (None, place, (6, 9))


def test_only_an_image_without_any_place_has_its_rows_upside_down():
    assert transform_of(None, Affine.identity()) == Affine(1, 0, 0, 0, -1, 0)
    assert transform_of(CRS.from_epsg(4326), Affine.identity()) == Affine.identity()
