import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import chi2, norm
from skimage.filters import threshold_otsu
from sklearn.mixture import GaussianMixture

from geochange.detectors.mixture import (
    FEWEST_PAIRS,
    LAG,
    LAG_ROWS,
    NO_CHANGE,
    STATISTIC_BINS,
    Mixture,
    Posterior,
    StatisticCounts,
    bin_values,
    count_statistic,
    fit_mixture,
    fit_posterior,
    neighbour_sum,
    otsu_split,
    otsu_statistic,
    robit,
    statistic_bins,
    statistic_histogram,
)


def roots_of_two_classes(share: float, size: int = 200_000) -> np.ndarray:
    rng = np.random.default_rng(1)
    changed = rng.random(size) < share
    return np.where(changed, rng.normal(3.0, 0.5, size), rng.normal(1.2, 0.2, size)).clip(0)


def histogram_of(statistic: np.ndarray) -> np.ndarray:
    return statistic_histogram(statistic.astype(np.float32), np.ones(statistic.shape, bool))


@given(st.floats(0, 2.0**100, width=32), st.floats(0, 2.0**100, width=32))
def test_bins_keep_the_order_of_the_statistic(a: float, b: float) -> None:
    first, second = statistic_bins(np.array([min(a, b), max(a, b)], np.float32))
    assert first <= second < STATISTIC_BINS


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_a_bin_value_is_within_half_a_percent_of_its_members(value: float) -> None:
    middle = bin_values()[statistic_bins(np.array([value], np.float32))[0]]
    assert middle == pytest.approx(value, rel=0.004)


def test_histogram_counts_valid_pixels_only() -> None:
    statistic = np.array([0.0, 1.0, 1.0, 5.0], np.float32)
    counts = statistic_histogram(statistic, np.array([True, True, True, False]))
    assert counts.sum() == 3
    assert counts[statistic_bins(np.float32(1))] == 2


def test_otsu_agrees_with_skimage() -> None:
    levels = np.arange(256)
    counts = np.rint(1e5 * (norm.pdf(levels, 60, 10) + 0.3 * norm.pdf(levels, 150, 25))).astype(int)
    assert otsu_split(levels.astype(float), counts) == pytest.approx(threshold_otsu(hist=(counts, levels)), abs=1)


def test_otsu_s_threshold_parts_two_values_midway_between_their_lengths() -> None:
    statistic = np.repeat([0.0, 16.0], [70, 30])
    assert otsu_statistic(histogram_of(statistic)) == pytest.approx(4, rel=0.01)
    assert otsu_statistic(histogram_of(statistic[:70])) == 0
    posterior = fit_posterior(histogram_of(statistic))
    assert posterior.thresholds["otsu"] == pytest.approx(posterior.threshold_at(4), abs=1e-3)


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
def test_em_recovers_the_classes_that_made_the_data(share: float) -> None:
    mixture = fit_mixture(histogram_of(roots_of_two_classes(share) ** 4))
    assert mixture.share == pytest.approx(share, rel=0.15)
    assert mixture.means == pytest.approx((1.2, 3.0), abs=0.08)
    assert mixture.deviations == pytest.approx((0.2, 0.5), rel=0.2)


def test_em_agrees_with_sklearn() -> None:
    roots = roots_of_two_classes(0.1, 20_000)
    mixture = fit_mixture(histogram_of(roots**4))
    theirs = GaussianMixture(2, tol=1e-8, max_iter=500, random_state=0).fit(roots[:, None])
    assert sorted(mixture.means) == pytest.approx(sorted(theirs.means_.ravel()), abs=0.01)
    assert mixture.share == pytest.approx(theirs.weights_.min(), abs=0.005)


@pytest.mark.parametrize("statistic", [np.zeros(100), np.full(100, 3.0), np.full(1, 2.0)])
def test_equal_pixels_are_no_change(statistic: np.ndarray) -> None:
    posterior = fit_posterior(histogram_of(statistic), context=0.5)
    tile = np.full((1, 4, 5), statistic[0], np.float32)
    assert posterior.mixture == NO_CHANGE
    assert not posterior.probability(tile, np.ones(tile.shape, bool)).any()
    assert set(posterior.thresholds.values()) == {0.5}


