import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import f as fisher

from geochange.detectors.looks import (
    FEWEST_LOOKS,
    LARGEST_LOG,
    MOST_LOOKS,
    count_logs,
    estimate_looks,
    looks_of,
    median_log,
    speckled,
)
from tests.detectors.radar_scenes import ground, speckled_series

FLOORS = np.full((2, 1), 1e-5)


def test_speckle_has_the_mean_of_the_backscatter_and_the_looks_asked_for():
    values = speckled(np.full(200_000, 3.0), 4.4, np.random.default_rng(0)).astype(np.float64)
    assert values.mean() == pytest.approx(3, rel=0.01)
    assert values.mean() ** 2 / values.var() == pytest.approx(4.4, rel=0.02)


@pytest.mark.parametrize("looks", [1.0, 2.5, 4.4, 20.0])
def test_looks_of_even_ground_are_found(looks):
    scene = speckled_series([np.ones((180, 180))] * 2, [looks, 2 * looks])
    found = estimate_looks(scene.map_blocks, FLOORS, 3)
    np.testing.assert_allclose(found[:, 0], [looks, 2 * looks], rtol=0.05)


@pytest.mark.parametrize("looks", [1.0, 4.4])
def test_edges_and_bright_targets_move_the_looks_little(looks):
    backscatter = ground((180, 180))
    backscatter.ravel()[np.random.default_rng(1).choice(backscatter.size, 300)] *= 1000
    found = estimate_looks(speckled_series([backscatter] * 2, [looks] * 2).map_blocks, FLOORS, 3)
    np.testing.assert_allclose(found[:, 0], looks, rtol=0.15)


def test_looks_do_not_depend_on_the_blocks_nor_on_pixels_without_data():
    scene = speckled_series([ground((100, 120))] * 2, [3.0, 3.0])
    spoilt = type(scene)(scene.pixels.copy(), scene.valid.copy(), block=37)
    spoilt.valid[:, 20:40, 30:60] = False
    hidden = type(scene)(scene.pixels, spoilt.valid)
    spoilt.pixels[:, :, 20:40, 30:60] = 1e6
    np.testing.assert_array_equal(
        estimate_looks(spoilt.map_blocks, FLOORS, 3), estimate_looks(hidden.map_blocks, FLOORS, 3)
    )


@given(st.floats(0.2, 5000))
@settings(max_examples=30, deadline=None)
def test_the_median_of_an_f_distribution_gives_its_looks(looks):
    median = np.log(fisher(2 * looks, 2 * looks).ppf(0.75))
    assert looks_of(float(median)) == pytest.approx(looks, rel=1e-3)


def test_ratios_beyond_all_speckle_give_the_bounds():
    assert looks_of(0.0) == MOST_LOOKS
    assert looks_of(50.0) == FEWEST_LOOKS


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_the_median_of_counts_is_that_of_the_logs_and_turns_round_with_their_sign(logs):
    values = np.array(logs)
    expected = np.median(np.clip(values, -LARGEST_LOG, LARGEST_LOG))
    assert median_log(count_logs(values)) == pytest.approx(expected, abs=6e-4)
    assert median_log(count_logs(-values)) == -median_log(count_logs(values))
