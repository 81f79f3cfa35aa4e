"""Season found and taken out, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.detectors.seasons import season_of
from geochange.detectors.series import close_gaps, medians

MONTHS = tuple(2020 + np.arange(30) / 12)


@settings(max_examples=15, deadline=None)
@given(st.floats(-20, 20), st.floats(0, 1), st.floats(-50, 50), st.integers(0, 99))
def test_a_season_is_taken_out_of_a_series_with_a_step_and_gaps(height, phase, step, seed):
    rng = np.random.default_rng(seed)
    times = np.asarray(MONTHS)
    cycle = height * np.cos(2 * np.pi * (times - phase))
    rest = 100 + step * (times > 2021.3) + rng.normal(0, 0.1, 30)
    valid = rng.random((30, 1)) > 0.2
    season = season_of(MONTHS, np.ones(30, bool), 2.0)
    closed = close_gaps((cycle + rest)[:, None, None].astype(np.float32), valid)
    plain, found = season.remove(closed, np.ones(1))
    count = int(closed.counts[0])
    np.testing.assert_allclose(plain[:count, 0, 0], rest[valid[:, 0]], atol=0.5 + 0.02 * abs(height))
    assert not plain[count:].any()
    np.testing.assert_allclose(season.at(5, found)[0, 0], cycle[5], atol=0.5 + 0.02 * abs(height))


@pytest.mark.parametrize(
    ("times", "harmonics"),
    [
        (None, 0), (MONTHS, 2), (MONTHS[:12], 0), (tuple(2000.5 + np.arange(20)), 0),
        (tuple(2000.5 + np.arange(20) + np.arange(20) % 2 * 0.02), 0), (tuple(2000 + np.arange(12) * 0.7), 1),
        (tuple(2000 + np.arange(7) * 0.7), 0), (tuple(2000.5 + 1.01 * np.arange(40)), 0),
    ],
)  # fmt: skip
def test_a_season_needs_dates_that_show_it(times, harmonics):
    fitted = np.ones(len(times or MONTHS), bool)
    assert len(season_of(times, fitted, 2.0).waves) == 2 * harmonics


def test_masked_dates_show_no_season():
    assert not len(season_of(MONTHS, np.arange(30) < 6, 0.1).waves)
    assert not len(season_of(MONTHS, np.zeros(30, bool), 0.1).waves)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 999))
def test_medians_of_the_first_are_those_of_numpy(dates, seed):
    rng = np.random.default_rng(seed)
    values, counts = rng.normal(size=(dates, 2, 6)).astype(np.float32), rng.integers(0, dates + 1, 6)
    found = medians(values, counts)
    for pixel, count in enumerate(counts):
        expected = np.median(values[:count, :, pixel], axis=0) if count else np.zeros(2)
        np.testing.assert_allclose(found[:, pixel], expected, rtol=1e-6)


def test_gaps_are_closed_in_order():
    values = np.arange(8, dtype=np.float32).reshape(4, 1, 2)
    valid = np.array([[True, False], [False, False], [True, True], [True, False]])
    closed = close_gaps(values, valid)
    assert closed.counts.tolist() == [3, 1]
    assert closed.values[:, 0].T.tolist() == [[0, 4, 6, 0], [5, 0, 0, 0]]
    assert closed.order[:3, 0].tolist() == [0, 2, 3]
    assert closed.order[0, 1] == 2
