import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from geochange.detectors.total_variation import ITERATIONS, NEIGHBOURS, smooth

ALL = np.ones((40, 44), bool)


def noisy_square(seed: int = 0) -> np.ndarray:
    image = np.random.default_rng(seed).normal(0, 0.5, (40, 44))
    image[10:30, 12:32] += 3
    return image.astype(np.float32)


def energy(smoothed: np.ndarray, image: np.ndarray, bound: float) -> float:
    total = np.sum((smoothed - image) ** 2) / 2
    for row, col in NEIGHBOURS:
        near = smoothed[: smoothed.shape[0] - row, max(-col, 0) : smoothed.shape[1] - max(col, 0)]
        far = smoothed[row:, max(col, 0) : smoothed.shape[1] - max(-col, 0)]
        total += bound / np.hypot(row, col) * np.abs(far - near).sum()
    return float(total)


def test_the_result_has_the_least_energy_that_a_general_optimiser_finds():
    image = np.random.default_rng(0).normal(0, 1, (4, 5)).astype(np.float32)
    sharp = lambda values: energy(values.reshape(4, 5), image, 0.3)  # noqa: E731
    found = smooth(image, np.ones((4, 5), bool), 0.3)
    best = min(
        minimize(sharp, start.ravel(), method="Powell", options={"maxiter": 20_000, "xtol": 1e-6, "ftol": 1e-9}).fun
        for start in (image, found)
    )
    assert sharp(found) <= best * 1.01


def test_a_square_keeps_its_edge_and_loses_its_noise():
    image = noisy_square()
    smoothed = smooth(image, ALL, 0.5)
    assert smoothed[12:28, 14:30].std() < image[12:28, 14:30].std() / 3
    assert (smoothed[:, 16:28] > 1.5)[10:30].mean() > 0.98
    assert (smoothed[:, 16:28] > 1.5)[:8].mean() == 0


@given(st.floats(-1e4, 1e4), st.integers(5, 34), st.integers(5, 38))
@settings(max_examples=20, deadline=None)
def test_a_pixel_far_out_gives_its_neighbours_no_more_than_the_bounds(value, row, col):
    image, spoilt = noisy_square(), noisy_square()
    spoilt[row, col] = value
    moved = np.abs(smooth(spoilt, ALL, 0.3) - smooth(image, ALL, 0.3))
    moved[row, col] = 0
    assert moved.sum() <= 2 * 0.3 * (4 + 4 / 2**0.5)


def test_a_pixel_depends_on_those_within_the_iterations_alone():
    image = np.random.default_rng(0).normal(0, 1, (3, 2 * ITERATIONS + 5)).astype(np.float32)
    other = image.copy()
    other[:, : ITERATIONS + 1] += 5
    there = np.ones(image.shape, bool)
    one, two = smooth(image, there, 2.0), smooth(other, there, 2.0)
    np.testing.assert_array_equal(one[:, 2 * ITERATIONS + 1 :], two[:, 2 * ITERATIONS + 1 :])
    assert (one[:, ITERATIONS + 1] != two[:, ITERATIONS + 1]).any()


@pytest.mark.parametrize("bound", [0.0, 0.4])
def test_what_is_not_valid_keeps_its_value_and_moves_nothing(bound):
    image, valid = noisy_square(), ALL.copy()
    valid[15:20, 8:25] = False
    other = np.where(valid, image, np.float32(1e6))
    one, two = smooth(image, valid, bound), smooth(other, valid, bound)
    np.testing.assert_array_equal(one[valid], two[valid])
    np.testing.assert_array_equal(two[~valid], other[~valid])
    if not bound:
        np.testing.assert_array_equal(one, image)


def test_the_sum_and_the_sign_are_kept():
    image = noisy_square()
    smoothed = smooth(image, ALL, 0.5)
    assert smoothed.sum() == pytest.approx(image.sum(), rel=1e-4)
    np.testing.assert_allclose(smooth(-image, ALL, 0.5), -smoothed, atol=1e-5)
