"""Totals of regions."""

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from geochange.polygons.features import measure
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import total_regions
from geochange.scenes.grid import Grid
from tests.region_cases import Map, trace_whole


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
    with RegionStore(tmp_path) as store:
        store.add(regions)
        found = total_regions(store, grid)
    assert (found.count, found.area_px) == (2, 80)
    assert found.area_m2 == pytest.approx(measure(regions.polygons, grid)[0].sum(), abs=0.05)
    if epsg == 3857:
        assert found.area_m2 == pytest.approx(8000 * np.cos(np.radians(52.5)) ** 2, rel=0.01)
