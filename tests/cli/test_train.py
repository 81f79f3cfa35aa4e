"""`geochange train`: what it leaves and says, and what it refuses."""

import csv
import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geochange.datasets.collection import open_collection
from geochange.datasets.options import CollectionOptions
from geochange.detectors.networks import registry
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.detectors.networks.contract import probability
from geochange.errors import BadOption, GeochangeError
from geochange.learning import training
from geochange.learning.material import split
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import options_from, parse_training_data
from geochange.learning.scoring import score_sample
from tests.commands import refused
from tests.stand_ins import changed_pair, textured, write_raster
from tests.tiny_network import TinyNet, break_image, write_pairs

ROOT = Path(__file__).parents[2]
NAMES = [f"scene{scene}_{row}_0" for scene in range(4) for row in range(2)]
SHORT = ("--network", "tiny", "--size", 16, "--steps", 4, "--every", 2, "--batch", 2, "--loaders", 0, "--device", "cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(registry.NETWORKS, "tiny", f"{TinyNet.__module__}:TinyNet")


@pytest.fixture
def data(tmp_path):
    return write_pairs(tmp_path / "data", NAMES)


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_dates_of_loose_images_cannot_be_matched(run, data, tmp_path):
    refused(run("train", data, "-o", tmp_path / "run", *SHORT, "--match-dates"), "list them in a table")


def test_a_run_leaves_its_files_and_says_each_epoch(run, data, tmp_path):
    code, printed, errors = run("train", f"{data}@0.5", "-o", tmp_path / "run", *SHORT)
    assert (code, errors) == (0, [])
    lines = printed.splitlines()
    assert [line.split(" | ")[0] for line in lines[:2]] == ["step 2/4", "step 4/4"]
    for word in ("train: loss", "val: loss", "accuracy", "F1", "IoU"):
        assert word in lines[0]
    assert str(tmp_path / "run" / "best.pt") in printed
    found = {path.name for path in (tmp_path / "run").iterdir()}
    assert found == {"best.pt", "last.pt", "history.csv", "classes.csv", "run.json", "tensorboard"}
    record = record_of(tmp_path / "run")
    assert record["finished"]
    assert (record["training"][0]["items"], record["held_out"][0]["items"]) == (6, 2)
    assert record["held_out"][0]["scenes"] == 1
    assert record["best"]["intervals"]["f1"] is None  # one scene is nothing to resample
    with (tmp_path / "run" / "history.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]
    about = load_checkpoint(tmp_path / "run" / "best.pt").about
    assert about.bands == ("red", "green", "blue")
    assert about.gsd == pytest.approx((0.5 / 1.35, 0.5 / 0.75))
    assert about.trained_on == "data"


def test_json_is_all_that_is_printed(run, data, tmp_path):
    val = write_pairs(tmp_path / "val", ["a", "b", "c"])
    code, printed, _ = run("train", data, "--val", val, "-o", tmp_path / "run", *SHORT, "--json")
    assert code == 0
    record = json.loads(printed)
    assert record == record_of(tmp_path / "run")
    assert record["held_out"][0]["items"] == 3
    low, high = record["best"]["intervals"]["f1"]
    assert low <= record["best"]["f1"] <= high


def test_tensorboard_holds_figures_pictures_and_the_curve(run, data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("train", data, "-o", tmp_path / "run", *SHORT, "-q")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"tensors": 0, "images": 0}).Reload()
    tags = events.Tags()
    assert {"loss/training", "loss/held out", "f1/training", "f1/held out", "iou/held out"} <= set(tags["scalars"])
    assert [each.step for each in events.Scalars("f1/held out")] == [2, 4]
    assert len(tags["images"]) == 2
    assert events.Images(tags["images"][0])[0].width == 4 * 24
    assert "held out" in tags["tensors"]


def test_without_tensorboard_one_line_says_so(run, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, errors = run("train", data, "-o", tmp_path / "run", *SHORT)
    assert code == 0
    assert len(errors) == 1
    assert "tensorboard is not installed" in errors[0]


def test_another_run_is_neither_replaced_nor_gone_on_with_unasked(run, data, tmp_path):
    out = tmp_path / "run"
    run("train", data, "-o", out, *SHORT, "-q")
    refused(run("train", data, "-o", out, *SHORT), "--resume", "--overwrite")
    refused(run("train", data, "-o", out, *SHORT, "--resume", "--rate", 0.5), "rate (0.001 then, 0.5 now)")
    refused(run("train", f"{data}@2", "-o", out, *SHORT, "--resume"), "data", "data@2")
    before = (out / "last.pt").read_bytes()
    assert run("train", data, "-o", out, *SHORT, "--resume", "--patience", 9)[0] == 0
    assert (out / "last.pt").read_bytes() == before
    assert run("train", data, "-o", out, *SHORT, "--overwrite", "--rate", 0.5)[0] == 0
    assert record_of(out)["identity"]["rate"] == 0.5


def test_resuming_notices_data_and_a_start_that_changed(run, data, tmp_path):
    start, out = tmp_path / "start", tmp_path / "run"
    assert run("train", data, "-o", start, *SHORT, "-q")[0] == 0
    whole = ("train", data, "--val", data, "--from", start / "best.pt", "-o", out, *SHORT[2:], "-q")
    assert run(*whole)[0] == 0
    assert run(*whole, "--resume")[0] == 0
    image = data / "label" / sorted(path.name for path in (data / "label").iterdir())[0]
    times = image.stat()
    os.utime(image, ns=(1, 1))
    refused(run(*whole, "--resume"), "contents.data", "contents.val")
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    checkpoint = load_checkpoint(start / "best.pt")
    replace(checkpoint, about=replace(checkpoint.about, trained_on="other data")).save(start / "best.pt")
    refused(run(*whole, "--resume"), "contents.start")


def test_a_folder_of_another_command_is_kept(run, data, tmp_path):
    assert run("train", data, "-o", tmp_path / "run", *SHORT, "-q")[0] == 0
    kept = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    image = data / "A" / sorted(path.name for path in (data / "A").iterdir())[0]
    own = "holds a run of `geochange train`"
    for case, why in (
        (("detect", image, image), own),
        (("synthesize", image), own),
        (("finetune", data, "--from", tmp_path / "run" / "best.pt", *SHORT[2:]), "is an input, and would be replaced"),
        (("tune", data, "--network", "tiny", "--val-share", "0.5", "--loaders", 0), own),
    ):
        refused(run(*case, "-o", tmp_path / "run", "--overwrite"), why)
        assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == kept, case


def test_ctrl_c_keeps_the_state_and_resume_goes_on(run, data, tmp_path, monkeypatch):
    whole, parts, average = tmp_path / "whole", tmp_path / "parts", training.average_weights
    run("train", data, "-o", whole, *SHORT, "-q")

    def interrupted(averaged, network, decay, step):
        average(averaged, network, decay, step)
        if step == 3:
            os.kill(os.getpid(), 2)

    monkeypatch.setattr(training, "average_weights", interrupted)
    code, _, errors = run("train", data, "-o", parts, *SHORT, "-q")
    assert code == 130
    assert "--resume" in errors[0]
    assert not record_of(parts)["finished"]
    monkeypatch.setattr(training, "average_weights", average)
    assert run("train", data, "-o", parts, *SHORT, "-q", "--resume")[0] == 0
    ends = [torch.load(each / "last.pt", weights_only=True) for each in (whole, parts)]
    for name, weights in ends[0]["network"].items():
        assert torch.equal(weights, ends[1]["network"][name])


def test_a_broken_image_is_named_or_left_out(run, data, tmp_path):
    break_image(data / "B" / "scene1_0_0.png")
    refused(run("train", data, "-o", tmp_path / "run", *SHORT), "scene1_0_0.png")
    code, printed, _ = run("train", data, "-o", tmp_path / "run", *SHORT, "--skip-bad")
    assert code == 0
    assert "left out scene1_0_0" in printed
    record = record_of(tmp_path / "run")
    assert [each["item"].split(" ")[0] for each in record["left_out"]] == ["scene1_0_0"]
    assert record["training"][0]["items"] + record["held_out"][0]["items"] == 7


def test_nothing_left_is_said(run, tmp_path):
    folder = write_pairs(tmp_path / "few", ["only"])
    break_image(folder / "A" / "only.png")
    refused(run("train", folder, "-o", tmp_path / "run", *SHORT, "--skip-bad"), "no labelled pair is left")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_gone_on_from(run, data, tmp_path):
    run("train", data, "-o", tmp_path / "first", *SHORT, "-q", "--network-option", "width=6")
    best = tmp_path / "first" / "best.pt"
    further = (*SHORT[2:], "--from", best)
    assert run("train", data, "-o", tmp_path / "second", *further, "--rate", 1e-12, "-q")[0] == 0
    first, second = (load_checkpoint(tmp_path / name / "best.pt") for name in ("first", "second"))
    assert second.about.options["width"] == 6
    assert second.about.normalisation == first.about.normalisation
    for name, weights in first.weights.items():
        torch.testing.assert_close(second.weights[name], weights)
    refused(run("train", data, "-o", tmp_path / "third", *further, "--network", "siamese-unet"), "is of tiny")
    refused(run("train", data, "-o", tmp_path / "third", *further, "--bands", "1,2"), "3 bands", "2")
    refused(run("train", data, "-o", tmp_path / "third", *further, "--classes", "a,b"), "change", "a, b")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--loss", "hinge"), ("hinge", "bce-dice")),
        (("--network", "magic"), ("magic", "attention-net")),
        (("--network-option", "depth=3"), ("depth", "width")),
        (("--network-option", "width=wide"), ("width", "wide")),
        (("--network-option", "bands=4"), ("--bands",)),
        (("--bands", "1,7"), ("band 7", "1..3")),
        (("--gsd", "0.5"), ("pixel size", "@GSD")),
        (("--size", "18"), ("18", "multiple of 4")),
        (("--resume", "--overwrite"), ("exclude",)),
        (("--val", "missing"), ("missing",)),
        (("--device", "cuda:77"), ("cuda:77",)),
        (("--precision", "fp16"), ("fp16 needs a GPU",)),
        (("--device", "meta"), ("device 'meta' cannot be used here",)),
        (("--from", "missing.pt"), ("missing.pt",)),
        (("--options", "missing.json"), ("missing.json",)),
        (("--pretrained",), ("no encoder",)),
    ],
)
def test_impossible_options_are_one_line(run, data, tmp_path, options, words):
    refused(run("train", data, "-o", tmp_path / "run", *SHORT, "--no-pretrained", *options), *words)


