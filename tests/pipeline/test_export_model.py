"""`export-model`: other engines say what torch says."""

import json
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import rasterio

import geochange
from geochange.cli.program import run as command
from geochange.errors import BadOption, OutputInTheWay, UnreadableInput
from geochange.pipeline.export_model import MODEL_WRITERS, export_model
from geochange.pipeline.options import ExportOptions

torch = pytest.importorskip("torch")

from geochange.detectors.networks.checkpoint import load_checkpoint  # noqa: E402
from geochange.detectors.networks.contract import probability  # noqa: E402
from tests.small_networks import ENLARGING, NORMALISATION, save_small  # noqa: E402
from tests.stand_ins import write_pair  # noqa: E402

pytestmark = pytest.mark.xdist_group("exported model")  # which is made once
SIDE = 65  # a multiple of the network's stride


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of a network whose stride is no power of two."""
    return save_small(tmp_path_factory.mktemp("networks") / "small.pt", ENLARGING)


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """In both formats, by one export."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    return export_model(checkpoint, tmp_path_factory.mktemp("exported") / "model", tile_size=SIDE)


@pytest.fixture(scope="module")
def simple(tmp_path_factory):
    """Of a network that is exported in little time."""
    return save_small(tmp_path_factory.mktemp("networks") / "simple.pt", "siamese-unet")


def by_hand(checkpoint, dates, valid):
    """The network's own probabilities, with its normalisation done in numpy."""
    mean, spread = (np.array(each, np.float32)[:, None, None] for each in (NORMALISATION.mean, NORMALISATION.spread))
    loaded = load_checkpoint(checkpoint)
    normalised = torch.from_numpy((dates - mean) / spread * valid.min(axis=1)[:, None, None])
    with torch.no_grad():
        logits = loaded.build()(normalised)
    return probability(logits, loaded.about.temperature).numpy()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_the_exported_model_says_what_torch_says(checkpoint, exported, name):
    (found,) = (each for each in exported if each.path.endswith({"onnx": ".onnx", "openvino": ".xml"}[name]))
    assert found.largest_difference < 1e-4
    rng = np.random.default_rng(9)
    dates = rng.uniform(0, 255, (1, 2, 3, SIDE, SIDE)).astype(np.float32)
    valid = (rng.random((1, 2, SIDE, SIDE)) > 0.1).astype(np.float32)
    if name == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(found.path, providers=["CPUExecutionProvider"])
        scores = session.run(["probability"], {"dates": dates, "valid": valid})[0]
    else:
        import openvino

        model = openvino.Core().compile_model(found.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        scores = model([dates, valid])[0]
    np.testing.assert_allclose(scores, by_hand(checkpoint, dates, valid), atol=1e-4)
    assert scores.std() > 0.01


def test_an_exported_model_detects_what_its_checkpoint_does_without_a_manifest(tmp_path):
    """In a process without torch."""
    pytest.importorskip("onnxruntime")
    pair = write_pair(tmp_path, (150, 190))
    own = save_small(tmp_path / "small.pt", "siamese-unet", gsd=None)
    export_model(own, tmp_path / "model", formats=("onnx",), tile_size=64)
    tiles = {"dtype": "float32", "tile_size": 96, "overlap": 32}
    expected = geochange.detect(*pair, tmp_path / "expected", checkpoint=own, **tiles)
    program = f"""
import sys
sys.modules["torch"] = None
import geochange
geochange.detect(*{pair!r}, {str(tmp_path / "found")!r}, detector="model",
    detector_options={{"file": {str(tmp_path / "model.onnx")!r}}}, **{tiles!r})
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with rasterio.open(expected.probability) as one, rasterio.open(tmp_path / "found" / "probability.tif") as two:
        np.testing.assert_allclose(one.read(), two.read(), atol=1e-4)
    record = json.loads((tmp_path / "found" / "run.json").read_text())["detector"]
    assert record["thresholds"] == {"default": load_checkpoint(own).about.thresholds["default"]}
    assert record["manifest"]["bands"] == ["red", "green", "blue"]


def test_what_is_there_is_not_replaced_unasked(checkpoint, tmp_path):
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(OutputInTheWay, match=r"model\.onnx exists; --overwrite"):
        export_model(checkpoint, tmp_path / "model", ExportOptions(formats=("onnx",)))
    assert (tmp_path / "model.onnx").read_text() == "mine"


def test_bad_options_and_files_are_refused(checkpoint, tmp_path):
    with pytest.raises(BadOption, match="formats 'tflite' is not one of onnx, openvino"):
        ExportOptions(formats=("tflite",))
    with pytest.raises(BadOption, match="tile size 15 must lie in 16"):
        ExportOptions(tile_size=15)
    matched = save_small(tmp_path / "matched.pt", "siamese-unet", matched=True)
    with pytest.raises(BadOption, match="was trained with matched dates"):
        export_model(matched, tmp_path / "model")
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(UnreadableInput, match=r"holds more than weights"):
        export_model(tmp_path / "text.pt", tmp_path / "model")
    with pytest.raises(OutputInTheWay, match="is not a folder"):
        export_model(checkpoint, tmp_path / "none" / "model")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["matched.pt", "text.pt"]


def test_the_command_says_the_difference(simple, tmp_path, capsys):
    pytest.importorskip("openvino")
    arguments = ["export-model", simple, "-o", str(tmp_path / "m"), "--formats", "openvino", "--tile-size", "64"]
    with pytest.raises(SystemExit) as ended:
        command([*arguments, "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said[0]["path"].endswith("m.xml")
    assert (tmp_path / "m.bin").exists()
    assert said[0]["largest_difference"] < 1e-4


@pytest.mark.parametrize("wrong", [{"dates": 0}, {"dates": -1}, {"dates": 101}, {"tile_size": 1_000_000}])
def test_sizes_that_no_model_can_have_are_refused(wrong):
    with pytest.raises(BadOption, match="must lie in"):
        ExportOptions(**wrong)


def test_the_difference_is_that_of_the_file_written(simple, tmp_path, monkeypatch):
    writing = MODEL_WRITERS["onnx"]

    @contextmanager
    def writing_another(*arguments):
        with writing(*arguments) as run:
            yield lambda dates, valid: run(dates, valid) + (0.25 if valid.all() else 0.0)

    monkeypatch.setitem(MODEL_WRITERS, "onnx", writing_another)
    (found,) = export_model(simple, tmp_path / "model", formats=("onnx",), tile_size=64)
    assert found.largest_difference == pytest.approx(0.25, abs=1e-3)
