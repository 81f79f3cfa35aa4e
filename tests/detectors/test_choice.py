"""geochange.detectors.choice."""

from dataclasses import replace

import pytest

import geochange
from geochange.detectors.catalogue import names
from geochange.detectors.choice import SceneFacts, choose_detector
from geochange.errors import BadOption
from tests.stand_ins import changed_pair, write_raster

UNKNOWN = frozenset[str]()
RGB = tuple(frozenset({colour}) for colour in ("red", "green", "blue"))
PAIR = SceneFacts(dates=2, names=RGB, gsd=1.0, largest=255, networks=True)


@pytest.mark.parametrize(
    ("facts", "wanted", "why"),
    [
        (PAIR, "landscape", "8 bits at 1 m"),
        (replace(PAIR, gsd=None), "landscape", "8 bits"),
        (replace(PAIR, networks=False), "ir-mad", "PyTorch is not installed"),
        (replace(PAIR, gsd=30.0), "ir-mad", "3 bands"),
        (replace(PAIR, largest=65535), "ir-mad", "3 bands"),
        (replace(PAIR, names=RGB[::-1]), "ir-mad", "3 bands"),
        (replace(PAIR, names=(UNKNOWN,) * 3), "ir-mad", "3 bands"),
        (replace(PAIR, names=(*RGB, frozenset({"nir"}))), "ir-mad", "4 bands"),
        (replace(PAIR, names=(UNKNOWN,)), "change-vector", "1 band"),
        (replace(PAIR, names=(UNKNOWN,) * 2), "change-vector", "2 bands"),
        (replace(PAIR, names=(frozenset({"vv"}), frozenset({"vh"}))), "log-ratio", "radar"),
        (replace(PAIR, names=(frozenset({"vv"}),), dates=5), "omnibus", "5 radar images"),
        (replace(PAIR, dates=8), "breaks", "8 dates"),
    ],
)
def test_the_choice_follows_dates_bands_and_pixel_size(facts, wanted, why):
    found, reason = choose_detector(facts)
    assert found == wanted
    assert why in reason
    assert found in names()


def test_detect_says_what_it_chose_and_why(tmp_path):
    before, after = changed_pair((80, 90), bands=4)
    paths = [write_raster(tmp_path / f"{place}.tif", date) for place, date in enumerate((before, after))]
    found = geochange.detect(*paths, tmp_path / "auto", detector="auto")
    plain = geochange.detect(*paths, tmp_path / "plain", detector="ir-mad")
    assert found.record["detector"]["name"] == "ir-mad"
    assert found.record["detector"]["chosen_for"] == "4 bands"
    assert "chosen_for" not in plain.record["detector"]
    assert found.probability.read_bytes() == plain.probability.read_bytes()


def test_options_of_a_detector_need_its_name(tmp_path):
    paths = [write_raster(tmp_path / f"{place}.tif", date) for place, date in enumerate(changed_pair((40, 40)))]
    with pytest.raises(BadOption, match="name the detector"):
        geochange.detect(*paths, tmp_path / "out", detector="auto", detector_options={"context": "0"})
