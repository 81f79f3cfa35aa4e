"""Thresholds as a user writes them: what is parsed, what is refused, and with which words."""

import re

import pytest

from geochange.errors import BadOption
from geochange.probability.options import (
    FitOptions,
    LocalRule,
    Threshold,
    ThresholdOptions,
    parse_local,
    parse_threshold,
)
from geochange.scenes.grid import Tile


def refused(words):
    return pytest.raises(BadOption, match=re.escape(words))


def test_a_plain_threshold_has_one_number_and_no_peak():
    plain = Threshold(0.3, 0.3)
    assert (plain.text, plain.peak, plain.record) == ("0.3", 0.0, 0.3)
    assert plain.at(Tile(3, 5, 2, 7)) == 0.3


def test_a_threshold_with_hysteresis_has_two_numbers_and_a_peak():
    pair = Threshold(0.4, 0.7)
    assert (pair.text, pair.peak, pair.record) == ("0.4:0.7", 0.7, [0.4, 0.7])
    assert pair.at(Tile(3, 5, 2, 7)) == 0.4


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (1.5, 1.5), (0.2, 2)])
def test_a_threshold_from_zero_with_the_low_one_first_is_taken(low, high):
    assert (Threshold(low, high).low, Threshold(low, high).high) == (low, high)


@pytest.mark.parametrize(("low", "high", "text"), [(-0.1, 0.5, "-0.1:0.5"), (0.7, 0.4, "0.7:0.4"), (-1, -1, "-1")])
def test_a_threshold_below_zero_or_with_the_high_one_first_is_refused(low, high, text):
    with refused(f"threshold {text} must lie in 0..1, the low one first; try 0.5 or 0.4:0.7"):
        Threshold(low, high)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("local", LocalRule(size=512, metres=False, high=None)),
        ("local:64", LocalRule(size=64, metres=False, high=None)),
        ("local:64px", LocalRule(size=64, metres=False, high=None)),
        ("local:7.5m", LocalRule(size=7.5, metres=True, high=None)),
        ("local:300m:0.8", LocalRule(size=300, metres=True, high=0.8)),
        ("local:32:1", LocalRule(size=32, metres=False, high=1)),
        ("local:32px:0", LocalRule(size=32, metres=False, high=0)),
    ],
)
def test_a_local_threshold_is_parsed(text, rule):
    assert parse_local(text) == parse_threshold(text) == rule


@pytest.mark.parametrize("text", ["local:", "local:px", "local:5km", "local:64px:", "local::0.8", "local:64px:0.8:1"])
def test_another_text_that_begins_with_local_is_refused(text):
    with refused(f"threshold '{text}' must be as in local, local:512px, local:300m or local:512px:0.8"):
        parse_threshold(text)


def test_cells_of_fewer_than_32_pixels_are_refused():
    assert LocalRule(size=32).side(None) == 32
    with refused("threshold local: cells of 31 pixels are too small; 32 are the least"):
        LocalRule(size=31)


def test_cells_in_metres_are_as_many_pixels_as_the_pixel_size_gives():
    rule = LocalRule(size=80, metres=True)
    assert (rule.side(2.5), rule.side(2.0), rule.side(0.3)) == (32, 40, 267)
    with refused("threshold local: cells of 31 pixels are too small; 32 are the least"):
        rule.side(2.6)
    with refused("threshold local:80m needs a CRS, which the raster lacks; give pixels"):
        rule.side(None)


def test_cells_in_pixels_do_not_depend_on_the_pixel_size():
    assert LocalRule(size=40.4).side(10.0) == 40


@pytest.mark.parametrize("high", [-0.1, 1.1])
def test_a_local_peak_outside_zero_to_one_is_refused(high):
    with refused(f"threshold local with hysteresis: {high:g} must lie in 0..1, as in local:512px:0.8"):
        LocalRule(high=high)


@pytest.mark.parametrize(
    "name", ["otsu", "em", "kittler", "default", "f1", "precision=0.9", "recall=1", "recall=0.001"]
)
def test_the_name_of_a_threshold_stays_a_name(name):
    assert parse_threshold(name) == name


@pytest.mark.parametrize("text", ["precision=0", "recall=1.01", "precision=-0.5", "recall=much", "precision=nan"])
def test_a_share_that_is_not_above_zero_and_at_most_one_is_refused(text):
    with refused(f"threshold '{text}' must name a share above 0 and at most 1, as in precision=0.9"):
        parse_threshold(text)


@pytest.mark.parametrize(("text", "low", "high"), [("0.5", 0.5, 0.5), ("0.2:0.9", 0.2, 0.9), ("0", 0, 0), ("1", 1, 1)])
def test_numbers_are_parsed(text, low, high):
    assert parse_threshold(text) == Threshold(low, high)


@pytest.mark.parametrize("text", ["1.01", "0.5:1.01", "-0.1", "0.7:0.4"])
def test_numbers_outside_zero_to_one_or_in_the_wrong_order_are_refused(text):
    with refused(f"threshold {text} must lie in 0..1, the low one first; try 0.5 or 0.4:0.7"):
        parse_threshold(text)


@pytest.mark.parametrize("text", ["", "much", "0.4:", ":0.7", "otsu2"])
def test_what_is_no_threshold_is_refused_with_those_there_are(text):
    known = "low:high, local:512px, precision=0.9, recall=0.9, f1, otsu, em, kittler"
    with refused(f"threshold '{text}' is not a number, or one of {known}"):
        parse_threshold(text)


def test_the_threshold_of_the_options_is_parsed():
    assert ThresholdOptions().parsed_threshold == "default"
    assert ThresholdOptions(threshold=0.25).parsed_threshold == Threshold(0.25, 0.25)
    assert ThresholdOptions(threshold="0.2:0.9").parsed_threshold == Threshold(0.2, 0.9)


@pytest.mark.parametrize("wanted", ["precision=0.9", "recall=0.9", "f1"])
def test_labels_go_with_the_thresholds_that_are_found_by_them(wanted):
    assert ThresholdOptions(threshold=wanted, labels="known.tif", label_column="changed").parsed_threshold == wanted


@pytest.mark.parametrize("wanted", [None, 0.5, "otsu", "local"])
def test_labels_with_another_threshold_are_refused(wanted):
    words = f"labels need a threshold of precision=0.9, recall=0.9 or f1; it is {wanted or 'the default'}"
    with refused(words):
        ThresholdOptions(threshold=wanted, labels="known.tif")


@pytest.mark.parametrize("given", [{"threshold": "f1"}, {"threshold": "recall=0.9", "label_column": "changed"}])
def test_what_needs_labels_is_refused_without_them(given):
    with refused("threshold f1 and a label column need --labels: a raster or layer that says what changed"):
        ThresholdOptions(**given)


def test_a_share_that_a_network_keeps_needs_no_labels():
    assert ThresholdOptions(threshold="recall=0.9").labels is None


def test_the_penalty_of_a_fit_is_above_zero_and_finite():
    assert (FitOptions().penalty, FitOptions().seed, FitOptions(penalty=1e-9, seed=7).penalty) == (1.0, 0, 1e-9)
    for penalty in (0.0, -1.0, float("inf")):
        with refused(f"penalty {penalty} must be above 0"):
            FitOptions(penalty=penalty)


def test_the_seed_of_a_fit_is_not_below_zero():
    with refused("seed -1 must be 0 or more"):
        FitOptions(seed=-1)
