from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from skimage.filters import threshold_otsu
from sklearn.mixture import GaussianMixture

from geochange.errors import BadOption, NothingValid
from geochange.probability.options import LocalRule, Threshold, ThresholdOptions, parse_threshold
from geochange.probability.thresholds import HISTOGRAM_METHODS, even_odds, minimum_error, otsu

VALUES = np.arange(255) / 254


def two_classes(share: float) -> np.ndarray:
    density = (1 - share) * norm.pdf(VALUES, 0.3, 0.05) + share * norm.pdf(VALUES, 0.7, 0.1)
    return np.rint(1e6 * density).astype(np.int64)


def test_otsu_agrees_with_skimage() -> None:
    counts = two_classes(0.3)
    assert otsu(counts, VALUES) == pytest.approx(threshold_otsu(hist=(counts, VALUES)), abs=2 / 254)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_minimum_error_lies_where_the_classes_cross(share: float) -> None:
    odds = np.log(share * norm.pdf(VALUES, 0.7, 0.1)) - np.log((1 - share) * norm.pdf(VALUES, 0.3, 0.05))
    crossing = VALUES[np.flatnonzero((odds > 0) & (VALUES > 0.3))[0]]
    assert minimum_error(two_classes(share), VALUES) == pytest.approx(crossing, abs=0.03)


def test_em_is_undecided_where_scikit_learn_s_mixture_is() -> None:
    counts = two_classes(0.2)
    mixture = GaussianMixture(2, random_state=0, tol=1e-8, max_iter=1000).fit(
        np.repeat(VALUES, counts // 1000)[:, None]
    )
    upper = int(np.argmax(mixture.means_.ravel()))
    odds = mixture.predict_proba(VALUES[:, None])[:, upper]
    crossing = VALUES[np.flatnonzero((odds > 0.5) & (VALUES > 0.3))[0]]
    assert even_odds(counts, VALUES) == pytest.approx(crossing, abs=0.01)


def test_em_is_not_drawn_to_the_bin_of_what_is_certain() -> None:
    counts = np.rint(1e4 * norm.pdf(VALUES, 0.7, 0.1)).astype(np.int64)
    counts[:3] = 10**7, 10**5, 10**4
    assert 0.02 < even_odds(counts, VALUES) < 0.5


@pytest.mark.parametrize("method", HISTOGRAM_METHODS.values())
def test_a_lone_value_is_no_change(method) -> None:
    counts = np.bincount([40] * 9, minlength=255)
    assert VALUES[40] < method(counts, VALUES) < VALUES[41]


@pytest.mark.parametrize("method", HISTOGRAM_METHODS.values())
@pytest.mark.parametrize("values", [VALUES, 0.3 + VALUES / 4])
def test_the_threshold_of_a_lone_value_is_the_upper_edge_of_its_bin(method, values) -> None:
    for place in (0, 40, 254):
        counts = np.bincount([place] * 9, minlength=255)
        assert method(counts, values) == pytest.approx(values[place] + (values[1] - values[0]) / 2, abs=1e-12)


@pytest.mark.parametrize("method", HISTOGRAM_METHODS.values())
def test_an_empty_histogram_is_refused(method) -> None:
    with pytest.raises(NothingValid, match=r"no pixel of the raster holds data"):
        method(np.zeros(255, int), VALUES)


@pytest.mark.parametrize("method", HISTOGRAM_METHODS.values())
@given(counts=st.lists(st.integers(0, 10**6), min_size=255, max_size=255).filter(lambda c: sum(map(bool, c)) > 1))
def test_thresholds_lie_between_occupied_values(method, counts: list[int]) -> None:
    occupied = VALUES[np.array(counts) > 0]
    assert occupied[0] < method(np.array(counts), VALUES) < occupied[-1] + 1 / 254


def midway_of_best(counts: np.ndarray, cost) -> float:
    """The middle between the two occupied bins at which pixels, cut there, cost least."""
    occupied = np.flatnonzero(counts)
    pixels, costs = np.repeat(VALUES, counts), {}
    for last, first in pairwise(occupied):
        below, above = pixels[pixels <= VALUES[last]], pixels[pixels >= VALUES[first]]
        costs[(VALUES[last] + VALUES[first]) / 2] = cost(below, above, counts)
    return min(costs, key=costs.get)


def inner_variance(below: np.ndarray, above: np.ndarray, counts: np.ndarray) -> float:
    return below.size * below.var() + above.size * above.var()


def expected_error(below: np.ndarray, above: np.ndarray, counts: np.ndarray) -> float:
    """Kittler and Illingworth's criterion; a value is rounded to its bin, which is as wide as bins lie apart."""
    rounding = np.diff(VALUES[counts > 0]).min() ** 2 / 12
    shares = [each.size / (below.size + above.size) for each in (below, above)]
    deviations = [np.sqrt(each.var() + rounding) for each in (below, above)]
    return sum(share * (np.log(sd) - np.log(share)) for share, sd in zip(shares, deviations, strict=True))


@pytest.mark.parametrize("apart", [1, 20])
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("method", "cost"), [(otsu, inner_variance), (minimum_error, expected_error)])
def test_thresholds_are_where_their_criterion_is_least_over_all_splits(method, cost, seed: int, apart: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.zeros(255, int)
    places = apart * rng.choice(254 // apart, rng.integers(2, 60 // apart + 5), replace=False)
    counts[places] = np.maximum(1, rng.lognormal(2, 1.5, places.size) + 200 * (places < 60)).astype(int)
    assert method(counts, VALUES) == pytest.approx(midway_of_best(counts, cost), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0.5", Threshold(0.5, 0.5)),
        ("0.3:0.8", Threshold(0.3, 0.8)),
        ("0", Threshold(0, 0)),
        ("1", Threshold(1, 1)),
        ("otsu", "otsu"),
        ("em", "em"),
        ("kittler", "kittler"),
        ("f1", "f1"),
        ("recall=0.9", "recall=0.9"),
        ("local", LocalRule()),
        ("local:300m:0.8", LocalRule(size=300, metres=True, high=0.8)),
        ("default", "default"),
    ],
)
def test_thresholds_are_parsed(text: str, parsed: Threshold | str) -> None:
    assert parse_threshold(text) == parsed


@pytest.mark.parametrize(
    "text", ["1.5", "-0.1", "nan", "0.8:0.3", "0.2:1.2", ":0.3", "0.3:x", "much", "", "1:2:3", "local:", "local:x"]
)
def test_bad_thresholds_are_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"is not a number|must (lie in 0..1|be as in local)"):
        parse_threshold(text)