def test_folders_of_other_bands_are_refused(run, data, tmp_path):
    other = write_pairs(tmp_path / "other", ["x"])
    for letter in ("A", "B"):
        (other / letter / "x.png").unlink()
        write_raster(other / letter / "x.tif", textured((24, 24), bands=4))
    refused(run("train", data, other, "-o", tmp_path / "run", *SHORT), "3 bands", "4")


def test_options_lie_in_a_file_and_the_command_line_wins(run, data, tmp_path):
    (tmp_path / "best.json").write_text(json.dumps({"rate": 0.25, "loss": "focal", "classes": ["built"]}))
    code, *_ = run(
        "train", data, "-o", tmp_path / "run", *SHORT, "--options", tmp_path / "best.json", "--loss", "dice", "-q"
    )
    assert code == 0
    identity = record_of(tmp_path / "run")["identity"]
    assert (identity["rate"], identity["loss"], identity["classes"]) == (0.25, "dice", ["built"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": "many"}, "steps must be a whole number"),
        ({"rate": True}, "rate must be a number"),
        ({"bands": 3}, "bands must be a list"),
        ({"colour": "red"}, "no option 'colour'"),
    ],
)
def test_options_of_another_type_are_refused(settings, words):
    with pytest.raises(BadOption, match=words):
        options_from(TrainRunOptions, settings)


