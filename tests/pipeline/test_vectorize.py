"""`vectorize` with right angles: the same bytes however it is cut."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import Geod, Transformer
from rasterio.features import rasterize
from scipy import ndimage

import geochange
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption
from tests.stand_ins import PLACE, UTM, textured, write_raster


def test_right_angles_are_the_same_for_any_blocks_and_threads(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 300, 400), np.uint8)
    for _ in range(60):
        row, col, height, width = rng.integers((0, 0, 6, 6), (290, 380, 25, 25))
        mask[0, row : row + height, col : col + width] = 1
    path, found = write_raster(tmp_path / "mask.tif", mask), set()
    tried = [(1024, 256, 1, 1 << 30), (64, 3, 2, 1 << 30), (100, 7, 1, 1 << 30), (16, 7, 2, 0)]
    for number, (block, at_once, threads, very_large) in enumerate(tried):
        monkeypatch.setattr("geochange.engine.work.BLOCK_SIDE", block)
        monkeypatch.setattr("geochange.polygons.tracing.BLOCK_SIDE", block)
        monkeypatch.setattr("geochange.polygons.tracing.VERY_LARGE", very_large)
        monkeypatch.setattr("geochange.pipeline.vectorize.SQUARED_AT_ONCE", at_once)
        monkeypatch.setattr("geochange.polygons.right_angles.WAITING_REGIONS", at_once)
        out = tmp_path / f"{number}.geojson"
        options = geochange.VectorizeOptions(right_angles=True)
        geochange.vectorize(path, out, options, cluster=ClusterOptions(threads=threads))
        found.add(out.read_bytes())
    assert len(found) == 1


def test_right_angles_are_given_on_request(tmp_path):
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[0, 10:30, 10:40] = 1
    path = write_raster(tmp_path / "mask.tif", mask)
    for name, options, squared in (("a", {"right_angles": True}, 1), ("b", {}, None)):
        layer = geochange.vectorize(path, tmp_path / f"{name}.geojson", geochange.VectorizeOptions(**options))
        assert layer.squared == squared
    with pytest.raises(BadOption, match="--right-angles"):
        geochange.VectorizeOptions(diagonals=True)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_the_layer_reads_back(tmp_path, suffix):
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[0, 10:30, 10:40] = mask[0, 40:42, 10:12] = 1
    path = write_raster(tmp_path / "mask.tif", mask)
    changes = geochange.vectorize(path, tmp_path / f"changes{suffix}").changes()
    assert changes["area_px"].tolist() == [600, 4]
    assert changes.crs == UTM


def test_areas_on_the_ground_need_a_crs(tmp_path):
    path = write_raster(tmp_path / "mask.tif", np.ones((1, 9, 9), np.uint8), crs=None)
    with pytest.raises(BadOption, match=r"min-area '9m2' needs a CRS, which .*mask.tif lacks; give pixels, as in 4px"):
        geochange.vectorize(path, tmp_path / "c.gpkg", geochange.VectorizeOptions(min_area="9m2"))


PLACES = {
    "utm": (UTM, Affine(10, 0, 500_000, 0, -10, 5_400_000)),
    "degrees": ("EPSG:4326", Affine(0.0001, 0, 11, 0, -0.0001, 48)),
    "mercator": ("EPSG:3857", Affine(15, 0, 1_200_000, 0, -15, 6_100_000)),
    "feet": ("EPSG:2263", Affine(30, 0, 1_000_000, 0, -30, 200_000)),
    "none": (None, Affine(0.5, 0, 100, 0, 0.5, 200)),
}


def disc(radius=40):
    rows, cols = np.mgrid[:100, :100] - 50
    return (rows**2 + cols**2 < radius**2).astype(np.uint8)[None]


@pytest.mark.parametrize("place", PLACES)
def test_outlines_are_simplified_by_metres_and_without_a_crs_by_pixels(tmp_path, place):
    crs, transform = PLACES[place]
    path = write_raster(tmp_path / "disc.tif", disc(), crs=crs, transform=transform)
    side = {"utm": 10, "degrees": 11.12, "mercator": 10.05, "feet": 30 * 1200 / 3937, "none": 1}[place]
    found = []
    for tolerance in (side * 0.5, side * 2.0, side * 200):
        changes = geochange.vectorize(path, tmp_path / "c.gpkg", simplify=tolerance, overwrite=True).changes()
        found.append(int(shapely.get_num_coordinates(changes.geometry.values).sum()))

    plain = write_raster(tmp_path / "plain.tif", disc(), transform=Affine(1, 0, 500_000, 0, -1, 5_400_000))
    expected = []
    for tolerance in (0.5, 2.0, 200):
        changes = geochange.vectorize(plain, tmp_path / "p.gpkg", simplify=tolerance, overwrite=True).changes()
        expected.append(int(shapely.get_num_coordinates(changes.geometry.values).sum()))
    assert found == expected


def test_the_smallest_area_and_the_total_are_those_of_the_ground(tmp_path):
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(25, 60)
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[0, 5:25, 5:25], mask[0, 30:58, 30:58] = 1, 1  # 400 and 784 Mercator metres squared: 100 and 197 m2
    path = write_raster(tmp_path / "mask.tif", mask, crs="EPSG:3857", transform=Affine(1, 0, x, 0, -1, y))

    layer = geochange.vectorize(path, tmp_path / "c.gpkg", min_area="150m2")

    changes = layer.changes()
    expected = Geod(ellps="WGS84").geometry_area_perimeter(changes.to_crs(4326).geometry[0])[0]
    assert changes["area_px"].tolist() == [784]
    assert changes["area_m2"].tolist() == pytest.approx([abs(expected)], rel=1e-6)
    assert layer.totals.area_m2 == pytest.approx(abs(expected), rel=1e-4)


def test_changes_of_exactly_the_smallest_area_on_the_ground_stay(tmp_path):
    mask = np.zeros((1, 30, 30), np.uint8)
    mask[0, 2:4, 2:4] = mask[0, 10, 10:13] = mask[0, 20:25, 20:25] = 1
    path = write_raster(tmp_path / "m.tif", mask, transform=Affine(10, 0, 500_000, 0, -10, 5_400_000))
    geochange.vectorize(path, tmp_path / "m.gpkg", min_area="400m2")
    assert sorted(geopandas.read_file(tmp_path / "m.gpkg", layer="changes").area_m2) == [400, 2500]


def test_with_hysteresis_a_region_is_what_reaches_low_around_what_reaches_high(tmp_path):
    probability = textured((90, 120), 1, dtype="float32")
    path = write_raster(tmp_path / "p.tif", probability)
    options = geochange.VectorizeOptions(threshold="0.4:0.6", min_area=0)
    layer = geochange.vectorize(path, tmp_path / "out.fgb", options)
    parts, count = ndimage.label(probability[0] >= 0.4)
    peaks = ndimage.maximum(probability[0], parts, np.arange(1, count + 1))
    expected = np.isin(parts, 1 + np.flatnonzero(peaks >= 0.6))
    assert 0 < expected.sum() < (parts > 0).sum()
    found = rasterize(geopandas.read_file(tmp_path / "out.fgb").geometry, expected.shape, transform=PLACE)
    np.testing.assert_array_equal(found.astype(bool), expected)
    assert layer.threshold == [0.4, 0.6]
