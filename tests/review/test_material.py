"""What a network learns from a review: labels where somebody has decided, read as the run was; some are held out."""

import json
import shutil

import numpy as np
import pytest
import rasterio

import geochange
from geochange.arrays import IGNORE
from geochange.datasets.options import CollectionOptions
from geochange.datasets.splits import SPLIT_GAP, choose_cells
from geochange.errors import BadOption, NothingValid
from geochange.review.material import HELD_OUT, TRAINING, write_labels, write_material
from geochange.review.saved import SavedReview
from tests.review.conftest import SAMPLE, decided_by_truth, record

CLASSES = CollectionOptions(classes=("change",))


@pytest.fixture(scope="module")
def looked(finished, tmp_path_factory):
    """A run of which all is decided, and all four cells are looked at."""
    out = tmp_path_factory.mktemp("looked") / "out"
    shutil.copytree(finished, out)
    decided_by_truth(out, cells=range(4))
    return out


def raster(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1), dataset.nodata


def test_labels_are_those_of_the_rules_and_their_nodata_is_tagged(looked, tmp_path):
    saved = SavedReview.open(looked)
    parts = write_labels(tmp_path / "labels.tif", saved)
    written, nodata = raster(tmp_path / "labels.tif")
    expected = saved.labels().draw(saved.run.scene.grid.area, np.ones(saved.run.scene.shape, bool))
    np.testing.assert_array_equal(written, expected)
    assert nodata == IGNORE
    assert {*np.unique(written)} == {0, 1, IGNORE}
    assert sum(part.counts for part in parts).tolist() == [int((written == label).sum()) for label in (0, 1, IGNORE)]


def test_a_review_with_nothing_kept_has_no_label_of_change(out, tmp_path):
    """Untagged, a raster of 0 and 255 alone is a mask in which 255 has changed."""
    saved = record(out, ("decide", {number: {"status": "rejected"} for number in range(1, 40)}))
    material = write_material(tmp_path, saved, share=0.15, bands=None)
    (collection, _) = material.collections(CLASSES)
    labels = [collection.read(index).labels for index in range(len(collection))]
    assert {*np.unique(np.concatenate([each.ravel() for each in labels]))} == {0, IGNORE}
    table = tmp_path / "pairs.csv"
    table.write_text(f"before,after,labels\n{SAMPLE / 'before.tif'},{SAMPLE / 'after.tif'},{tmp_path / TRAINING}\n")
    from geochange.datasets.collection import open_collection

    whole = open_collection(table)
    assert {*np.unique(np.concatenate([whole.read_labels(k).ravel() for k in range(len(whole))]))} == {0, IGNORE}
    with pytest.raises(BadOption, match=r"is labelled change .*keep or draw at least one, and reject one"):
        geochange.finetune(None, tmp_path / "training", review=[out], start="landscape", steps=1)
    assert not (tmp_path / "training").exists()


def test_only_what_is_labelled_is_read_with_what_lies_around_it(out, tmp_path):
    saved = record(out, ("decide", {1: {"status": "kept"}, 2: {"status": "rejected"}}))
    material = write_material(tmp_path, saved, share=0.15, bands=None)
    assert material.held_out == ()
    written, _ = raster(tmp_path / TRAINING)
    covered = np.full(written.shape, IGNORE, np.uint8)
    for item in material.training:
        assert (written[item.tile.slices()] != IGNORE).any()
        covered[item.tile.slices()] = written[item.tile.slices()]
        assert max(item.tile.shape) < 512
    np.testing.assert_array_equal(covered, written)


def test_held_out_cells_lie_behind_a_gap(looked, tmp_path):
    saved = SavedReview.open(looked)
    write_labels(tmp_path / "whole.tif", saved)
    material = write_material(tmp_path, saved, share=0.25, bands=None)
    whole, training, held = (raster(tmp_path / name)[0] for name in ("whole.tif", TRAINING, HELD_OUT))
    (item,) = material.held_out
    np.testing.assert_array_equal(held[item.tile.slices()], whole[item.tile.slices()])
    held[item.tile.slices()] = IGNORE
    assert (held == IGNORE).all()
    near = item.tile.grow(SPLIT_GAP).intersect(saved.run.scene.grid.area)
    assert (training[near.slices()] == IGNORE).all()
    training[near.slices()] = whole[near.slices()]
    np.testing.assert_array_equal(training, whole)
    assert material.record["cells"]["held_out"] == [[item.tile.row, item.tile.col, *item.tile.shape]]


@pytest.mark.parametrize(
    ("changed", "share", "expected"),
    [
        ([True] * 10, 0.3, [9, 8, 7]),
        ([True] * 4, 0.01, [3]),
        ([True] * 4, 0.99, [3, 2]),
        ([True] * 3, 0.5, []),
        ([True] * 8, 0.0, []),
        ([False] * 8, 0.5, []),
        ([True, *[False] * 7], 0.25, []),  # the only change cannot be on both sides
        ([True, True, *[False] * 6], 0.25, [7, 1]),
        ([*[False] * 6, True, True], 0.25, []),
    ],
)
def test_cells_are_held_out_in_their_order_with_change_on_both_sides(changed, share, expected):
    order = [*reversed(range(len(changed)))]
    assert choose_cells(changed, order, share) == expected