def test_rounding_errors_are_no_change() -> None:
    statistic = np.random.default_rng(0).random(1000) * 1e-11
    assert fit_mixture(histogram_of(statistic), negligible=1e-10) == NO_CHANGE


@pytest.mark.parametrize("ordered", [True, False])
def test_rounding_errors_are_as_probable_as_equal_values(ordered: bool) -> None:
    rng = np.random.default_rng(0)
    statistic = np.concatenate([rng.random(1000) * 1e-5, rng.normal(3, 0.1, 5) ** 4])
    posterior = fit_posterior(histogram_of(statistic), negligible=1e-4, ordered=ordered)
    tile = np.array([[[0, 1e-6, 9e-5, 81]]], np.float32)
    zero, *rounding, large = posterior.probability(tile, np.ones(tile.shape, bool)).ravel()
    assert zero < 0.5 < large
    assert rounding == [zero, zero]


def test_a_few_changes_among_identical_pixels_are_found() -> None:
    statistic = np.zeros(10_000)
    statistic[:30] = np.linspace(4, 9, 30)
    probability = fit_posterior(histogram_of(statistic)).probability(
        statistic.astype(np.float32)[None, None], np.ones((1, 1, 10_000), bool)
    )
    np.testing.assert_array_equal(probability[0, 0] > 0.5, statistic > 0)


@given(
    st.floats(0.001, 0.999),
    st.floats(0.1, 2),
    st.floats(0, 3),
    st.floats(0.05, 2),
    st.floats(0.05, 2),
)
def test_probability_never_falls_with_the_statistic(
    share: float, low: float, gap: float, narrow: float, wide: float
) -> None:
    posterior = Posterior(Mixture(share, (low, low + gap), (narrow, wide)), otsu=1.0)
    assert np.all(np.diff(robit(posterior.log_odds.astype(np.float64))) >= 0)


def test_log_odds_are_those_of_two_normal_classes() -> None:
    mixture = Mixture(0.2, (1.0, 2.0), (0.3, 0.6))
    root = np.linspace(1.2, 3, 20)
    expected = np.log(0.2 * norm.pdf(root, 2, 0.6)) - np.log(0.8 * norm.pdf(root, 1, 0.3))
    np.testing.assert_allclose(mixture.log_odds(root), expected)


def test_robit_is_symmetric_with_the_logistic_slope_and_definite_ends() -> None:
    odds = np.linspace(-9, 9, 31)
    np.testing.assert_allclose(robit(odds) + robit(-odds), 1)
    assert (robit(np.array([1e-4])) - 0.5) / 1e-4 == pytest.approx(0.25, rel=1e-3)
    np.testing.assert_array_equal(robit(np.array([-1e6, 1e6], np.float32)), [0, 1])


def test_a_byte_tells_apart_pixels_on_both_sides_of_the_threshold() -> None:
    statistic = np.concatenate([chi2.rvs(6, size=50_000, random_state=0), 8 * chi2.rvs(6, size=5_000, random_state=1)])
    posterior = fit_posterior(histogram_of(statistic))
    stored = np.rint(254 * posterior.probability(statistic.astype(np.float32)[None, None], np.True_))
    assert np.mean(stored == 0) < 0.01
    assert np.mean(stored == 254) < 0.05


def test_thresholds_map_the_statistic_to_its_own_probability() -> None:
    posterior = fit_posterior(histogram_of(roots_of_two_classes(0.1) ** 4))
    statistic = np.array([[[posterior.otsu]]], np.float32)
    found = posterior.probability(statistic, np.ones((1, 1, 1), bool)).item()
    assert posterior.thresholds["otsu"] == pytest.approx(found, abs=0.03)
    assert posterior.thresholds["default"] == 0.5