def test_sources_may_say_their_pixel_size(tmp_path):
    assert parse_training_data("a/b@0.5").gsd == 0.5
    assert parse_training_data("a/b").gsd is None
    (tmp_path / "me@home").mkdir()
    assert parse_training_data(str(tmp_path / "me@home")).path.name == "me@home"
    for wrong in ("a@b", "a@-1", "a@nan"):
        with pytest.raises(BadOption, match="metres a pixel"):
            parse_training_data(wrong)


def test_no_scene_lies_on_both_sides(data):
    collection = open_collection(data)
    training_part, held = split([collection], TrainRunOptions(val_share=0.4))
    names = [{item.pair.name for item in part[0].items} for part in (training_part, held)]
    scenes = [{name[:6] for name in part} for part in names]
    assert scenes[0] & scenes[1] == set()
    assert names[0] | names[1] == set(NAMES)
    assert len(scenes[1]) == 2
    assert split([collection], TrainRunOptions(val_share=0.4)) == (training_part, held)


def test_blocks_of_a_single_large_scene_are_held_out_and_recorded(run, tmp_path):
    before, after = changed_pair((600, 700))
    for name, values in (("before", before), ("after", after), ("truth", (after[:1] > 120).astype(np.uint8))):
        write_raster(tmp_path / f"{name}.tif", values)
    (tmp_path / "scene.csv").write_text("before,after,labels\nbefore.tif,after.tif,truth.tif\n")
    assert run("train", tmp_path / "scene.csv", "-o", tmp_path / "run", *SHORT, "-q")[0] == 0
    record = record_of(tmp_path / "run")
    assert record["held_out_blocks"]["gap"] == 64
    tiles = record["held_out_blocks"]["tiles"]
    assert sum(height * width for _, _, height, width in tiles) == record["held_out"][0]["pixels"]
    assert record["held_out"][0]["pixels"] == pytest.approx(0.15 * 600 * 700, rel=0.01)
    assert "f1" in record["best"]
    options = (*SHORT, "--val", tmp_path / "scene.csv", "-q")
    assert run("train", tmp_path / "scene.csv", "-o", tmp_path / "other", *options)[0] == 0
    assert record_of(tmp_path / "other")["held_out_blocks"] is None


