"""The bootstrap: what its intervals promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from geochange.errors import BadOption
from geochange.evaluation import bootstrap as resampling
from geochange.evaluation.bootstrap import Bootstrap, bound_figures, resample_sums, sum_by_cell


def share_interval(units, bootstrap):
    """Interval of hits over trials, for units (n, 2) of hits and trials."""
    sums, drawn = units.sum(axis=0), resample_sums(units, bootstrap)
    figures = bound_figures(("share",), sums[:1] / sums[1], drawn[:, :1] / drawn[:, 1:], bootstrap.level)
    return figures.intervals["share"]


def draw_units(rng, cells=50):
    """Cells of unequal size whose shares scatter about 0.3."""
    trials = rng.integers(20, 200, cells)
    return np.stack([rng.binomial(trials, rng.beta(6, 14, cells)), trials], axis=-1)


def test_interval_equals_scipys_within_its_own_noise():
    units = draw_units(np.random.default_rng(4), 200)
    ours = share_interval(units, Bootstrap(replicates=4000))
    theirs = stats.bootstrap(
        tuple(units.T),
        lambda hits, trials, axis: hits.sum(axis) / trials.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=4000,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


def test_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    intervals = [share_interval(draw_units(rng), Bootstrap(replicates=200)) for _ in range(300)]
    assert np.mean([low <= 0.3 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.04)


def test_lower_level_gives_a_narrower_interval():
    units = draw_units(np.random.default_rng(6))
    (low, high), (inner_low, inner_high) = (share_interval(units, Bootstrap(level=level)) for level in (0.95, 0.5))
    assert low < inner_low < inner_high < high


def test_a_seed_gives_the_same_draw_whatever_is_held_at_a_time(monkeypatch):
    units = draw_units(np.random.default_rng(7), 30)
    whole = resample_sums(units, Bootstrap(seed=3))
    monkeypatch.setattr(resampling, "_COUNTS_AT_ONCE", 100)
    np.testing.assert_array_equal(resample_sums(units, Bootstrap(seed=3)), whole)
    assert (resample_sums(units, Bootstrap(seed=4)) != whole).any()


@pytest.mark.filterwarnings("error")
def test_interval_leaves_out_replicates_in_which_a_figure_is_undefined():
    drawn = np.array([[np.nan], [1.0], [3.0], [np.nan]])
    figures = bound_figures(("f1",), np.array([2.0]), drawn, level=0.5)
    assert figures.intervals["f1"] == (1.5, 2.5)


def test_undefined_figure_has_no_interval():
    figures = bound_figures(("f1",), np.array([np.nan]), np.ones((5, 1)), level=0.95)
    assert figures.to_dict() == {"f1": None, "intervals": {"f1": None}}


def test_counts_of_one_cell_are_added_up():
    cells, sums = sum_by_cell(np.array([[1, 0], [0, 2], [1, 0]]), np.array([[1], [10], [100]]))
    assert cells.tolist() == [[0, 2], [1, 0]]
    assert sums.tolist() == [[10], [101]]


@pytest.mark.parametrize("options", [{"replicates": 0}, {"level": 0.0}, {"level": 1.0}])
def test_impossible_bootstrap_is_refused(options):
    with pytest.raises(BadOption, match=r"must be positive and level"):
        Bootstrap(**options)
