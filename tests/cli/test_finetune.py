"""`geochange finetune`, and training without labels: what they leave and say, and what they refuse."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.detectors.networks.registry import build_network
from geochange.learning.calibration import measure_calibration
from geochange.learning.material import gather
from geochange.learning.optimising import mean_weights
from geochange.learning.options import FinetuneOptions
from geochange.learning.run_options import parse_training_data
from tests.commands import refused
from tests.small_networks import SMALL, lively, save_small
from tests.stand_ins import changed_pair, write_raster
from tests.tiny_network import about, write_pairs

NAMES = [f"scene{scene}_{row}_0" for scene in range(4) for row in range(2)]
SHORT = ("--size", 32, "--steps", 4, "--every", 2, "--batch", 2, "--loaders", 0, "--device", "cpu")


@pytest.fixture
def data(tmp_path):
    return write_pairs(tmp_path / "data", NAMES, side=32)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A network that calls about half of anything changed."""
    return save_small(tmp_path_factory.mktemp("start") / "start.pt", "attention-net")


@pytest.fixture
def scene(tmp_path):
    return [write_raster(tmp_path / f"{k}.tif", date) for k, date in enumerate(changed_pair((70, 90)))]


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_labels_train_the_decoder_then_all(run, data, start, tmp_path):
    out = tmp_path / "run"
    code, printed, errors = run("finetune", data, "--from", start, "-o", out, *SHORT, "--frozen-steps", 2)
    assert code == 0, errors
    assert [line.split(" | ")[0] for line in printed.splitlines()[:2]] == ["step 2/4", "step 4/4"]
    paths = (start, out / "frozen" / "best.pt", out / "best.pt")
    before, frozen, after = (load_checkpoint(path).weights for path in paths)
    encoder = [name for name in before if name.startswith("encoder.") and name.endswith("weight")]
    assert all(torch.equal(before[name], frozen[name]) for name in encoder)
    assert any(not torch.equal(before[name], after[name]) for name in encoder)
    assert any(not torch.equal(before[name], frozen[name]) for name in before if name.startswith("head"))
    record = record_of(out)
    assert set(record["held_out_scores"]["before"]) >= {"f1", "precision", "recall"}
    assert record["finished"]
    assert "F1 on held-out labels" in errors[-1]
    assert "nothing, data" in load_checkpoint(out / "best.pt").about.trained_on


def test_as_many_frozen_steps_as_steps_train_the_decoder_alone(run, data, start, tmp_path):
    out = tmp_path / "run"
    code, printed, errors = run("finetune", data, "--from", start, "-o", out, *SHORT, "--frozen-steps", 4)
    assert code == 0, errors
    assert [line.split(" | ")[0] for line in printed.splitlines()[:2]] == ["step 2/4", "step 4/4"]
    before, after = (load_checkpoint(path).weights for path in (start, out / "best.pt"))
    encoder = [name for name in before if name.startswith("encoder.")]
    assert all(torch.equal(before[name], after[name]) for name in encoder if name.endswith("weight"))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("head"))
    assert record_of(out)["finished"]


def test_the_better_part_is_kept(run, data, start, tmp_path):
    """The second part is spoilt by its rate."""
    spoilt = ("--steps", 12, "--every", 2, "--frozen-steps", 2, "--rate", 20)
    code, _, errors = run("finetune", data, "--from", start, "-o", tmp_path / "run", *SHORT, *spoilt)
    assert code == 0, errors
    frozen, kept = (load_checkpoint(tmp_path / "run" / name / "best.pt") for name in ("frozen", "."))
    later = record_of(tmp_path / "run")["best"]["step"] > 2
    assert kept.about.metrics["f1"] >= frozen.about.metrics["f1"]
    same = all(torch.equal(value, kept.weights[name]) for name, value in frozen.weights.items())
    assert same != later


def test_options_that_are_refused_leave_nothing_behind(run, data, start, tmp_path):
    for wrong, said in (
        (("--device", "cuda:9"), "cannot be used here"),
        (("--precision", "fp16"), "needs a GPU"),
        (("--frozen-steps", 99), "part of the steps, which are 4"),
        (("-o", data), "is an input"),
    ):
        code, _, errors = run("finetune", data, "--from", start, "-o", tmp_path / "run", *SHORT, *wrong)
        assert code == 2
        assert said in errors[-1]
        assert not (tmp_path / "run").exists()


