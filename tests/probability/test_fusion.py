import json
from functools import partial
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from geochange.probability.fusion import (
    StackingModel,
    best_threshold,
    fit_logistic,
    log_odds,
    maximum,
    noisy_or,
    stacked,
    stacking_features,
    vote_share,
    weighted_mean,
)
from geochange.probability.raster import quantise

PIXELS = (3, 4)
UINT8, FLOAT32 = np.dtype("uint8"), np.dtype("float32")


def symmetric(count):
    """Every method that treats its sources alike."""
    return {
        "mean": partial(weighted_mean, weights=(1,) * count),
        "maximum": maximum,
        "vote": partial(vote_share, thresholds=(0.5,) * count),
        "noisy-or": noisy_or,
    }


METHODS = sorted(symmetric(1))


@st.composite
def stacks(draw, *, most=5):
    """(source, class, y, x) probabilities, of one byte or float32, and (source, y, x) presence."""
    count, classes = draw(st.integers(1, most)), draw(st.integers(1, 2))
    present = draw(arrays.arrays(bool, (count, *PIXELS)))
    if draw(st.booleans()):
        codes = draw(arrays.arrays(np.uint8, (count, classes, *PIXELS), elements=st.integers(0, 254)))
        return (codes / 254).astype(np.float32), present
    floats = st.floats(0, 1, width=32)
    return draw(arrays.arrays(np.float32, (count, classes, *PIXELS), elements=floats)), present


