"""A few saturated, dead or hot pixels move no detector: what it finds elsewhere stays."""

from __future__ import annotations

from dataclasses import replace
from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from geochange.detectors.catalogue import TRAINING_FREE, detector
from geochange.detectors.mixture import STATISTIC_BINS, capped, otsu_statistic, statistic_histogram
from geochange.detectors.statistics import fence_of, find_inliers, frame_of, lattice_multiplier, scene_moments
from tests.memory_blocks import MemoryScene, change, changed_scene, fit, landscape, pair

SHARE = 0.01
VALUES = st.one_of(
    st.sampled_from([0.0, 255.0, 4095.0, 65535.0, -9999.0, 1e30, -1e30]), st.floats(-1e6, 1e6, allow_nan=False)
)


def f1(changed: np.ndarray, truth: np.ndarray) -> float:
    return 2 * np.sum(changed & truth) / (changed.sum() + truth.sum())


def bad_pixels(shape: tuple[int, int], kind: str, seed: int) -> np.ndarray:
    """Where pixels are bad: at most `SHARE` of them."""
    rng = np.random.default_rng(seed)
    bad = np.zeros(shape, bool)
    count = int(SHARE * bad.size)
    if kind == "one":
        bad[tuple(rng.integers(shape))] = True
    elif kind == "scattered":
        bad.ravel()[rng.choice(bad.size, count, replace=False)] = True
    elif kind == "line":
        bad[rng.integers(shape[0]), : min(count, shape[1])] = True
    else:
        side = int(count**0.5)
        row, col = (int(rng.integers(length - side)) for length in shape)
        bad[row : row + side, col : col + side] = True
    return bad


def spoilt(scene: MemoryScene, bad: np.ndarray, values: list[float], dates: list[int]) -> MemoryScene:
    """The scene with other values where pixels are bad: those given, one after the other."""
    pixels = scene.pixels.copy()
    for date in dates:
        pixels[date][:, bad] = np.resize(np.float32(values), (pixels.shape[1], bad.sum()))
    return replace(scene, pixels=pixels)


@pytest.mark.parametrize("name", TRAINING_FREE)
@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["one", "scattered", "line", "blob"]),
    values=st.lists(VALUES, min_size=1, max_size=5),
    dates=st.sampled_from([[0], [1], [0, 1]]),
    seed=st.integers(0, 99),
)
def test_a_hundredth_of_the_pixels_may_have_any_value(name, kind, values, dates, seed):
    scene, truth = changed_scene()
    bad = bad_pixels(scene.shape, kind, seed)
    elsewhere = ~binary_dilation(bad, np.ones((5, 5)))  # a neighbourhood may be judged by the pixels in it
    clean, found = (
        change(fitted, each) >= fitted.thresholds["default"]
        for each in (scene, spoilt(scene, bad, values, dates))
        for fitted in [fit(detector(name), each)]
    )
    lost = 0.15 if name == "pca-kmeans" else 0.1  # two means of neighbourhoods: bad ones stay among the changed
    assert f1(found[elsewhere], truth[elsewhere]) > f1(clean[elsewhere], truth[elsewhere]) - lost


@pytest.mark.parametrize("name", TRAINING_FREE)
@pytest.mark.parametrize("value", [65535.0, 1e30])
def test_one_saturated_pixel_is_all_that_is_found_beside(name, value):
    scene, _ = changed_scene(seed=1)
    bad = bad_pixels(scene.shape, "one", 3)
    fitted = fit(detector(name), spoilt(scene, bad, [value], [1]))
    found = change(fitted, spoilt(scene, bad, [value], [1])) >= fitted.thresholds["default"]
    clean = change(fit(detector(name), scene), scene) >= 0.5
    assert np.mean(found == clean) > 0.99