def test_splits_of_the_data_are_kept(data):
    collection = open_collection(data)
    parts = ["train", "val", "test", None] * 2
    items = [
        replace(item, pair=replace(item.pair, split=part)) for item, part in zip(collection.items, parts, strict=True)
    ]
    known = replace(collection, items=tuple(items))
    training_part, held = split([known], TrainRunOptions())
    assert [item.pair.split for item in training_part[0].items] == ["train", None] * 2
    assert [item.pair.split for item in held[0].items] == ["val"] * 2


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
WORKFLOW = ROOT / "workflows" / "train_model.py"
PLAN = """
data = ["data@1.0"]
out = "{out}"
network = "tiny"
network_options = {{ width = 5, widths = [2, 3] }}
classes = ["change"]
size = 16
rate = 0.01
steps = 2
every = 1
batch = {batch}
loaders = 0
loss = "cross-entropy"
device = "cpu"
"""
DRIVER = f"""
import runpy
from geochange.detectors.networks import registry
registry.NETWORKS["tiny"] = "tests.tiny_network:TinyNet"
runpy.run_path({str(WORKFLOW)!r}, run_name="__main__")
"""


def workflow():
    return runpy.run_path(str(WORKFLOW))


def test_two_processes_of_torchrun_fit_as_one_with_twice_the_batch(data, tmp_path, capfd):
    for out, batch in (("one", 4), ("two", 2)):
        (tmp_path / f"{out}.toml").write_text(PLAN.format(out=out, batch=batch))
    (tmp_path / "driver.py").write_text(DRIVER)
    workflow()["train_model"](tmp_path / "one.toml")
    capfd.readouterr()
    answer = subprocess.run(
        [*TORCHRUN, str(tmp_path / "driver.py"), str(tmp_path / "two.toml")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert answer.returncode == 0, answer.stderr
    assert [line.split(" | ")[0] for line in answer.stdout.splitlines()[:2]] == ["step 1/2", "step 2/2"]
    assert record_of(tmp_path / "two")["network"]["options"]["widths"] == [2, 3]
    one, two = (torch.load(tmp_path / out / "last.pt", weights_only=True) for out in ("one", "two"))
    for name, weights in one["network"].items():
        torch.testing.assert_close(two["network"][name], weights, atol=1e-6, rtol=0)
    for own, other in zip(two["history"], one["history"], strict=True):
        assert {**own, "seconds": 0} == pytest.approx({**other, "seconds": 0}, abs=1e-5)


def test_the_workflow_goes_on_where_it_stopped(data, tmp_path, monkeypatch):
    (tmp_path / "plan.toml").write_text(PLAN.format(out="run", batch=2))
    with monkeypatch.context() as patch:
        patch.setattr(training, "score_items", lambda *_: os.kill(os.getpid(), 2))
        with pytest.raises(KeyboardInterrupt):
            workflow()["train_model"](tmp_path / "plan.toml")
    for _ in range(2):
        workflow()["train_model"](tmp_path / "plan.toml")
        assert record_of(tmp_path / "run")["finished"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("data = [", "TOML"), ('out = "run"', "data ="), (PLAN.format(out="run", batch=2) + "colour = 1", "colour")],
)
def test_plans_that_cannot_be_read_are_refused(tmp_path, text, words):
    (tmp_path / "plan.toml").write_text(text)
    with pytest.raises(GeochangeError, match=words):
        workflow()["train_model"](tmp_path / "plan.toml")


@pytest.mark.parametrize("classes", [1, 2])
def test_the_table_of_classes_is_that_of_scikit_learn(run, tmp_path, classes):
    metrics = pytest.importorskip("sklearn.metrics")
    labels = (1,) if classes == 1 else (1, 2)
    data = write_pairs(tmp_path / "data", [f"s{k}_0_0" for k in range(4)], side=32, labels=labels)
    held = write_pairs(tmp_path / "held", ["h0_0_0", "h1_0_0"], side=32, labels=labels)
    names = ("built", "felled")[:classes]
    given = ("--classes", ",".join(names), "--val", held, "--steps", 6, "--every", 3)
    out = tmp_path / "run"
    code, printed, errors = run("train", data, "-o", out, *SHORT, *given)
    assert code == 0, errors
    rows = json.loads((out / "run.json").read_text())["classes"]
    assert [row["class"] for row in rows] == ["no change", *names, "micro", "macro", "weighted"]
    checkpoint = load_checkpoint(out / "best.pt")
    network, best = checkpoint.build(), json.loads((out / "run.json").read_text())["best"]["step"]
    with (out / "history.csv").open() as file:
        (threshold,) = (float(row["threshold"]) for row in csv.DictReader(file) if float(row["step"]) == best)
    collection, wanted, found = open_collection(held, CollectionOptions(classes=names)), [], []
    for k in range(len(collection)):
        sample = collection.read(k)
        logits = score_sample(network, sample, checkpoint.about.normalisation).float()
        if classes == 1:
            predicted = (probability(logits)[0, 0].numpy() >= threshold).astype(int)
        else:
            predicted = logits[0].argmax(dim=0).numpy()
        wanted.append(sample.labels[sample.labels != 255])
        found.append(predicted[sample.labels != 255])
    wanted, found = np.concatenate(wanted), np.concatenate(found)
    report = metrics.classification_report(
        wanted, found, labels=range(classes + 1), output_dict=True, zero_division=np.nan
    )
    for k, row in enumerate(rows[: classes + 1]):
        assert row["support"] == report[str(k)]["support"]
        for name in ("precision", "recall", "f1"):
            value = report[str(k)][{"f1": "f1-score"}.get(name, name)]
            assert (row[name] is None) == np.isnan(value)
            assert row[name] is None or row[name] == pytest.approx(value, abs=2e-3)
    assert "macro average" in printed
