import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

import geochange
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption, NothingValid
from geochange.pipeline import fuse as fusing
from geochange.probability import stacking
from geochange.probability.fusion import stacking_features
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, textured, write_pair, write_raster

SHAPE = (90, 120)
METHODS = {
    "mean": {},
    "weighted": {"weights": (2, 1, 0.5)},
    "maximum": {},
    "vote": {},
    "noisy-or": {},
}


def write_scores(path, probability, valid=None, *, classes=("change",), threshold=None, dtype="uint8", **place):
    """A raster of (class, y, x) probabilities with the tags that `detect` writes; returns its path as text."""
    valid = np.ones(probability.shape[1:], bool) if valid is None else valid
    if dtype == "uint8":
        stored, nodata = np.where(valid, np.rint(probability * 254), 255).astype(np.uint8), 255
    else:
        stored, nodata = np.where(valid, probability, np.nan).astype(np.float32), np.nan
    write_raster(path, stored, nodata=nodata, **place)
    with rasterio.open(path, "r+") as dataset:
        if dtype == "uint8":
            dataset.scales = (1 / 254,) * len(stored)
        dataset.update_tags(GEOCHANGE_CLASSES=json.dumps(classes))
        if threshold is not None:
            dataset.update_tags(GEOCHANGE_THRESHOLDS=json.dumps({"default": threshold}))
    return str(path)


def probabilities(shape=SHAPE, count=3, seed=0):
    """(source, y, x) in 0..1 and (source, y, x) validity with holes; the last row is nodata in all."""
    rng = np.random.default_rng(seed)
    values = np.stack([textured(shape, 1, seed + k)[0] / 255 for k in range(count)])
    valid = ndimage.gaussian_filter(rng.normal(size=(count, *shape)), (0, 3, 3)) > -0.05
    valid[:, -1] = False
    return values, valid


@pytest.fixture
def rasters(tmp_path):
    """Three rasters of one grid, of bytes and floats, with holes."""
    values, valid = probabilities()
    return [
        write_scores(tmp_path / f"{name}.tif", value[None], seen, dtype=dtype)
        for name, value, seen, dtype in zip("abc", values, valid, ("uint8", "float32", "uint8"), strict=True)
    ]


@pytest.fixture
def scene(tmp_path):
    """Two rasters of unlike worth, the truth as a mask, and its path."""
    rng = np.random.default_rng(3)
    truth = ndimage.gaussian_filter(rng.normal(size=SHAPE), 4) > 0.1
    paths = []
    for name, noise in (("good", 0.8), ("poor", 2.5)):
        odds = 2.0 * truth - 1 + noise * ndimage.gaussian_filter(rng.normal(size=SHAPE), 1) * 3
        seen = ndimage.gaussian_filter(rng.normal(size=SHAPE), 3) > -0.1
        paths.append(write_scores(tmp_path / f"{name}.tif", 1 / (1 + np.exp(-odds))[None], seen))
    return paths, truth, write_raster(tmp_path / "labels.tif", truth[None].astype(np.uint8))


def read(path):
    """(band, y, x) probabilities, NaN for nodata."""
    with rasterio.open(path) as dataset:
        values = dataset.read(masked=True).astype(np.float64).filled(np.nan)
        return values * dataset.scales[0]


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_fused_raster_is_one_that_detect_could_have_left(tmp_path, rasters):
    fused = geochange.fuse(rasters, tmp_path / "fused.tif")
    assert cog_validate(fused.path, quiet=True)[0]
    with rasterio.open(fused.path) as dataset, rasterio.open(rasters[0]) as first:
        assert (dataset.crs, dataset.transform, dataset.shape) == (first.crs, first.transform, first.shape)
        assert (dataset.dtypes[0], dataset.nodata, dataset.scales[0]) == ("uint8", 255, pytest.approx(1 / 254))
        assert dataset.descriptions == ("change",)
        record = json.loads(dataset.tags()["GEOCHANGE_FUSION"])
    assert record == {"method": "mean", "sources": rasters}
    layer = geochange.vectorize(fused.path, tmp_path / "changes.gpkg")
    assert layer.threshold == fused.threshold == 0.5
    assert layer.totals.count > 0