def some_model(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    return StackingModel(
        sources=tuple("abcdefgh"[:count]),
        classes=tuple(f"class {k}" for k in range(classes)),
        intercept=tuple(rng.normal(size=classes).tolist()),
        weights=tuple(map(tuple, rng.uniform(0, 2, (classes, count)).tolist())),
        missing=tuple(map(tuple, rng.normal(size=(classes, count)).tolist())),
        threshold=0.4,
        pixels={"unchanged": 3},
    )


def every(probability):
    """All methods for a stack: those that treat sources alike, and a weighted mean and a model."""
    count, classes = probability.shape[:2]
    weights = np.random.default_rng(count).integers(1, 5, count).tolist()
    model = some_model(count, classes)
    return {
        **symmetric(count),
        "weighted": partial(weighted_mean, weights=weights),
        "stacking": partial(stacked, model=model),
    }


def column(*probabilities):
    """A stack of one pixel."""
    values = np.array(probabilities, np.float32)[:, None, None, None]
    return np.nan_to_num(values), np.isfinite(values[:, 0])


@given(stacks())
def test_what_is_fused_lies_in_0_to_1_and_is_nodata_where_all_sources_are(stack):
    probability, present = stack
    for name, fuse in every(probability).items():
        fused = fuse(probability, present)
        assert fused.dtype == np.float32, name
        assert fused.shape == probability.shape[1:], name
        np.testing.assert_array_equal(np.isnan(fused), np.broadcast_to(~present.any(axis=0), fused.shape), name)
        seen = fused[np.isfinite(fused)]
        assert ((seen >= 0) & (seen <= 1)).all(), name


@given(stacks(), st.randoms())
def test_the_order_of_the_sources_does_not_matter(stack, random):
    probability, present = stack
    order = list(range(len(probability)))
    random.shuffle(order)
    weights = [0.1 + 0.7 * k for k in range(len(order))]
    for name, fuse in symmetric(len(order)).items():
        np.testing.assert_array_equal(fuse(probability[order], present[order]), fuse(probability, present), name)
    np.testing.assert_array_equal(
        weighted_mean(probability[order], present[order], weights=[weights[k] for k in order]),
        weighted_mean(probability, present, weights=weights),
    )


def test_the_order_does_not_matter_for_weights_that_are_no_binary_fractions():
    codes, weights = (134, 244, 144), (0.3, 0.8, 0.3)  # in some orders a plain sum is off by one bit here
    probability, present = column(*(code / 254 for code in codes))
    orders = [list(order) for order in permutations(range(3))]
    fused = {weighted_mean(probability[o], present, weights=[weights[k] for k in o]).item() for o in orders}
    assert len(fused) == 1


@given(stacks(most=1), st.integers(2, 9), st.sampled_from([UINT8, FLOAT32]))
def test_a_raster_fused_with_itself_is_itself(stack, times, dtype):
    probability, present = (np.repeat(part, times, axis=0) for part in stack)
    valid = present[0]
    expected = quantise(probability[0], valid, dtype)
    weights = np.linspace(0.1, 3, times)
    for fuse in (symmetric(times)["mean"], maximum, partial(weighted_mean, weights=weights)):
        fused = fuse(probability, present)
        np.testing.assert_array_equal(quantise(np.nan_to_num(fused), valid, dtype), expected)
    vote = vote_share(probability, present, thresholds=(0.3,) * times)
    reached = probability[0] >= np.float32(0.3)
    np.testing.assert_array_equal(vote[:, valid], reached[:, valid])


@given(stacks(), st.data())
def test_what_is_fused_rises_with_each_source(stack, data):
    probability, present = stack
    source = data.draw(st.integers(0, len(probability) - 1))
    rise = data.draw(arrays.arrays(np.float32, probability.shape[1:], elements=st.floats(0, 1, width=32)))
    higher = probability.copy()
    higher[source] = np.minimum(higher[source] + rise, 1)
    for name, fuse in every(probability).items():  # the model's weights are none below 0
        before, after = fuse(probability, present), fuse(higher, present)
        assert (after >= before)[np.isfinite(before)].all(), name


@given(stacks(), st.data())
def test_a_source_without_any_data_changes_nothing(stack, data):
    probability, present = stack
    place = data.draw(st.integers(0, len(probability)))
    junk = data.draw(st.sampled_from([0.0, 0.7, np.nan]))
    more = np.insert(probability, place, junk, axis=0), np.insert(present, place, False, axis=0)
    for name, fuse in symmetric(len(probability)).items():
        np.testing.assert_array_equal(symmetric(len(probability) + 1)[name](*more), fuse(probability, present), name)


@given(stacks())
def test_only_the_sources_that_hold_data_are_fused(stack):
    probability, present = stack
    for row, col in np.ndindex(*PIXELS):
        there = present[:, row, col]
        alone = probability[there][:, :, row : row + 1, col : col + 1]
        for name, fuse in symmetric(len(probability)).items():
            fused = fuse(probability, present)[:, row, col]
            if there.any():
                expected = symmetric(len(alone))[name](alone, np.ones((len(alone), 1, 1), bool))[:, 0, 0]
                np.testing.assert_array_equal(fused, expected, name)


@given(stacks())
def test_noisy_or_is_over_the_maximum_and_that_over_the_mean(stack):
    probability, present = stack
    methods = symmetric(len(probability))
    low, middle, high = (methods[name](probability, present) for name in ("mean", "maximum", "noisy-or"))
    seen = np.isfinite(low)
    assert (low <= middle)[seen].all()
    assert (middle <= high)[seen].all()


@given(stacks(), st.integers(1, 3), st.integers(1, 3))
def test_parts_fused_alone_are_parts_of_the_whole(stack, row, col):
    probability, present = stack
    for name, fuse in every(probability).items():
        part = fuse(probability[:, :, :row, :col], present[:, :row, :col])
        np.testing.assert_array_equal(part, fuse(probability, present)[:, :row, :col], name)


@pytest.mark.parametrize(
    ("fuse", "expected"),
    [
        (partial(weighted_mean, weights=(2, 1, 1)), (2 * 0.2 + 0.9) / 3),
        (partial(weighted_mean, weights=(0, 1, 1)), 0.9),
        (maximum, 0.9),
        (partial(vote_share, thresholds=(0.3, 0.9, 0.5)), 0.5),
        (partial(vote_share, thresholds=(0.2, 0.9, 0.5)), 1),
        (noisy_or, 1 - 0.8 * 0.1),
    ],
)
def test_each_method_does_what_it_says(fuse, expected):
    assert fuse(*column(0.2, 0.9, np.nan)).item() == pytest.approx(expected, abs=1e-6)


def test_a_source_that_is_certain_convinces_noisy_or():
    assert noisy_or(*column(1, 0.5)).item() == 1
    assert noisy_or(*column(1e-12, 1e-12)).item() == pytest.approx(2e-12)


@pytest.mark.parametrize("code", [0, 1, 76, 77, 127, 254])
def test_a_stored_value_reaches_a_threshold_that_equals_it(code):
    stored = column(code * (1 / 254))
    assert vote_share(*stored, thresholds=(code / 254,)).item() == 1
    assert vote_share(*stored, thresholds=((code + 0.1) / 254,)).item() == 0


def sampled(seed=0, n=3000, sources=3):
    """(source, n) probabilities of unlike worth, (source, n) presence, and (n,) truth."""
    rng = np.random.default_rng(seed)
    changed = rng.random(n) < 0.2
    noise = rng.normal(size=(sources, n)) * np.arange(1, sources + 1)[:, None]
    probability = 1 / (1 + np.exp(-(3 * changed - 1.5 + noise)))
    return probability.astype(np.float32), rng.random((sources, n)) < 0.8, changed


@pytest.mark.parametrize("penalty", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_fit_is_that_of_scikit_learn(penalty, weighted):
    probability, present, changed = sampled()
    features = stacking_features(probability, present)
    weights = np.random.default_rng(1).uniform(0.1, 3, len(changed)) if weighted else None
    intercept, coefficients = fit_logistic(features, changed, weights, penalty=penalty)
    theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=10_000).fit(features, changed, weights)
    np.testing.assert_allclose(coefficients, theirs.coef_[0], atol=1e-4)
    assert intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)

    model = StackingModel(
        sources=("a", "b", "c"), classes=("change",), intercept=(intercept,), weights=(tuple(coefficients[:3]),),
        missing=(tuple(coefficients[3:]),), threshold=0.5, pixels={},
    )  # fmt: skip
    fused = stacked(probability[:, None, None], present[:, None], model=model)[0, 0]
    seen = present.any(axis=0)
    np.testing.assert_allclose(fused[seen], theirs.predict_proba(features)[seen, 1], atol=1e-4)


