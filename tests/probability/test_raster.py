"""The stored format of probabilities: levels, nodata, scale and tags, which one module alone knows."""

import ast
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import geochange
from geochange.engine.raster_output import raster_output
from geochange.engine.work import open_work
from geochange.errors import UnreadableInput
from geochange.files import write_whole
from geochange.probability.raster import (
    FLOAT_STEPS,
    Provenance,
    cutoff_of,
    cutoffs_of,
    encode_probability,
    in_steps,
    layer_spec,
    open_scores,
    probability_spec,
    quantise,
    steps_of,
)
from geochange.scenes.grid import Grid, Tile
from tests.stand_ins import PLACE, textured, write_raster

DTYPES = [np.dtype("uint8"), np.dtype("float32")]
GRID = Grid(None, PLACE, (40, 60))
CLASSES = ("built", "felled")
PROVENANCE = Provenance("a detector", refined=("open 2px",))
LIBRARY = Path(geochange.__file__).parent


def written(path, probability, valid, dtype):
    """A raster as commands write it, opened again."""
    spec = probability_spec(GRID, dtype, CLASSES, {"default": 0.4}, PROVENANCE)
    with raster_output(path, spec, 64) as output, open_work(None, None) as work:
        write_whole(output.file(output.blocks[0]), encode_probability(probability, valid, dtype))
        output.pack(work)
    return open_scores(str(path))


def text_of(path):
    """String constants of a module; docstrings describe the format, and do not count."""
    tree = ast.parse(path.read_text())
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, owners)}
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [text for text in strings if text not in docstrings]


def test_one_module_alone_names_the_tags():
    naming = {path for path in LIBRARY.rglob("*.py") if any("GEOCHANGE_" in text for text in text_of(path))}
    assert naming == {LIBRARY / "probability" / "raster.py"}


def test_uint8_keeps_255_for_nodata():
    stored = quantise(np.array([[[0.0, 0.5, 1.0]]], np.float32), np.array([[True, True, True]]), np.dtype("uint8"))
    assert stored.tolist() == [[[0, 127, 254]]]
    assert quantise(np.ones((1, 1, 1), np.float32), np.array([[False]]), np.dtype("uint8")).item() == 255


