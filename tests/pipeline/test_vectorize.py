"""`vectorize` with right angles: the same bytes however it is cut."""

from __future__ import annotations

import numpy as np

import geochange
from geochange.engine.cluster import ClusterOptions
from geochange.polygons.right_angles import RightAngles
from tests.stand_ins import write_raster


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
        geochange.vectorize(path, out, right_angles=RightAngles(), cluster=ClusterOptions(threads=threads))
        found.add(out.read_bytes())
    assert len(found) == 1


def test_right_angles_may_be_asked_for_with_a_word(tmp_path):
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[0, 10:30, 10:40] = 1
    path = write_raster(tmp_path / "mask.tif", mask)
    with_options = geochange.vectorize(path, tmp_path / "a.geojson", right_angles=RightAngles())
    assert geochange.vectorize(path, tmp_path / "b.geojson", right_angles=True).squared == with_options.squared
    assert geochange.vectorize(path, tmp_path / "c.geojson", right_angles=False).squared is None
