"""Stacking models: fitted on what is labelled and on nothing else, written and read again."""

import json

import numpy as np
import pytest
import rasterio
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from geochange.engine.work import open_work
from geochange.errors import BadOption, BandMismatch, NothingValid, UnreadableInput
from geochange.probability.fusion import stacked, stacking_features
from geochange.probability.options import FitOptions
from geochange.probability.stack import open_stack
from geochange.probability.stacking import fit_stacking, read_model, write_model
from tests.stand_ins import write_raster

SHAPE = (50, 70)
NAMES = ("built", "felled", "burnt")
NO_LABEL = 77  # nodata of the labels' file


def write_scores(path, probability, names):
    """A raster of (class, y, x) probabilities with NaN where it holds no data; returns its path."""
    write_raster(path, probability.astype(np.float32), nodata=np.nan)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return str(path)


class Ground:
    """Two rasters of unlike worth with holes, and what is known of the ground: 255 or nodata in parts of it."""

    def __init__(self, folder, classes):
        rng = np.random.default_rng(classes)
        self.truth = rng.integers(0, classes + 1, SHAPE)
        self.names = NAMES[:classes] if classes > 1 else ("change",)
        self.paths, self.probability, self.present = [], [], []
        for name, noise in (("good", 1.0), ("poor", 3.0)):
            odds = np.stack([2.0 * (self.truth == k + 1) - 1 for k in range(classes)])
            values = (1 / (1 + np.exp(-odds - noise * rng.normal(size=odds.shape)))).astype(np.float32)
            there = rng.random(SHAPE) > 0.3
            self.paths.append(write_scores(folder / f"{name}.tif", np.where(there, values, np.nan), self.names))
            self.probability.append(np.where(there, values, 0))
            self.present.append(there)
        self.stored = self.truth.astype(np.uint8)
        self.stored[rng.random(SHAPE) < 0.2] = 255
        self.stored[:, :9] = NO_LABEL
        self.folder = folder

    @property
    def known(self):
        return (self.stored != 255) & (self.stored != NO_LABEL) & np.any(self.present, axis=0)

    def labels(self, stored=None):
        values = self.stored if stored is None else stored
        return write_raster(self.folder / "labels.tif", values[None], nodata=NO_LABEL)

    def fit(self, labels, options=None):
        with open_work(None, None) as work:
            return fit_stacking(open_stack(self.paths, work), labels, options or FitOptions(), work)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("penalty", [1.0, 50.0])
def test_each_class_is_fitted_on_the_labelled_pixels_alone(tmp_path, classes, penalty):
    ground = Ground(tmp_path, classes)
    model = ground.fit(ground.labels(), FitOptions(penalty=penalty))
    truth, present = ground.truth[ground.known], np.stack(ground.present)[:, ground.known]
    probability = np.stack(ground.probability)[:, :, ground.known]
    assert (model.classes, model.sources) == (ground.names, tuple(ground.paths))
    assert model.pixels == {name: (truth == k).sum() for k, name in enumerate(("unchanged", *ground.names))}
    for number in range(classes):
        theirs = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000)
        theirs.fit(stacking_features(probability[:, number], present), truth == number + 1)
        found = [*model.weights[number], *model.missing[number]]
        np.testing.assert_allclose(found, theirs.coef_[0], atol=1e-4)
        assert model.intercept[number] == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_the_threshold_is_that_of_the_best_f1_of_any_class_on_the_labelled_pixels(tmp_path):
    ground = Ground(tmp_path, 3)
    model = ground.fit(ground.labels())
    fused = stacked(np.stack(ground.probability), np.stack(ground.present), model=model)
    largest, changed = fused.max(axis=0)[ground.known], ground.truth[ground.known] > 0
    codes = np.rint(largest * 254)
    scores = [2 * (changed & called).sum() / (changed.sum() + called.sum()) for called in codes >= np.c_[1:255]]
    called = codes >= model.threshold * 254
    assert f1_score(changed, called) == pytest.approx(max(scores))


def test_255_is_change_only_where_no_other_label_is_but_0(tmp_path):
    ground = Ground(tmp_path, 1)
    as_255 = np.where(ground.stored == 255, NO_LABEL, np.where(ground.stored == 1, 255, ground.stored)).astype(np.uint8)
    of_ones = ground.fit(ground.labels(np.where(ground.stored == 255, NO_LABEL, ground.stored)))
    assert ground.fit(ground.labels(as_255)) == of_ones
    nowhere = np.argwhere(~np.any(ground.present, axis=0))
    as_255[tuple(nowhere[nowhere[:, 1] > 9][0])] = 1  # where no raster holds data, but it says what 255 is not
    with pytest.raises(NothingValid, match="labelled change"):
        ground.fit(ground.labels(as_255))


def test_a_label_beyond_the_classes_is_refused(tmp_path):
    ground = Ground(tmp_path, 3)
    ground.stored[20:30, 20:30] = 4
    with pytest.raises(BadOption, match=r"the label 4, the rasters have 3 classes; .*1 to 3 built, felled, burnt"):
        ground.fit(ground.labels())


@pytest.fixture
def kept(tmp_path):
    """A model on disk, its path, and the rasters it was fitted on."""
    ground = Ground(tmp_path, 3)
    model = ground.fit(ground.labels())
    write_model(model, tmp_path / "model.json")
    return model, tmp_path / "model.json", ground


def read(path, rasters):
    with open_work(None, None) as work:
        return read_model(path, open_stack(rasters, work))


def test_a_model_that_was_written_is_read_for_other_rasters_of_its_classes(kept, tmp_path):
    model, path, ground = kept
    others = [write_scores(tmp_path / f"{k}.tif", np.full((3, 8, 9), 0.3), NAMES) for k in range(2)]
    assert read(path, ground.paths) == read(str(path), others) == model


@pytest.mark.parametrize("change", [{"method": "mean"}, {"method": None}, {"weights": [[1]]}, {"threshold": 1.5}])
def test_a_file_of_something_else_is_refused(kept, change):
    _, path, ground = kept
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UnreadableInput, match=r"model\.json cannot be read as a model that .*--save-model"):
        read(path, ground.paths)


def test_a_model_of_other_classes_or_of_more_rasters_is_refused(kept, tmp_path):
    _, path, ground = kept
    turned = [write_scores(tmp_path / f"{k}.tif", np.full((3, 8, 9), 0.3), NAMES[::-1]) for k in range(2)]
    with pytest.raises(BandMismatch, match=r"fitted for built, felled, burnt, the rasters have burnt, felled, built"):
        read(path, turned)
    with pytest.raises(BadOption, match=r"fitted on 2 rasters .*, 3 were given"):
        read(path, [*ground.paths, ground.paths[0]])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"penalty": 0.0}, "penalty 0.0 must be above 0"),
        ({"penalty": -1}, "penalty -1.0 must be above 0"),
        ({"penalty": float("inf")}, "penalty inf must be"),
        ({"penalty": float("nan")}, "penalty nan must be"),
        ({"penalty": "strong"}, "penalty 'strong' must be a number"),
        ({"seed": -1}, "seed -1 must be 0 or more"),
        ({"seed": 1.5}, "seed 1.5 must be a whole number"),
    ],
)
def test_impossible_options_of_a_fit_are_refused(wrong, words):
    with pytest.raises(BadOption, match=words):
        FitOptions(**wrong)


def test_the_least_options_of_a_fit_are_allowed():
    options = FitOptions(penalty=1e-9, seed=0.0)
    assert (options.penalty, options.seed, type(options.seed)) == (1e-9, 0, int)
