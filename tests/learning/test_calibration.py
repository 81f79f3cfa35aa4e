"""Temperatures and thresholds from held-out samples."""

import numpy as np
import pytest
from PIL import Image
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_score, recall_score

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

from geochange.arrays import IGNORE  # noqa: E402
from geochange.datasets.collection import open_collection  # noqa: E402
from geochange.datasets.options import CollectionOptions  # noqa: E402
from geochange.detectors.networks.checkpoint import Checkpoint  # noqa: E402
from geochange.detectors.networks.contract import probability  # noqa: E402
from geochange.learning.calibration import (  # noqa: E402
    LabelledLogits,
    calibrate,
    fit_temperature,
    measure_calibration,
    thresholds_for,
)
from geochange.learning.scoring import (  # noqa: E402
    SCORE_BINS,
    ProbabilityHistogram,
    score_sample,
)
from tests import tiny_network  # noqa: E402

UNSURE = CollectionOptions(values=(255,), ignore=(7,), gsd=2.0)


def truthful(classes, overconfident, n=20_000, seed=0):
    """Labels drawn from the softmax (or sigmoid) of logits, and the logits made too large."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(-0.5, 2, (n, classes)).astype(np.float32))
    if classes == 1:
        labels = torch.from_numpy(rng.random(n).astype(np.float32)) < torch.sigmoid(logits[:, 0])
    else:
        labels = torch.multinomial(torch.softmax(logits, 1), 1, generator=torch.Generator().manual_seed(seed))[:, 0]
    return LabelledLogits(logits * overconfident, labels.long())


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("overconfident", [0.4, 1.0, 5.0])
def test_the_temperature_undoes_what_made_logits_too_large(classes, overconfident):
    assert fit_temperature(truthful(classes, overconfident)) == pytest.approx(overconfident, rel=0.05)


def calibration_error(probability, changed):
    """How far shares of change lie from the probabilities given, over 15 bins (Naeini 2015)."""
    share, mean = calibration_curve(changed, probability, n_bins=15)
    count = np.histogram(probability, 15, (0, 1))[0]
    return np.sum(np.abs(share - mean) * count[count > 0]) / count.sum()


def test_calibrated_probabilities_have_less_calibration_error():
    held_out = truthful(1, 4.0, n=200_000)
    changed = (held_out.labels > 0).numpy()
    errors = [
        calibration_error(torch.sigmoid(held_out.logits[:, 0] / t).numpy(), changed)
        for t in (1.0, fit_temperature(held_out))
    ]
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def scored(seed=0, n=4000):
    rng = np.random.default_rng(seed)
    changed = rng.random(n) < 0.2
    probability = np.clip(rng.normal(np.where(changed, 0.7, 0.3), 0.18), 0, 0.9999)
    histogram = ProbabilityHistogram()
    histogram.add(probability, changed)
    return histogram, probability, changed


@pytest.mark.parametrize("share", [0.5, 0.7, 0.8, 0.9])
def test_thresholds_hold_what_was_wanted_and_cost_no_more_than_they_must(share):
    histogram, probability, changed = scored()
    found = thresholds_for(histogram, (share,))

    def at(threshold):
        called = probability >= threshold
        return precision_score(changed, called), recall_score(changed, called)

    precise, sensitive = found[f"precision={share:g}"], found[f"recall={share:g}"]
    assert at(precise)[0] >= share
    assert at(precise - 1 / SCORE_BINS)[0] < share
    assert at(sensitive)[1] >= share
    assert at(sensitive + 1 / SCORE_BINS)[1] < share


def test_what_cannot_be_reached_is_left_out():
    histogram = ProbabilityHistogram()
    histogram.add(np.full(100, 0.5), np.arange(100) < 30)
    assert set(thresholds_for(histogram, (0.2, 0.9))) == {"default", "precision=0.2", "recall=0.2", "recall=0.9"}


@pytest.mark.parametrize(("lost", "reached"), [(19, True), (20, True), (21, False)])
def test_a_recall_that_takes_every_pixel_as_change_is_left_out(lost, reached):
    scores = np.where(np.arange(200) < lost, 0.0, 0.4)
    histogram = ProbabilityHistogram()
    histogram.add(scores, np.ones(200, bool))
    histogram.add(np.full(100, 0.2), np.zeros(100, bool))
    found = thresholds_for(histogram, (0.9,))
    assert found.get("recall=0.9") == (0.4 if reached else None)


@pytest.mark.parametrize(("gsd", "zoom"), [(None, 1.0), (4.0, 0.5), (1.5, 4 / 3)])
def test_thresholds_are_those_of_calibrated_probabilities(tmp_path, gsd, zoom):
    folder = tiny_network.write_pairs(tmp_path / "pairs", [f"pair{k}" for k in range(6)], labels=(255, 7))
    collection, network = open_collection(folder, UNSURE), tiny_network.make_network()

    class Built(Checkpoint):
        def build(self):
            return network.eval()

    with torch.no_grad():
        network.head.weight *= 40
    parts = [collection.part([0, 1]), collection.part([2, 3, 4, 5])]
    done = calibrate(Built(tiny_network.about(), network.state_dict()), parts, gsd).about
    logits, labels = [], []
    for place in range(len(collection)):
        sample = collection.read(place)
        known = sample.labels != IGNORE
        scored = score_sample(network, sample, tiny_network.NORMALISATION, zoom=zoom)[0, 0]
        logits.append(scored[torch.from_numpy(known)])
        labels.append(sample.labels[known])
    logits, labels = torch.cat(logits)[:, None], np.concatenate(labels)
    assert abs(done.temperature - 1) > 0.2
    assert 0 < labels.size < 6 * 24 * 24
    assert done.temperature == pytest.approx(fit_temperature(LabelledLogits(logits, torch.from_numpy(labels).long())))
    histogram = ProbabilityHistogram()
    histogram.add(probability(logits, done.temperature)[:, 0].numpy(), labels > 0)
    assert done.thresholds == pytest.approx(thresholds_for(histogram), abs=0.002)


from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.learning import calibration  # noqa: E402
from geochange.learning.object_scoring import ItemObjects, find_items, score_histogram  # noqa: E402
from geochange.learning.scoring import ScoringOptions, network_input  # noqa: E402
from tests.small_networks import lively  # noqa: E402
from tests.stand_ins import changed_pair, write_raster  # noqa: E402


def test_objects_are_calibrated_at_the_pixel_size_that_the_network_wants(tmp_path, monkeypatch):
    box, one, sizes = np.array([[0.0, 0, 8, 8]]), np.ones(1, int), []

    def find(network, collection, normalisation, options):
        sizes.append(options.gsd)
        return [ItemObjects(box, one, box, one, np.array([0.7]), 576)]

    monkeypatch.setattr(calibration, "find_items", find)
    about = tiny_network.about(network="change-ssd", options={"bands": 3, "classes": ("change",), "width": 8})
    untrained = Checkpoint(about, build_network("change-ssd", about.options).state_dict())
    pairs = tiny_network.open_pairs(tmp_path / "pairs", 1)
    assert calibration.calibrate(untrained, [pairs], gsd=0.5).about.thresholds["recall=0.9"] == pytest.approx(0.7)
    assert sizes == [0.5]


def test_thresholds_of_objects_are_those_of_its_own_boxes(tmp_path):
    about = tiny_network.about(network="change-ssd", options={"bands": 3, "classes": ("change",), "width": 8})
    network = lively(build_network("change-ssd", about.options))
    with torch.no_grad():
        network.kind.bias.zero_()
    folder = tiny_network.write_pairs(tmp_path / "pairs", ["a", "b"], side=64)
    pairs = tiny_network.open_collection(folder)
    for found, name in zip(find_items(network, pairs, about.normalisation, ScoringOptions()), "ab", strict=True):
        labels = np.zeros((64, 64), np.uint8)
        for left, top, right, bottom in np.rint(found.found[:8:2]).astype(int):
            labels[top:bottom, left:right] = 255
        Image.fromarray(labels).save(folder / "label" / f"{name}.png")
    parts = [pairs.part([0]), pairs.part([1])]
    done = calibrate(Checkpoint(about, network.state_dict()), parts).about
    items = [item for part in parts for item in find_items(network, part, about.normalisation, ScoringOptions())]
    histogram = score_histogram(items)
    assert histogram.counts[0].sum() > 0 < histogram.counts[1, 1:].sum()
    assert done.thresholds == thresholds_for(histogram)


@pytest.mark.parametrize(("gsd", "zoom"), [(None, 1.0), (4.0, 0.5), (1.0, 2.0)])
def test_distances_are_calibrated_on_all_items_of_all_collections(tmp_path, gsd, zoom):
    about = tiny_network.about(network="change-vae", options={"bands": 3, "classes": ("change",), "widths": (6, 8, 8)})
    network = lively(build_network("change-vae", about.options))
    pairs = open_collection(tiny_network.write_pairs(tmp_path / "pairs", ["a", "b", "c"]), CollectionOptions(gsd=2.0))
    done = calibration.calibrate_distances(
        Checkpoint(about, network.state_dict()), [pairs.part([0]), pairs.part([1, 2])], gsd
    )
    distances = []
    for index in range(3):
        dates, (rows, cols) = network_input(network, pairs.read(index), about.normalisation, zoom)
        with torch.no_grad():
            found = network.distance(dates)[None, :, :rows, :cols]
        distances.append(functional.interpolate(found, (24, 24), mode="bilinear").flatten())
    network.calibrate(torch.cat(distances))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(done.weights[name], value, atol=1e-5, rtol=1e-4)


def test_distances_of_ground_without_data_at_one_date_do_not_count(tmp_path):
    about = tiny_network.about(network="change-vae", options={"bands": 3, "classes": ("change",), "widths": (6, 8, 8)})
    network = lively(build_network("change-vae", about.options))
    dates = changed_pair((24, 32))
    dates[0][:, 3:9, 4:20], dates[1][:, 15:, :7] = 0, 0
    for letter, values in zip("AB", dates, strict=True):
        (tmp_path / "pairs" / letter).mkdir(parents=True)
        write_raster(tmp_path / "pairs" / letter / "a.tif", values, nodata=0)
    pairs = open_collection(tmp_path / "pairs", CollectionOptions(labelled=False))
    done = calibration.calibrate_distances(Checkpoint(about, network.state_dict()), [pairs])
    valid = torch.from_numpy((dates[0] > 0).all(axis=0) & (dates[1] > 0).all(axis=0))
    blank = network_input(network, pairs.read(0), about.normalisation)[0]
    with torch.no_grad():
        network.calibrate(network.distance(blank)[0][valid])
    for name, value in network.state_dict().items():
        torch.testing.assert_close(done.weights[name], value, atol=1e-5, rtol=1e-4)


def test_networks_that_are_the_same_are_calibrated_as_one_on_all_that_each_has_not_seen(tmp_path):
    pairs = open_collection(tiny_network.write_pairs(tmp_path / "pairs", ["a", "b", "c"], labels=(255, 7)), UNSURE)
    about = tiny_network.about(network="siamese-unet", options={"bands": 3, "classes": ("change",), "widths": (4, 6)})
    checkpoint = Checkpoint(about, lively(build_network("siamese-unet", about.options)).state_dict())
    apart = measure_calibration([(checkpoint, [pairs.part([2])]), (checkpoint, [pairs.part([0, 1])])])
    together = calibrate(checkpoint, [pairs.part([2, 0, 1])]).about
    assert (apart.temperature, apart.thresholds) == (together.temperature, together.thresholds)
    assert apart.given_to(checkpoint).about == together