def test_a_moved_and_aligned_pair_is_read_as_detect_read_it(tmp_path):
    with rasterio.open(SAMPLE / "after.tif") as dataset:
        profile, pixels = dataset.profile, dataset.read()
    moved = np.roll(pixels, (0, 2), axis=(1, 2))
    profile["transform"] *= rasterio.Affine.translation(-3.5, 1.25)
    with rasterio.open(tmp_path / "after.tif", "w", **profile) as dataset:
        dataset.write(moved)
    found = geochange.detect(
        SAMPLE / "before.tif", tmp_path / "after.tif", tmp_path / "out", detector="change-vector", align=True,
        remove_shift=True, resampling="bilinear", bands=(3, 1), formats=("gpkg",), threshold=0.9,
    )  # fmt: skip
    assert np.abs(found.record["scene"]["removed_shift"]).max() > 0.5
    saved = decided_by_truth(found.folder, cells=[0])
    (collection, _) = write_material(tmp_path / "m", saved, share=0, bands=None).collections(CLASSES)
    for index, item in enumerate(collection.items):
        sample, (dates, valid) = collection.read(index), saved.run.scene.read(item.tile)
        np.testing.assert_array_equal(np.stack(sample.dates), np.stack(dates))
        np.testing.assert_array_equal(sample.valid, valid)
        labels = saved.labels().draw(item.tile, valid.all(axis=0))
        known = sample.labels != IGNORE
        np.testing.assert_array_equal(sample.labels[known], labels[known])
        assert known.any()


def test_a_network_learns_from_a_review_and_says_from_what(looked, tmp_path, run):
    code, _, errors = run(
        "finetune", "--review", looked, "--from", "landscape", "--bands", "1,2,3", "--steps", 2, "--batch", 1,
        "--loaders", 0, "-o", tmp_path / "training", "--json",
    )  # fmt: skip
    assert (code, [each for each in errors if "held-out" not in each]) == (0, [])
    made = json.loads((tmp_path / "training" / "run.json").read_text())
    saved = SavedReview.open(looked)
    (told,) = made["reviews"]
    assert {name: told[name] for name in ("actions", "sha256", "tally")} == {**saved.identity(), "tally": saved.tally()}
    assert told["pixels"]["change"] > 10_000
    assert len(told["cells"]["held_out"]) == 1
    assert made["held_out_scores"]["before"]["f1"] > 0.5
    assert sorted(path.name for path in (tmp_path / "training" / "labels" / "0").iterdir()) == [HELD_OUT, TRAINING]


def test_an_interrupted_training_goes_on_with_the_labels_that_it_began_with(looked, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(looked, out)
    how = {"review": [out], "start": "landscape", "batch": 1, "loaders": 0, "every": 1, "bands": (1, 2, 3)}
    whole = geochange.finetune(None, tmp_path / "whole", steps=2, **how)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    begun = json.loads((tmp_path / "part" / "run.json").read_text()) | {"finished": False}
    (tmp_path / "part" / "run.json").write_text(json.dumps(begun))
    record(out, ("decide", {number: {"status": "unsure"} for number in range(1, 600)}))
    resumed = geochange.finetune(None, tmp_path / "part", steps=2, resume=True, **how)
    assert resumed.record["reviews"] == whole.record["reviews"]
    for name in (TRAINING, HELD_OUT):
        np.testing.assert_array_equal(
            *(raster(tmp_path / each / "labels" / "0" / name)[0] for each in ("whole", "part"))
        )


def test_reviews_that_cannot_be_trained_on_are_refused_in_a_line(out, finished, tmp_path):
    settings = {"start": "landscape", "steps": 1}
    with pytest.raises(BadOption, match=r"there is nothing to train on; .* or --review"):
        geochange.finetune(None, tmp_path / "t", **settings)
    with pytest.raises(NothingValid, match="has no label yet: keep or reject changes, or look at cells"):
        geochange.finetune(None, tmp_path / "t", review=[finished], **settings)
    record(out, ("decide", {1: {"status": "kept"}}))
    with pytest.raises(BadOption, match="reviews are labels; leave out --unlabelled"):
        geochange.finetune(None, tmp_path / "t", review=[out], unlabelled=True, **settings)
    with pytest.raises(BadOption, match=r"the review of .*out is of change, the training of built.*--classes change"):
        geochange.finetune(None, tmp_path / "t", review=[out], classes=("built",), **settings)
    with pytest.raises(BadOption, match=r"labelled unchanged .*keep or draw at least one, and reject one"):
        geochange.finetune(None, tmp_path / "t", review=[out], **settings)
    assert not (tmp_path / "t").exists()


def test_what_is_undecided_where_somebody_looked_is_told(looked, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(looked, out)
    saved = record(out, ("decide", {5: {"status": "unsure"}, 6: {"status": "unreviewed"}}))
    assert saved.undecided_where_looked() == 2
    material = write_material(tmp_path / "m", saved, share=0, bands=None)
    assert material.record["undecided"] == 2
    written, _ = raster(tmp_path / "m" / TRAINING)
    inside = saved.labels()
    for number in (5, 6):
        place = saved.base.places[number]
        left, top, right, bottom = np.rint(saved.base.columns.boxes[place]).astype(int)
        assert (written[top:bottom, left:right] == IGNORE).any()
    assert (inside.labels == IGNORE).sum() == 2