@pytest.mark.parametrize("name", TRAINING_FREE)
@settings(max_examples=15, deadline=None)
@given(frame=st.floats(0.15, 0.6), share=st.floats(0.005, 0.05), seed=st.integers(0, 9))
def test_a_black_frame_that_is_not_declared_hides_no_change(name, frame, share, seed):
    scene, truth = changed_scene(share=share, seed=seed)
    pixels, cols = scene.pixels.copy(), int(frame * scene.shape[1])
    pixels[..., :cols] = 0
    inside = np.arange(scene.shape[1]) >= cols + 2
    if truth[:, inside].sum() < 30:
        return
    framed, part = replace(scene, pixels=pixels), scene.valid[..., cols:]
    without = MemoryScene(scene.pixels[..., cols:], part)
    found, alone = (
        change(fitted, each) >= fitted.thresholds["default"]
        for each in (framed, without)
        for fitted in [fit(detector(name), each)]
    )
    assert f1(found[:, inside], truth[:, inside]) > f1(alone[:, 2:], truth[:, inside]) - 0.05


def test_a_black_frame_does_not_count_where_an_index_is_compared():
    """The index of a frame is 0 whatever its value, and 0 is in the middle of an index."""
    scene, _ = changed_scene()
    pixels, index = scene.pixels.clip(1, 299), {"index": "2,1"}
    pixels[1, 1] *= 1.5  # another season
    framed = pixels.copy()
    framed[..., :40] = 0
    alone = MemoryScene(pixels[..., 40:], scene.valid[..., 40:])
    around = replace(scene, pixels=framed)
    fitted = fit(detector("difference", index), around)
    found = change(fitted, around) >= 0.5
    assert fitted.summary()["frame"] == 0
    assert not found[:, :39].any()
    assert np.mean(found[:, 42:] == (change(fit(detector("difference", index), alone), alone) >= 0.5)[:, 2:]) > 0.999


def test_a_flat_scene_with_a_change_is_not_framed():
    flat = np.zeros((4, 1000))
    flat[2:, :100] = 200
    assert frame_of(flat) is None
    assert frame_of(np.zeros((4, 1000))) is None


@pytest.mark.parametrize("name", TRAINING_FREE)
@settings(max_examples=15, deadline=None)
@given(
    gain=st.floats(0.6, 1.6),
    offset=st.floats(-20, 40),
    noise=st.floats(0.7, 8),
    whole=st.booleans(),
    seed=st.integers(0, 99),
)
def test_noise_and_light_alone_are_hardly_any_change_and_the_record_says_so(name, gain, offset, noise, whole, seed):
    rng, land = np.random.default_rng(seed), landscape(shape=(160, 170), seed=seed)
    dates = [land + rng.normal(0, noise, land.shape), gain * land + offset + rng.normal(0, noise, land.shape)]
    scene = pair(*(np.round(date) if whole else date for date in dates))
    fitted = fit(detector(name), scene)
    assert np.mean(change(fitted, scene) >= fitted.thresholds["default"]) < 0.01
    assert "note" in fitted.summary()


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_few_pixels_that_stand_out_of_noise_are_found(name):
    rng, land = np.random.default_rng(0), landscape(shape=(160, 170))
    after, truth = land + rng.normal(0, 2, land.shape), np.zeros(land.shape[1:], bool)
    truth[70:78, 40:46] = True
    after[:, truth] += 60
    scene = pair(land + rng.normal(0, 2, land.shape), after)
    fitted = fit(detector(name), scene)
    found = change(fitted, scene) >= fitted.thresholds["default"]
    assert f1(found, truth) > (0.6 if name == "pca-kmeans" else 0.9)


def histogram(*classes: np.ndarray) -> np.ndarray:
    lengths = np.concatenate(classes)
    return statistic_histogram((lengths**2).astype(np.float32), np.ones(len(lengths), bool))


def test_few_strong_changes_above_one_class_are_kept():
    rng = np.random.default_rng(0)
    unchanged = np.sqrt((rng.normal(size=(4, 50_000)) ** 2).sum(axis=0))
    counts = histogram(unchanged, 40 + rng.normal(size=200))
    assert capped(counts) is counts


