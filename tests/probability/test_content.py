"""What numbers mean follows from the numbers, not from their type."""

import geopandas
import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import shapes

import geochange
from geochange.engine.progress import Listener
from geochange.engine.work import open_work
from geochange.errors import BadOption, UnreadableInput
from geochange.probability.content import MOST_CLASSES, understand
from geochange.probability.raster import open_scores
from tests.stand_ins import PLACE, write_raster

TYPES = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


class Notices(Listener):
    def __init__(self):
        self.texts = []

    def notice(self, text):
        self.texts.append(text)


def regions(classes, seed=0, shape=(60, 70)):
    """A map of classes in rectangles."""
    rng, found = np.random.default_rng(seed), np.zeros(shape, np.int64)
    for number in classes:
        for _ in range(3):
            row, col = (int(rng.integers(length - 12)) for length in shape)
            found[row : row + int(rng.integers(4, 12)), col : col + int(rng.integers(4, 12))] = number
    return found


@given(
    classes=st.lists(st.integers(1, 120), min_size=1, max_size=4, unique=True),
    dtype=st.sampled_from(TYPES),
    other=st.sampled_from(TYPES),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_classes_are_scored_alike_in_every_type(tmp_path_factory, classes, dtype, other, seed):
    folder = tmp_path_factory.mktemp("classes")
    truth, predicted = regions(classes, seed), regions(classes, seed + 1)
    wanted = None
    for place, (one, two) in enumerate([("uint8", "uint8"), (dtype, other)]):
        a = write_raster(folder / f"predicted{place}.tif", predicted[None].astype(one))
        b = write_raster(folder / f"truth{place}.tif", truth[None].astype(two))
        found = geochange.evaluate(a, b).to_dict()
        wanted = wanted or found
        assert found == wanted
    present = sorted({*np.unique(truth), *np.unique(predicted)} - {0})
    assert len(wanted["pixels"]["per_class"]) == (len(present) + 1 if len(present) > 1 else 2)


@given(
    classes=st.lists(st.integers(1, 250), min_size=1, max_size=4, unique=True),
    dtype=st.sampled_from(["uint8", "int16", "uint32", "float32"]),
    nodata=st.sampled_from([None, 0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_a_raster_of_classes_is_outlined_class_by_class(tmp_path_factory, classes, dtype, nodata, seed):
    folder, drawn = tmp_path_factory.mktemp("vectorize"), regions(classes, seed)
    path = write_raster(folder / "classes.tif", drawn[None].astype(dtype), nodata=nodata)
    geochange.vectorize(path, folder / "classes.gpkg", min_area=0)
    layer = geopandas.read_file(folder / "classes.gpkg", layer="changes")
    found = sorted(zip(layer.label, layer.area_px, strict=True))
    present = sorted(set(np.unique(drawn)) - {0})
    name = {number: "change" if len(present) == 1 else f"class {number}" for number in present}
    parts = shapes(drawn.astype(np.int32), mask=drawn > 0, connectivity=4, transform=PLACE)
    wanted = sorted((name[int(value)], round(_area(part))) for part, value in parts)
    assert found == wanted


def _area(part):
    from shapely.geometry import shape

    return shape(part).area / abs(PLACE.determinant)


P = np.where(regions([1], 3) == 1, 0.9, 0.1)
P[50:, 60:] = 0.6


@pytest.mark.parametrize(
    ("values", "scale"),
    [(np.rint(P * 255), 1 / 255), (np.rint(P * 100), 0.01), (np.rint(P * 10_000), 1e-4), (P.astype(np.float32), None)],
)
@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_scaled_probabilities_are_cut_where_they_mean(tmp_path, values, scale, threshold):
    dtype = np.float32 if scale is None else np.uint16
    path = write_raster(tmp_path / "p.tif", values[None].astype(dtype))
    if scale is not None:
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = [scale]
    geochange.vectorize(path, tmp_path / "p.gpkg", min_area=0, threshold=threshold)
    assert geopandas.read_file(tmp_path / "p.gpkg", layer="changes").area_px.sum() == (threshold <= P).sum()


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (np.rint(P * 255).astype(np.uint8), BadOption, "no threshold can tell apart"),
        (np.rint(P * 100).astype(np.float32), BadOption, "no threshold can tell apart"),
        (np.rint(P * 100).astype(np.int16), BadOption, "gdal_edit.py -scale"),
        ((P * 255.5).astype(np.float32), UnreadableInput, "probabilities lie in 0..1"),
        (-P.astype(np.float32), UnreadableInput, "probabilities lie in 0..1"),
        (np.arange(4200).reshape(60, 70).astype(np.uint16), UnreadableInput, "more than 64 whole numbers"),
    ],
)
def test_unscaled_probabilities_are_refused_with_the_way_to_scale_them(tmp_path, values, error, words):
    path = write_raster(tmp_path / "p.tif", values[None])
    with pytest.raises(error, match=words):
        geochange.vectorize(path, tmp_path / "p.gpkg", threshold=0.7)
    with pytest.raises((BadOption, UnreadableInput), match=r"gdal_edit\.py -scale"):
        geochange.refine(path, tmp_path / "refined.tif", opening="1px")
    with pytest.raises((BadOption, UnreadableInput), match=r"gdal_edit\.py -scale"):
        geochange.fuse([path, path], tmp_path / "fused.tif")
    assert {each.name for each in tmp_path.iterdir()} == {"p.tif"}


def test_bands_that_differ_are_a_picture_and_alike_a_mask(tmp_path):
    mask = regions([255], 2).astype(np.uint8)
    grey = write_raster(tmp_path / "grey.tif", np.stack([mask] * 3))
    red = write_raster(tmp_path / "red.tif", np.stack([np.full_like(mask, 255), 255 - mask, 255 - mask]))
    plain = write_raster(tmp_path / "plain.tif", (mask > 0)[None].astype(np.uint8))
    assert geochange.evaluate(grey, plain).to_dict()["pixels"]["f1"] == 1
    with pytest.raises(UnreadableInput, match="3 bands that differ"):
        geochange.evaluate(red, plain)
    with pytest.raises(UnreadableInput, match="3 bands that differ"):
        geochange.vectorize(red, tmp_path / "red.gpkg")


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_background_that_is_nodata_is_scored_and_said(tmp_path, dtype):
    truth, predicted = regions([1], 5)[None].astype(dtype), regions([1], 6)[None].astype(dtype)
    plain = [write_raster(tmp_path / f"{k}.tif", each) for k, each in enumerate((predicted, truth))]
    empty = [write_raster(tmp_path / f"{k}n.tif", each, nodata=0) for k, each in enumerate((predicted, truth))]
    listener = Notices()
    assert geochange.evaluate(*empty, listener=listener).to_dict() == geochange.evaluate(*plain).to_dict()
    assert [text.endswith("its nodata value 0 is read as unchanged") for text in listener.texts] == [True, True]
    quiet = Notices()
    ignored = geochange.evaluate(*empty, ignore=(0,), listener=quiet).to_dict()["pixels"]
    assert ignored["precision"] == 1
    assert quiet.texts == []


def test_bands_that_differ_in_one_block_alone_differ(tmp_path):
    values = np.zeros((2, 1100, 40), np.uint8)
    values[0, 5:9, 5:9] = 1
    values[:, 20:30, 5:9] = [[[1]], [[2]]]
    with pytest.raises(UnreadableInput, match="2 bands that differ"):
        geochange.vectorize(write_raster(tmp_path / "p.tif", values), tmp_path / "p.gpkg")


def of_classes(path, first, last, *, apart):
    """A raster of the numbers from first to last, of two blocks; apart: the last number is in the second alone."""
    values = np.resize(np.arange(first, last + 1), (1100, 70))
    if apart:
        values[values == last] = 1
        values[1060:] = last
    return open_scores(write_raster(path, values[None].astype(np.uint8)))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("apart", [True, False])
def test_as_many_classes_as_are_allowed_are_understood(tmp_path, first, apart):
    with open_work(None, None) as work:
        found = understand(of_classes(tmp_path / "a.tif", first, MOST_CLASSES, apart=apart), work)
    assert found.labels == tuple(range(1, MOST_CLASSES + 1))
    assert found.classes == tuple(f"class {number}" for number in range(1, MOST_CLASSES + 1))


@pytest.mark.parametrize(("first", "apart"), [(0, False), (0, True), (1, False), (1, True)])
def test_one_class_more_than_are_allowed_is_too_many(tmp_path, first, apart):
    raster = of_classes(tmp_path / "a.tif", first, MOST_CLASSES + 1, apart=apart)
    with open_work(None, None) as work, pytest.raises(UnreadableInput, match="more than 64 whole numbers, 1, 2, "):
        understand(raster, work)


def layer_at(path, out, threshold, **options):
    geochange.vectorize(path, out, min_area=0, threshold=threshold, **options)
    return geopandas.read_file(out, layer="changes")


@pytest.mark.parametrize(("dtype", "number"), [("uint8", 1), ("uint8", 255), ("int16", 7), ("float32", 1)])
@pytest.mark.parametrize("threshold", [0.5, 0.9, "0.3:0.8", "otsu"])
def test_a_mask_has_the_same_changes_at_every_threshold(tmp_path, dtype, number, threshold):
    mask = regions([number], 4)[None].astype(dtype)
    path = write_raster(tmp_path / "mask.tif", mask)
    plain = layer_at(path, tmp_path / "plain.gpkg", None)
    cut = layer_at(path, tmp_path / "cut.gpkg", threshold)
    assert cut.area_px.sum() == (mask > 0).sum() > 0
    assert cut.geometry.geom_equals(plain.geometry).all()
    reference = write_raster(tmp_path / "reference.tif", regions([1], 5)[None].astype(np.uint8))
    scores = geochange.evaluate(path, reference).to_dict()["pixels"]
    if threshold in (0.5, 0.9):
        assert geochange.evaluate(path, reference, threshold=threshold).to_dict()["pixels"] == scores


def test_classes_have_no_threshold_as_predictions_and_need_none(tmp_path):
    one = write_raster(tmp_path / "one.tif", regions([1, 2], 4)[None].astype(np.uint8))
    two = write_raster(tmp_path / "two.tif", regions([1, 2], 5)[None].astype(np.uint8))
    mask = write_raster(tmp_path / "mask.tif", regions([1], 5)[None].astype(np.uint8))
    with pytest.raises(BadOption, match=r"one.tif holds the classes 1, 2, which no threshold can tell apart"):
        geochange.evaluate(one, two, threshold=0.5)
    with pytest.raises(BadOption, match=r"one.tif holds the classes 1, 2, which no threshold can tell apart"):
        geochange.vectorize(one, tmp_path / "one.gpkg", threshold=0.5)
    assert geochange.evaluate(one, one).to_dict()["pixels"]["f1"] == 1
    assert geochange.evaluate(mask, mask, threshold=0.5).to_dict()["pixels"]["f1"] == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fractions_among_whole_numbers_are_probabilities(tmp_path, dtype):
    values = regions([1], 2)[None].astype(dtype)
    values[0, 20:30, 5:25] = 0.75
    values[0, 40:45, 40:60] = 0.25
    path = write_raster(tmp_path / "p.tif", values)
    for threshold in (0.2, 0.5, 0.9):
        found = layer_at(path, tmp_path / f"{threshold}.gpkg", threshold)
        assert found.area_px.sum() == (values >= threshold).sum()


def test_zeros_alone_are_a_mask_without_change(tmp_path):
    raster = open_scores(write_raster(tmp_path / "p.tif", np.zeros((1, 20, 30), np.uint8)))
    with open_work(None, None) as work:
        found = understand(raster, work)
    assert (found.labels, found.classes) == ((1,), ("change",))
