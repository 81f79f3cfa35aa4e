import numpy as np
import pytest
from scipy.stats import chi2

from geochange.detectors.equal_backscatter import factor_tests, null_cumulants, omnibus_test

PIXELS = 200_000
MIXED = np.array([[1.1], [4.0], [20.0]])


def speckle(looks: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.gamma(looks[..., None], 1 / looks[..., None], (*looks.shape, PIXELS))


def even(looks: float, dates: int, bands: int) -> np.ndarray:
    return np.full((dates, bands), looks)


@pytest.mark.parametrize(
    "looks", [*(even(n, k, b) for n, k, b in [(1, 2, 1), (1, 2, 2), (2.5, 3, 2), (4.4, 6, 2), (20, 2, 1)]), MIXED]
)
def test_false_alarms_are_as_many_as_asked_for(looks):
    p_value = omnibus_test(speckle(looks), looks).p_value
    for significance in (0.01, 0.05):
        assert np.mean(p_value < significance) == pytest.approx(significance, rel=0.1)


def test_rare_false_alarms_at_a_single_look_are_as_many_as_asked_for():
    looks = even(1.0, 2, 1)
    rejected = [omnibus_test(speckle(looks, seed), looks).p_value < 0.001 for seed in range(10)]
    assert np.mean(rejected) == pytest.approx(0.001, rel=0.1)


def test_false_alarms_of_each_factor_are_as_many_as_asked_for_and_independent():
    looks = even(2.0, 4, 2)
    rejected = np.stack([test.p_value < 0.05 for test in factor_tests(speckle(looks, 1), looks)])
    np.testing.assert_allclose(rejected.mean(axis=1), 0.05, rtol=0.1)
    together = np.mean(rejected[0] & rejected[1])
    assert together == pytest.approx(0.05**2, rel=0.2)


def test_the_factors_multiply_to_the_whole():
    looks = MIXED * np.ones((1, 2))
    intensities = speckle(looks)[..., :500]
    parts = sum(test.statistic for test in factor_tests(intensities, looks))
    np.testing.assert_allclose(parts, omnibus_test(intensities, looks).statistic, rtol=1e-9)


def expansion(statistic: np.ndarray, looks: float, dates: int, bands: int) -> np.ndarray:
    """P values by the rho and omega_2 of Conradsen et al. for the covariance of independent bands, p = 1 each."""
    freedom = bands * (dates - 1)
    rho = 1 - (dates + 1) / (6 * dates * looks)
    omega = -freedom / 4 * (1 - 1 / rho) ** 2
    z = rho * statistic
    return 1 - (chi2.cdf(z, freedom) + omega * (chi2.cdf(z, freedom + 4) - chi2.cdf(z, freedom)))


@pytest.mark.parametrize(("looks", "dates", "bands"), [(3, 2, 1), (4.4, 5, 2), (12, 8, 2)])
def test_p_values_agree_with_the_expansion_of_conradsen_from_three_looks_on(looks, dates, bands):
    looks_of_all = even(looks, dates, bands)
    found = omnibus_test(speckle(looks_of_all)[..., :2000], looks_of_all)
    expected = expansion(found.statistic, looks, dates, bands)
    near = (expected > 1e-3) & (expected < 0.5)  # where a threshold may lie
    np.testing.assert_allclose(found.p_value[near], expected[near], rtol=0.03)


@pytest.mark.parametrize(("bands", "times"), [(1, 1.3), (2, 1.5)])
def test_the_expansion_gives_too_many_false_alarms_at_a_single_look(bands, times):
    looks = even(1, 2, bands)
    p_value = expansion(omnibus_test(speckle(looks), looks).statistic, 1, 2, bands)
    assert np.mean(p_value < 0.01) / 0.01 == pytest.approx(times, rel=0.06)


def test_the_cumulants_are_those_of_a_simulation():
    statistic = omnibus_test(speckle(MIXED), MIXED).statistic
    mean, variance, third = null_cumulants(MIXED)
    assert statistic.mean() == pytest.approx(mean, rel=0.01)
    assert statistic.var() == pytest.approx(variance, rel=0.03)
    assert np.mean((statistic - statistic.mean()) ** 3) == pytest.approx(third, rel=0.1)


def test_gain_and_the_order_of_the_dates_change_nothing():
    looks = MIXED * np.ones((1, 2))
    intensities = speckle(looks)[..., :500]
    expected = omnibus_test(intensities, looks).p_value
    turned = omnibus_test(intensities[::-1] * 1e6, looks[::-1]).p_value
    np.testing.assert_allclose(turned, expected, rtol=1e-6)


def test_equal_dates_have_a_p_value_of_1_and_doubled_ones_a_small_one():
    dates = np.array([[[1.0, 1.0]], [[1.0, 4.0]]])
    p_value = omnibus_test(dates, np.full((2, 1), 20.0)).p_value
    assert p_value[0] == 1
    assert p_value[1] < 1e-3
