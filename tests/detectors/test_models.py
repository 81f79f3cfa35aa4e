"""Networks in files of other programs: one form for all formats and layouts, guesses, manifests, and the laws."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geochange
from geochange.detectors.catalogue import detector, load_fitted
from geochange.detectors.models.guessing import BYTES, complete
from geochange.detectors.models.manifest import Manifest, manifest_from, read_manifest
from geochange.detectors.models.resampling import resize
from geochange.errors import BadOption, BandMismatch, GeochangeError, UnreadableInput
from tests.memory_blocks import change, fit
from tests.stand_ins import write_pair, write_raster

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from geochange.detectors.model import program_of  # noqa: E402
from geochange.detectors.models.measuring import measure  # noqa: E402
from geochange.detectors.models.programs import Runtime, open_program  # noqa: E402
from geochange.detectors.models.tiles import TileModel  # noqa: E402
from geochange.detectors.preparation import Preparation  # noqa: E402
from tests.memory_blocks import pair as memory_pair  # noqa: E402
from tests.small_models import (  # noqa: E402
    RADIUS,
    STRIDE,
    SmallModel,
    write_exported,
    write_onnx,
    write_torchscript,
)

SHAPE = (150, 190)
LAYOUTS = ("pair", "stacked", "series", "series-valid")
EXACT = 16  # pixels of overlap: twice the receptive radius, in whole strides
AS_IS = Preparation(gain=((1.0,) * 3,), offset=((0.0,) * 3,))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    with warnings.catch_warnings(action="ignore"):  # of torch's exporters
        return {
            "onnx": write_onnx(folder / "small.onnx"),
            "torchscript": write_torchscript(folder / "small.pt"),
            "export": write_exported(folder / "small.pt2"),
            **{layout: write_onnx(folder / f"{layout}.onnx", layout) for layout in LAYOUTS},
        }


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), SHAPE)


def dates_of(seed=0, n=2, side=64, bands=3):
    return np.random.default_rng(seed).standard_normal((n, 2, bands, side, side)).astype(np.float32)


def by_torch(dates, **options):
    with torch.inference_mode():
        before, after = (torch.from_numpy(dates[:, k].copy()) for k in range(2))
        return SmallModel(**options)(before, after).numpy()


def tile_model(path, runtime=None, given=None, **options):
    program = open_program(path, runtime or Runtime())
    manifest = complete(program, given or Manifest(stride=STRIDE), 3)
    return TileModel(program, manifest, AS_IS, **options)


def valid_of(dates):
    return np.ones((*dates.shape[:2], *dates.shape[-2:]), bool)


@pytest.mark.parametrize("form", ["onnx", "torchscript", "export", "openvino"])
def test_every_form_says_what_torch_says(models, form):
    runtime = Runtime(engine="openvino") if form == "openvino" else Runtime()
    model = tile_model(models["onnx" if form == "openvino" else form], runtime)
    dates = dates_of()
    found = model(dates, valid_of(dates))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-by_torch(dates))), atol=1e-5)
    assert found.std() > 0.05


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_gives_the_same(models, layout):
    model = tile_model(models[layout])
    assert model.manifest.inputs == layout.removesuffix("-valid")
    assert model.manifest.valid == layout.endswith("-valid")
    dates = dates_of()
    np.testing.assert_allclose(model(dates, valid_of(dates)), 1 / (1 + np.exp(-by_torch(dates))), atol=1e-5)


def test_a_torchscript_of_one_input_is_tried_as_a_series_and_stacked(tmp_path):
    class Series(torch.nn.Module):
        def forward(self, dates):
            return (dates[:, 0] - dates[:, 1]).abs().mean(1, keepdim=True)

    class Stacked(torch.nn.Module):
        def forward(self, dates):
            return (dates[:, :3] - dates[:, 3:]).abs().mean(1, keepdim=True)

    example = {"series": torch.zeros(1, 2, 3, 32, 32), "stacked": torch.zeros(1, 6, 32, 32)}
    for name, network in (("series", Series()), ("stacked", Stacked())):
        with warnings.catch_warnings(action="ignore"):
            torch.jit.trace(network, example[name]).save(str(tmp_path / f"{name}.pt"))
        assert tile_model(tmp_path / f"{name}.pt").manifest.inputs == name


@pytest.mark.parametrize(
    ("channels", "last", "activation", "classes"),
    [
        (1, (), "sigmoid", ("change",)),
        (1, ("Sigmoid",), "none", ("change",)),
        (2, (), "softmax", ("change",)),
        (2, ("Softmax",), "none", ("change",)),
        (4, (), "softmax", ("class 1", "class 2", "class 3")),
        (2, ("ArgMax",), "labels", ("change",)),
    ],
)
def test_activation_and_classes_are_seen_from_the_output(tmp_path, channels, last, activation, classes):
    model = tile_model(write_onnx(tmp_path / "m.onnx", channels=channels, last=last))
    assert (model.manifest.activation, model.manifest.classes) == (activation, classes)
    dates = dates_of()
    logits = torch.from_numpy(by_torch(dates, channels=channels))
    expected = torch.sigmoid(logits) if channels == 1 else torch.softmax(logits, 1)[:, 1:]
    if activation == "labels":
        expected = logits.argmax(1, keepdim=True).float()
    np.testing.assert_allclose(model(dates, valid_of(dates)), expected.numpy(), atol=1e-5)


def test_classes_may_be_as_many_as_channels(tmp_path):
    path = write_onnx(tmp_path / "m.onnx", channels=2)
    model = tile_model(path, given=Manifest(classes=("built", "cleared"), activation="sigmoid"))
    dates = dates_of()
    expected = torch.sigmoid(torch.from_numpy(by_torch(dates, channels=2))).numpy()
    np.testing.assert_allclose(model(dates, valid_of(dates)), expected, atol=1e-5)


def test_as_many_logits_as_classes_stand_each_for_itself(tmp_path):
    path = write_onnx(tmp_path / "m.onnx", channels=2)
    assert tile_model(path, given=Manifest(classes=("built", "cleared"))).manifest.activation == "sigmoid"
    assert tile_model(path, given=Manifest(classes=("built",))).manifest.activation == "softmax"


def test_a_model_of_three_dates_takes_three(tmp_path, pair):
    class Three(torch.nn.Module):
        def forward(self, dates):
            return (dates[:, 2] - dates[:, 0]).abs().mean(1, keepdim=True) + 0 * dates[:, 1].mean()

    sizes = {0: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO, 4: torch.export.Dim.AUTO}
    with warnings.catch_warnings(action="ignore"):
        program = torch.export.export(Three(), (torch.zeros(2, 3, 3, 64, 48),), dynamic_shapes=(sizes,))
        torch.export.save(program, tmp_path / "m.pt2")
    found = geochange.describe_model(tmp_path / "m.pt2", tmp_path / "m.toml")
    assert (found.manifest.inputs, found.manifest.stride, found.manifest.receptive_radius) == ("series", 1, 0)
    assert [note.partition(" has")[0] for note in found.notes if "no effect" in note] == ["date 2"]
    with pytest.raises(BadOption, match=r"m\.pt2 compares 3 dates, but 2 were given"):
        run(pair, tmp_path / "two", tmp_path / "m.pt2")
    values = []
    for path in pair:
        with rasterio.open(path) as dataset:
            values.append(dataset.read() / 255)
    three = scored(pair, tmp_path / "three", tmp_path / "m.pt2", between=[pair[1]])
    np.testing.assert_allclose(three, np.abs(values[1] - values[0]).mean(axis=0), atol=1e-5)


def test_bands_are_those_of_the_program(tmp_path):
    for layout in LAYOUTS:
        program = open_program(write_onnx(tmp_path / f"{layout}.onnx", layout, bands=4), Runtime())
        assert complete(program, BYTES, 7).bands == ("band 1", "band 2", "band 3", "band 4")


def test_stride_and_receptive_radius_are_measured(models):
    for form in ("onnx", "torchscript"):
        program = open_program(models[form], Runtime())
        found = measure(program, complete(program, BYTES, None))
        assert (found.stride, found.receptive_radius, found.fixed) == (STRIDE, RADIUS, False)


def test_what_sees_all_of_a_tile_gets_tiles_of_one_size(tmp_path):
    program = open_program(write_onnx(tmp_path / "m.onnx", pooled=True), Runtime())
    found = measure(program, complete(program, replace(BYTES, tile=64), None))
    assert (found.receptive_radius, found.tile, found.fixed) == (None, 64, True)


def run(pair, out, model, **settings):
    options = {"file": str(model), **settings.pop("options", {})}
    return geochange.detect(*pair, out, detector="model", detector_options=options, **settings)


def scored(pair, out, model, **settings):
    with rasterio.open(run(pair, out, model, dtype="float32", **settings).probability) as dataset:
        return dataset.read(1)


@pytest.fixture
def described(models, tmp_path):
    """A copy of the ONNX model with its manifest beside it."""
    path = tmp_path / "own.onnx"
    path.write_bytes(models["onnx"].read_bytes())
    geochange.describe_model(path, tmp_path / "own.toml")
    return path


def test_tiled_is_untiled_with_the_margin_of_the_receptive_radius(pair, described, tmp_path):
    whole = scored(pair, tmp_path / "whole", described, tile_size=2048, overlap=EXACT)
    tiled = scored(pair, tmp_path / "tiled", described, tile_size=48, overlap=EXACT)
    assert whole.std() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=1e-5)
    without = scored(pair, tmp_path / "without", described, tile_size=48, overlap=0)
    assert np.abs(without - whole).max() > 1e-4


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_workers_threads_and_block_sizes_give_the_same_bytes(pair, models, tmp_path, form):
    runs = [
        run(pair, tmp_path / f"{k}", models[form], tile_size=96, overlap=32, min_area=0, **settings)
        for k, settings in enumerate(
            ({"threads": 1, "block_size": 64}, {"threads": 3, "block_size": 5000}, {"workers": 2, "block_size": 128})
        )
    ]
    outputs = {tuple((each.folder / f).read_bytes() for f in ("probability.tif", "changes.geojson")) for each in runs}
    assert len(outputs) == 1


def test_a_model_of_one_size_scores_every_pixel_and_no_larger_tile_is_taken(pair, tmp_path):
    fixed = write_onnx(tmp_path / "fixed.onnx", size=64)
    found = scored(pair, tmp_path / "out", fixed)
    free = scored(pair, tmp_path / "free", write_onnx(tmp_path / "free.onnx"), tile_size=64, overlap=16)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[16:120, 16:160], free[16:120, 16:160], atol=0.05)
    with pytest.raises(BadOption, match="tile size 128 must be at most 64, which is what model takes"):
        run(pair, tmp_path / "large", fixed, tile_size=128)
    tiny = scored(write_pair(tmp_path, (40, 30)), tmp_path / "tiny", fixed)
    assert np.isfinite(tiny).all()


def test_tiles_of_one_size_are_those_of_the_model_alone(pair, tmp_path):
    """Without overlap each tile is what the model gives for these pixels by itself."""
    model = write_onnx(tmp_path / "m.onnx", size=64, pooled=True)
    found = scored(pair, tmp_path / "out", model, tile_size=64, overlap=0)
    dates = []
    for path in pair:
        with rasterio.open(path) as dataset:
            dates.append(dataset.read()[:, 64:128, 64:128].astype(np.float32) / 255)
    logits = by_torch(np.stack(dates)[None])[0, 0]
    np.testing.assert_allclose(found[64:128, 64:128], 1 / (1 + np.exp(logits.mean() - logits)), atol=1e-5)


def test_a_batch_scores_as_its_tiles_one_by_one(models):
    dates = dates_of(n=5)
    one, two = (tile_model(models["onnx"], batch=batch)(dates, valid_of(dates)) for batch in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)
    alone = np.concatenate([tile_model(models["onnx"])(each[None], valid_of(each[None])) for each in dates])
    np.testing.assert_array_equal(one, alone)


def test_augment_is_the_mean_of_the_logits_over_flips_and_turns(models):
    dates = dates_of(n=1)
    found = tile_model(models["onnx"], augment=True)(dates, valid_of(dates))
    logits = []
    for turns in range(4):
        for flip in (False, True):
            seen = np.rot90(dates[..., ::-1] if flip else dates, turns, (-2, -1))
            back = np.rot90(by_torch(seen), -turns, (-2, -1))
            logits.append(back[..., ::-1] if flip else back)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.mean(logits, axis=0))), atol=1e-5)


def test_values_are_scaled_as_the_manifest_says(models, pair, tmp_path):
    (tmp_path / "m.json").write_text(
        json.dumps(
            {"divide_by": 255, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "stride": 2, "receptive_radius": 8}
        )
    )
    found = scored(pair, tmp_path / "out", models["onnx"], options={"manifest": str(tmp_path / "m.json")}, overlap=64)
    dates = []
    for path in pair:
        with rasterio.open(path) as dataset:
            dates.append(dataset.read() / 255)
    mean, std = (np.array(each)[:, None, None] for each in ([0.4, 0.5, 0.6], [0.2, 0.25, 0.3]))
    expected = 1 / (1 + np.exp(-by_torch(((np.stack(dates) - mean) / std).astype(np.float32)[None])[0, 0]))
    np.testing.assert_allclose(found[16:-16, 16:-16], expected[16:-16, 16:-16], atol=1e-4)


def test_values_beyond_the_range_are_refused_and_scaled_when_asked(tmp_path, models):
    wide = tuple(
        write_raster(tmp_path / f"{k}.tif", np.random.default_rng(k).integers(0, 4000, (3, 64, 64)).astype("uint16"))
        for k in range(2)
    )
    with pytest.raises(BadOption, match=r"values reach 3\d+, onnx.*0 to 255; add --scale"):
        run(wide, tmp_path / "refused", models["onnx"].rename(models["onnx"].with_name("onnx.onnx")))
    models["onnx"].with_name("onnx.onnx").rename(models["onnx"])
    assert run(wide, tmp_path / "scaled", models["onnx"], scale="0:4000").record["detector"]["gain"][0][0] == 1 / 4000


def test_what_a_file_says_of_itself_needs_no_manifest(tmp_path):
    told = Manifest(mean=(100.0,) * 3, std=(50.0,) * 3, classes=("built",), threshold=0.25, licence="MIT", gsd=(1, 2))
    path = write_onnx(tmp_path / "m.onnx", metadata=told.as_json())
    for engine in ("auto", "openvino"):
        program = open_program(path, Runtime(engine=engine))
        if engine == "auto":
            found = complete(program, None, None)
            assert (found.mean, found.classes, found.threshold, found.licence) == (told.mean, ("built",), 0.25, "MIT")
    with pytest.raises(BadOption, match="trained with 1 to 2 m; add --match-gsd"):
        fit_on(path, gsd=8.0)


def fit_on(path, *, gsd=None, bands=3, dates=None, **options):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, bands, 64, 64)) if dates is None else dates
    scene = memory_pair(*pixels)

    class Described(type(scene)):
        pass

    Described.gsd, Described.largest = gsd, 255.0
    return fit(detector("model", {"file": str(path), **options}), Described(scene.pixels, scene.valid))


def test_match_gsd_scores_at_the_size_of_training(tmp_path):
    path = write_onnx(tmp_path / "m.onnx", metadata=Manifest(gsd=(1, 1), divide_by=255.0, stride=2).as_json())
    fitted = fit_on(path, gsd=2.0, match_gsd=True)
    assert (fitted.recipe.zoom, fitted.stride) == (2, 1)
    with pytest.raises(BandMismatch, match=r"m\.onnx needs 3 bands \(red, green, blue\), the images have 4"):
        fit_on(path, gsd=1.0, bands=4)


def test_a_saved_fit_scores_the_same_bytes(models, tmp_path):
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 64))
    fitted = fit_on(models["onnx"], dates=pixels)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    scene = memory_pair(*pixels)
    np.testing.assert_array_equal(change(fitted, scene), change(loaded, scene))
    assert loaded.summary() == fitted.summary()
    assert Path(loaded.recipe.file).parent == tmp_path


def test_a_model_is_opened_once_and_again_where_it_has_changed(models, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(models["onnx"].read_bytes())
    first = program_of(path, Runtime(device="cpu"))
    assert program_of(str(path), Runtime(device="cpu")) is first
    assert fit_on(path).recipe.file == str(path)
    assert program_of(path, Runtime(device="cpu")) is first
    write_onnx(path, channels=2)
    again = program_of(path, Runtime(device="cpu"))
    assert complete(again, None, 3).activation == "softmax"


def test_pixels_without_data_at_either_date_are_zero_to_the_model(models):
    dates = dates_of(n=1)
    valid = valid_of(dates)
    valid[0, 1, :20, :30] = False
    spoilt = dates.copy()
    spoilt[:, :, :, :20, :30] = 77
    for layout in ("pair", "series-valid"):
        model = tile_model(models[layout])
        np.testing.assert_array_equal(model(dates, valid), model(spoilt, valid))


@pytest.mark.parametrize("shape", [(96, 80), (32, 40), (64, 128), (21, 37), (64, 64)])
def test_resampling_is_that_of_torch(shape):
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(images), shape, mode="bilinear", align_corners=False, antialias=min(shape) < 64
    )
    np.testing.assert_allclose(resize(images, shape), expected.numpy(), atol=3e-5)  # torch's places are float32


def test_a_coarse_output_is_enlarged(tmp_path):
    class Coarse(torch.nn.Module):
        def forward(self, before, after):
            return torch.nn.functional.avg_pool2d((before - after).abs().mean(1, keepdim=True), 4)

    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(Coarse()).save(str(tmp_path / "m.pt"))
    dates = dates_of(n=1)
    found = tile_model(tmp_path / "m.pt", given=Manifest(activation="sigmoid", stride=4)).output(dates)
    small = torch.nn.functional.avg_pool2d(
        torch.from_numpy(np.abs(dates[:, 0] - dates[:, 1]).mean(1, keepdims=True)), 4
    )
    expected = torch.nn.functional.interpolate(small, (64, 64), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_of_several_outputs_the_largest_is_taken_or_the_one_named(tmp_path):
    class Several(torch.nn.Module):
        def forward(self, before, after):
            fine = (before - after).abs().mean(1, keepdim=True)
            return torch.nn.functional.avg_pool2d(fine, 2), fine, fine * 0

    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(Several()).save(str(tmp_path / "m.pt"))
    dates = dates_of(n=1)
    fine = np.abs(dates[:, 0] - dates[:, 1]).mean(1, keepdims=True)
    np.testing.assert_allclose(tile_model(tmp_path / "m.pt").output(dates), fine, atol=1e-6)
    assert not tile_model(tmp_path / "m.pt", given=Manifest(head=2)).output(dates).any()
    with pytest.raises(BadOption, match="has 3 outputs, so there is no head 3"):
        tile_model(tmp_path / "m.pt", given=Manifest(head=3))


def test_a_manifest_is_the_same_in_toml_and_json(tmp_path):
    told = Manifest(inputs="pair", bands=("rød", "g"), divide_by=255.0, gsd=(0.3, 1.0), classes=("a",), licence='"x"')
    assert "  " not in told.as_toml()  # between words of a comment
    for name, text in (("m.toml", told.as_toml()), ("m.json", told.as_json())):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_manifest(tmp_path / name) == told
    assert manifest_from(told.to_dict(), "it") == told


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"devide_by": 255}, "m.toml: 'devide_by' says nothing of a model; did you mean 'divide_by'?"),
        ({"inputs": "both"}, "m.toml: inputs 'both' is not one of pair, stacked, series"),
        ({"mean": [0.5, 0.5], "bands": ["a", "b", "c"]}, "m.toml: mean must be a number for each band"),
        ({"std": [0.5, 0.0]}, "m.toml: std must be a number above 0 for each band"),
        ({"divide_by": 0}, "m.toml: divide_by must be above 0"),
        ({"value_range": [5, 1]}, "m.toml: value_range must rise"),
        ({"classes": ["a", "a"]}, "m.toml: classes must be different names"),
        ({"threshold": 2}, "m.toml: threshold must lie in 0..1"),
        ({"bands": []}, "m.toml: bands must be names"),
    ],
)
def test_a_manifest_that_cannot_be_is_one_line(tmp_path, values, words):
    path = tmp_path / "m.toml"
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in values.items()))
    with pytest.raises(BadOption) as caught:
        read_manifest(path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "given", "words"),
    [
        ("stacked", {"inputs": "pair"}, r"has 1 inputs \(dates\), where the manifest says 2"),
        ("pair", {"bands": ("a", "b")}, "takes 3 bands, where the manifest names 2"),
        ("pair", {"activation": "none", "classes": ("change",)}, 'not probabilities; set activation = "sigmoid"'),
        ("pair", {"activation": "sigmoid", "classes": ("a", "b", "c")}, r"gives 1 channels, but the manifest names 3"),
        ("pair", {"fixed": True}, "needs tile"),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_line(models, layout, given, words):
    dates = dates_of()
    with pytest.raises(BadOption, match=words):
        tile_model(models[layout], given=Manifest(**given))(dates, valid_of(dates))


def write_other(folder, kind):
    path = (
        folder / {"weights": "m.pt", "text": "m.onnx", "cut": "m.onnx", "none": "m.tflite", "torch text": "m.pt"}[kind]
    )
    if kind == "weights":
        torch.save(SmallModel().state_dict(), path)
    elif kind == "cut":
        path.write_bytes(write_onnx(folder / "whole.onnx").read_bytes()[:400])
    else:
        path.write_text("no model")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("weights", "holds weights, but not the network that they belong to"),
        ("text", "cannot be read as a model"),
        ("cut", "cannot be read as a model"),
        ("torch text", "is not a model that torch wrote"),
        ("none", r"not a model by its name; known are ONNX \(\.onnx\)"),
    ],
)
def test_files_that_are_no_models_are_one_line(tmp_path, kind, words):
    with pytest.raises(GeochangeError, match=words) as caught:
        open_program(write_other(tmp_path, kind), Runtime())
    assert "\n" not in str(caught.value)


def test_mistakes_are_told_before_any_work(tmp_path, models, pair):
    with pytest.raises(BadOption, match="model needs --option file=MODEL"):
        geochange.detect(*pair, tmp_path / "out", detector="model")
    with pytest.raises(UnreadableInput, match=r"none\.onnx does not exist"):
        run(pair, tmp_path / "out", tmp_path / "none.onnx")
    with pytest.raises(BadOption, match="compares 2 dates, but 3 were given"):
        run(pair, tmp_path / "out", models["onnx"], between=[pair[0]])
    with pytest.raises(BadOption, match=r"the engine openvino runs ONNX and OpenVINO models, not small\.pt"):
        run(pair, tmp_path / "out", models["torchscript"], engine="openvino")
    with pytest.raises(BadOption, match="model has no option 'checkpoint'"):
        run(pair, tmp_path / "out", models["onnx"], checkpoint="x.pt")
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_model_that_gives_what_is_not_finite_is_refused(tmp_path, pair):
    path = write_onnx(tmp_path / "m.onnx", last=("Neg", "Sqrt"))
    with pytest.raises(GeochangeError, match="not finite"):
        run(pair, tmp_path / "out", path)


def test_describe_writes_what_was_found_and_what_to_know(models, tmp_path):
    found = geochange.describe_model(models["onnx"], tmp_path / "m.toml", mean=(0.5,) * 3, divide_by=255, licence="MIT")
    read = read_manifest(found.path)
    assert read == found.manifest
    assert (read.mean, read.stride, read.receptive_radius, read.licence) == ((0.5,) * 3, STRIDE, RADIUS, "MIT")
    assert found.notes == (f"with --overlap {EXACT} or more, tiles leave no trace in the scores",)
    with pytest.raises(geochange.OutputInTheWay):
        geochange.describe_model(models["onnx"], tmp_path / "m.toml")
    with pytest.raises(BadOption, match=r"must end with \.toml or \.json"):
        geochange.describe_model(models["onnx"], tmp_path / "m.txt")


def test_describe_keeps_what_the_manifest_beside_says(described, tmp_path):
    geochange.describe_model(described, tmp_path / "own.toml", overwrite=True, std=(0.1, 0.2, 0.3))
    again = geochange.describe_model(described, tmp_path / "other.json", licence="MIT")
    assert (again.manifest.std, again.manifest.divide_by, again.manifest.licence) == ((0.1, 0.2, 0.3), 255.0, "MIT")


def test_describe_tells_of_a_date_without_effect(tmp_path):
    class Deaf(torch.nn.Module):
        def forward(self, before, after):
            return before.mean(1, keepdim=True) + 0 * after.mean(1, keepdim=True)

    with warnings.catch_warnings(action="ignore"):
        torch.jit.script(Deaf()).save(str(tmp_path / "m.pt"))
    found = geochange.describe_model(tmp_path / "m.pt", tmp_path / "m.toml")
    assert any(note.startswith("date 2 has no effect on the output") for note in found.notes)
