"""Ways to fine-tune, chosen by short trials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.learning.trials import LONGER, Choice, best_of, candidates, plan_steps


def test_rates_from_the_given_one_are_tried_with_and_without_a_frozen_encoder():
    tried = candidates(5e-4, encoder=True)
    assert len(tried) == len(set(tried)) == 4
    assert tried[0] == Choice(0.25, 5e-4)  # what is done without trials, which of equals is kept
    assert {each.frozen for each in tried} == {0, 0.25}
    assert sorted({each.rate for each in tried}) == pytest.approx([5e-4, 2e-3])
    assert {each.frozen for each in candidates(5e-4, encoder=False)} == {0}


@given(st.integers(1, 16), st.integers(1, 3), st.integers(0, 20_000), st.integers(1, 1000))
def test_all_that_is_planned_fits(trials, finals, updates, most):
    steps = plan_steps(trials, finals, updates, most)
    trial, final = steps["trial"], steps["final"]
    assert trials * trial + finals * final <= updates
    assert max(trial, final) <= most
    if final < most:
        assert final >= LONGER * trial - trials - finals * LONGER
    if trial < most:
        assert trials * (trial + 1) + finals * final > updates


def test_time_that_the_last_trainings_cannot_use_lengthens_the_trials():
    assert plan_steps(12, 3, 1200, 600) == {"trial": 50, "final": 200}
    assert plan_steps(12, 3, 3600, 600) == {"trial": 150, "final": 600}
    assert plan_steps(12, 3, 5000, 600) == {"trial": 266, "final": 600}
    assert plan_steps(12, 3, 99_000, 600) == {"trial": 600, "final": 600}


def test_the_greatest_mean_is_the_best_and_of_equals_the_first():
    assert best_of([[0.5, 0.1], [0.2, 0.6], [0.3, 0.3]]) == 1
    assert best_of([[0.2, 0.4], [0.3, 0.3], [0.1, 0.2]]) == 0
