import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import precision_recall_curve

from geochange.engine.work import open_work
from geochange.errors import BadOption, NothingValid
from geochange.probability.label_thresholds import (
    CERTAINTY,
    QUANTILE,
    choose_threshold,
    label_counts,
    lower_bound,
    lower_edge,
    no_labels,
)
from geochange.probability.raster import open_scores
from geochange.probability.threshold_search import count_labelled, open_labelled
from geochange.scenes.tiling import cell_side
from tests.stand_ins import write_raster

BINS = 256


def labelled(size=20_000, seed=0, cells=400):
    """Pixels of two overlapping classes, in cells of one size: bins, labels, cells."""
    random = np.random.default_rng(seed)
    labels = (random.random(size) < 0.3).astype(int)
    place = np.rint(random.normal(np.where(labels, 160, 80), 40).clip(0, 255)).astype(int)
    return place, labels, np.arange(size) % cells


def counted(pixels):
    return label_counts(*pixels, BINS)


def test_precision_and_recall_are_those_of_scikit_learn():
    place, labels, cell = labelled()
    precision, recall, thresholds = precision_recall_curve(labels, place)
    counts = label_counts(place, labels, cell, BINS)
    for wanted in ("precision=0.8", "recall=0.8", "f1"):
        found = choose_threshold(counts, wanted)
        nearest = np.flatnonzero(thresholds >= found.threshold * (BINS - 1))[0]
        assert found.precision == pytest.approx(precision[nearest], abs=1e-6)
        assert found.recall == pytest.approx(recall[nearest], abs=1e-6)
    f1 = 2 * precision * recall / (precision + recall)
    assert found.f1 == pytest.approx(f1.max(), abs=1e-6)


def test_the_threshold_of_a_precision_is_the_lowest_that_is_certain_of_it():
    place, labels, cell = labelled()
    counts = label_counts(place, labels, cell, BINS)
    found = choose_threshold(counts, "precision=0.8")
    called = place >= found.threshold * (BINS - 1)
    assert found.precision == pytest.approx(labels[called].mean(), abs=1e-6)
    assert found.precision_lower >= 0.8
    bin_below = round(found.threshold * (BINS - 1) + 0.5) - 1
    below = place >= bin_below
    looks = below.sum() ** 2 / (np.bincount(cell[below]) ** 2).sum()
    assert lower_bound(labels[below].mean(), looks) < 0.8


def test_the_threshold_of_a_recall_is_the_highest_that_is_certain_of_it():
    place, labels, cell = labelled()
    found = choose_threshold(label_counts(place, labels, cell, BINS), "recall=0.8")
    assert found.recall == pytest.approx((place[labels == 1] >= found.threshold * (BINS - 1)).mean(), abs=1e-6)
    assert found.recall_lower >= 0.8
    assert found.threshold > choose_threshold(label_counts(place, labels, cell, BINS), "recall=0.9").threshold


def uneven(seed):
    """Few pixels, most of them at the lowest bins, in cells of unlike sizes."""
    random = np.random.default_rng(seed)
    labels = (random.random(3000) < 0.2).astype(int)
    place = np.rint(random.normal(np.where(labels, 140, 20), 60).clip(0, 255)).astype(int)
    return place, labels, np.minimum(random.geometric(0.02, 3000), 150)


def figures_by_hand(pixels):
    """Precision, recall, their lower bounds and F1 at each bin, one bin after the other."""
    place, labels, cell = pixels
    found = {name: [] for name in ("precision", "precision_lower", "recall", "recall_lower", "f1")}
    changed = (labels == 1).sum()
    looks_of_recall = changed**2 / (np.bincount(cell[labels == 1]) ** 2).sum()
    for least in range(BINS):
        called = place >= least
        hits, count = (labels[called] == 1).sum(), called.sum()
        precision, recall = hits / max(count, 1), hits / changed
        looks = count**2 / max((np.bincount(cell[called], minlength=1) ** 2).sum(), 1)
        found["precision"].append(precision)
        found["precision_lower"].append(float(lower_bound(precision, looks)))
        found["recall"].append(recall)
        found["recall_lower"].append(float(lower_bound(recall, looks_of_recall)))
        found["f1"].append(2 * hits / (count + changed))
    return {name: np.array(values) for name, values in found.items()}


@pytest.mark.parametrize("wanted", ["precision=0.7", "recall=0.7", "f1"])
@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_of_a_threshold_is_what_its_pixels_give(wanted, seed):
    pixels = uneven(seed)
    figures = figures_by_hand(pixels)
    bins = {
        "precision=0.7": np.flatnonzero(figures["precision_lower"] >= 0.7)[:1],
        "recall=0.7": np.flatnonzero(figures["recall_lower"] >= 0.7)[-1:],
        "f1": [np.argmax(figures["f1"])],
    }
    found = choose_threshold(counted(pixels), wanted).to_dict()
    (place,), labels = bins[wanted], pixels[1]
    assert found == {
        "wanted": wanted,
        "threshold": lower_edge(int(place), BINS),
        **{name: pytest.approx(values[place], abs=1e-6) for name, values in figures.items()},
        "changed_px": (labels == 1).sum(),
        "unchanged_px": (labels == 0).sum(),
        "cells": len(np.unique(pixels[2])),
    }


