"""Totals of regions."""

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from scipy import ndimage

import geochange
from geochange.engine.work import open_work
from geochange.polygons.features import measure
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import at_least, total_regions
from geochange.scenes.grid import Grid
from tests.region_cases import Map, trace_whole
from tests.stand_ins import write_raster


@pytest.mark.parametrize(
    ("epsg", "place"),
    [(3857, (1_490_000, 6_890_000)), (32633, (500_000, 5_400_000)), (4326, (13.4, 52.5))],
    ids=["Web Mercator", "UTM", "degrees"],
)
def test_the_total_area_is_that_of_the_features(tmp_path, epsg, place):
    size = 1e-4 if epsg == 4326 else 10
    grid = Grid(CRS.from_epsg(epsg), Affine(size, 0, place[0], 0, -size, place[1]), (20, 30))
    classes = np.zeros(grid.shape, np.uint8)
    classes[2:9, 3:11] = classes[12:15, 20:28] = 1
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(grid.shape, bool)))
    with RegionStore(tmp_path) as store, open_work(None, None) as work:
        store.add(regions)
        found = total_regions(store, grid, work)
    assert (found.count, found.area_px) == (2, 80)
    assert found.area_m2 == round(found.area_m2, 2)
    assert found.area_m2 == pytest.approx(measure(regions.polygons, grid)[0].sum(), abs=0.05)
    if epsg == 3857:
        assert found.area_m2 == pytest.approx(8000 * np.cos(np.radians(52.5)) ** 2, rel=0.01)


def test_the_total_area_has_two_decimals(tmp_path):
    grid = Grid(CRS.from_epsg(32633), Affine(0.5, 0, 500_000, 0, -0.3, 5_400_000), (20, 30))
    classes = np.zeros(grid.shape, np.uint8)
    classes[2, 3:8] = 1
    with RegionStore(tmp_path) as store, open_work(None, None) as work:
        store.add(trace_whole(Map(classes, classes.astype(np.int64), np.ones(grid.shape, bool))))
        assert total_regions(store, grid, work).area_m2 == 0.75


@pytest.mark.parametrize(("connectivity", "count", "kind"), [(4, 2, "Polygon"), (8, 1, "MultiPolygon")])
def test_layers_have_the_type_of_their_connectivity_and_both_dates(tmp_path, connectivity, count, kind):
    codes = np.zeros((1, 20, 30), np.uint8)
    codes[0, 3:6, 4:9] = codes[0, 6:9, 9:12] = 254
    path = write_raster(tmp_path / "p.tif", codes, nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (1 / 254,)
    options = geochange.VectorizeOptions(
        threshold=0.5, connectivity=connectivity, date_before="2009-07-01", date_after="2011-08-03"
    )

    geochange.vectorize(path, tmp_path / "c.gpkg", options)

    assert pyogrio.read_info(tmp_path / "c.gpkg", layer="changes")["geometry_type"] == kind
    frame = pyogrio.read_dataframe(tmp_path / "c.gpkg", layer="changes")
    assert [*zip(frame.date_before, frame.date_after, strict=True)] == [("2009-07-01", "2011-08-03")] * count
    assert frame.area_px.sum() == 24


@pytest.mark.parametrize(("least", "count"), [(0.0, 3), (0.45, 3), (0.46, 2), (0.9, 2), (1.5, 1), (1.51, 0)])
def test_regions_of_at_least_an_area_are_kept(least, count):
    grid = Grid(CRS.from_epsg(32633), Affine(0.5, 0, 500_000, 0, -0.3, 5_400_000), (20, 30))
    classes = np.zeros(grid.shape, np.uint8)
    classes[2, 3:6] = classes[5:7, 3:6] = classes[9:11, 3:8] = 1
    regions = trace_whole(Map(classes, classes.astype(np.int64), np.ones(grid.shape, bool)))
    assert at_least(regions, grid, least).counts.area_px.tolist() == [3, 6, 10][3 - count :]


@pytest.mark.parametrize("least", ["120m2", "121m2", "8px"])
def test_regions_on_seams_are_measured_whole(tmp_path, least):
    """Pixels of 15 m2: a region of 8 is kept by 120 m2, one of 7 is not, wherever blocks of a layer cut them."""
    mask = np.zeros((2100, 1100), np.uint8)
    for row in (0, 1022, 1023, 1500, 2046, 2047, 2098):
        for col, width in ((5, 4), (1022, 4), (1050, 3)):
            mask[row : row + 2, col : col + width] = 1
        mask[row, 1053] = 1
    grid = {"crs": CRS.from_epsg(32633).to_wkt(), "transform": Affine(5, 0, 500_000, 0, -3, 5_400_000)}
    path = write_raster(tmp_path / "mask.tif", mask[None], **grid)
    layer = geochange.vectorize(path, tmp_path / "layer.gpkg", min_area=least).changes()
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    wanted = sizes[sizes >= 8] if least != "121m2" else sizes[sizes > 8]
    assert sorted(layer["area_px"]) == sorted(wanted)
    np.testing.assert_allclose(layer["area_m2"], 15 * layer["area_px"])
