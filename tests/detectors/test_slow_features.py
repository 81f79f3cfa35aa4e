import numpy as np
import pytest
from scipy.stats import chi2

from geochange.detectors.slow_features import SlowFeatures, slow_features
from geochange.detectors.statistics import moments_of
from geochange.scenes.grid import Tile
from tests.memory_blocks import changed_scene, fit, pair


def test_features_have_unit_variance_are_uncorrelated_and_ordered() -> None:
    scene, _ = changed_scene()
    moments = moments_of(scene.pixels.reshape(8, -1))
    found = slow_features(moments, moments.variance, ridge=1e-9)
    before = found.weights.copy()
    before[:, 4:] = 0
    after = found.weights - before
    own = (before @ moments.covariance @ before.T + after @ moments.covariance @ after.T) / 2
    np.testing.assert_allclose(own, np.eye(4), atol=1e-5)
    difference = found.weights @ moments.covariance @ found.weights.T
    np.testing.assert_allclose(difference, np.diag(found.similarity), atol=1e-5)
    assert np.all(np.diff(found.similarity) >= 0)


def test_no_combination_of_bands_is_slower_than_the_first_feature() -> None:
    scene, _ = changed_scene()
    pixels = scene.pixels.reshape(2, 4, -1).astype(np.float64)
    standard = (pixels - pixels.mean(axis=2, keepdims=True)) / pixels.std(axis=2, keepdims=True)
    moments = moments_of(scene.pixels.reshape(8, -1))
    slowest = slow_features(moments, moments.variance, ridge=1e-9).similarity[0]
    for direction in np.random.default_rng(0).normal(size=(200, 4)):
        before, after = direction @ standard[0], direction @ standard[1]
        assert np.var(before - after) / ((before.var() + after.var()) / 2) >= slowest - 1e-9


@pytest.mark.parametrize("bands", [1, 3])
def test_without_change_the_statistic_is_chi_square_distributed(bands: int) -> None:
    rng = np.random.default_rng(3)
    before = rng.normal(size=(bands, 150, 150))
    scene = pair(before, before + 0.3 * rng.normal(size=before.shape))
    fitted = fit(SlowFeatures(), scene)
    pixels, valid = scene.read(Tile(0, 0, *scene.shape))
    found = fitted.score(pixels[None], valid[None], ("chi-square",)).layers["chi-square"]
    quantiles = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(np.quantile(found, quantiles), chi2.ppf(quantiles, bands), rtol=0.15)