def test_what_counts_as_even_lies_midway_between_the_mixture_s_threshold_and_otsu_s() -> None:
    posterior = fit_posterior(histogram_of(roots_of_two_classes(0.1) ** 4))
    middle = (posterior.mixture.even_root + posterior.otsu**0.25) / 2
    assert posterior.threshold_at(middle**4) == pytest.approx(0.5, abs=1e-6)
    em, otsu = posterior.thresholds["em"], posterior.thresholds["otsu"]
    assert min(em, otsu) <= 0.5 <= max(em, otsu)


def test_the_mixture_s_own_threshold_is_where_its_odds_are_even() -> None:
    mixture = fit_mixture(histogram_of(roots_of_two_classes(0.3) ** 4))
    assert mixture.log_odds(np.float64(mixture.even_root)) == pytest.approx(0, abs=0.05)


def test_a_mixture_that_calls_nearly_all_changed_gives_way_to_otsu() -> None:
    rng = np.random.default_rng(0)
    roots = np.concatenate([rng.normal(0.8, 0.1, 10_000), rng.normal(1.45, 0.3, 90_000)])
    posterior = fit_posterior(histogram_of(roots**4))
    assert posterior.mixture.share > 0.8
    assert posterior.threshold_at(posterior.otsu) == pytest.approx(0.5)


def test_neighbour_sum_agrees_with_scipy() -> None:
    field = np.random.default_rng(0).normal(size=(2, 7, 5)).astype(np.float32)
    ring = np.ones((1, 3, 3))
    ring[0, 1, 1] = 0
    np.testing.assert_allclose(neighbour_sum(field), ndimage.convolve(field, ring, mode="mirror"), atol=1e-5)


def test_context_drops_a_lone_pixel_and_fills_a_gap() -> None:
    base = Posterior(Mixture(0.3, (1.0, 2.0), (0.3, 0.3)), otsu=5.0)
    alone, together = base, Posterior(base.mixture, base.otsu, context=0.5)
    statistic = np.ones((1, 9, 9), np.float32)
    statistic[0, 2, 2] = statistic[0, 5:8, 5:8] = 9.0
    statistic[0, 6, 6] = 4.5
    valid = np.ones(statistic.shape, bool)
    assert [alone.probability(statistic, valid)[0, i, i] > 0.5 for i in (2, 6)] == [True, False]
    assert [together.probability(statistic, valid)[0, i, i] > 0.5 for i in (2, 6)] == [False, True]


def test_context_ignores_neighbours_that_are_not_valid() -> None:
    posterior = Posterior(Mixture(0.3, (1.0, 2.0), (0.3, 0.3)), otsu=5.0, context=0.5)
    valid = np.ones((1, 5, 5), bool)
    valid[0, 2, 3] = False
    statistic = np.ones((1, 5, 5), np.float32)
    other = statistic.copy()
    other[0, 2, 3] = 100.0
    before, after = (posterior.probability(each, valid)[valid] for each in (statistic, other))
    np.testing.assert_array_equal(before, after)


def test_json_brings_the_posterior_back() -> None:
    posterior = fit_posterior(histogram_of(roots_of_two_classes(0.1) ** 4), context=0.5)
    assert Posterior.from_json(posterior.to_json()) == posterior


@pytest.mark.parametrize("context", [0.25, 0.5, 2.0])
def test_a_changed_neighbour_adds_the_context_to_the_log_odds(context):
    mixture = Mixture(0.3, (1.0, 2.0), (0.3, 0.3))
    posterior = Posterior(mixture, otsu=5.0, context=context)
    statistic = np.full((1, 5, 5), mixture.even_root**4, np.float32)  # an undecided scene
    statistic[0, 2, 1] = 1e4  # beside the middle: has certainly changed
    bins = statistic_bins(statistic)[0, 2]
    assert posterior.leaning[bins[[1, 2]]] == pytest.approx([1, 0], abs=0.05)
    leaning = posterior.leaning[bins[1]] + 7 * posterior.leaning[bins[2]]
    found = posterior.probability(statistic, np.ones(statistic.shape, bool))[0, 2, 2]
    assert found == pytest.approx(float(robit(posterior.log_odds[bins[2]] + np.float32(context) * leaning)), abs=1e-5)