def test_float_keeps_nan_for_nodata():
    stored = quantise(np.ones((1, 1, 2), np.float32), np.array([[False, True]]), np.dtype("float32"))
    assert np.isnan(stored[0, 0, 0])
    assert stored[0, 0, 1] == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_written_is_what_is_read(tmp_path, dtype):
    probability = (textured(GRID.shape, 2) / np.float32(255)).astype(np.float32)
    valid = textured(GRID.shape, 1, 7)[0] > 60
    raster = written(tmp_path / "p.tif", probability, valid, dtype)
    values, known = raster.source.read(GRID.area)
    np.testing.assert_array_equal(known, valid)
    resolution = 0.5 / 254 + 1e-7 if dtype == np.uint8 else 0
    found = raster.probabilities(values, known)
    assert np.abs(found - np.where(valid, probability, 0)).max() <= resolution
    np.testing.assert_array_equal(quantise(found, known, dtype), quantise(probability, valid, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_raster_says_how_it_was_made(tmp_path, dtype):
    everywhere = np.ones(GRID.shape, bool)
    raster = written(tmp_path / "p.tif", np.full((2, *GRID.shape), 0.5), everywhere, dtype)
    assert (raster.classes, raster.thresholds, raster.provenance) == (CLASSES, {"default": 0.4}, PROVENANCE)
    assert (raster.stored_dtype, raster.steps) == (dtype, steps_of(dtype))
    assert raster.declared
    assert raster.labels is None


def test_what_is_not_known_is_not_said():
    spec = probability_spec(GRID, DTYPES[0], CLASSES, {}, Provenance())
    assert spec.tags == {"GEOCHANGE_THRESHOLDS": "{}", "GEOCHANGE_CLASSES": '["built", "felled"]'}


def test_layers_are_floats_with_numbered_bands():
    one, two = layer_spec(GRID, "date", 1, "a detector"), layer_spec(GRID, "date", 2, "a detector")
    assert (one.band_names, two.band_names) == (("date",), ("date 1", "date 2"))
    assert (two.dtype, two.scale) == (np.float32, None)
    assert np.isnan(two.nodata)
    assert one.grid == two.grid == GRID
    assert one.tags == two.tags == {"GEOCHANGE_DETECTOR": "a detector"}


@given(st.lists(st.integers(0, 254), min_size=1, max_size=20))
def test_codes_of_bytes_survive_finer_steps(codes):
    fine = in_steps(np.array(codes, np.uint8), 254, FLOAT_STEPS)
    assert fine.dtype == np.int32
    back = in_steps(fine, FLOAT_STEPS, 254)
    assert (back.tolist(), back.dtype) == (codes, np.uint8)


def test_masks_have_one_step(tmp_path):
    mask = open_scores(write_raster(tmp_path / "mask.tif", (textured(GRID.shape, 1) > 120).astype(np.uint8)))
    assert not mask.declared
    assert (mask.steps, mask.stored_dtype) == (1, np.uint8)


FOREIGN_TAGS = [
    ("GEOCHANGE_CLASSES", "{bad"),
    ("GEOCHANGE_CLASSES", "5"),
    ("GEOCHANGE_CLASSES", '"abc"'),
    ("GEOCHANGE_CLASSES", "[1, 2]"),
    ("GEOCHANGE_CLASSES", "[" * 100_000),
    ("GEOCHANGE_THRESHOLDS", "[1]"),
    ("GEOCHANGE_THRESHOLDS", '{"default": "abc"}'),
    ("GEOCHANGE_THRESHOLDS", '{"default": NaN}'),
    ("GEOCHANGE_THRESHOLDS", '{"default": 7}'),
    ("GEOCHANGE_THRESHOLDS", '{"default": null}'),
    ("GEOCHANGE_REFINED", "3"),
]


@pytest.mark.parametrize(("tag", "text"), FOREIGN_TAGS)
def test_tags_of_another_form_are_refused_with_the_file_and_the_tag(tmp_path, tag, text):
    path = write_raster(tmp_path / "foreign.tif", textured((20, 20), bands=1))
    with rasterio.open(path, "r+") as file:
        file.update_tags(**{tag: text})
    with pytest.raises(UnreadableInput, match=rf"foreign\.tif: its tag {tag} cannot be read as"):
        open_scores(path)


def test_probabilities_finer_than_a_byte_are_stored_as_floats(tmp_path):
    path = write_raster(tmp_path / "p.tif", np.full((1, 20, 20), 5000, np.uint16))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = [0.0001]
    assert open_scores(path).stored_dtype == np.float32
    geochange.refine(path, tmp_path / "refined.tif", opening="1px")
    with rasterio.open(tmp_path / "refined.tif") as dataset:
        assert dataset.read(1) * dataset.scales[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("described", "names"),
    [
        (("built", "felled"), ("built", "felled")),
        (("built", "built"), ("class 1", "class 2")),
        (("built", None), ("class 1", "class 2")),
        ((None, None), ("class 1", "class 2")),
    ],
)
def test_classes_have_the_names_of_their_bands_where_these_tell_them_apart(tmp_path, described, names):
    path = write_raster(tmp_path / "p.tif", np.full((2, 8, 8), 0.25, np.float32))
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = described
    assert open_scores(path).classes == names


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.sampled_from([1.0, 1 / 254, 1 / FLOAT_STEPS]))
def test_thresholds_of_pixels_cut_as_the_same_one_threshold_does(thresholds, step):
    found = cutoffs_of(np.array(thresholds), step)
    assert found.tolist() == [cutoff_of(threshold, step) for threshold in thresholds]


@pytest.mark.parametrize(("threshold", "code"), [(0.5, 127), (0.501, 128), (100.2 / 254, 101), (101 / 254, 101)])
def test_the_cutoff_is_the_smallest_code_that_reaches_the_threshold(threshold, code):
    assert cutoffs_of(np.array([threshold]), 1 / 254).tolist() == [code]


@pytest.mark.parametrize(
    ("dtype", "nodata", "scale", "known"),
    [("uint8", 255, 0.004, 200), ("float32", -9999, 1.0, 0.8), ("int16", -1, 0.01, 80)],
)
def test_what_is_not_valid_has_the_code_0_whatever_is_stored(tmp_path, dtype, nodata, scale, known):
    values = np.full((1, 6, 8), known, dtype)
    values[:, 2, 3] = nodata
    path = write_raster(tmp_path / "p.tif", values, nodata=nodata)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,)
    codes, valid = open_scores(path).read(Tile(0, 0, 6, 8))
    assert np.argwhere(~valid).tolist() == [[2, 3]]
    assert codes[0, 2, 3] == 0
    assert codes[0][valid].min() == codes[0][valid].max() > 0