@pytest.mark.parametrize("method", METHODS)
def test_nodata_of_one_source_does_not_spoil_the_others(tmp_path, rasters, method):
    fused = read(geochange.fuse(rasters, tmp_path / "fused.tif", method=method, **METHODS[method]).path)[0]
    sources = np.stack([read(path)[0] for path in rasters])
    seen = np.isfinite(sources)
    np.testing.assert_array_equal(np.isnan(fused), ~seen.any(axis=0))
    values, weights = np.nan_to_num(sources), np.ones((3, 1, 1))
    if method == "weighted":
        weights = np.array(METHODS[method]["weights"])[:, None, None]
    total = np.maximum((weights * seen).sum(axis=0), 1e-9)
    expected = {
        "mean": (values * seen).sum(axis=0) / total,
        "weighted": (weights * values * seen).sum(axis=0) / total,
        "maximum": (values * seen).max(axis=0),
        "vote": ((values >= 0.5) & seen).sum(axis=0) / total,
        "noisy-or": 1 - np.prod(1 - values * seen, axis=0),
    }[method]
    known = ~np.isnan(fused)
    np.testing.assert_allclose(fused[known], expected[known], atol=0.51 / 254)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("method", ["mean", "maximum"])
def test_a_raster_fused_with_itself_is_itself(tmp_path, method, dtype):
    values, valid = probabilities(count=1)
    path = write_scores(tmp_path / "a.tif", values, valid[0], dtype=dtype)
    fused = geochange.fuse([path] * 3, tmp_path / "fused.tif", method=method, dtype=dtype).path
    with rasterio.open(path) as one, rasterio.open(fused) as other:
        np.testing.assert_array_equal(other.read(), one.read())


def pyramid(folder):
    """A raster, one of half its size that lies a little off, and one in degrees that covers a part."""
    values, valid = probabilities((300, 280))
    whole = write_scores(folder / "whole.tif", values[:1], valid[0])
    coarse = write_scores(
        folder / "coarse.tif", values[1:2, ::2, ::2], valid[1, ::2, ::2], transform=PLACE @ Affine.scale(2)
    )
    x, y = Transformer.from_crs(UTM, 4326, always_xy=True).transform(PLACE.c, PLACE.f)
    degrees = write_scores(
        folder / "degrees.tif",
        values[2:, 30:230, 40:],
        valid[2, 30:230, 40:],
        crs="EPSG:4326",
        transform=Affine(3e-5, 0, x + 1e-4, 0, -2e-5, y - 1e-4),
        dtype="float32",
    )
    return [whole, coarse, degrees]


@pytest.mark.parametrize(("dtype", "many"), [("uint8", {"workers": 2}), ("float32", {"threads": 4})])
def test_bytes_do_not_depend_on_blocks_or_workers(tmp_path, monkeypatch, dtype, many):
    paths = pyramid(tmp_path)
    labels = write_raster(tmp_path / "labels.tif", (textured((300, 280), 1, 9) > 130).astype(np.uint8))
    contents, models = [], []
    for number, (block, cluster) in enumerate(((512, {"threads": 1}), (77, {"threads": 2}), (128, many))):
        monkeypatch.setattr(fusing, "FUSED_BLOCK", block)
        fused = geochange.fuse(
            paths, tmp_path / f"{number}.tif", method="stacking", labels=labels, dtype=dtype,
            cluster=ClusterOptions(**cluster),
        )  # fmt: skip
        contents.append(fused.path.read_bytes())
        models.append(fused.details["model"])
    assert contents[0] == contents[1] == contents[2]
    assert models[0] == models[1] == models[2]


def test_the_order_of_the_sources_does_not_matter(tmp_path, rasters):
    first, *others = rasters
    for method in ("mean", "maximum", "vote", "noisy-or"):
        one = geochange.fuse([first, *others], tmp_path / f"{method}.tif", method=method).path
        other = geochange.fuse([first, *others[::-1]], tmp_path / f"{method}-turned.tif", method=method).path
        np.testing.assert_array_equal(read(one), read(other))


@pytest.mark.parametrize(("crs", "place"), [(UTM, PLACE), (None, Affine(1, 0, 0, 0, -1, 0))])
def test_a_coarser_scale_is_brought_to_the_first_grid(tmp_path, crs, place):
    plane = (np.mgrid[:80, :60] + 0.5).sum(axis=0) / 140
    half = (np.mgrid[:40, :30] + 0.5).sum(axis=0) / 70
    fine = write_scores(tmp_path / "fine.tif", np.zeros((1, 80, 60)), crs=crs, transform=place)
    coarse = write_scores(
        tmp_path / "coarse.tif", half[None], crs=crs, transform=place @ Affine.scale(2), dtype="float32"
    )
    fused = read(geochange.fuse([fine, coarse], tmp_path / "fused.tif", method="maximum", dtype="float32").path)[0]
    assert np.isfinite(fused).all()
    np.testing.assert_allclose(fused[1:-1, 1:-1], plane[1:-1, 1:-1], atol=1e-3)


