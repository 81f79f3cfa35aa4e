"""The picture: what is painted where, and that its colours can be distinguished."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from geochange.evaluation.classes import Classes
from geochange.evaluation.picture import (
    COLOURS,
    HATCH,
    Outcome,
    classify_outcomes,
    count_outcomes,
    draw_outcomes,
)
from geochange.evaluation.pixel_scores import confusion

# Machado, Oliveira & Fernandes (2009), severity 1.0: matrices on linear RGB.
SIGHT = {
    "common": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen_colour(colour, matrix):
    """CIELAB of an sRGB colour as somebody with that sight sees it."""
    srgb = np.array(colour) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(matrix) @ linear, 0, 1)
    return rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_can_be_distinguished(sight):
    seen = [seen_colour(colour, SIGHT[sight]) for colour in COLOURS.values()]
    assert min(deltaE_ciede2000(a, b) for a, b in combinations(seen, 2)) >= 15


def test_outcomes_of_two_classes():
    reference, predicted = np.array([[0, 0, 1, 1]]), np.array([[0, 1, 0, 1]])
    found = classify_outcomes(predicted, reference, np.ones((1, 4), bool))
    assert found.tolist() == [[Outcome.UNCHANGED, Outcome.FALSE_ALARM, Outcome.MISS, Outcome.HIT]]


def test_outcomes_of_several_classes_and_of_pixels_not_scored():
    reference, predicted = np.array([[2, 2, 2, 255]]), np.array([[2, 3, 2, 2]])
    found = classify_outcomes(predicted, reference, np.array([[True, True, False, False]]))
    assert found.tolist() == [[Outcome.HIT, Outcome.WRONG_CLASS, Outcome.NOT_SCORED, Outcome.NOT_SCORED]]


def test_counts_from_a_confusion_matrix_are_those_of_the_pixels():
    rng = np.random.default_rng(0)
    reference, predicted = rng.integers(0, 3, (2, 30, 30))
    valid = rng.random((30, 30)) < 0.8
    outcomes = classify_outcomes(predicted, reference, valid)
    counts = count_outcomes(confusion(predicted, reference, valid, Classes(labels=(0, 1, 2))))
    assert counts == {outcome: np.count_nonzero(outcomes == outcome) for outcome in counts}


def five_patches():
    """A 640 px wide picture, not enlarged, with a patch of each outcome that is a change."""
    outcomes = np.full((100, 640), Outcome.UNCHANGED, np.uint8)
    for place, outcome in enumerate((Outcome.HIT, Outcome.MISS, Outcome.FALSE_ALARM, Outcome.WRONG_CLASS)):
        outcomes[20:60, 40 + 100 * place : 80 + 100 * place] = outcome
    outcomes[80:] = Outcome.NOT_SCORED
    return outcomes


def test_plain_picture_shows_each_outcome_in_its_colour():
    outcomes = five_patches()
    picture = draw_outcomes(outcomes)
    for outcome in set(Outcome) - {Outcome.NOT_SCORED}:
        assert (picture[:100][outcomes == outcome] == COLOURS[outcome]).all()
    hatch = picture[80:100].reshape(-1, 3)
    assert {tuple(colour) for colour in hatch.tolist()} == {COLOURS[Outcome.NOT_SCORED], HATCH}


def test_legend_holds_a_swatch_of_each_outcome_on_offer():
    outcomes = five_patches()
    legend = draw_outcomes(outcomes)[100:].reshape(-1, 3)
    colours = {tuple(colour) for colour in legend.tolist()}
    assert set(COLOURS.values()) <= colours
    outcomes[outcomes == Outcome.WRONG_CLASS] = Outcome.HIT
    legend = draw_outcomes(outcomes)[100:].reshape(-1, 3)
    assert COLOURS[Outcome.WRONG_CLASS] not in {tuple(colour) for colour in legend.tolist()}


def test_legend_tells_the_counts_of_the_whole_scene():
    outcomes = five_patches()
    own, scene = (draw_outcomes(outcomes, counts=counts) for counts in (None, {Outcome.HIT: 123_456_789}))
    assert (own[:100] == scene[:100]).all()
    assert own[100:].shape != scene[100:].shape or (own[100:] != scene[100:]).any()


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (700, 3), (20, 30)])
def test_any_shape_gives_a_picture_with_its_legend_in_full(shape):
    outcomes = np.full(shape, Outcome.MISS, np.uint8)
    picture = draw_outcomes(outcomes, {Outcome.MISS: 10**12})
    legend = picture[shape[0] * max(1, 640 // max(shape)) :]
    assert (legend < 100).any()
    assert (legend[:, -1] == 255).all()  # no text is cut off