def test_classes_that_a_source_tells_apart_end_the_fit_too():
    features = np.repeat([[-6.0], [6.0]], 500, axis=0)
    intercept, coefficients = fit_logistic(features, features[:, 0] > 0)
    theirs = LogisticRegression(tol=1e-10).fit(features, features[:, 0] > 0)
    np.testing.assert_allclose([intercept, *coefficients], [theirs.intercept_[0], *theirs.coef_[0]], atol=1e-4)


@pytest.mark.parametrize("seed", [2790, 2798, 2886])
def test_the_fit_ends_where_full_steps_of_newton_run_away(seed):
    rng = np.random.default_rng(seed)
    features, changed = np.clip(rng.standard_t(1, (12, 2)) * 3, -6, 6), rng.random(12) < 0.3
    weights = 10 ** rng.uniform(-3, 3, 12)
    intercept, coefficients = fit_logistic(features, changed, weights, penalty=1e-3)
    theirs = LogisticRegression(C=1e3, tol=1e-12, solver="newton-cholesky").fit(features, changed, weights)
    np.testing.assert_allclose([intercept, *coefficients], [*theirs.intercept_, *theirs.coef_[0]], atol=1e-4)


def test_a_pixel_of_weight_two_is_two_pixels():
    probability, present, changed = sampled(n=400)
    features = stacking_features(probability, present)
    twice = np.arange(400) < 100
    one = fit_logistic(features, changed, 1.0 + twice)
    two = fit_logistic(np.concatenate([features, features[twice]]), np.concatenate([changed, changed[twice]]))
    np.testing.assert_allclose(one[1], two[1], atol=1e-8)


