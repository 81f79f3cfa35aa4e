"""Labels drawn from layers, and read from rasters."""

import numpy as np
import shapely
from rasterio.features import rasterize

from geochange.scenes.grid import Tile
from geochange.scenes.layers import VectorLabels


def test_of_labels_that_overlap_the_last_one_counts():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 80, (200, 2))
    high = low + rng.integers(3, 25, (200, 2))
    polygons, labels = shapely.box(*low.T, *high.T), np.arange(1, 201)
    found, _ = VectorLabels(polygons, labels).read(Tile(0, 0, 100, 100))
    expected = rasterize(zip(polygons, labels.tolist(), strict=True), (100, 100))
    np.testing.assert_array_equal(found, expected)
