"""The contract for detectors."""

from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import numpy as np
import pytest

from geochange.detectors.catalogue import RADAR, TRAINING_FREE, detector_class
from geochange.detectors.detector import DEFAULT_TILE, Scores, values_for


@pytest.mark.parametrize("values", ["stored", "physical"])
def test_a_detector_takes_the_values_that_it_says(values):
    assert values_for(SimpleNamespace(values=values)) == values


def test_a_detector_that_says_nothing_takes_quantities():
    assert values_for(SimpleNamespace()) == "physical"


def test_scores_have_no_layers_and_no_boxes_unless_they_are_given():
    first, second = (Scores(np.zeros((1, 1, 2, 3), np.float32)) for _ in range(2))
    assert first.layers == {}
    assert first.layers is not second.layers
    assert first.boxes == ()
    with pytest.raises(FrozenInstanceError):
        first.boxes = ()


def test_scores_hold_probability_layers_and_boxes_in_this_order():
    probability, layer = np.zeros((1, 1, 2, 3), np.float32), np.ones((1, 2, 2, 3), np.float32)
    scores = Scores(probability, {"difference": layer}, ("boxes",))
    assert scores.probability is probability
    assert scores.layers["difference"] is layer
    assert scores.boxes == ("boxes",)


def test_a_tile_has_512_pixels_a_side_by_default():
    assert DEFAULT_TILE == 512


@pytest.mark.parametrize("name", [*TRAINING_FREE, *RADAR])
def test_a_detector_without_training_and_what_it_fits_have_its_name_in_the_catalogue(name):
    kind = detector_class(name)
    assert (kind.name, kind.fitted.name) == (name, name)
    assert values_for(kind()) in ("stored", "physical")
