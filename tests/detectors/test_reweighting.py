"""What IR-MAD and iterated slow features share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from geochange.detectors import reweighting
from geochange.detectors.catalogue import detector
from geochange.detectors.contrast import STATISTIC_ROUNDING
from geochange.detectors.ir_mad import mad_variates
from geochange.detectors.mixture import count_statistic, fit_posterior
from geochange.detectors.reweighting import Reweighting, consistency_factor, excess_spread
from geochange.detectors.slow_features import slow_features
from geochange.detectors.statistics import Moments, fence_of, moments_of
from geochange.scenes.grid import Tile
from tests.memory_blocks import MemoryScene, changed_scene, fit

NAMES = ["ir-mad", "slow-features"]
SOLVERS = [mad_variates, slow_features]


def moments_and_scale(seed: int = 0) -> tuple[Moments, np.ndarray]:
    """Moments of a scene, and variances by which to regularise them: others than its own."""
    moments = moments_of(changed_scene(seed=seed)[0].pixels.reshape(8, -1))
    return moments, moments.variance * np.random.default_rng(seed).uniform(0.5, 3, 8)


@pytest.mark.parametrize("solve", SOLVERS)
@pytest.mark.parametrize("seed", range(4))
def test_the_parts_of_a_variate_rise_with_the_bands_of_their_dates(solve, seed):
    moments, scale = moments_and_scale(seed)
    weights = solve(moments, scale, ridge=1e-6).weights
    before, after = -weights[:, :4], weights[:, 4:]
    unit = np.sqrt(moments.variance if solve is slow_features else scale)
    if solve is slow_features:  # one feature of both dates
        np.testing.assert_allclose(before * unit[:4], after * unit[4:], rtol=1e-4)
    covariance = moments.covariance / unit
    loadings = before @ covariance[:4, :4] + after @ covariance[4:, 4:]
    assert (loadings.sum(axis=1) > 0).all()


@pytest.mark.parametrize("solve", SOLVERS)
def test_the_ridge_has_no_unit(solve):
    moments, scale = moments_and_scale()
    gain = np.array([0.01, 5, 300, 1, 40, 2, 0.1, 7.0])
    other = Moments(moments.weight, moments.mean * gain, moments.scatter * np.outer(gain, gain))
    one, two = solve(moments, scale, ridge=0.3), solve(other, scale * gain**2, ridge=0.3)
    assert not np.allclose(one.similarity, solve(moments, scale, ridge=0.03).similarity, rtol=0.05)
    np.testing.assert_allclose(two.similarity, one.similarity, rtol=1e-6)
    np.testing.assert_allclose(np.abs(two.weights * gain), np.abs(one.weights), rtol=1e-6)  # signs follow the units
    np.testing.assert_allclose(two.variance, one.variance, rtol=1e-6)
    assert two.freedom == pytest.approx(one.freedom)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("places", "freedom"), [([0], 1), ([0, 1], 2), ([0, 1, 2, 3], 4), ([0, 1, 2, 1], 3)])
def test_each_band_that_is_not_a_copy_is_a_degree_of_freedom(name, places, freedom):
    scene, _ = changed_scene()
    fitted = fit(detector(name), MemoryScene(scene.pixels[:, places], scene.valid))
    assert fitted.freedom == freedom
    assert fitted.summary()["freedom"] == freedom


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", [1000, 100_000])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_as_many_iterations_as_are_allowed_are_made(name, iterations, sample, monkeypatch):
    monkeypatch.setattr(reweighting, "ITERATION_SAMPLE", sample)
    scene, _ = changed_scene()
    assert fit(detector(name, {"iterations": iterations, "tolerance": 0.0}), scene).iterations == iterations


@pytest.mark.parametrize("name", NAMES)
def test_one_iteration_is_that_of_all_pixels_weighing_the_same(name, monkeypatch):
    scene, _ = changed_scene()
    moments = moments_of(scene.pixels.reshape(8, -1))
    solve = dict(zip(NAMES, SOLVERS, strict=True))[name]
    expected = solve(moments, moments.variance, ridge=Reweighting.ridge).similarity
    monkeypatch.setattr(reweighting, "ITERATION_SAMPLE", 1000)  # which a single pass does not need
    np.testing.assert_allclose(fit(detector(name, {"iterations": 1}), scene).similarity, expected, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tolerance", [1.0, 0.01, 0.003])
def test_the_iteration_ends_when_no_similarity_moves_by_more_than_the_tolerance(name, tolerance):
    scene, _ = changed_scene()
    ended = fit(detector(name, {"tolerance": tolerance}), scene)
    steps = [fit(detector(name, {"iterations": k + 1, "tolerance": 0.0}), scene) for k in range(ended.iterations)]
    moves = np.abs(np.diff([each.similarity for each in steps], axis=0)).max(axis=1)
    assert (moves > tolerance).tolist() == [True] * (len(moves) - 1) + [False]
    assert ended.similarity == steps[-1].similarity


@pytest.mark.parametrize("name", NAMES)
def test_hardly_any_pixels_end_the_iteration_with_what_there_is(name):
    scene, _ = changed_scene()
    few = replace(scene, valid=np.zeros_like(scene.valid))
    few.valid[:, 40, 40:47] = True  # fewer than two dates' bands
    assert fit(detector(name), few).iterations == 1


def outlying_scene(frame: int) -> MemoryScene:
    """A changed scene with values far out at the second date, without data in corners of single dates, and a frame."""
    scene, _ = changed_scene(bands=3)
    pixels, valid = scene.pixels.copy(), scene.valid.copy()
    pixels[1, :, 40:50, 60:77] += 500
    valid[0, 70:80, :9] = valid[1, :5, 90:] = False
    pixels[:, :, :, :frame] = 0
    return MemoryScene(pixels, valid, block=128)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frame", [0, 17])
@pytest.mark.parametrize(("iterations", "consistent"), [(1, True), (2, True), (5, True), (5, False)])
def test_the_iteration_is_that_of_the_plain_formulas_on_what_is_not_far_out(name, iterations, consistent, frame):
    scene, ridge = outlying_scene(frame), 1e-3
    options = {"iterations": iterations, "tolerance": 0.0, "consistent": consistent, "ridge": ridge, "context": 1.5}
    fitted = fit(detector(name, options), scene)
    solve = dict(zip(NAMES, SOLVERS, strict=True))[name]
    dates = scene.pixels.reshape(6, *scene.shape).astype(np.float64)
    seen = scene.valid.all(axis=0)
    seen[:, :frame] = False
    fence = fence_of(dates[:, seen])
    known = dates[:, seen]
    near = (known >= fence.low[:, None]) & (known <= fence.high[:, None])
    pixels = known[:, near.all(axis=0)]
    assert 0.9 * seen.sum() < pixels.shape[1] < seen.sum()
    weights, scale, factor = np.ones(pixels.shape[1]), pixels.var(axis=1), 1.0
    for _ in range(iterations):
        mean = np.average(pixels, axis=1, weights=weights)
        scatter = np.cov(pixels, aweights=weights, bias=True) * weights.sum()
        found = solve(Moments(weights.sum(), mean, scatter), scale, ridge=ridge)
        contrast = found.weights * np.sqrt(factor / found.variance)[:, None]
        weights = chi2.sf(np.sum((contrast @ (pixels - mean[:, None])) ** 2, axis=0), 3)
        scales, factor = np.sqrt(found.variance / factor), consistency_factor(3) if consistent else 1.0
    np.testing.assert_allclose(fitted.similarity, found.similarity, rtol=2e-3)
    np.testing.assert_allclose(fitted.scales, scales, rtol=2e-3)
    np.testing.assert_allclose(fitted.contrast.mean, mean, rtol=1e-4)
    statistic = np.sum(np.tensordot(contrast, dates - mean[:, None, None], axes=1) ** 2, axis=0)
    tile, valid = (each[None] for each in scene.read(Tile(0, 0, *scene.shape)))
    drawn = fitted.score(tile, valid, ("chi-square", "weights")).layers
    np.testing.assert_allclose(drawn["chi-square"][0, 0][seen], statistic[seen], rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(drawn["weights"][0, 0][seen], chi2.sf(statistic[seen], 3), atol=0.02)
    assert not drawn["chi-square"][0, 0][:, :frame][scene.valid.all(axis=0)[:, :frame]].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frame", [0, 17])
@pytest.mark.parametrize("context", [0.0, 1.5])
def test_the_posterior_is_that_of_all_pixels_with_data_but_those_of_a_frame(name, frame, context):
    scene = outlying_scene(frame)
    fitted = fit(detector(name, {"context": context}), scene)
    tile, valid = (each[None] for each in scene.read(Tile(0, 0, *scene.shape)))
    statistic = fitted.score(tile, valid, ("chi-square",)).layers["chi-square"][0, 0]
    seen = scene.valid.all(axis=0)
    seen[:, :frame] = False
    counts = count_statistic(np.nan_to_num(statistic), seen)
    expected = fit_posterior(counts.histogram, context, STATISTIC_ROUNDING / Reweighting.ridge, counts.ordered)
    assert fitted.posterior.mixture.share == pytest.approx(expected.mixture.share, rel=0.01)
    assert fitted.posterior.mixture.means == pytest.approx(expected.mixture.means, rel=0.01)
    assert fitted.thresholds == pytest.approx(expected.thresholds, abs=0.01)
    assert (fitted.posterior.context, fitted.posterior.negligible) == (context, expected.negligible)


@pytest.mark.parametrize("freedom", [1, 3, 6])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_noise_has_no_excess_spread_however_much_changed(freedom, share):
    statistic = chi2.rvs(freedom, size=20_000, random_state=0).astype(np.float32)
    statistic[: int(share * len(statistic))] += 1000
    assert excess_spread(statistic, freedom) == pytest.approx(1, abs=0.05)


def test_covers_that_differ_by_more_than_chi_square_have_excess_spread():
    statistic = chi2.rvs(3, size=20_000, random_state=0).astype(np.float32)
    statistic[5000:] *= 9  # most pixels
    assert excess_spread(statistic, 3) > 2
