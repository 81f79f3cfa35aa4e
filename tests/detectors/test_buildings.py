"""The weights of `weights/buildings`, where that package is installed."""

import numpy as np
import pytest
import rasterio

import geochange
from geochange.detectors.catalogue import detector_class, names
from geochange.errors import BadOption
from tests.stand_ins import SHARED, changed_pair, write_raster

pytest.importorskip("torch")
from geochange.detectors.networks.checkpoint import load_checkpoint

package = pytest.importorskip("geochange_buildings")

LEVIR = SHARED / "levir" / "val_256px_0.5m"
needs_shared = pytest.mark.skipif(not LEVIR.exists(), reason="real imagery is not beside the project")


def test_the_package_registers_its_detector():
    assert names()["buildings"] == "geochange_buildings:Buildings"
    assert detector_class("buildings").name == "buildings"


def test_the_weights_are_small_and_know_what_they_are():
    assert package.WEIGHTS.stat().st_size < 15e6
    about = load_checkpoint(package.WEIGHTS).about
    assert about.bands == ("red", "green", "blue")
    assert "LEVIR" in about.trained_on
    assert {"default", "precision=0.9", "recall=0.9"} <= set(about.thresholds)


def test_a_coarse_scene_is_refused_with_both_pixel_sizes(tmp_path):
    images = [write_raster(tmp_path / f"{i}.tif", date) for i, date in enumerate(changed_pair((64, 64)))]
    with pytest.raises(BadOption, match=r"pixels of 2 m, buildings was trained with 0\.\d+ to"):
        geochange.detect(*images, tmp_path / "out", detector="buildings")


@needs_shared
def test_buildings_are_found_on_tiles_that_were_not_trained_on(tmp_path):
    tiles = [each for each in sorted(LEVIR.joinpath("label").iterdir()) if int(each.stem[3:6]) % 2]
    threshold = load_checkpoint(package.WEIGHTS).about.thresholds["default"]
    hits = false = missed = 0
    for label in tiles[::20]:
        images = [str(next((LEVIR / folder).glob(f"{label.stem}.*"))) for folder in "AB"]
        found = geochange.detect(*images, tmp_path / label.stem, detector="buildings")
        with rasterio.open(found.probability) as scores, rasterio.open(label) as truth:
            called, changed = scores.read(1) >= np.ceil(threshold * 254), truth.read(1) > 0
        hits += (called & changed).sum()
        false += (called & ~changed).sum()
        missed += (~called & changed).sum()
    assert 2 * hits / (2 * hits + false + missed) > 0.75
