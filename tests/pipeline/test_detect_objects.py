"""Detectors of objects in the engine: boxes are those of the whole scene, however it is cut and whoever does it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import geopandas
import numpy as np
import pytest
from scipy import ndimage

import geochange
from geochange.detectors import catalogue
from geochange.detectors.boxes import boxes_of
from geochange.detectors.detector import Fitted, Scores
from geochange.detectors.fitted_files import write_fitted
from tests.commands import refused
from tests.stand_ins import changed_pair, write_raster

RADIUS = 20


@dataclass(frozen=True)
class PeaksFitted(Fitted):
    """Boxes at peaks of the smoothed difference, as wide as the difference is large; its map is the difference."""

    name: ClassVar[str] = "peaks"
    classes: ClassVar[tuple[str, ...]] = ("small", "large")
    layers: ClassVar[Mapping[str, int]] = {}
    bands: ClassVar[int | None] = None
    receptive_radius: ClassVar[int] = RADIUS
    stride: ClassVar[int] = 2
    default_overlap: ClassVar[int] = 2 * RADIUS
    default_tile: ClassVar[int] = 128
    objects: ClassVar[bool] = True
    tiles_at_once: ClassVar[int] = 2
    thresholds: ClassVar[Mapping[str, float]] = {"default": 0.3, "precision=0.9": 0.6}

    def score(self, dates, valid, layers=()):
        differences = np.abs(dates[:, 1] - dates[:, 0]).mean(axis=1) / 255
        both = np.stack([differences, differences / 2], axis=1).astype(np.float32)
        return Scores(both, boxes=tuple(map(self._boxes, differences)))

    def _boxes(self, difference):
        smooth = ndimage.convolve(difference.astype(float), np.ones((5, 5)) / 25, mode="constant")
        row, col = np.nonzero((smooth > 0.05) & (smooth == ndimage.maximum_filter(smooth, 3)))
        size = 2 + np.floor(12 * smooth[row, col])
        middle = np.stack([col, row, col, row], axis=1) + 0.5
        corners = middle + size[:, None] * [-1, -0.5, 1, 0.5]
        columns = [
            corners,
            1 + (size > 5)[:, None],
            np.minimum(3 * smooth[row, col], 1)[:, None],
            row[:, None],
            col[:, None],
        ]
        return boxes_of(np.hstack(columns))

    def summary(self) -> Mapping[str, Any]:
        return {}

    def save(self, folder: Path) -> None:
        write_fitted(folder, self.name, {}, {})

    @classmethod
    def load(cls, folder: Path):
        return cls()


@dataclass(frozen=True, kw_only=True)
class Peaks:
    name: ClassVar[str] = "peaks"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[Fitted]] = PeaksFitted

    def fit(self, series, map_blocks):
        return PeaksFitted()


@pytest.fixture(autouse=True)
def peaks(monkeypatch):
    monkeypatch.setitem(catalogue.BUILT_IN, "peaks", "tests.pipeline.test_detect_objects:Peaks")


@pytest.fixture
def pair(tmp_path):
    before, after = changed_pair((300, 420), seed=3)
    hole = np.s_[:, 100:160, 50:140]
    before[hole] = 0
    return [
        write_raster(tmp_path / f"{name}.tif", np.where(values == 0, 1, values) * (values > 0), nodata=0)
        for name, values in (("before", before), ("after", after))
    ]


def detect(pair, out, **options):
    return geochange.detect(*pair, out, detector="peaks", **options)


def outlines(found):
    return (found.folder / "changes.geojson").read_bytes()


@pytest.mark.parametrize(
    "cut",
    [
        {"tile_size": 64},
        {"tile_size": 100, "block_size": 150},
        {"tile_size": 2048},
        {"block_size": 40},
        {"block_size": 4096},
        {"overlap": 2 * RADIUS + 24},
    ],
    ids=str,
)
def test_boxes_are_the_same_for_any_tile_and_block_size(pair, tmp_path, cut):
    one, other = detect(pair, tmp_path / "one"), detect(pair, tmp_path / "other", **cut)
    assert one.record["changes"]["count"] > 20
    assert outlines(one) == outlines(other)


def test_boxes_are_the_same_for_any_workers(pair, tmp_path):
    one = detect(pair, tmp_path / "one", threads=1, block_size=90)
    other = detect(pair, tmp_path / "other", threads=4, block_size=90)
    assert outlines(one) == outlines(other)


def test_the_whole_scene_at_once_says_the_same(pair, tmp_path):
    from geochange.detectors.boxes import PIXEL_PARTS, suppress
    from geochange.engine.inference import own_boxes
    from geochange.scenes.pairing import open_scene

    found = detect(pair, tmp_path / "out", tile_size=64, min_area=0).changes()
    scene = open_scene(pair)
    tile = scene.grid.area.grow(RADIUS + 4)
    dates, valid = scene.read(tile)
    scores = PeaksFitted().score(np.stack(dates).astype(np.float32)[None], valid[None])
    own = own_boxes(scores.boxes[0], tile, scene.grid.area, valid.all(axis=0), scene.shape)
    expected = suppress(own.where(own.scores >= 3000))
    assert len(found) == len(expected)
    scores = sorted(np.round(found.score_mean * 10_000).astype(int).tolist())
    assert scores == sorted(expected.scores.tolist())
    widths = sorted((found.bounds.maxx - found.bounds.minx).round(3).tolist())
    assert widths == sorted(((expected.corners[:, 2] - expected.corners[:, 0]) / PIXEL_PARTS * 2.0).round(3).tolist())


def test_a_margin_too_small_is_seen(pair, tmp_path):
    one = detect(pair, tmp_path / "one", min_area=0)
    other = detect(pair, tmp_path / "other", min_area=0, tile_size=64, overlap=0)
    assert outlines(one) != outlines(other)


def test_no_box_has_its_centre_on_nodata_and_those_beside_say_so(pair, tmp_path):
    found = detect(pair, tmp_path / "out", min_area=0).changes()
    left, bottom, right, top = 500_000 + 2 * 50, 5_400_000 - 2 * 160, 500_000 + 2 * 140, 5_400_000 - 2 * 100
    centres = found.geometry.centroid
    assert not ((centres.x > left) & (centres.x < right) & (centres.y > bottom) & (centres.y < top)).any()
    hole = geopandas.GeoSeries.from_wkt(
        [f"POLYGON(({left} {bottom},{right} {bottom},{right} {top},{left} {top},{left} {bottom}))"]
    )[0]
    assert found.on_edge[found.geometry.intersects(hole)].all()
    frame = found.total_bounds
    border = found.geometry.bounds.minx <= frame[0]
    assert not found.on_edge.all()
    assert found.on_edge[border & (frame[0] == 500_000)].all()


def test_threshold_area_and_classes_act_on_boxes(pair, tmp_path):
    every = detect(pair, tmp_path / "every", min_area=0).changes()
    sure = detect(pair, tmp_path / "sure", min_area=0, threshold="precision=0.9")
    large = detect(pair, tmp_path / "large", min_area="200m2").changes()
    assert sure.record["threshold"] == 0.6
    assert sure.changes().score_mean.min() >= 0.6 > every.score_mean.min() >= 0.3
    assert large.area_m2.min() >= 200 > every.area_m2.min()
    assert {*every.label} == {"small", "large"}
    assert (every.score_mean == every.score_max).all()
    np.testing.assert_allclose(every.area, every.area_m2, atol=1e-3)


def test_a_killed_run_goes_on_with_the_same_boxes(pair, tmp_path, monkeypatch):
    whole = detect(pair, tmp_path / "whole", block_size=90, tile_size=64)
    calls = []
    real = PeaksFitted.score

    def breaks(self, *arguments):
        calls.append(1)
        if len(calls) > 12:
            raise KeyboardInterrupt
        return real(self, *arguments)

    monkeypatch.setattr(PeaksFitted, "score", breaks)
    with pytest.raises(KeyboardInterrupt):
        detect(pair, tmp_path / "out", block_size=90, tile_size=64, threads=1)
    monkeypatch.setattr(PeaksFitted, "score", real)
    resumed = detect(pair, tmp_path / "out", block_size=90, tile_size=64, resume=True)
    assert outlines(resumed) == outlines(whole)


def test_thresholds_for_pixels_are_refused(pair, tmp_path, run):
    for text, word in (("otsu", "pixels"), ("0.2:0.6", "one number"), ("precision=0.5", "precision=0.9")):
        refused(run("detect", *pair, "-o", tmp_path / "out", "-d", "peaks", "--threshold", text), word)
        assert not (tmp_path / "out").exists()


def test_the_map_is_written_without_thresholds_of_objects(pair, tmp_path):
    import rasterio

    found = detect(pair, tmp_path / "out")
    with rasterio.open(found.probability) as dataset:
        assert json.loads(dataset.tags()["GEOCHANGE_THRESHOLDS"]) == {}
        assert dataset.count == 2


def test_objects_of_exactly_the_smallest_area_stay(pair, tmp_path):
    every = detect(pair, tmp_path / "every", min_area=0).changes()
    least = int(every.area_px.median())
    assert (every.area_px == least).any()
    some = detect(pair, tmp_path / "some", min_area=least).changes()
    assert len(some) == (every.area_px >= least).sum() < len(every)
