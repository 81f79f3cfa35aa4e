"""`vectorize` with right angles: the same bytes however it is cut."""

from __future__ import annotations

import numpy as np
import pytest

import geochange
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption
from tests.stand_ins import UTM, write_raster


def test_right_angles_are_the_same_for_any_blocks_and_threads(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 300, 400), np.uint8)
    for _ in range(60):
        row, col, height, width = rng.integers((0, 0, 6, 6), (290, 380, 25, 25))
        mask[0, row : row + height, col : col + width] = 1
    path, found = write_raster(tmp_path / "mask.tif", mask), set()
    for number, (block, at_once, threads) in enumerate([(1024, 256, 1), (64, 3, 2), (100, 7, 1)]):
        monkeypatch.setattr("geochange.engine.work.BLOCK_SIDE", block)
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
