"""What IR-MAD and iterated slow features share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geochange.detectors import reweighting
from geochange.detectors.catalogue import detector
from geochange.detectors.ir_mad import mad_variates
from geochange.detectors.reweighting import Reweighting
from geochange.detectors.slow_features import slow_features
from geochange.detectors.statistics import Moments, moments_of
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