@given(st.lists(st.floats(100, 1e15), min_size=1, max_size=200))
@settings(max_examples=50, deadline=None)
def test_few_outliers_above_a_clear_change_leave_the_threshold_below_it(outliers):
    rng = np.random.default_rng(0)
    unchanged = np.sqrt((rng.normal(size=(4, 20_000)) ** 2).sum(axis=0))
    changed = 20 + rng.normal(size=2_000)
    found = capped(histogram(unchanged, changed, np.array(outliers)))
    assert unchanged.max() < otsu_statistic(found) ** 0.5 < changed.min()
    assert found.sum() == 22_000 + len(outliers)
    assert len(found) == STATISTIC_BINS


def test_a_scene_without_far_pixels_has_the_moments_of_all():
    rng = np.random.default_rng(0)
    levels = np.array([0, 500, 9000], np.float32)[:, None, None]
    pixels = rng.uniform(0, 100, (2, 3, 70, 90)).astype(np.float32) + levels
    scene = MemoryScene(pixels, np.ones((2, 70, 90), bool))
    found = find_inliers(scene, scene.map_blocks)
    whole = scene_moments(scene.map_blocks)
    assert found.within == found.seen == scene.map_blocks
    np.testing.assert_array_equal(found.moments.scatter, whole.scatter)


def test_far_pixels_take_no_part_in_the_moments():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 100, (2, 3, 70, 90)).astype(np.float32)
    scene = MemoryScene(pixels, np.ones((2, 70, 90), bool))
    bad = bad_pixels(scene.shape, "scattered", 0)
    found = find_inliers(scene, spoilt(scene, bad, [1e30, -5e4], [0]).map_blocks)
    without = replace(scene, valid=np.stack([~bad, ~bad]))
    np.testing.assert_array_equal(found.moments.mean, scene_moments(without.map_blocks).mean)


def test_a_band_of_one_value_has_no_fence():
    fence = fence_of(np.concatenate([np.zeros((1, 100)), np.arange(100.0)[None]]))
    assert (fence.low[0], fence.high[0]) == (-np.inf, np.inf)
    assert -200 < fence.low[1] < 0
    assert 99 < fence.high[1] < 300


def test_values_near_the_largest_of_float32_have_a_fence_without_a_warning():
    fence = fence_of(np.array([np.linspace(-3e38, 3e38, 100), np.linspace(0, 3e38, 100)], np.float32))
    assert fence.low.tolist() == [-np.inf, pytest.approx(-2.82e38, rel=0.01)]
    assert fence.high.tolist() == [np.inf, np.inf]


@given(st.integers(1, 5000))
def test_no_row_and_no_column_has_more_than_its_share_of_the_sample(every):
    place = lattice_multiplier(every) * np.arange(every) % every
    assert len(set(place.tolist())) == every


def test_the_sample_steps_by_the_golden_section_or_the_nearest_number_that_meets_every_column():
    for every in range(1, 300):
        golden, found = round(every * 0.618), lattice_multiplier(every)
        nearest = min(abs(golden - other) for other in range(2 * every) if gcd(other, every) == 1)
        assert gcd(found, every) == 1
        assert abs(found - golden) == nearest


def test_change_to_the_value_of_a_frame_in_one_band_is_change() -> None:
    scene, _ = changed_scene(bands=3)
    pixels = scene.pixels.clip(1, 250)
    pixels[:, :, :20] = 0
    pixels[1, :, 50:70, 50:70] = np.array([0, 250, 250])[:, None, None]
    found = change(fit(detector("change-vector"), framed := replace(scene, pixels=pixels)), framed)
    assert found[:20].max() < 0.5 < found[51:69, 51:69].min()


def test_what_is_not_valid_takes_no_part_in_the_fence() -> None:
    rng = np.random.default_rng(0)
    dates = rng.normal(100, 8, (2, 1, 120, 150)).astype(np.float32)
    valid = np.ones((2, 120, 150), bool)
    valid[1, :20], dates[1, 0, :20] = False, 0
    dates[1, 0, ::20, ::17] = 200  # hot pixels
    scene = MemoryScene(dates, valid)
    moments = find_inliers(scene, scene.map_blocks).moments
    good = dates[:, 0, valid.all(axis=0) & (dates[1, 0] < 190)]
    assert moments.weight == good.shape[1]
    np.testing.assert_allclose(moments.mean, good.mean(axis=1), rtol=1e-4)