NOISES = {
    "gamma": lambda rng: rng.gamma(9, 0.2, 50_000),
    "uniform": lambda rng: rng.uniform(1, 2, 50_000),
    "chi": lambda rng: rng.chisquare(3, 50_000) ** 0.25,
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_of_noise_alone_only_what_lies_four_deviations_above_its_mean_counts(noise):
    roots = noise(np.random.default_rng(0))
    counts = histogram_of(roots**4)
    posterior = fit_posterior(counts, context=0.25, ordered=False)
    assert (posterior.noise, posterior.context, "note" in posterior.remarks()) == (True, 0.25, True)
    cut = roots.mean() + 4 * roots.std()
    assert posterior.threshold_at(cut**4) == pytest.approx(0.5, abs=1e-3)
    assert posterior.mixture.means[0] == pytest.approx(roots.mean(), rel=1e-3)
    assert posterior.mixture.deviations == pytest.approx((roots.std(), roots.std()), rel=1e-3)
    assert not fit_posterior(counts).noise


@pytest.mark.parametrize(("share", "noise"), [(0.01, True), (0.02, False)])
def test_noise_has_no_long_tail(share, noise):
    rng = np.random.default_rng(0)
    roots = rng.uniform(1, 2, 50_000)
    roots[: int(share * len(roots))] = rng.uniform(3.5, 4, int(share * len(roots)))
    assert fit_posterior(histogram_of(roots**4), ordered=False).noise is noise


@pytest.mark.parametrize("reaches", [(), (3,), (7,)])
def test_pairs_are_of_valid_pixels_some_columns_apart_in_some_rows(reaches):
    rng = np.random.default_rng(0)
    statistic = (rng.random((31, 43)) * 10.0 ** rng.integers(-12, 4, (31, 43))).astype(np.float32)
    valid = rng.random(statistic.shape) < 0.8
    found, reach = count_statistic(statistic, valid, *reaches), sum(reaches) or 1
    rows, cols = range(0, 31, max(LAG_ROWS, reach)), range(0, 43 - LAG, reach)
    pairs = [(r, c) for r in rows for c in cols if valid[r, c] and valid[r, c + LAG]]
    bins = statistic_bins(np.maximum(statistic, np.float32(1e-6))).astype(float)  # below it lies rounding
    bins -= statistic_bins(np.full(1, 1e-6, np.float32))
    x, y = np.array([(bins[r, c], bins[r, c + LAG]) for r, c in pairs]).T
    np.testing.assert_allclose(found.pairs, [len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y])
    np.testing.assert_array_equal(found.histogram, statistic_histogram(statistic, valid))


def counts_with_correlation(size: int, correlation: float) -> StatisticCounts:
    """Of so many pairs (x, y) with means 3 and 5, deviations 2 and 1."""
    sums = [1, 3, 5, 3**2 + 2**2, 5**2 + 1, 3 * 5 + 2 * 1 * correlation]
    return StatisticCounts(np.zeros(STATISTIC_BINS, np.int64), size * np.array(sums))


@pytest.mark.parametrize(
    ("size", "correlation", "ordered"),
    [
        (FEWEST_PAIRS - 1, 0.0, True),  # too few to tell
        (FEWEST_PAIRS, 0.0, False),
        (FEWEST_PAIRS, 0.14, False),  # three standard errors are 0.15
        (FEWEST_PAIRS, 0.16, True),
        (FEWEST_PAIRS, -0.5, False),
        (10**6, 0.024, False),  # many, so that anything is significant
        (10**6, 0.026, True),
    ],
)
def test_a_scene_is_ordered_where_its_statistic_correlates_with_that_some_pixels_on(size, correlation, ordered):
    counts = counts_with_correlation(size, correlation)
    assert counts.ordered is ordered
    half = StatisticCounts(counts.histogram, counts.pairs / 2)
    assert (half + half).ordered is ordered


def test_equal_pixels_count_as_ordered():
    assert count_statistic(np.full((200, 200), 2.0, np.float32), np.ones((200, 200), bool)).ordered