def test_an_interrupted_run_goes_on_bit_for_bit(run, data, start, tmp_path):
    """With the state of the frozen part alone, as after an interruption between the parts."""
    arguments = ("finetune", data, "--from", start, *SHORT, "--frozen-steps", 2, "-q")
    run(*arguments, "-o", tmp_path / "whole")
    run(*arguments, "-o", tmp_path / "parts")
    for name in ("last.pt", "best.pt", "history.csv"):
        (tmp_path / "parts" / name).unlink()
    assert run(*arguments, "-o", tmp_path / "parts")[0] == 2
    assert run(*arguments, "-o", tmp_path / "parts", "--resume")[0] == 0
    whole, parts = (load_checkpoint(tmp_path / name / "best.pt").weights for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


def test_other_bands_and_classes_begin_with_what_fits(run, start, tmp_path):
    data = write_pairs(tmp_path / "data", NAMES, side=32, labels=(1, 2))
    code, _, errors = run(
        "finetune", data, "--from", start, "-o", tmp_path / "run", *SHORT, "--classes", "built,felled", "--bands", "1,2"
    )
    assert code == 0, errors
    assert "are new" in errors[0]
    about = load_checkpoint(tmp_path / "run" / "best.pt").about
    assert about.classes == ("built", "felled")
    assert len(about.bands) == len(about.normalisation.mean) == 2
    once = tmp_path / "run" / "best.pt"
    code, _, errors = run(
        "finetune",
        data,
        "--from",
        once,
        "-o",
        tmp_path / "again",
        *SHORT,
        "--classes",
        "built,felled",
        "--bands",
        "1,2",
    )
    assert code == 0, errors
    assert "mean F1 of the classes on held-out labels" in errors[-1]


def test_a_target_without_labels_is_learnt_from_the_network_itself(run, scene, tmp_path):
    out, start = tmp_path / "run", save_small(tmp_path / "start.pt", "attention-net", thresholds={"default": 0.1})
    code, _, errors = run("finetune", *scene, "--unlabelled", "--from", start, "-o", out, *SHORT, "--sure", 0)
    assert code == 0, errors
    assert {path.name for path in out.iterdir()} >= {"best.pt", "statistics.pt", "pseudo-labels", "run.json"}
    before, after = load_checkpoint(start).about, load_checkpoint(out / "best.pt").about
    assert dict(after.thresholds) == dict(before.thresholds)
    assert after.temperature == before.temperature
    assert after.normalisation != before.normalisation
    assert record_of(out)["held_out_scores"] == {"before": {}, "after": {}, "statistics": {}}


def test_it_says_when_labels_of_the_target_show_that_it_became_worse(run, tmp_path):
    """At a rate that destroys what the network knew."""
    val = write_pairs(tmp_path / "val", NAMES, side=32)
    target = write_pairs(tmp_path / "target", NAMES, side=32)
    shutil.rmtree(target / "label")
    start = tmp_path / "start.pt"
    torch.manual_seed(0)
    network = build_network("siamese-unet", SMALL["siamese-unet"])
    settings = {"bands": 3, "classes": ("change",), **SMALL["siamese-unet"]}
    Checkpoint(about(network="siamese-unet", options=settings), network.state_dict()).save(start)
    run(
        "train", val, "--val", val, "--from", start, "-o", tmp_path / "good", *SHORT, "--steps", 60, "--every", 60, "-q"
    )
    code, _, errors = run(
        *("finetune", target, "--unlabelled", "--from", tmp_path / "good" / "best.pt", "--val", val),
        *("-o", tmp_path / "run", *SHORT, "--steps", 30, "--every", 30, "--rate", 5, "--sure", 0.01),
    )
    assert code == 0, errors
    scores = record_of(tmp_path / "run")["held_out_scores"]
    assert scores["after"]["f1"] < scores["before"]["f1"]
    assert "became worse" in errors[-1]


def test_the_autoencoder_is_trained_on_the_pair_itself_and_finds_its_change(run, scene, tmp_path):
    options = ("--network", "change-vae", "--network-option", "widths=8,8", "--network-option", "latent=4")
    code, _, errors = run("train", *scene, *options, "-o", tmp_path / "vae", *SHORT, "--steps", 30, "--every", 30)
    assert (code, errors) == (0, [])
    trained = load_checkpoint(tmp_path / "vae" / "best.pt")
    assert float(trained.weights["scale"]) != 1.0
    assert trained.about.matched
    code, _, errors = run("detect", *scene, "--checkpoint", tmp_path / "vae" / "best.pt", "-o", tmp_path / "found")
    assert code == 0, errors
    assert record_of(tmp_path / "found")["changes"]["count"] > 0


def test_a_series_gives_the_interval_of_its_change(run, tmp_path):
    import rasterio

    dates = [write_raster(tmp_path / f"{k}.tif", changed_pair((70, 90), seed=k)[0]) for k in range(4)]
    torch.manual_seed(0)
    network = lively(build_network("conv-gru", {"widths": [4, 8]}))
    options = {"bands": 3, "classes": ("change",), "widths": [4, 8]}
    Checkpoint(about(network="conv-gru", options=options), network.state_dict()).save(tmp_path / "gru.pt")
    arguments = ("detect", *dates, "--checkpoint", tmp_path / "gru.pt", "--layers", "interval")
    code, _, errors = run(*arguments, "-o", tmp_path / "out", "--tile-size", 64, "--overlap", 32)
    assert code == 0, errors
    with rasterio.open(tmp_path / "out" / "interval.tif") as found:
        assert found.count == 3
        intervals = found.read()
    np.testing.assert_allclose(intervals.sum(axis=0), 1, atol=1e-5)
    assert intervals.std() > 1e-3


def test_dated_labels_train_the_interval(run, tmp_path):
    data = write_pairs(tmp_path / "data", NAMES, side=32, labels=(1, 2))
    shutil.copytree(data / "A", data / "C")
    code, _, errors = run(
        *("train", data, "-o", tmp_path / "run", "--network", "conv-gru", *SHORT),
        *("--network-option", "widths=4,8", "--network-option", "dated=true"),
    )
    assert (code, errors) == (0, [])
    assert load_checkpoint(tmp_path / "run" / "best.pt").about.options["dated"] is True


def test_overwrite_begins_anew_in_every_part(run, data, start, tmp_path):
    arguments = ("finetune", data, "--from", start, "-o", tmp_path / "run", *SHORT, "--frozen-steps", 2, "-q")
    assert run(*arguments)[0] == 0
    first = load_checkpoint(tmp_path / "run" / "best.pt").weights
    code, _, errors = run(*arguments, "--seed", 5, "--overwrite")
    assert code == 0, errors
    parts = tmp_path / "run" / "frozen", tmp_path / "run"
    frozen, second = (torch.load(part / "last.pt", weights_only=True)["averaged"] for part in parts)
    heads = [name for name in first if name.startswith("head")]
    assert any(not torch.equal(first[name], second[name]) for name in heads)
    assert any(not torch.equal(frozen[name], second[name]) for name in heads)


def test_what_cannot_be_done_is_one_line(run, data, scene, start, tmp_path):
    out = ("-o", tmp_path / "out", *SHORT)
    refused(run("finetune", data, "--from", tmp_path / "none.pt", *out), "does not exist")
    refused(run("finetune", data, "--from", "ir-mad", *out), "without weights")
    refused(run("finetune", data, "--unlabelled", "--from", start, "--bands", "1,2", *out), "3 bands", "2 bands")
    refused(run("finetune", scene[0], "--unlabelled", "--from", start, *out), "single image")
    refused(run("finetune", data, "--from", start, *out, "--sure", 2), "sure 2")
    refused(run("finetune", data, "--from", start, *out, "--frozen-steps", -1), "frozen_steps -1")
    refused(run("finetune", tmp_path, "--unlabelled", "--from", start, *out), "folders A and B")
    refused(run("train", data, *out, "--network-option", "encoder=mobilenetv3_small_100"), "whole tiles")
    refused(run("detect", *scene, scene[0], "-d", "ir-mad", "-o", tmp_path / "series"), "2 dates", "3 were given")
    refused(run("detect", scene[0], "-o", tmp_path / "one"), "BEFORE and AFTER")
    assert not (tmp_path / "out").exists()


def test_a_class_that_no_pixel_has_is_refused(run, data, tmp_path):
    refused(run("train", data, "-o", tmp_path / "run", *SHORT, "--classes", "a,b"), "labelled a and b")


@pytest.fixture
def automatic(tmp_path):
    """Arguments of a search between two rates."""
    short = ("--size", 32, "--batch", 1, "--loaders", 0, "--device", "cpu", "--steps", 12)
    return ("--from", save_small(tmp_path / "unet.pt", "siamese-unet"), "--auto", *short)


def test_the_way_to_fine_tune_is_chosen_by_trials_in_which_every_scene_is_held_out_once(run, data, automatic, tmp_path):
    out = tmp_path / "run"
    code, _, errors = run("finetune", data, "-o", out, *automatic)
    assert code == 0, errors
    record = record_of(out)
    auto = record["auto"]
    gathered = gather([parse_training_data(str(data))], FinetuneOptions(auto=True, classes=("change",)))
    assert (auto["folds"], auto["steps"]) == (3, {"trial": 12, "final": 12})
    assert [each["rate"] for each in auto["trials"]] == [5e-4] * 3 + [2e-3] * 3
    means = {rate: np.mean([each["merit"] for each in auto["trials"] if each["rate"] == rate]) for rate in (5e-4, 2e-3)}
    assert auto["chosen"] == {"frozen": 0.0, "rate": max(means, key=means.get)}
    best = load_checkpoint(out / "best.pt").about
    finals = [load_checkpoint(out / "trials" / f"final-{number}" / "best.pt") for number in range(3)]
    parts = [gathered.fold(number).held_out for number in range(3)]
    calibration = measure_calibration(list(zip(finals, parts, strict=True)))
    assert (best.temperature, best.thresholds) == (calibration.temperature, calibration.thresholds)
    assert best.metrics == record["held_out_scores"]["after"]
    average, weights = mean_weights([each.weights for each in finals]), load_checkpoint(out / "best.pt").weights
    fell_back = any("best.pt is the best one of them" in line for line in errors)
    assert fell_back != all(torch.equal(value, average[name]) for name, value in weights.items())
    assert set(record["held_out_scores"]["before"]) == set(best.metrics) >= {"f1", "f1_low", "precision", "recall"}
    assert [each["items"] for each in record["training"]] == [8]
    assert record["held_out"] == []
    assert {path.name for path in (out / "trials").iterdir()} == {"search.json", "final-0", "final-1", "final-2"}
    assert sum(row["support"] for row in record["classes"][:2]) == record["training"][0]["pixels"]
    assert any("--auto chose all of the network trained" in line and "best of 2 ways" in line for line in errors)
    code, _, errors = run("finetune", data, "-o", out, "--from", automatic[1], *SHORT, "--overwrite")
    assert code == 0, errors
    assert not (out / "trials").exists()


def test_trials_are_compared_on_what_is_held_out_where_that_is_given(run, data, automatic, tmp_path):
    out = tmp_path / "run"
    code, _, errors = run("finetune", data, "-o", out, *automatic, "--val", data, "--rate", 1e-3)
    assert code == 0, errors
    record = record_of(out)
    assert (record["auto"]["folds"], len(record["auto"]["trials"])) == (1, 2)
    assert {each["rate"] for each in record["auto"]["trials"]} == {1e-3, 4e-3}
    assert [each["items"] for each in record["held_out"]] == [8]
    assert load_checkpoint(out / "best.pt").about.temperature != 1
    assert record["held_out_scores"]["after"]["f1"] == pytest.approx(record["best"]["f1"], abs=0.01)


def test_a_search_that_was_killed_goes_on_with_the_trials_that_it_has(run, data, automatic, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "geochange", *map(str, ("finetune", data, "-o", out, *automatic))]
    search = out / "trials" / "search.json"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (search.exists() and len(json.loads(search.read_text())["trials"]) > 1):
            time.sleep(0.002)
        process.kill()
    before = json.loads(search.read_text())["trials"]
    assert 1 < len(before) < 6
    code, _, errors = run("finetune", data, "-o", out, *automatic, "--resume")
    assert code == 0, errors
    assert record_of(out)["auto"]["trials"][: len(before)] == before
    assert len(record_of(out)["auto"]["trials"]) == 6
    whole = tmp_path / "whole"
    code, _, errors = run("finetune", data, "-o", whole, *automatic)
    assert code == 0, errors
    one, other = (load_checkpoint(each / "best.pt") for each in (out, whole))
    assert one.about == other.about
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--minutes", 0.001), "--minutes"),
        (("--steps", 7), "--steps 8 or more"),
        (("--unlabelled",), "leave out --unlabelled"),
        (("--frozen-steps", 3), "leave out --frozen-steps"),
        (("--val-share", 0), "give --val DIR"),
        (("--minutes", 0), "minutes 0.0 must be above 0"),
    ],
)
def test_a_search_needs_time_and_labels_to_choose_by(run, data, automatic, tmp_path, options, said):
    refused(run("finetune", data, "-o", tmp_path / "run", *automatic, *options), said)
    assert not (tmp_path / "run" / "run.json").exists()
