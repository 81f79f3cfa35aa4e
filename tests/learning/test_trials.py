"""Ways to fine-tune, chosen by short trials."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.learning.trials import Choice, best_of, candidates, longest_run, rounds, search


def test_rates_around_the_given_one_are_tried_with_and_without_a_frozen_encoder():
    tried = candidates(5e-4, encoder=True)
    assert len(tried) == len(set(tried)) == 12
    assert {each.frozen for each in tried} == {0, 0.25, 1}
    assert sorted({each.rate for each in tried}) == pytest.approx([2.5e-4, 5e-4, 1e-3, 2e-3])
    assert {each.frozen for each in candidates(5e-4, encoder=False)} == {0}


def test_each_round_tries_the_best_third_with_three_times_the_steps():
    assert rounds(12) == [(12, 9), (4, 3), (2, 1)]
    assert rounds(4) == [(4, 3), (2, 1)]
    assert rounds(1) == [(1, 1)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=16, unique=True), st.integers(16, 500))
def test_the_best_candidate_wins_where_steps_matter_not(merits, longest):
    tried = [Choice(0.0, 1.0 + k, 0) for k in range(len(merits))]
    trials = search(tried, longest, lambda choice: merits[round(choice.rate) - 1])
    best = best_of(trials)
    assert best.merit == max(merits)
    assert best.choice.steps == longest
    assert len(trials) == sum(count for count, _ in rounds(len(merits)))


def test_a_shorter_trial_that_was_better_is_taken():
    trials = search([Choice(0.0, 1.0, 0)] * 4, 100, lambda choice: 1 / choice.steps)
    assert best_of(trials).choice.steps == 33


@given(st.integers(1, 16), st.integers(100, 5000))
def test_all_trials_take_no_more_updates_than_there_are(count, updates):
    longest = longest_run(count, updates)
    tried = search([Choice(0.0, 1.0, 0)] * count, longest, lambda choice: 0.0)
    assert sum(trial.choice.steps for trial in tried) <= updates


def test_a_search_without_time_keeps_what_it_has():
    left = iter([0.1, 0.4, 0.2, 0.3, 0.5, None])
    trials = search([Choice(0.0, float(k), 0) for k in range(4)], 60, lambda choice: next(left))
    assert [trial.choice.steps for trial in trials] == [20] * 4 + [60]
    assert best_of(trials).choice == Choice(0.0, 1.0, 60)