def test_a_source_without_any_data_leaves_the_model_as_it_is():
    probability, present, changed = sampled(sources=2)
    more = np.insert(probability, 1, 0, axis=0), np.insert(present, 1, False, axis=0)
    alone = fit_logistic(stacking_features(probability, present), changed)
    beside = fit_logistic(stacking_features(*more), changed)
    np.testing.assert_allclose(beside[1], np.insert(alone[1], [1, 3], 0), atol=1e-6)
    assert beside[0] == pytest.approx(alone[0], abs=1e-6)


def test_log_odds_of_certain_sources_are_finite_and_symmetric():
    odds = log_odds(np.array([0, 0.5, 1, np.nan], np.float32))
    assert odds[1] == 0
    assert odds[0] == odds[3] == pytest.approx(-odds[2])
    assert 6 < odds[2] < 7


@given(st.integers(0, 1000))
def test_the_best_threshold_is_that_of_the_greatest_f1(seed):
    rng = np.random.default_rng(seed)
    probability = rng.integers(0, 255, 60) / 254
    changed, weights = rng.random(60) < probability, rng.uniform(0.5, 2, 60)
    assume(changed.any())
    precision, recall, _ = precision_recall_curve(changed, probability, sample_weight=weights)
    expected = (2 * precision * recall / np.maximum(precision + recall, 1e-9))[:-1].max()
    called = probability >= best_threshold(probability, changed, weights)
    hits = weights[called & changed].sum()
    assert 2 * hits / (weights[called].sum() + weights[changed].sum()) == pytest.approx(expected)


@given(st.integers(0, 1000))
def test_change_of_probability_0_counts_as_missed_by_every_threshold(seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 255, 60) * (rng.random(60) < 0.5)
    changed, weights = rng.random(60) < 0.3 + 0.4 * codes / 254, rng.uniform(0.5, 2, 60)
    assume(changed[codes > 0].any())

    def f1(called):
        return 2 * weights[called & changed].sum() / (weights[called].sum() + weights[changed].sum())

    found = best_threshold(codes / 254, changed, weights) * 254
    assert f1(codes >= found) == pytest.approx(max(f1(codes >= code) for code in range(1, 255)))


@pytest.mark.parametrize(
    ("codes", "changed", "last_below"),
    [((25, 203), (0, 1), 114), ((25, 26), (0, 1), 25), ((0, 1), (0, 1), 0), ((253, 254), (0, 1), 253), ((9,), (1,), 4)],
)
def test_of_equal_thresholds_the_middle_one_is_the_best_midway_between_two_bytes(codes, changed, last_below):
    found = best_threshold(np.array(codes) / 254, np.array(changed, bool), np.ones(len(codes)))
    assert found * 254 == pytest.approx(last_below + 0.5)


def test_a_model_is_the_same_after_json():
    model = some_model(3, 2)
    assert StackingModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model


@pytest.mark.parametrize("threshold", [0, 1])
def test_a_model_may_have_any_threshold_from_0_to_1(threshold):
    assert StackingModel.from_dict(some_model(3, 2).to_dict() | {"threshold": threshold}).threshold == threshold


@pytest.mark.parametrize(
    "broken",
    [
        {"weights": [[1, 2]]},
        {"intercept": ["x", 0]},
        {"missing": [[0, 0, 0], [0, float("nan"), 0]]},
        {"threshold": 1.001},
        {"threshold": -0.001},
    ],
)
def test_a_damaged_model_is_no_model(broken):
    with pytest.raises((ValueError, TypeError), match=r"could not convert|finite numbers are needed|outside 0..1"):
        StackingModel.from_dict(some_model(3, 2).to_dict() | broken)
