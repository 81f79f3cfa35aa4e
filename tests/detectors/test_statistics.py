import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.detectors.statistics import (
    jointly_valid,
    matching_of,
    moments_of,
    sample_scene,
    sampling_steps,
    scene_moments,
    varying_bands,
)
from geochange.errors import NothingValid
from tests.memory_blocks import MemoryScene, pair


def scene(seed: int = 0, shape: tuple[int, ...] = (3, 70, 131)) -> MemoryScene:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 65536, shape)
    return pair(before, before[::-1] // 2 + rng.integers(0, 999, shape), rng.random(shape[1:]) < 0.9)


def test_scene_moments_agree_with_numpy_on_16_bit_data() -> None:
    made = scene()
    pixels = made.pixels.reshape(6, -1)[:, made.valid[0].ravel()].astype(np.float64)
    moments = scene_moments(made.map_blocks)
    assert moments.weight == pixels.shape[1]
    np.testing.assert_allclose(moments.mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(pixels, bias=True), rtol=1e-9)


def test_small_deviations_about_a_large_mean_survive() -> None:
    pixels = (60_000 + np.random.default_rng(0).integers(0, 2, (2, 50_000))).astype(np.float32)
    np.testing.assert_allclose(moments_of(pixels).covariance, np.cov(pixels.astype(float), bias=True), atol=1e-9)


def test_weighted_moments_agree_with_numpy() -> None:
    rng = np.random.default_rng(0)
    pixels, weights = rng.normal(5, 2, (3, 40_000)).astype(np.float32), rng.random(40_000).astype(np.float32)
    moments = moments_of(pixels, weights)
    np.testing.assert_allclose(moments.mean, np.average(pixels.astype(float), axis=1, weights=weights), rtol=1e-6)
    np.testing.assert_allclose(moments.covariance, np.cov(pixels, aweights=weights, bias=True), rtol=1e-5, atol=1e-5)


def test_matched_dates_have_the_mean_and_spread_of_the_first() -> None:
    made = scene()
    valid = np.broadcast_to(made.valid.all(axis=0), made.valid.shape)
    dates = made.pixels.reshape(2, 3, *valid.shape[1:])
    first, second = matching_of(scene_moments(made.map_blocks), 2)(list(dates), valid)
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_array_equal(first[:, valid[0]], dates[0][:, valid[0]].astype(np.float32))
    assert not second[:, ~valid[1]].any()
    for measure in (np.mean, np.std):
        np.testing.assert_allclose(
            measure(second[:, valid[0]], axis=1, dtype=float),
            measure(first[:, valid[0]], axis=1, dtype=float),
            rtol=1e-4,
        )


def test_a_constant_band_is_matched_by_its_value_alone() -> None:
    pixels = np.random.default_rng(0).normal(100, 3, (4, 900)).astype(np.float32)
    pixels[1], pixels[2] = 7, 90
    matching = matching_of(moments_of(pixels), 2)
    np.testing.assert_array_equal(matching.gain[:, 1], [1, 1])
    assert matching.gain[1, 0] == 1
    assert pixels[2, 0] * matching.gain[1, 0] + matching.offset[1, 0] == pytest.approx(pixels[0].mean(), rel=1e-6)


@given(st.integers(0, 30), st.integers(0, 30))
def test_moments_add_up(first: int, second: int) -> None:
    pixels = np.random.default_rng(0).normal(100, 3, (2, first + second)).astype(np.float32)
    added = moments_of(pixels[:, :first]) + moments_of(pixels[:, first:])
    whole = moments_of(pixels)
    assert added.weight == whole.weight
    np.testing.assert_allclose(added.mean, whole.mean)
    np.testing.assert_allclose(added.scatter, whole.scatter, atol=1e-8)


def test_a_scene_without_joint_pixels_is_refused() -> None:
    pixels, valid = np.ones((2, 1, 4, 4), np.float32), np.zeros((2, 4, 4), bool)
    valid[0, :2], valid[1, 2:] = True, True
    with pytest.raises(NothingValid, match="at every date"):
        scene_moments(MemoryScene(pixels, valid).map_blocks)


@pytest.mark.parametrize(("constant", "named"), [([0], "the first date"), ([1], "the second date"), ([0, 1], "both")])
def test_a_constant_date_is_named(constant: list[int], named: str) -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 1, 8, 8)).astype(np.float32)
    pixels[constant] = 0.1
    made = MemoryScene(pixels, np.ones((2, 8, 8), bool))
    with pytest.raises(NothingValid, match=named):
        varying_bands(scene_moments(made.map_blocks), made.bands)


def test_bands_that_vary_at_one_date_only_are_left_out() -> None:
    pixels = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    pixels[0, 1], pixels[1, 2] = 7, 8
    moments = scene_moments(MemoryScene(pixels, np.ones((2, 8, 8), bool)).map_blocks)
    assert varying_bands(moments, (1, 2, 3)).tolist() == [True, False, False]


@given(st.integers(1, 10**10), st.integers(1, 10**7))
def test_sampling_steps_leave_enough_pixels(pixels: int, wanted: int) -> None:
    rows, cols = sampling_steps(pixels, wanted)
    assert (rows, cols) == (1, 1) or rows * cols * wanted <= pixels


def test_samples_lie_on_one_lattice_over_all_blocks() -> None:
    made = pair(np.arange(70 * 131).reshape(1, 70, 131), np.zeros((1, 70, 131)))
    blocks, whole = sample_scene(made.map_blocks, 70 * 131, 70 * 131 // 6)
    assert not whole
    np.testing.assert_array_equal(np.sort(np.hstack(blocks)[0]), made.pixels[0, 0, ::2, ::3].ravel())


def test_nodata_in_step_with_the_sample_makes_it_finer() -> None:
    valid = np.ones((64, 64), bool)
    valid[::2, ::2] = False
    made = pair(np.ones((1, 64, 64)), np.ones((1, 64, 64)), valid)
    blocks, _ = sample_scene(made.map_blocks, valid.sum(), 700)
    assert sum(block.shape[1] for block in blocks) >= 700


def test_joint_validity_is_that_of_every_date() -> None:
    valid = np.random.default_rng(0).random((4, 3, 5, 6)) < 0.5
    np.testing.assert_array_equal(jointly_valid(valid), valid.all(axis=1))
