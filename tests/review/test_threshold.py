"""The threshold that a review chooses, by what was looked at; without that it may only rise."""

import shutil

import numpy as np
import pytest
import rasterio
from sklearn.metrics import f1_score, precision_recall_curve

import geochange
from geochange.arrays import IGNORE
from geochange.errors import BadOption, NothingValid
from geochange.probability.raster import open_scores
from geochange.review.saved import SavedReview
from tests.review.conftest import SAMPLE, decided_by_truth, record

PAIR = (SAMPLE / "before.tif", SAMPLE / "after.tif")


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    """A run with a low threshold."""
    out = tmp_path_factory.mktemp("loose") / "out"
    geochange.detect(*PAIR, out, detector="change-vector", formats=("gpkg",), threshold=0.3)
    return out


@pytest.fixture
def found(loose, tmp_path):
    shutil.copytree(loose, tmp_path / "out")
    return tmp_path / "out"


def scores_of(out):
    codes, valid = open_scores(str(out / "probability.tif")).read(SavedReview.open(out).run.scene.grid.area)
    return codes[0] * open_scores(str(out / "probability.tif")).step, valid


def f1(scores, labels, threshold, where):
    return f1_score(labels[where] == 1, scores[where] >= threshold)


def best_f1(scores, labels, where):
    precision, recall, _ = precision_recall_curve(labels[where] == 1, scores[where])
    return np.max(2 * precision * recall / np.maximum(precision + recall, 1e-9))


def test_cells_that_were_looked_at_choose_it_and_others_of_them_score_it(found, tmp_path):
    saved = decided_by_truth(found, cells=range(4))
    written = geochange.vectorize(found / "probability.tif", tmp_path / "x.gpkg", labels=found, threshold="f1")
    chosen, scored = written.threshold_labels, written.threshold_labels["held_out"]
    scores, valid = scores_of(found)
    labels = saved.labels().draw(saved.run.scene.grid.area, valid)
    parts = []
    for cell in saved.cells.tiles:  # one of four is held out, and nothing within 64 pixels of it is used
        held, used = np.zeros(labels.shape, bool), np.ones(labels.shape, bool)
        held[cell.slices()] = True
        used[cell.grow(64).intersect(saved.run.scene.grid.area).slices()] = False
        parts.append((held & (labels != IGNORE), used & (labels != IGNORE)))
    ((held, used),) = [(a, b) for a, b in parts if (labels[a] == 1).sum() == scored["changed_px"]]
    assert chosen["changed_px"] == (labels[used] == 1).sum()
    assert chosen["f1"] == pytest.approx(best_f1(scores, labels, used), abs=2e-3)
    assert chosen["f1"] == pytest.approx(f1(scores, labels, written.threshold, used), abs=1e-6)
    assert scored["f1"] == pytest.approx(f1(scores, labels, written.threshold, held), abs=1e-6)
    assert scored["threshold"] == written.threshold


def test_decisions_elsewhere_have_no_part_where_cells_were_looked_at(found, tmp_path):
    decided_by_truth(found, cells=[0, 1, 3])
    written = geochange.vectorize(found / "probability.tif", tmp_path / "x.gpkg", labels=found, threshold="f1")
    saved = SavedReview.open(found)
    scores, valid = scores_of(found)
    labels = saved.labels().draw(saved.run.scene.grid.area, valid)
    where = np.zeros(labels.shape, bool)
    for cell in saved.looked:
        where[cell.slices()] = True
    where &= labels != IGNORE
    assert written.threshold_labels["f1"] == pytest.approx(best_f1(scores, labels, where), abs=2e-3)
    assert written.threshold_labels["changed_px"] == (labels[where] == 1).sum()
    assert "held_out" not in written.threshold_labels  # of three cells none is


def test_without_cells_it_may_only_rise_and_a_line_says_so(found, tmp_path, run):
    saved = SavedReview.open(found, beginning=True)
    numbers, scores = saved.base.columns.ids.tolist(), saved.base.columns.scores
    told = np.where(scores >= np.sort(scores)[-20], "kept", "rejected").tolist()
    record(found, ("decide", {number: {"status": each} for number, each in zip(numbers, told, strict=True)}))
    code, _, errors = run(
        "detect", *PAIR, "--labels", found, "--threshold", "f1", "-d", "change-vector", "-o", tmp_path / "b"
    )
    assert code == 0
    assert [
        each for each in errors if "nothing is known of what was missed" in each and "may only rise, from 0.300" in each
    ]
    with rasterio.open(tmp_path / "b" / "probability.tif") as dataset:
        assert dataset.read().any()
    chosen = geochange.vectorize(found / "probability.tif", tmp_path / "x.gpkg", labels=found, threshold="f1")
    assert chosen.threshold > 0.4
    scores, valid = scores_of(found)
    labels = SavedReview.open(found).labels().draw(SavedReview.open(found).run.scene.grid.area, valid)
    where = labels != IGNORE
    assert chosen.threshold_labels["f1"] == pytest.approx(best_f1(scores, labels, where), abs=2e-3)


def test_where_all_was_right_it_stays(found, tmp_path):
    """Within what was found, nothing speaks for a higher threshold; what lies below is not known."""
    saved = SavedReview.open(found, beginning=True)
    decided = {number: {"status": "kept"} for number in saved.base.columns.ids.tolist()}
    decided[saved.base.columns.ids[saved.base.columns.scores.argmin()]] = {"status": "rejected"}
    record(found, ("decide", decided))
    written = geochange.vectorize(found / "probability.tif", tmp_path / "x.gpkg", labels=found, threshold="f1")
    assert written.threshold == pytest.approx(0.3, abs=0.01)
    assert written.threshold >= 0.3


def test_another_detector_begins_at_its_own_threshold(found, tmp_path):
    decided_by_truth(found)
    made = geochange.detect(
        *PAIR, tmp_path / "b", detector="difference", labels=found, threshold="f1", formats=("gpkg",)
    )
    assert made.record["threshold"] >= made.record["detector"]["thresholds"]["default"] > 0.3


def test_a_review_that_goes_on_is_other_labels(found, tmp_path):
    decided_by_truth(found, cells=range(4))
    how = {"detector": "change-vector", "labels": found, "threshold": "f1", "formats": ("gpkg",)}
    made = geochange.detect(*PAIR, tmp_path / "b", **how)
    assert geochange.detect(*PAIR, tmp_path / "b", resume=True, **how).record == made.record
    record(found, ("decide", {1: {"status": "unsure"}}))
    with pytest.raises(geochange.errors.OutputInTheWay, match=r"differs in review"):
        geochange.detect(*PAIR, tmp_path / "b", resume=True, **how)


def test_what_says_nothing_is_refused(found, tmp_path):
    with pytest.raises(NothingValid, match="has no label yet: keep or reject"):
        geochange.vectorize(found / "probability.tif", tmp_path / "x.gpkg", labels=found, threshold="f1")
    with pytest.raises(BadOption, match="is a run that was reviewed, which has no column 'status'"):
        geochange.vectorize(
            found / "probability.tif", tmp_path / "x.gpkg", labels=found, label_column="status", threshold="f1"
        )
    with pytest.raises(geochange.errors.UnreadableInput, match="holds no finished run"):
        geochange.vectorize(found / "probability.tif", tmp_path / "x.gpkg", labels=tmp_path, threshold="f1")
    assert not (tmp_path / "x.gpkg").exists()