def test_a_shift_by_whole_pixels_keeps_values_as_they_are(tmp_path):
    values, valid = probabilities(count=2)
    first = write_scores(tmp_path / "a.tif", values[:1], np.zeros(SHAPE, bool))
    moved = write_scores(tmp_path / "b.tif", values[1:], valid[1], transform=PLACE @ Affine.translation(-7, 5))
    fused = read(geochange.fuse([first, moved], tmp_path / "fused.tif").path)[0]
    np.testing.assert_array_equal(fused[5:, :-7], read(moved)[0][:-5, 7:])
    assert np.isnan(fused[:5]).all()
    assert np.isnan(fused[:, -7:]).all()


def test_masks_are_probabilities_of_0_and_1(tmp_path):
    mask = (textured(SHAPE, 1) > 140).astype(np.uint8)
    paths = [
        write_raster(tmp_path / "ones.tif", mask),
        write_raster(tmp_path / "255.tif", mask * np.uint8(255)),
        write_raster(tmp_path / "zeros.tif", mask * np.uint8(0)),
    ]
    fused = read(geochange.fuse(paths, tmp_path / "fused.tif", method="vote", dtype="float32").path)
    np.testing.assert_array_equal(fused, np.where(mask, np.float32(2 / 3), 0))


def test_votes_are_counted_over_each_raster_s_own_threshold(tmp_path):
    values, _ = probabilities()
    paths = [
        write_scores(tmp_path / f"{k}.tif", value[None], threshold=threshold, dtype="float32")
        for k, (value, threshold) in enumerate(zip(values, (0.3, 0.6, None), strict=True))
    ]
    own = geochange.fuse(paths, tmp_path / "own.tif", method="vote", dtype="float32")
    given = geochange.fuse(paths, tmp_path / "given.tif", method="vote", threshold=0.4, dtype="float32")
    assert own.details["thresholds"] == [0.3, 0.6, 0.5]
    sources = np.stack([read(path)[0] for path in paths])
    np.testing.assert_allclose(
        read(own.path)[0], (sources >= np.array([0.3, 0.6, 0.5])[:, None, None]).mean(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(read(given.path)[0], (sources >= 0.4).mean(axis=0), atol=1e-6)


def test_classes_are_matched_by_name(tmp_path):
    values, _ = probabilities(count=2)
    one = write_scores(tmp_path / "one.tif", values, classes=("built", "felled"))
    other = write_scores(tmp_path / "other.tif", values[::-1], classes=("felled", "built"))
    fused = geochange.fuse([one, other], tmp_path / "fused.tif")
    np.testing.assert_array_equal(read(fused.path), read(one))
    assert fused.classes == ("built", "felled")


def test_stacking_is_the_regression_of_scikit_learn_on_the_labelled_pixels(tmp_path, scene):
    paths, truth, labels = scene
    model = geochange.fuse(paths, tmp_path / "fused.tif", method="stacking", labels=labels).details["model"]
    sources = np.stack([read(path)[0] for path in paths]).reshape(2, -1)
    seen = np.isfinite(sources)
    any_seen = seen.any(axis=0)
    features = stacking_features(np.nan_to_num(sources)[:, any_seen], seen[:, any_seen])
    theirs = LogisticRegression(tol=1e-10, max_iter=1000).fit(features, truth.ravel()[any_seen])
    np.testing.assert_allclose([*model["weights"][0], *model["missing"][0]], theirs.coef_[0], atol=1e-4)
    assert model["intercept"][0] == pytest.approx(theirs.intercept_[0], abs=1e-4)
    assert model["pixels"] == {"unchanged": (any_seen & ~truth.ravel()).sum(), "change": truth.ravel()[any_seen].sum()}


def test_a_balanced_sample_keeps_the_share_of_change_and_the_seed_decides_it(tmp_path, scene, monkeypatch):
    paths, truth, labels = scene
    monkeypatch.setattr(stacking, "PIXELS_DRAWN", 800)
    monkeypatch.setattr(stacking, "DRAWING_CELL", 32)
    part = geochange.fuse(paths, tmp_path / "part.tif", method="stacking", labels=labels)
    assert all(330 < count < 470 for count in part.details["model"]["pixels"].values())
    fused = read(part.path)[0]
    assert np.nanmean(fused) == pytest.approx(truth[np.isfinite(fused)].mean(), abs=0.02)
    again = geochange.fuse(paths, tmp_path / "again.tif", method="stacking", labels=labels)
    other = geochange.fuse(
        paths, tmp_path / "other.tif", method="stacking", labels=labels, fit=stacking.FitOptions(seed=1)
    )
    assert again.details == part.details != other.details


def test_the_threshold_of_stacking_is_kept_in_the_raster(tmp_path, scene):
    paths, _, labels = scene
    fused = geochange.fuse(paths, tmp_path / "fused.tif", method="stacking", labels=labels)
    scores = geochange.evaluate(fused.path, labels).to_dict()["pixels"]
    alone = [geochange.evaluate(path, labels).to_dict()["pixels"]["f1"] for path in paths]
    assert scores["f1"] > max(alone)
    assert geochange.vectorize(fused.path, tmp_path / "changes.gpkg").threshold == fused.threshold


@pytest.mark.parametrize("kind", ["255", "unlabelled", "layer", "finer"])
def test_labels_of_any_kind_give_the_same_model(tmp_path, scene, kind):
    paths, truth, labels = scene
    expected = geochange.fuse(paths, tmp_path / "expected.tif", method="stacking", labels=labels).details
    if kind == "255":
        other = write_raster(tmp_path / "other.tif", truth[None].astype(np.uint8) * np.uint8(255))
    elif kind == "unlabelled":
        for number, path in enumerate(paths):  # ground without data is not asked for its labels
            values = read(path)
            valid = np.isfinite(values[0])
            valid[:40] = False
            paths[number] = write_scores(tmp_path / f"{number}.tif", np.nan_to_num(values), valid)
        expected = geochange.fuse(paths, tmp_path / "less.tif", method="stacking", labels=labels).details
        partly = truth[None].astype(np.uint8)
        partly[:, :40] = 255
        other = write_raster(tmp_path / "other.tif", partly)
    elif kind == "layer":
        geochange.vectorize(labels, tmp_path / "other.gpkg", geochange.VectorizeOptions(min_area=0))
        other = tmp_path / "other.gpkg"
    else:
        finer = truth[None].astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2)
        other = write_raster(tmp_path / "other.tif", finer, transform=PLACE @ Affine.scale(1 / 3))
    found = geochange.fuse(paths, tmp_path / "found.tif", method="stacking", labels=other).details
    assert found == expected


def test_several_classes_are_stacked_each(tmp_path):
    rng = np.random.default_rng(0)
    truth = ndimage.zoom(rng.integers(0, 3, (9, 12)), 10, order=0)
    classes = ("built", "felled")
    paths = []
    for name in "ab":
        odds = np.stack([3.0 * (truth == k) - 1.5 for k in (1, 2)]) + rng.normal(size=(2, *SHAPE))
        paths.append(write_scores(tmp_path / f"{name}.tif", 1 / (1 + np.exp(-odds)), classes=classes))
    labels = write_raster(tmp_path / "labels.tif", truth[None].astype(np.uint8))
    fused = geochange.fuse(paths, tmp_path / "fused.tif", method="stacking", labels=labels)
    assert list(fused.details["model"]["pixels"]) == ["unchanged", *classes]
    scores = geochange.evaluate(fused.path, labels).to_dict()["pixels"]
    alone = geochange.evaluate(paths[0], labels).to_dict()["pixels"]
    for label in ("1", "2"):
        assert scores["per_class"][label]["f1"] > alone["per_class"][label]["f1"]
    only = write_raster(tmp_path / "only.tif", (truth[None] == 1).astype(np.uint8))
    with pytest.raises(NothingValid, match="felled"):
        geochange.fuse(paths, tmp_path / "x.tif", method="stacking", labels=only)
    strange = write_raster(tmp_path / "strange.tif", truth[None].astype(np.uint8) * np.uint8(2))
    with pytest.raises(BadOption, match="label 4"):
        geochange.fuse(paths, tmp_path / "x.tif", method="stacking", labels=strange)


def test_a_saved_model_does_the_same_without_labels(run, tmp_path, scene):
    paths, _, labels = scene
    fitted = tmp_path / "fitted.tif"
    model = tmp_path / "model.json"
    code, out, _ = run(
        "fuse", *paths, "-o", fitted, "--method", "stacking", "--labels", labels, "--save-model", model, "--json"
    )
    assert code == 0
    answer = json.loads(out)
    assert answer["model"] == {key: value for key, value in json.loads(model.read_text()).items() if key != "method"}
    assert answer["model"]["sources"] == paths
    assert answer["threshold"] == answer["model"]["threshold"]
    applied = tmp_path / "applied.tif"
    assert run("fuse", *paths, "-o", applied, "--method", "stacking", "--model", model, "-q")[0] == 0
    assert applied.read_bytes() == fitted.read_bytes()
    refused(
        run("fuse", *paths, paths[0], "-o", tmp_path / "x.tif", "--method", "stacking", "--model", model),
        "fitted on 2 rasters",
    )
    model.write_text(model.read_text().replace('"weights"', '"w"'))
    refused(
        run("fuse", *paths, "-o", tmp_path / "x.tif", "--method", "stacking", "--model", model), "model.json", "weights"
    )
    refused(
        run("fuse", *paths, "-o", tmp_path / "x.tif", "--method", "stacking", "--model", tmp_path / "no.json"),
        "no.json",
        "does not exist",
    )


def test_the_results_of_two_detectors_are_fused(run, tmp_path):
    before, after = write_pair(tmp_path, (60, 80))
    for name in ("ir-mad", "change-vector"):
        geochange.detect(before, after, tmp_path / name, detector=name, formats=("geojson",))
    paths = [tmp_path / name / "probability.tif" for name in ("ir-mad", "change-vector")]
    code, out, _ = run("fuse", *paths, "-o", tmp_path / "fused.tif", "--method", "maximum")
    assert code == 0
    assert str(tmp_path / "fused.tif") in out
    np.testing.assert_array_equal(read(tmp_path / "fused.tif"), np.maximum(*map(read, paths)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "median"], ["median", "noisy-or"]),
        (["--method", "weighted"], ["needs weights"]),
        (["--method", "weighted", "--weights", "1,2"], ["2 weights", "3 rasters"]),
        (["--method", "weighted", "--weights", "1,-2,1"], ["1,-2,1", "0 or more"]),
        (["--method", "weighted", "--weights", "0,0,0"], ["0,0,0", "above 0"]),
        (["--method", "weighted", "--weights", "1,x,1"], ["1,x,1", "numbers"]),
        (["--method", "weighted", "--weights", "1,nan,1"], ["nan"]),
        (["--weights", "1,2,1"], ["weights", "weighted", "mean"]),
        (["--threshold", "0.5"], ["threshold", "vote"]),
        (["--method", "vote", "--threshold", "1.5"], ["1.5", "0..1"]),
        (["--labels", "truth.gpkg"], ["labels", "stacking", "mean"]),
        (["--model", "model.json"], ["model", "stacking"]),
        (["--method", "stacking"], ["labels", "model"]),
        (["--method", "stacking", "--labels", "a.tif", "--model", "b.json"], ["one of them"]),
        (["--save-model", "model.json"], ["labels"]),
        (["--dtype", "int16"], ["int16", "float32"]),
    ],
)
def test_options_that_do_not_fit_are_refused(run, tmp_path, rasters, options, words):
    before = left_in(tmp_path)
    refused(run("fuse", *rasters, "-o", tmp_path / "fused.tif", *options), *words)
    assert left_in(tmp_path) == before


