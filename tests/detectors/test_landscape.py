"""The weights inside the wheel."""

from pathlib import Path

import geopandas
import pytest
import rasterio
from rasterio.features import rasterize

import geochange
from geochange.detectors.catalogue import available, detector_class
from geochange.errors import BadOption, BandMismatch

pytest.importorskip("torch")
from geochange.detectors.networks.checkpoint import load_checkpoint

SAMPLE = Path(__file__).parents[2] / "sample_data"
PAIR = str(SAMPLE / "before.tif"), str(SAMPLE / "after.tif")


def test_it_is_on_offer_and_knows_what_it_is():
    assert "landscape" in [offer.name for offer in available()]
    weights = detector_class("landscape").shipped
    assert weights.stat().st_size < 15e6
    about = load_checkpoint(weights).about
    assert about.bands == ("red", "green", "blue")
    assert about.trained_on.startswith("synthetic scenes, and changes pasted")
    assert {"default", "precision=0.9", "recall=0.9"} <= set(about.thresholds)


def test_bands_that_it_does_not_know_are_refused(tmp_path):
    with pytest.raises(BandMismatch, match=r"3 bands \(red, green, blue\), the images have 4"):
        geochange.detect(*PAIR, tmp_path, detector="landscape")


def test_other_weights_do_not_run_under_its_name(tmp_path):
    options = {"checkpoint": "other.pt"}
    with pytest.raises(BadOption, match=r"brings its own weights; for other\.pt leave out -d landscape"):
        geochange.detect(*PAIR, tmp_path, detector="landscape", detector_options=options, bands=(1, 2, 3))


def test_changes_of_a_made_scene_that_was_not_trained_on_are_found(tmp_path):
    found = geochange.detect(*PAIR, tmp_path, detector="landscape", bands=(1, 2, 3))
    threshold = load_checkpoint(detector_class("landscape").shipped).about.thresholds["default"]
    assert found.record["detector"]["name"] == "landscape"
    truth = geopandas.read_file(SAMPLE / "truth.gpkg").geometry
    with rasterio.open(found.probability) as scores:
        changed = rasterize(truth, scores.shape, transform=scores.transform) > 0
        called = scores.read(1) >= 254 * threshold
    hits, false, missed = (called & changed).sum(), (called & ~changed).sum(), (~called & changed).sum()
    assert 2 * hits / (2 * hits + false + missed) > 0.9