@given(st.floats(0, 1, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False))
def test_a_threshold_reads_its_own_text(a: float, b: float) -> None:
    low, high = sorted((round(a, 4), round(b, 4)))
    assert parse_threshold(Threshold(low, high).text) == Threshold(low, high)


LABELLED = {"labels": "labels.tif"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": "f1"}, "f1 and a label column need --labels"),
        ({"threshold": "recall=0.9", "label_column": "changed"}, "f1 and a label column need --labels"),
        ({"threshold": None, **LABELLED}, "labels need a threshold of .*; it is the default"),
        ({"threshold": 0.25, **LABELLED}, "labels need a threshold of .*; it is 0.25"),
        ({"threshold": "otsu", **LABELLED}, "labels need a threshold of .*; it is otsu"),
        ({"threshold": "local", **LABELLED}, "labels need a threshold of .*; it is local"),
        ({"threshold": 1.5}, r"must lie in 0\.\.1"),
        ({"threshold": "precision=1.5"}, "share above 0 and at most 1"),
        ({"threshold": "recall=0"}, "share above 0 and at most 1"),
        ({"threshold": "recall=much"}, "share above 0 and at most 1"),
    ],
)
def test_threshold_options_that_cannot_be_are_refused(options, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        ThresholdOptions(**options)


@pytest.mark.parametrize(
    ("options", "parsed"),
    [
        ({}, "default"),
        ({"threshold": 0.25}, Threshold(0.25, 0.25)),
        ({"threshold": 0}, Threshold(0, 0)),
        ({"threshold": "0.3:0.8"}, Threshold(0.3, 0.8)),
        ({"threshold": "precision=1"}, "precision=1"),
        ({"threshold": "recall=0.9"}, "recall=0.9"),
        ({"threshold": "f1", **LABELLED}, "f1"),
        ({"threshold": "precision=0.9", "label_column": "changed", **LABELLED}, "precision=0.9"),
        ({"threshold": "recall=0.9", **LABELLED}, "recall=0.9"),
    ],
)
def test_threshold_options_are_read(options, parsed) -> None:
    assert ThresholdOptions(**options).parsed_threshold == parsed


@pytest.mark.parametrize(
    ("threshold", "text", "peak", "record"),
    [
        (Threshold(0.5, 0.5), "0.5", 0, 0.5),
        (Threshold(0.0, 0.0), "0", 0, 0),
        (Threshold(0.25, 0.75), "0.25:0.75", 0.75, [0.25, 0.75]),
    ],
)
def test_only_hysteresis_has_a_peak_and_two_numbers(threshold, text, peak, record) -> None:
    assert (threshold.text, threshold.peak, threshold.record) == (text, peak, record)