@pytest.mark.parametrize(("name", "first"), [("precision", True), ("recall", False)])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_that_labels_show_is_named_with_its_threshold(name, first, seed):
    place, labels, cell = uneven(seed)
    place = np.maximum(place, 30)  # several bins are equal in recall
    figures = figures_by_hand((place, labels, cell))
    bound = figures[f"{name}_lower"]
    best = np.flatnonzero(bound >= bound.max() - 1e-12)[0 if first else -1]
    assert 0 < best < BINS - 1
    said = rf"the best is {bound[best]:.3f} .* 90% \({figures[name][best]:.3f} as counted\) at "
    with pytest.raises(BadOption, match=f"{said}{lower_edge(int(best), BINS):.3f};"):
        choose_threshold(counted((place, labels, cell)), f"{name}=0.9999")


@given(cut=st.integers(0, 400), seed=st.integers(0, 9))
def test_counts_of_parts_add_up(cut, seed):
    place, labels, cell = labelled(2000, seed)
    whole, first = label_counts(place, labels, cell, BINS), cell < cut
    parts = no_labels(BINS)
    for part in (first, ~first):
        parts += label_counts(place[part], labels[part], cell[part], BINS)
    for name in ("changed", "called", "called_squares", "changed_squares", "cells"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_what_is_not_labelled_does_not_count():
    place, labels, cell = labelled(2000)
    more = np.concatenate([labels, np.full(500, 255)])
    with_others = label_counts(np.resize(place, 2500), more, np.resize(cell, 2500), BINS)
    np.testing.assert_array_equal(with_others.called, counted((place, labels, cell)).called)


@pytest.mark.parametrize(("hits", "looks"), [(10, 10), (0, 5), (17, 20), (90, 100)])
def test_the_lower_bound_is_wilson_s(hits, looks):
    expected = binomtest(hits, looks).proportion_ci(2 * CERTAINTY - 1, method="wilson").low
    assert float(lower_bound(hits / looks, looks)) == pytest.approx(expected, abs=1e-9)
    assert pytest.approx(norm.ppf(CERTAINTY)) == QUANTILE


def test_many_pixels_of_one_place_are_one_look():
    place, labels, _ = labelled()
    apart, together = (
        choose_threshold(label_counts(place, labels, cell, BINS), "f1")
        for cell in (np.arange(place.size), np.arange(place.size) // 1000)
    )
    assert together.threshold == apart.threshold
    assert together.precision_lower < apart.precision_lower < apart.precision


def test_the_wanted_precision_is_missed_in_about_one_case_in_ten():
    """Twenty places of 50 alike pixels, each changed or not: the true precision at a bin is known."""
    bins = np.arange(BINS)
    changed, unchanged = (norm.sf(bins - 0.5, mean, 40) for mean in (170, 90))
    truth = changed / (changed + unchanged)
    missed, chosen = 0, 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        labels = random.integers(0, 2, 20)
        place = np.rint(random.normal(np.where(labels, 170, 90), 40).clip(0, 255)).astype(int)
        pixels = (np.repeat(each, 50) for each in (place, labels, np.arange(20)))
        try:
            found = choose_threshold(label_counts(*pixels, BINS), "precision=0.8")
        except BadOption:
            continue
        chosen += 1
        missed += truth[round(found.threshold * (BINS - 1) + 0.5)] < 0.8
    assert chosen > 100
    assert missed / 300 < 0.16


@pytest.mark.parametrize("wanted", ["precision=0.99", "recall=0.999"])
def test_what_labels_do_not_show_is_refused_with_the_best_that_they_do(wanted):
    with pytest.raises(BadOption, match=r"best is 0\.\d+.*as counted"):
        choose_threshold(counted(labelled(200, cells=20)), wanted)


def test_labels_most_of_which_have_changed_tell_of_no_precision():
    place, labels, cell = labelled()
    with pytest.raises(BadOption, match="label more that is unchanged"):
        choose_threshold(label_counts(place, np.where(cell < 380, 1, labels), cell, BINS), "precision=0.8")


@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize(("label", "lacking"), [(0, "changed"), (1, "unchanged"), (255, "changed")])
def test_labels_of_one_kind_are_refused_with_the_other(count, label, lacking):
    places = np.arange(count)
    known = 0 if label == 255 else count
    with pytest.raises(NothingValid, match=rf"mark {known} pixels with data, none of them as {lacking}; label some of"):
        choose_threshold(label_counts(places, np.full(count, label), places, BINS), "f1")


def test_one_pixel_of_each_kind_is_enough_for_the_best_f1():
    counts = label_counts(np.array([3, 9]), np.array([0, 1]), np.arange(2), BINS)
    assert choose_threshold(counts, "f1").f1 == 1


@pytest.mark.parametrize("wanted", ["precision=", "precision=1", "recall=x", "recall=0"])
def test_shares_that_cannot_be_are_refused(wanted):
    with pytest.raises(BadOption, match="above 0 and below 1"):
        choose_threshold(counted(labelled(2000)), wanted)


def test_the_edge_of_a_bin_calls_just_what_is_counted_in_it():
    codes = np.arange(255)
    bins = np.rint(codes / 254 * (1024 - 1)).astype(int)
    for code in (1, 40, 127, 254):
        np.testing.assert_array_equal(codes / 254 >= lower_edge(int(bins[code]), 1024), codes >= code)


@pytest.mark.parametrize("shape", [(40, 48), (40, 44), (37, 41)])
def test_labels_are_as_many_looks_as_they_lie_in_cells(tmp_path, shape):
    probability = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    raster = open_scores(write_raster(tmp_path / "p.tif", probability))
    path = write_raster(tmp_path / "labels.tif", (probability > 0.6).astype(np.uint8))
    side = cell_side(shape)
    with open_work(None, None) as work:
        found = count_labelled(raster, open_labelled(path, None, raster.source.grid, work), work)
    assert found.cells == -(-shape[0] // side) * -(-shape[1] // side)
