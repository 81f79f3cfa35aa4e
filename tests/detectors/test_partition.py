"""The best partition of a series, compared with all partitions there are."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.detectors.partition import best_cut, best_cuts, best_partition, levels_of, lines_of


def squares_left(values, times, sloping):
    """Sum of squares that a level or a line leaves of (time, band)."""
    design = np.stack([np.ones_like(times), times] if sloping else [np.ones_like(times)], axis=1)
    return float(np.sum((values - design @ np.linalg.lstsq(design, values, rcond=None)[0]) ** 2))


def all_partitions(values, times, shortest, sloping, cuts):
    """(gain, cuts) of each partition with so many cuts: what it leaves less than the whole does."""
    whole = squares_left(values, times, sloping)
    for chosen in combinations(range(1, len(values)), cuts):
        ends = 0, *chosen, len(values)
        parts = list(pairwise(ends))
        if min(end - start for start, end in parts) >= shortest:
            yield whole - sum(squares_left(values[a:b], times[a:b], sloping) for a, b in parts), chosen


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 8), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.floats(0.5, 20), st.integers(0, 9999))
def test_it_is_the_best_of_all(dates, bands, shortest, sloping, penalty, seed):
    rng = np.random.default_rng(seed)
    shortest = max(shortest, 2) if sloping else shortest
    values = rng.normal(0, 3, (dates + 2, bands, 1)).astype(np.float32)
    times = np.sort(rng.uniform(-1, 1, (dates + 2, 1)), axis=0).astype(np.float32)
    values[dates:], counts = 0, np.array([dates])  # two dates without data
    explained = (lines_of if sloping else levels_of)(values, times, counts)
    found = best_partition(explained, counts, np.array([penalty], np.float32), shortest, dates + 2)
    options = [(0.0, ())]
    for cuts in range(1, dates):
        options += [
            (gain - penalty * cuts, at)
            for gain, at in all_partitions(
                values[:dates, :, 0].astype(float), times[:dates, 0].astype(float), shortest, sloping, cuts
            )
        ]
    most, at = max(options)
    assert found.gain[0] == pytest.approx(most, abs=2e-2)
    chosen = tuple(np.flatnonzero(found.cuts[:, 0]))
    assert {places: gain for gain, places in options}[chosen] == pytest.approx(most, abs=2e-2), at


@settings(max_examples=15, deadline=None)
@given(st.integers(4, 9), st.integers(1, 2), st.integers(0, 9999))
def test_one_and_two_cuts_are_the_best_of_all(dates, shortest, seed):
    values = np.random.default_rng(seed).normal(0, 3, (dates, 2, 1)).astype(np.float32)
    times, counts = np.linspace(-1, 1, dates, dtype=np.float32)[:, None], np.array([dates])
    explained = levels_of(values, times, counts)
    one, two = best_cuts(explained, counts, shortest, dates)
    for cuts, found in ((1, one), (2, two)):
        all_of_them = list(all_partitions(values[..., 0].astype(float), times[:, 0], shortest, False, cuts))
        expected = max((gain for gain, _ in all_of_them), default=-np.inf)
        assert found[0] == pytest.approx(expected, abs=1e-2)
    single, place = best_cut(explained, counts, shortest, dates)
    assert single[0] == pytest.approx(one[0], abs=1e-2)
    gains = {at: gain for gain, (at,) in all_partitions(values[..., 0].astype(float), times[:, 0], shortest, False, 1)}
    assert gains[int(place[0])] == pytest.approx(max(gains.values()), abs=1e-2)


def test_too_few_dates_have_no_cut():
    explained = levels_of(np.zeros((3, 1, 1), np.float32), np.zeros((3, 1), np.float32), np.array([3]))
    assert best_cut(explained, np.array([3]), 2, 3)[0][0] == -np.inf
    assert not best_partition(explained, np.array([3]), np.zeros(1, np.float32), 2, 3).cuts.any()