def test_rasters_that_cannot_be_fused_are_refused(run, tmp_path, rasters):
    out = ("-o", tmp_path / "fused.tif")
    refused(run("fuse", rasters[0], *out), "nothing to fuse")
    values = probabilities()[0]
    other = write_scores(tmp_path / "other.tif", values[:2], classes=("built", "felled"))
    refused(run("fuse", rasters[0], other, *out), "change", "built, felled", "classes")
    far = write_scores(tmp_path / "far.tif", values[:1], transform=PLACE @ Affine.translation(10**4, 0))
    refused(run("fuse", rasters[0], far, *out), "do not overlap", "far.tif")
    plain = write_scores(tmp_path / "plain.tif", values[:1], crs=None)
    refused(run("fuse", rasters[0], plain, *out), "EPSG:32633", "no CRS")
    (tmp_path / "notes.tif").write_text("no raster")
    refused(run("fuse", rasters[0], tmp_path / "notes.tif", *out), "notes.tif")
    refused(run("fuse", rasters[0], tmp_path / "missing.tif", *out), "missing.tif", "does not exist")
    assert not (tmp_path / "fused.tif").exists()


def test_outputs_in_the_way_are_refused(run, tmp_path, rasters, scene):
    out = tmp_path / "fused.tif"
    out.write_text("precious")
    refused(run("fuse", *rasters, "-o", out), "fused.tif", "--overwrite")
    assert out.read_text() == "precious"
    assert run("fuse", *rasters, "-o", out, "--overwrite", "-q")[0] == 0
    content = (tmp_path / "b.tif").read_bytes()
    refused(run("fuse", *rasters, "-o", rasters[1], "--overwrite"), "b.tif", "is an input")
    assert (tmp_path / "b.tif").read_bytes() == content
    refused(run("fuse", *rasters, "-o", tmp_path / "nowhere" / "fused.tif"), "nowhere")
    refused(run("fuse", *rasters, "-o", tmp_path / "fused.gpkg"), "fused.gpkg", ".tif")
    paths, _, labels = scene
    stacking_of = ("fuse", *paths, "-o", tmp_path / "stacked.tif", "--method", "stacking", "--labels", labels)
    refused(run(*stacking_of, "--overwrite", "--save-model", labels), "labels.tif", "is an input")
    refused(run(*stacking_of, "--save-model", tmp_path / "stacked.tif"), "stacked.tif", "both")
    (tmp_path / "model.json").write_text("precious")
    refused(run(*stacking_of, "--save-model", tmp_path / "model.json"), "model.json", "--overwrite")


