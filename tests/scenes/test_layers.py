"""Labels drawn from layers, and read from rasters."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.features import rasterize

from geochange.errors import GridMismatch
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layers import Layer, VectorLabels, in_pixels, open_layer

PLACE = Affine(3.0, 0.5, 500_000.0, 0.25, -2.0, 5_400_000.0)
POLYGONS = [shapely.box(500_010, 5_399_900, 500_060, 5_399_970), shapely.Point(500_100, 5_399_950).buffer(20)]


def test_of_labels_that_overlap_the_last_one_counts():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 80, (200, 2))
    high = low + rng.integers(3, 25, (200, 2))
    polygons, labels = shapely.box(*low.T, *high.T), np.arange(1, 201)
    found, _ = VectorLabels(polygons, labels).read(Tile(0, 0, 100, 100))
    expected = rasterize(zip(polygons, labels.tolist(), strict=True), (100, 100))
    np.testing.assert_array_equal(found, expected)


def layer_of(crs, polygons=POLYGONS):
    return Layer("x.gpkg", geopandas.GeoDataFrame(geometry=[*polygons], crs=crs))


@pytest.mark.parametrize(
    ("layer", "grid", "words"),
    [
        (None, 32633, "x.gpkg has no CRS, the grid has EPSG:32633; give both a CRS"),
        (32633, None, "x.gpkg has EPSG:32633, the grid has no CRS; give both a CRS"),
    ],
)
def test_a_crs_of_the_layer_or_of_the_grid_alone_is_refused(layer, grid, words):
    with pytest.raises(GridMismatch, match=words):
        layer_of(layer).polygons(Grid(None if grid is None else CRS.from_epsg(grid), PLACE, (100, 80)))


@pytest.mark.parametrize("crs", [None, 32633])
def test_polygons_of_the_grid_s_own_crs_stay_as_they_are(crs):
    grid = Grid(None if crs is None else CRS.from_epsg(crs), PLACE, (100, 80))
    assert shapely.equals_exact(layer_of(crs).polygons(grid), POLYGONS).all()


@pytest.mark.parametrize("crs", [4326, 32632, 3857])
def test_polygons_of_another_crs_are_brought_to_the_grid_s_as_geopandas_does(crs):
    frame = geopandas.GeoSeries(POLYGONS, crs=32633).to_crs(crs)
    found = layer_of(crs, frame).polygons(Grid(CRS.from_epsg(32633), PLACE, (100, 80)))
    expected = frame.to_crs(32633).to_numpy()
    assert shapely.equals_exact(found, expected, tolerance=1e-6).all()
    assert shapely.equals_exact(found, POLYGONS, tolerance=1e-3).all()


def test_pixels_of_polygons_are_those_that_rasterio_finds_on_the_grid():
    grid = Grid(CRS.from_epsg(32633), PLACE, (100, 80))
    found, valid = VectorLabels(in_pixels(np.array(POLYGONS), grid), np.array([3, 5])).read(grid.area)
    expected = rasterize(zip(POLYGONS, (3, 5), strict=True), grid.shape, transform=PLACE)
    assert set(np.unique(expected)) == {0, 3, 5}
    np.testing.assert_array_equal(found, expected)
    assert valid.shape == grid.shape
    assert valid.all()


@pytest.mark.parametrize("labels", [None, np.arange(1, 41)])
@pytest.mark.parametrize("tile", [Tile(10, 30, 25, 40), Tile(0, 0, 1, 90), Tile(-5, 60, 40, 60), Tile(200, 0, 5, 6)])
def test_labels_of_a_tile_are_those_of_the_whole_there(tile, labels):
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 80, (40, 2))
    polygons = shapely.box(*low.T, *(low + rng.uniform(2, 15, (40, 2))).T)
    numbers = np.ones(40, int) if labels is None else labels
    whole = rasterize(
        zip(polygons, numbers.tolist(), strict=True), (300, 200), transform=Affine.translation(-50, -50), dtype="int32"
    )
    found, valid = VectorLabels(polygons, labels).read(tile)
    np.testing.assert_array_equal(found, whole[tile.row + 50 : tile.stop_row + 50, tile.col + 50 : tile.stop_col + 50])
    assert found.dtype == np.int64
    assert valid.shape == tile.shape
    assert valid.all()


def test_features_without_a_geometry_are_left_out(tmp_path):
    path = tmp_path / "x.gpkg"
    geometries = [None, POLYGONS[0], shapely.Polygon(), POLYGONS[1]]
    geopandas.GeoDataFrame({"k": range(4)}, geometry=geometries, crs=32633).to_file(path)
    found = open_layer(str(path)).frame
    assert found.k.tolist() == [1, 3]
    assert shapely.equals(found.geometry.to_numpy(), POLYGONS).all()