@pytest.mark.parametrize("value", [-0.2, 1.2])
def test_numbers_below_0_are_no_probabilities_as_those_above_1(tmp_path, value):
    values = np.full((1, 5, 6), 0.5, np.float32)
    values[0, 2, 3] = value
    raster = open_scores(write_raster(tmp_path / "a.tif", values))
    for read in (raster.encode, raster.probabilities):
        with pytest.raises(UnreadableInput, match=f"holds {value}, and probabilities lie in 0..1"):
            read(values, np.ones((5, 6), bool))


@pytest.mark.parametrize(("stored", "text"), [(-20, "-0.2"), (-1, "-0.01"), (101, "1.01"), (250, "2.5")])
def test_scaled_whole_numbers_beyond_0_and_1_are_refused_as_fractions_are(tmp_path, stored, text):
    values = np.full((1, 5, 6), 50, np.int16)
    values[0, 2, 3] = stored
    path = write_raster(tmp_path / "a.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (0.01,)
    raster, valid = open_scores(path), np.ones((5, 6), bool)
    for read in (raster.encode, raster.probabilities):
        with pytest.raises(UnreadableInput, match=rf"a\.tif holds {text}, and probabilities lie in 0..1"):
            read(values, valid)
    valid[2, 3] = False
    assert raster.encode(values, valid).max() == 50


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_thresholds_from_0_to_1_are_read(tmp_path, threshold):
    path = write_raster(tmp_path / "p.tif", textured((20, 20), bands=1))
    with rasterio.open(path, "r+") as file:
        file.update_tags(GEOCHANGE_THRESHOLDS=f'{{"default": {threshold}}}')
    assert open_scores(path).thresholds == {"default": threshold}


@pytest.mark.parametrize(
    ("dtype", "scale", "stored", "meant"),
    [
        ("float32", 1.0, (-0.0009, 0.0, 0.25, 1.0, 1.0009), (0, 0, 0.25, 1, 1)),
        ("float64", 1.0, (-0.0009, 0.0, 0.3, 1.0, 1.0009), (0, 0, 0.3, 1, 1)),
        ("int16", 1e-4, (-9, 0, 2500, 10_000, 10_009), (0, 0, 0.25, 1, 1)),
        ("uint8", 0.004, (0, 1, 100, 249, 250), (0, 0.004, 0.4, 0.996, 1)),
    ],
)
def test_a_rounding_error_beyond_0_and_1_counts_as_these(tmp_path, dtype, scale, stored, meant):
    values, valid = np.array([[stored]], dtype), np.ones((1, 5), bool)
    path = write_raster(tmp_path / "p.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (scale,)
    raster = open_scores(path)
    np.testing.assert_allclose(raster.probabilities(values, valid)[0, 0], meant, atol=1e-7)
    np.testing.assert_allclose(raster.encode(values, valid)[0, 0] * raster.step, meant, atol=1e-7)
    assert raster.encode(values, valid).max() == raster.steps


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_programs_see_no_data_where_there_is_none(tmp_path, dtype):
    valid = np.ones(GRID.shape, bool)
    valid[3:9, 5:20] = False
    written(tmp_path / "a.tif", np.full((len(CLASSES), *GRID.shape), 0.5, np.float32), valid, dtype)
    with rasterio.open(tmp_path / "a.tif") as dataset:
        assert (dataset.read_masks().astype(bool) == valid).all()
        assert all(np.isnan(fill) if dtype == np.float32 else fill == 255 for fill in dataset.nodatavals)


@pytest.mark.parametrize(("steps", "dtype"), [(254, "uint8"), (255, "uint8"), (256, "int32"), (1000, "int32")])
def test_codes_are_bytes_where_they_fit_in(tmp_path, steps, dtype):
    values = np.array([[[0, 1, steps // 2, steps - 1, steps]]], np.uint16)
    path = write_raster(tmp_path / "p.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (1 / steps,)
    codes, valid = open_scores(path).read(Tile(0, 0, 1, 5))
    assert valid.all()
    np.testing.assert_array_equal(codes, values)
    assert codes.dtype == dtype
    fine = in_steps(codes, steps, FLOAT_STEPS)
    np.testing.assert_allclose(fine / FLOAT_STEPS, values / steps, atol=0.51 / FLOAT_STEPS)
    back = in_steps(fine, FLOAT_STEPS, steps)
    np.testing.assert_array_equal(back, values)
    assert back.dtype == dtype