def test_labels_that_train_nothing_are_refused(run, tmp_path, scene):
    paths, truth, _ = scene
    out = ("-o", tmp_path / "fused.tif", "--method", "stacking", "--labels")
    nothing = write_raster(tmp_path / "nothing.tif", np.zeros((1, *SHAPE), np.uint8))
    refused(run("fuse", *paths, *out, nothing), "nothing.tif", "labelled change")
    everything = write_raster(tmp_path / "everything.tif", np.ones((1, *SHAPE), np.uint8))
    refused(run("fuse", *paths, *out, everything), "everything.tif", "labelled unchanged")
    beyond = write_raster(
        tmp_path / "beyond.tif", truth[None].astype(np.uint8), transform=PLACE @ Affine.translation(10**4, 0)
    )
    refused(run("fuse", *paths, *out, beyond), "beyond.tif", "do not overlap")
    geopandas.GeoSeries([shapely.Point(0, 0)], crs=UTM).to_file(tmp_path / "points.gpkg")
    refused(run("fuse", *paths, *out, tmp_path / "points.gpkg"), "points.gpkg", "polygons")
    plain = write_raster(tmp_path / "plain.tif", truth[None].astype(np.uint8), crs=None)
    refused(run("fuse", *paths, *out, plain), "no CRS")


def test_a_broken_source_leaves_nothing_behind(run, tmp_path):
    rng = np.random.default_rng(0)
    paths = [write_scores(tmp_path / f"{name}.tif", rng.random((1, 600, 600))) for name in "ab"]
    (tmp_path / "b.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:200_000])
    before = left_in(tmp_path)
    refused(run("fuse", *paths, "-o", tmp_path / "fused.tif"), "b.tif", "cannot be read")
    assert left_in(tmp_path) == before


def test_the_command_has_help(run):
    code, out, _ = run("fuse", "--help")
    assert code == 0
    assert "noisy-or" in out


def test_bands_that_are_described_are_classes_by_these_names(tmp_path):
    first = np.stack([np.full((20, 30), value, np.float32) for value in (0.2, 0.8)])
    paths = []
    for number, (values, names) in enumerate(((first, ("a", "b")), (first[::-1].copy(), ("b", "a")))):
        path = write_raster(tmp_path / f"{number}.tif", values)
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = names
        paths.append(path)
    fused = geochange.fuse(paths, tmp_path / "fused.tif", dtype="float32")
    assert fused.classes == ("a", "b")
    with rasterio.open(fused.path) as dataset:
        np.testing.assert_allclose(dataset.read(), first, atol=1e-6)
