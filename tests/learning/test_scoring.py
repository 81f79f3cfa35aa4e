"""Scores of networks, against torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as reference
from torchmetrics.classification import BinaryAveragePrecision, BinaryF1Score, BinaryPrecisionRecallCurve

from geochange.datasets.collection import Sample, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.errors import NotFinite
from geochange.learning.scoring import (
    SCORE_BINS,
    CollectionScores,
    ProbabilityHistogram,
    ScoringOptions,
    class_figures,
    confusion_of,
    network_input,
    pool_scores,
    pooled_f1_interval,
    scene_of,
    score_items,
    score_sample,
    symmetric_mean,
)
from tests.tiny_network import NORMALISATION, make_network, open_pairs, write_pairs


@pytest.fixture
def scored():
    """Probabilities in the middle of bins, and what is changed; they are related."""
    rng = np.random.default_rng(0)
    changed = rng.random(4000) < 0.2
    raw = np.clip(rng.normal(0.35 + 0.3 * changed, 0.15), 0, 0.999)
    return (np.floor(raw * SCORE_BINS) + 0.5) / SCORE_BINS, changed


@pytest.fixture
def histogram(scored):
    found = ProbabilityHistogram()
    for part in (slice(0, 1000), slice(1000, None)):
        found.add(scored[0][part], scored[1][part])
    return found


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.472, 0.9])
def test_figures_are_those_of_others(scored, histogram, threshold):
    called, changed = scored[0] >= threshold, scored[1]
    figures = histogram.at(threshold)
    assert figures["precision"] == pytest.approx(reference.precision_score(changed, called))
    assert figures["recall"] == pytest.approx(reference.recall_score(changed, called))
    assert figures["f1"] == pytest.approx(reference.f1_score(changed, called))
    assert figures["iou"] == pytest.approx(reference.jaccard_score(changed, called))
    assert figures["accuracy"] == pytest.approx(reference.accuracy_score(changed, called))
    theirs = BinaryF1Score(threshold=threshold)(torch.tensor(scored[0]), torch.tensor(changed))
    assert figures["f1"] == pytest.approx(float(theirs))


def test_the_curve_is_that_of_torchmetrics(scored, histogram):
    thresholds = torch.arange(SCORE_BINS, dtype=torch.float64) / SCORE_BINS
    curve = BinaryPrecisionRecallCurve(thresholds=thresholds)
    precision, recall, _ = curve(torch.tensor(scored[0]), torch.tensor(scored[1]).long())
    ours, found = histogram.precision_recall()
    predicted = sum(histogram.predicted()) > 0  # where nothing is, theirs is 0
    np.testing.assert_allclose(ours[predicted], precision[:-1].numpy()[predicted], rtol=1e-6)
    np.testing.assert_allclose(found, recall[:-1].numpy(), rtol=1e-6)


def test_average_precision_is_that_of_others(scored, histogram):
    theirs = BinaryAveragePrecision()(torch.tensor(scored[0]), torch.tensor(scored[1]).long())
    assert histogram.average_precision() == pytest.approx(float(theirs), rel=1e-5)
    assert histogram.average_precision() == pytest.approx(reference.average_precision_score(scored[1], scored[0]))


def test_no_threshold_is_better_than_the_best(scored, histogram):
    best = histogram.at(histogram.best_threshold())["f1"]
    every = [reference.f1_score(scored[1], scored[0] >= k / SCORE_BINS) for k in range(0, SCORE_BINS, 10)]
    assert best >= max(every)
    assert best == pytest.approx(histogram.f1().max())


def test_nothing_to_find_and_nothing_found_is_no_error():
    empty = ProbabilityHistogram()
    assert empty.best_threshold() == 0.5
    assert empty.at(0.5) == {"precision": 1.0, "recall": 1.0, "f1": 0.0, "iou": 0.0, "accuracy": 0.0}


def test_confusion_and_macro_f1_are_those_of_scikit_learn():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 9, 9), torch.randint(0, 4, (2, 9, 9))
    labels[:, 0] = 255
    counted = labels != 255
    truth, predicted = labels[counted].numpy(), logits.argmax(1)[counted].numpy()
    confusion = confusion_of(logits, labels).numpy()
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(truth, predicted))
    figures = class_figures(confusion)
    assert figures["f1"] == pytest.approx(reference.f1_score(truth, predicted, labels=[1, 2, 3], average="macro"))
    assert figures["iou"] == pytest.approx(reference.jaccard_score(truth, predicted, labels=[1, 2, 3], average="macro"))
    assert figures["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))


def test_confusion_of_one_class_is_at_one_half():
    logits, labels = torch.tensor([-1.0, 2.0, 0.0, -3.0]).view(1, 1, 1, 4), torch.tensor([[[0, 1, 0, 1]]])
    assert confusion_of(logits, labels).tolist() == [[1, 1], [1, 1]]


def test_classes_that_do_not_occur_do_not_count():
    assert class_figures(np.array([[5, 0, 0], [0, 3, 0], [0, 0, 0]]))["f1"] == 1
    assert class_figures(np.array([[5, 0], [0, 0]]))["f1"] == 0


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    share, held = 40, 0
    for seed in range(100):
        changed = rng.integers(50, 150, share)
        hits = rng.binomial(changed, 0.8)
        alarms = rng.binomial(100, 0.2, share)
        low, high = pooled_f1_interval(np.stack([hits, alarms, changed - hits], axis=1), seed)
        held += low <= 0.8 <= high
    assert 88 <= held <= 99


def test_intervals_are_seeded_and_need_two_groups():
    counts = np.array([[5, 1, 2], [8, 0, 1], [2, 3, 4]])
    assert pooled_f1_interval(counts, 1) == pooled_f1_interval(counts, 1)
    assert pooled_f1_interval(counts[:1]) is None
    assert pooled_f1_interval(np.zeros((4, 3), int)) is None


def test_groups_that_are_alike_leave_no_doubt():
    assert pooled_f1_interval(np.array([[4, 1, 1]] * 5)) == pytest.approx((0.8, 0.8))


def test_tiles_are_pooled_by_scene(tmp_path):
    names = ["val004_0_0", "val004_0_1", "val005_0_0", "lonely", "area_2"]
    assert [scene_of(name) for name in names] == ["val004", "val004", "val005", "lonely", "area_2"]
    pairs = open_collection(write_pairs(tmp_path / "pairs", names))
    scores = pool_scores(score_items(make_network(), pairs, NORMALISATION, ScoringOptions()))
    assert list(scores.scenes) == ["area_2", "lonely", "val004", "val005"]
    assert scores.histogram.counts.sum() == 5 * 24 * 24
    summed = sum(each.counts for each in scores.scenes.values())
    np.testing.assert_array_equal(summed, scores.histogram.counts)


def test_collections_are_scored_alike_in_parts_and_whole(tmp_path):
    pairs, network = open_pairs(tmp_path / "pairs"), make_network()
    whole, *parts = (
        pool_scores(score_items(network, each, NORMALISATION, ScoringOptions()))
        for each in (pairs, *(pairs.part([k]) for k in range(len(pairs))))
    )
    np.testing.assert_array_equal(whole.histogram.counts, sum(part.histogram.counts for part in parts))
    assert whole.entropy == pytest.approx(np.mean([part.entropy for part in parts]))


def sample_of(shape, seed=0):
    dates = np.random.default_rng(seed).integers(0, 255, (2, 3, *shape)).astype(np.uint8)
    return Sample(tuple(dates), np.ones((2, *shape), bool), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(9, 14), (3, 2), (1, 5)])
def test_samples_are_reflected_up_to_the_stride(shape):
    network, sample = make_network().eval(), sample_of(shape)
    padding = [(0, 0), *((0, -length % network.stride) for length in shape)]
    larger = Sample(
        tuple(np.pad(date, padding, mode="reflect") for date in sample.dates),
        np.ones((2, *(length + after for length, (_, after) in zip(shape, padding[1:], strict=True))), bool),
        np.zeros(shape, np.uint8),
    )
    ours = score_sample(network, sample, NORMALISATION)
    assert ours.shape == (1, 1, *shape)
    torch.testing.assert_close(ours, score_sample(network, larger, NORMALISATION)[..., : shape[0], : shape[1]])


def test_pixels_without_data_are_as_the_mean():
    network, sample = make_network().eval(), sample_of((8, 8))
    sample.valid[:, 2:5] = False
    other = Sample(tuple(date.copy() for date in sample.dates), sample.valid, sample.labels)
    for date in other.dates:
        date[:, 2:5] = 200
    assert torch.equal(score_sample(network, sample, NORMALISATION), score_sample(network, other, NORMALISATION))


def test_weights_that_ran_away_are_named(tmp_path):
    network = make_network()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(NotFinite, match="lower rate"):
        list(score_items(network, open_pairs(tmp_path / "pairs"), NORMALISATION, ScoringOptions()))
    partly = make_network(classes=("built", "felled"))
    with torch.no_grad():
        partly.head.bias[1] = float("inf")
    with pytest.raises(NotFinite, match="not finite"):
        next(score_items(partly, open_pairs(tmp_path / "pairs"), NORMALISATION, ScoringOptions()))


def turned(sample, k, flip):
    def move(array):
        moved = np.rot90(array, k, axes=(-2, -1))
        return np.ascontiguousarray(moved[..., ::-1] if flip else moved)

    return Sample(tuple(map(move, sample.dates)), move(sample.valid), move(sample.labels))


@pytest.mark.parametrize(("k", "flip"), [(1, False), (2, True), (3, False)])
def test_augmented_scores_turn_with_the_image(k, flip):
    network, sample = make_network().eval(), sample_of((8, 12))
    plain = score_sample(network, sample, NORMALISATION, augment=True)
    moved = score_sample(network, turned(sample, k, flip), NORMALISATION, augment=True)
    expected = torch.rot90(plain, k, (-2, -1))
    torch.testing.assert_close(moved, expected.flip(-1) if flip else expected)
    assert not torch.allclose(plain, score_sample(network, sample, NORMALISATION))


def test_augmented_logits_of_a_constant_are_that_constant():
    assert torch.equal(
        symmetric_mean(lambda x: x[:, 0] * 0 + 3.0, torch.randn(1, 2, 1, 4, 8), torch.flip),
        torch.full((1, 1, 4, 8), 3.0),
    )


def test_scores_of_another_pixel_size_come_back_on_the_labels():
    network, sample = make_network().eval(), sample_of((10, 16))
    for date in sample.dates:
        date[:] = 80
    for zoom in (0.5, 2.0):
        scored = score_sample(network, sample, NORMALISATION, zoom=zoom)
        assert scored.shape == (1, 1, 10, 16)
        torch.testing.assert_close(scored[..., 5, 8], score_sample(network, sample, NORMALISATION)[..., 5, 8])


def test_several_classes_have_a_confusion_and_a_macro_f1(tmp_path):
    folder = write_pairs(tmp_path / "pairs", ["a", "b"], labels=(1, 2))
    pairs = open_collection(folder, CollectionOptions(classes=("built", "felled")))
    network = make_network(classes=("built", "felled"))
    scores = pool_scores(score_items(network, pairs, NORMALISATION, ScoringOptions()))
    assert scores.confusion.shape == (3, 3)
    assert scores.confusion.sum() == 2 * 24 * 24
    assert scores.figures(0.5)["macro_f1"] == class_figures(scores.confusion)["f1"]


def test_ground_without_data_at_one_date_is_blank_at_both():
    rng = np.random.default_rng(0)
    dates = tuple(rng.integers(101, 255, (3, 12, 16)).astype(np.uint8) for _ in range(2))
    valid = np.ones((2, 12, 16), bool)
    valid[1, 3:6, 4:9] = valid[0, 8, 8] = False
    found, _ = network_input(make_network(), Sample(dates, valid, np.zeros((12, 16), np.uint8)), NORMALISATION)
    there = torch.from_numpy(valid.all(axis=0))
    assert (found[0][:, :, ~there] == 0).all()
    assert (found[0][:, :, there] != 0).all()


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_resampled_dates_lie_where_they_lay(zoom):
    ramp = np.broadcast_to(np.arange(100, 132, dtype=np.float32), (3, 16, 32))
    sample = Sample((ramp, ramp), np.ones((2, 16, 32), bool), np.zeros((16, 32), np.uint8))
    found = network_input(make_network(), sample, NORMALISATION, zoom)[0][0, 0, 0, 4].numpy() * 50
    middles = (np.arange(len(found)) + 0.5) / zoom - 0.5
    np.testing.assert_allclose(found, middles.clip(0, 31), atol=1e-3)


@pytest.mark.parametrize("classes", [("change",), ("built", "felled")])
def test_items_are_scored_in_the_order_asked_for_on_their_labelled_pixels(tmp_path, classes):
    values = tuple(range(1, len(classes) + 1))
    folder = write_pairs(tmp_path / "pairs", ["a", "b_0_1", "c"], labels=(*values, 9))
    pairs = open_collection(folder, CollectionOptions(classes=classes, values=values, ignore=(9,)))
    network = make_network(classes=classes)
    items = list(score_items(network, pairs, NORMALISATION, ScoringOptions(), [2, 1]))
    assert [item.scene for item in items] == ["c", "b"]
    assert len(list(score_items(network, pairs, NORMALISATION, ScoringOptions()))) == 3
    for index, item in zip((2, 1), items, strict=True):
        sample = pairs.read(index)
        logits = score_sample(network, sample, NORMALISATION)[0].double().numpy()
        if len(classes) == 1:
            logits = np.concatenate([np.zeros_like(logits), logits])  # a sigmoid is a softmax beside 0
        likely = np.exp(logits) / np.exp(logits).sum(axis=0)
        counted = sample.labels != 255
        truth, likely = sample.labels[counted], likely[:, counted]
        assert 0 < len(truth) < sample.labels.size
        assert item.entropy == pytest.approx(-np.log(likely[truth, np.arange(len(truth))]).mean(), rel=1e-5)
        np.testing.assert_array_equal(item.confusion, reference.confusion_matrix(truth, likely.argmax(axis=0)))
        found = ProbabilityHistogram()
        found.add(likely[1:].max(axis=0), truth > 0)
        assert abs(np.cumsum(found.counts - item.counts, axis=1)).max() <= 2  # rounding at the edges of bins


def test_an_item_without_labels_scores_nothing(tmp_path):
    folder = write_pairs(tmp_path / "pairs", ["a"])
    Image.fromarray(np.full((24, 24), 9, np.uint8)).save(folder / "label" / "a.png")
    pairs = open_collection(folder, CollectionOptions(values=(1,), ignore=(9,)))
    (item,) = score_items(make_network(), pairs, NORMALISATION, ScoringOptions())
    assert item.entropy == 0
    assert not item.counts.any()
    assert not item.confusion.any()


def test_a_temperature_divides_the_logits_of_the_histogram_alone(tmp_path):
    pairs, network = open_pairs(tmp_path / "pairs", 1), make_network()
    plain, warm = (
        next(score_items(network, pairs, NORMALISATION, ScoringOptions(temperature=temperature)))
        for temperature in (1.0, 3.0)
    )
    logits = score_sample(network, pairs.read(0), NORMALISATION)[0, 0]
    found = ProbabilityHistogram()
    found.add(torch.sigmoid(logits / 3).flatten().numpy(), (pairs.read(0).labels > 0).ravel())
    np.testing.assert_array_equal(warm.counts, found.counts)
    assert (warm.counts != plain.counts).any()
    assert warm.entropy == plain.entropy
    np.testing.assert_array_equal(warm.confusion, plain.confusion)


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_the_interval_of_f1_is_that_of_the_outcomes_of_each_scene(threshold):
    rng = np.random.default_rng(0)
    scenes, pooled, outcomes = {}, ProbabilityHistogram(), []
    for k in range(6):
        scores, changed = rng.random(200) ** (1 + k), rng.random(200) < 0.3
        scenes[f"scene{k}"] = ProbabilityHistogram()
        for each in (scenes[f"scene{k}"], pooled):
            each.add(scores, changed)
        found = scores >= threshold
        outcomes.append([(found & changed).sum(), (found & ~changed).sum(), (~found & changed).sum()])
    figures = CollectionScores(pooled, np.zeros((2, 2), int), 0.0, scenes).figures(threshold, 5)
    low, high = pooled_f1_interval(np.array(outcomes), 5)
    assert (figures["f1_low"], figures["f1_high"]) == (low, high)
    assert low < figures["f1"] < high
