"""The example of the documentation: a package registers it, and it keeps the contract of a detector."""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

import geochange
from geochange.detectors.catalogue import detector, load_fitted, offer
from geochange.errors import NothingValid
from tests.stand_ins import write_raster

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_data"


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    """Install the example as a package of its own would: a module, and an entry point in its metadata."""
    package = tmp_path / "site"
    metadata = package / "my_detectors-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    metadata.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: my-detectors\nVersion: 0.1.0\n")
    metadata.joinpath("entry_points.txt").write_text("[geochange.detectors]\nmedian-ratio = median_ratio:MedianRatio\n")
    package.joinpath("median_ratio.py").write_text((ROOT / "docs" / "examples" / "median_ratio.py").read_text())
    monkeypatch.syspath_prepend(package)
    yield
    sys.modules.pop("median_ratio", None)


@pytest.fixture
def pair(tmp_path):
    """Write 200 x 220 pixels of the sample at both dates; return their paths."""
    paths = []
    for name in ("before", "after"):
        with rasterio.open(SAMPLE / f"{name}.tif") as image:
            window = Window(700, 500, 220, 200)
            pixels, place = image.read(window=window), image.window_transform(window)
            paths.append(write_raster(tmp_path / f"{name}.tif", pixels, transform=place))
    return paths


def test_it_is_listed_with_its_option():
    listed = offer("median-ratio")
    assert listed.summary == "Log-ratio of two dates, smoothed over 3 x 3 pixels."
    assert listed.options == {"medians": "4"}


# --8<-- [start:law]
def probability(folder: Path, pair: list[str], tile_size: int) -> np.ndarray:
    found = geochange.detect(*pair, folder, detector="median-ratio", dtype="float32", tile_size=tile_size)
    with rasterio.open(found.probability) as raster:
        return raster.read(1)


def test_tiles_score_as_the_whole_scene(tmp_path, pair):
    whole = probability(tmp_path / "whole", pair, tile_size=512)
    tiled = probability(tmp_path / "tiled", pair, tile_size=64)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


# --8<-- [end:law]


def test_a_wrong_receptive_radius_is_noticed(tmp_path, pair, monkeypatch):
    """The test of the page can fail: without the pixel of context that the median needs, tiles differ."""
    fitted = detector("median-ratio").fitted
    monkeypatch.setattr(fitted, "receptive_radius", 0)
    monkeypatch.setattr(fitted, "default_overlap", 0)
    with pytest.raises(AssertionError):
        test_tiles_score_as_the_whole_scene(tmp_path, pair)


def test_it_finds_changes_of_the_sample(tmp_path, pair):
    found = geochange.detect(*pair, tmp_path / "out", detector="median-ratio", detector_options={"medians": "5"})
    changes = found.changes()
    truth = geopandas.read_file(SAMPLE / "truth.gpkg").geometry.union_all()
    assert len(changes) > 3
    assert changes[changes.area_px > 100].intersects(truth).mean() > 0.5


def test_its_statistics_survive_saving(tmp_path):
    fitted = detector("median-ratio").fitted(even=0.25)
    fitted.save(tmp_path)
    assert load_fitted(tmp_path) == fitted


def test_a_scene_without_valid_pixels_is_refused(tmp_path):
    empty = np.zeros((1, 40, 40), np.uint8)
    pair = [write_raster(tmp_path / f"{name}.tif", empty, nodata=0) for name in ("before", "after")]
    with pytest.raises(NothingValid, match=r"no pixel holds data"):
        geochange.detect(*pair, tmp_path / "out", detector="median-ratio")
