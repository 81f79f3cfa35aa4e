"""The weights of `weights/micro_changes`, where that package is installed."""

from pathlib import Path

import pytest
import rasterio

import geochange
from geochange.datasets.options import SynthesizeOptions
from geochange.detectors.catalogue import detector_class, names
from geochange.errors import BadOption
from geochange.pipeline.synthesize import synthesize
from tests.stand_ins import write_raster

pytest.importorskip("torch")
from geochange.detectors.networks.checkpoint import load_checkpoint

package = pytest.importorskip("geochange_micro_changes")

SAMPLE = Path(__file__).parents[2] / "sample_data" / "before.tif"


def test_the_package_registers_its_detector():
    assert names()["micro-changes"] == "geochange_micro_changes:MicroChanges"
    assert detector_class("micro-changes").name == "micro-changes"


def test_the_weights_are_small_and_know_what_they_are():
    assert package.WEIGHTS.stat().st_size < 2e6
    about = load_checkpoint(package.WEIGHTS).about
    assert about.network == "change-rcnn"
    assert about.bands == ("red", "green", "blue")
    assert about.gsd is None
    assert "LEVIR" in about.trained_on
    assert {"default", "precision=0.9"} <= set(about.thresholds)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A pair with known changes in a part of the sample."""
    folder = tmp_path_factory.mktemp("made")
    with rasterio.open(SAMPLE) as dataset:
        part = dataset.read((1, 2, 3), window=((0, 256), (0, 256)))
    path = write_raster(folder / "part.tif", part)
    options = SynthesizeOptions(sizes=(4, 16), kinds=("appeared", "vanished"), contrast=(1.5, 3), density=500, seed=1)
    return synthesize([path], folder / "out", options).folder


def test_small_changes_are_found_in_an_image_that_was_not_trained_on(made, tmp_path):
    pair = [made / letter / "part.tif" for letter in "AB"]
    found = geochange.detect(*pair, tmp_path / "out", detector="micro-changes", threshold=0.1)
    scores = geochange.evaluate(found.layer, made / "objects" / "part.gpkg").to_dict()["average_precision"]
    assert scores["count"] > 15
    assert scores["ap50"] > 0.7


def test_boxes_take_no_thresholds_of_pixels_and_no_other_engine(made, tmp_path):
    pair = [made / letter / "part.tif" for letter in "AB"]
    with pytest.raises(BadOption, match="pixels"):
        geochange.detect(*pair, tmp_path / "out", detector="micro-changes", threshold="otsu")
    options = {"augment": "true"}
    with pytest.raises(BadOption, match="without augment"):
        geochange.detect(*pair, tmp_path / "out", detector="micro-changes", detector_options=options)
