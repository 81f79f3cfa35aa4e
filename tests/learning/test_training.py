"""Fitting: whatever interrupts a run, its end is the same; whatever spoils it is said, and the good state stays."""

import csv
import math
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geochange.arrays import IGNORE
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.engine.progress import Relay, Silent
from geochange.errors import BadOption, DiskFull, UnreadableInput
from geochange.interrupts import Interrupts
from geochange.learning import training
from geochange.learning.board import draw_sample
from geochange.learning.optimising import rate_factor
from geochange.learning.options import TrainOptions
from geochange.learning.samples import Sample
from geochange.learning.training import BEST, CLASSES, HISTORY, LAST, NotFinite, fit
from geochange.learning.training_state import write_history
from tests.forked_commands import files_at_most
from tests.tiny_network import OPTIONS, TinyNet, TinyOptions, about, break_image, make_network, make_samples, open_pairs

ROOT = Path(__file__).parents[2]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def pairs(tmp_path):
    return open_pairs(tmp_path / "pairs")


def run(folder, pairs, options=OPTIONS, network=None, **settings):
    folder.mkdir(exist_ok=True)
    network = network or make_network(noise=0.1)
    return fit(network, about(), make_samples(pairs), [pairs], folder, options, **settings)


def contents(folder):
    """All that last.pt holds but seconds, and the weights of best.pt."""
    saved = torch.load(folder / LAST, weights_only=True)
    for row in [*saved["history"], saved["running"]]:
        row.pop("seconds")
    return saved, dict(load_checkpoint(folder / BEST).weights)


def assert_same(one, other, at=""):
    assert type(one) is type(other), at
    if isinstance(one, dict):
        assert one.keys() == other.keys(), at
        for key in one:
            assert_same(one[key], other[key], f"{at}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), at
        for k, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{at}/{k}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), at
    else:
        assert one == other, at


def stop_after(steps, monkeypatch, number=signal.SIGINT):
    """Send a signal in the midst of an update: after the optimizer's step, before the average."""
    average, seen = training.average_weights, []

    def interrupted(*arguments):
        seen.append(None)
        if len(seen) == steps:
            os.kill(os.getpid(), number)
        average(*arguments)

    monkeypatch.setattr(training, "average_weights", interrupted)


@pytest.mark.parametrize(("steps", "number"), [(1, signal.SIGINT), (3, signal.SIGINT), (5, signal.SIGTERM)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, pairs, monkeypatch, steps, number):
    run(tmp_path / "whole", pairs)
    with monkeypatch.context() as patch:
        stop_after(steps, patch, number)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", pairs)
    assert torch.load(tmp_path / "parts" / LAST, weights_only=True)["step"] == steps
    run(tmp_path / "parts", pairs, network=make_network(seed=1, noise=0.1))
    assert_same(contents(tmp_path / "parts"), contents(tmp_path / "whole"))


def test_it_is_the_same_with_a_worker_process(tmp_path, pairs, monkeypatch):
    run(tmp_path / "whole", pairs)
    with monkeypatch.context() as patch:
        stop_after(4, patch)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", pairs, replace(OPTIONS, loaders=1))
    run(tmp_path / "parts", pairs)
    parts, whole = contents(tmp_path / "parts"), contents(tmp_path / "whole")
    assert_same(parts, whole)


def test_an_interrupt_while_scoring_loses_nothing(tmp_path, pairs, monkeypatch):
    run(tmp_path / "whole", pairs)
    with monkeypatch.context() as patch:
        patch.setattr(training, "score_items", lambda *_: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", pairs)
    assert not (tmp_path / "parts" / BEST).exists()
    run(tmp_path / "parts", pairs)
    assert_same(contents(tmp_path / "parts"), contents(tmp_path / "whole"))


def test_signals_wait_only_while_they_are_held():
    with Interrupts() as interrupts:
        with interrupts.hold():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            interrupts.obey()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_finished_run_is_left_alone(tmp_path, pairs):
    run(tmp_path / "run", pairs)
    before = (tmp_path / "run" / LAST).read_bytes()
    assert run(tmp_path / "run", pairs).step == 6
    assert (tmp_path / "run" / LAST).read_bytes() == before


def test_states_of_before_there_were_running_figures_are_gone_on_with(tmp_path, pairs):
    run(tmp_path / "run", pairs, replace(OPTIONS, steps=3))
    saved = torch.load(tmp_path / "run" / LAST, weights_only=True)
    saved.pop("running")
    saved["options"] = {**saved["options"], "steps": 6}
    saved["options"].pop("processes")
    torch.save(saved, tmp_path / "run" / LAST)
    assert [row["step"] for row in run(tmp_path / "run", pairs).history] == [3, 6]


def test_a_state_of_other_options_is_refused_with_both_values(tmp_path, pairs):
    run(tmp_path / "run", pairs)
    with pytest.raises(BadOption, match=r"rate 0\.01, now it is 0\.02"):
        run(tmp_path / "run", pairs, replace(OPTIONS, rate=0.02))
    run(tmp_path / "run", pairs, replace(OPTIONS, every=2, patience=9))


def test_a_state_of_another_network_is_refused(tmp_path, pairs):
    run(tmp_path / "run", pairs)
    with pytest.raises(UnreadableInput, match="another network"):
        run(tmp_path / "run", pairs, network=make_network(width=8))


def test_accumulated_passes_are_one_larger_batch(tmp_path, pairs):
    large = run(tmp_path / "large", pairs, replace(OPTIONS, batch=4), make_network())
    small = run(tmp_path / "small", pairs, replace(OPTIONS, batch=2, accumulate=2), make_network())
    for one, other in zip(large.network.parameters(), small.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert large.history[-1]["loss"] == pytest.approx(small.history[-1]["loss"], abs=1e-6)
    assert large.history[-1]["f1"] == small.history[-1]["f1"]


@pytest.mark.skipif(os.name == "nt", reason="no limits of file size there")
def test_a_full_disk_leaves_the_last_good_state(tmp_path, pairs):
    run(tmp_path / "run", pairs, replace(OPTIONS, steps=3))
    good = (tmp_path / "run" / LAST).read_bytes()
    state = training.begin(make_network(noise=0.1), OPTIONS, torch.device("cpu"))
    with files_at_most(1000), pytest.raises(DiskFull, match=r"last\.pt could not be written, and stays as it was"):
        state.save(tmp_path / "run" / LAST, {})
    assert (tmp_path / "run" / LAST).read_bytes() == good
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [BEST, CLASSES, HISTORY, LAST]


@pytest.mark.skipif(os.name == "nt", reason="no limits of file size there")
def test_a_disk_that_fills_during_a_run_ends_it_with_the_state_of_before(tmp_path, pairs):
    with ExitStack() as stack:
        fill = Relay(Silent(), lambda row: stack.enter_context(files_at_most(1000)))
        with pytest.raises(DiskFull, match=r"the disk is full"):
            run(tmp_path / "run", pairs, listener=fill)
    assert torch.load(tmp_path / "run" / LAST, weights_only=True)["step"] == 3
    run(tmp_path / "run", pairs)
    run(tmp_path / "whole", pairs)
    assert_same(contents(tmp_path / "run"), contents(tmp_path / "whole"))


def test_a_loss_that_overflows_names_the_step_and_keeps_the_good_state(tmp_path, pairs):
    network = make_network()

    def spoil(row):
        with torch.no_grad():
            network.head.bias.fill_(math.nan)

    with pytest.raises(NotFinite, match=r"loss is nan at step 4.*lower than 0\.01"):
        run(tmp_path / "run", pairs, network=network, listener=Relay(Silent(), spoil))
    saved = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert saved["step"] == 3
    assert all(value.isfinite().all() for value in saved["network"].values())


def test_a_gradient_that_overflows_leaves_the_weights(tmp_path, pairs):
    network = make_network()
    network.head.weight.register_hook(lambda gradient: gradient * math.inf)
    weights = network.head.weight.detach().clone()
    with pytest.raises(NotFinite, match="gradient"):
        run(tmp_path / "run", pairs, network=network)
    assert torch.equal(network.head.weight, weights)


@pytest.mark.parametrize("loaders", [0, 1])
def test_a_broken_image_is_named_in_one_line_and_the_state_kept(tmp_path, pairs, loaders):
    broken = Path(pairs.items[2].pair.dates[1])
    break_image(broken)
    with pytest.raises(UnreadableInput) as raised:
        run(tmp_path / "run", pairs, replace(OPTIONS, steps=50, every=50, loaders=loaders))
    assert broken.name in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (tmp_path / "run" / LAST).exists()


def test_training_learns_and_says_so(tmp_path, pairs):
    rows = []
    options = replace(OPTIONS, steps=60, every=20, rate=0.03)
    state = run(tmp_path / "run", pairs, options, make_network(), listener=Relay(Silent(), rows.append))
    assert rows == [{**row, "steps": 60} for row in state.history]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["val_f1"] > 0.8
    assert {"loss", "accuracy", "f1", "iou", "val_loss", "val_accuracy", "val_f1", "val_iou"} <= set(rows[0])
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert best.about.metrics["f1"] == max(row["val_f1"] for row in rows)
    assert best.about.metrics["f1_low"] <= best.about.metrics["f1"] <= best.about.metrics["f1_high"]
    lines = (tmp_path / "run" / HISTORY).read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].split(",") == list(state.history[0])


def test_it_stops_where_nothing_gets_better(tmp_path, pairs):
    options = replace(OPTIONS, steps=30, patience=2, rate=1e-12)
    assert run(tmp_path / "run", pairs, options).step == 9
    with pytest.raises(BadOption, match="patience 2 needs held-out"):
        fit(make_network(), about(), make_samples(pairs), [], tmp_path / "other", options)


def test_without_held_out_items_the_last_weights_are_kept(tmp_path, pairs):
    (tmp_path / "run").mkdir()
    state = fit(make_network(), about(), make_samples(pairs), [], tmp_path / "run", OPTIONS)
    kept = load_checkpoint(tmp_path / "run" / BEST).weights
    assert all(torch.equal(kept[name], value) for name, value in state.averaged.state_dict().items())
    assert state.best_epoch == 1


def test_the_average_follows_the_weights():
    averaged, network = make_network(), make_network(seed=1)
    first, target = averaged.head.weight.detach().clone(), network.head.weight
    training.average_weights(averaged, network, 0.9, 1000)
    torch.testing.assert_close(averaged.head.weight, 0.9 * first + 0.1 * target)


def test_what_is_counted_in_whole_numbers_is_taken_over():
    averaged, network = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    network(torch.randn(2, 2, 4, 4))
    training.average_weights(averaged, network, 0.9, 1000)
    assert averaged.num_batches_tracked == 1
    torch.testing.assert_close(averaged.running_mean, 0.1 * network.running_mean)


def test_networks_without_objects_are_compared_by_f1(tmp_path, pairs):
    state = run(tmp_path / "run", pairs, replace(OPTIONS, steps=20, every=5, rate=0.03), make_network())
    merits = [row["val_f1"] for row in state.history]
    assert len({*merits}) > 1
    assert (state.best, state.best_epoch) == (max(merits), int(np.argmax(merits)))
    assert not [name for name in state.history[-1] if "ap" in name or "object" in name]


def test_rates_rise_then_fall_to_nothing():
    options = TrainOptions(steps=1000, warmup=100)
    factors = [rate_factor(step, options) for step in range(1000)]
    assert factors[:100] == sorted(factors[:100])
    assert factors[100:] == sorted(factors[100:], reverse=True)
    assert max(factors) == 1
    assert factors[-1] < 1e-4
    assert max(rate_factor(step, TrainOptions(steps=8, warmup=200)) for step in range(8)) == 1


def test_encoders_learn_more_slowly_and_biases_do_not_decay():
    network = make_network()
    groups = training.make_optimizer(network, replace(OPTIONS, encoder_rate=0.1)).param_groups
    found = {id(each): (group["lr"], group["weight_decay"]) for group in groups for each in group["params"]}
    assert found[id(network.encoder.weight)] == (pytest.approx(0.001), 0.01)
    assert found[id(network.encoder.bias)] == (pytest.approx(0.001), 0.0)
    assert found[id(network.head.weight)] == (0.01, 0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "hinge"},
        {"precision": "fp8"},
        {"steps": 0},
        {"rate": 0.0},
        {"rate": math.nan},
        {"average": 1.0},
        {"loaders": -1},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(BadOption, match=str(next(iter(wrong)))):
        TrainOptions(**wrong)


def test_half_precision_needs_a_gpu(tmp_path, pairs):
    with pytest.raises(BadOption, match="fp16 needs a GPU"):
        run(tmp_path / "run", pairs, replace(OPTIONS, precision="fp16"))


def test_bf16_changes_little(tmp_path, pairs):
    plain = run(tmp_path / "plain", pairs, network=make_network())
    mixed = run(tmp_path / "mixed", pairs, replace(OPTIONS, precision="bf16"), make_network())
    assert mixed.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.02)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpus_fit_like_cpus(tmp_path, pairs, precision):
    plain = run(tmp_path / "plain", pairs, network=make_network())
    options = replace(OPTIONS, device="cuda", precision=precision, loaders=1)
    there = run(tmp_path / "there", pairs, options, make_network())
    assert there.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], rel=0.02)
    run(tmp_path / "there", pairs, replace(options, every=2), make_network())


def test_a_killed_run_leaves_no_worker_behind(tmp_path):
    """The worker ignores signals, so it must end with the one that it reads for."""
    code = (
        "import os, signal, sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from geochange.engine.progress import Relay, Silent\n"
        "from geochange.learning.training import fit\n"
        "from tests.tiny_network import *\n"
        "if __name__ == '__main__':\n"
        "    folder = Path(sys.argv[1])\n"
        "    pairs = open_pairs(folder / 'pairs')\n"
        "    options = replace(OPTIONS, steps=10000, every=5, loaders=1)\n"
        "    kill = Relay(Silent(), lambda row: os.killpg(0, signal.SIGTERM))\n"
        "    fit(make_network(), about(), make_samples(pairs), [pairs], folder, options, listener=kill)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
        check=False,
    )
    assert ended.stderr.splitlines()[-1] == "geochange.interrupts.Interrupted: SIGTERM", ended.stderr
    assert torch.load(tmp_path / LAST, weights_only=True)["step"] == 5


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (80, 0.9), (10_000, 0.999)])
def test_the_average_follows_faster_in_the_first_steps(step, share):
    averaged, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(averaged.weight)
    nn.init.ones_(network.weight)
    training.average_weights(averaged, network, 0.999, step)
    assert averaged.weight.item() == pytest.approx(1 - share)


def test_the_loss_of_an_epoch_is_the_mean_of_its_updates(tmp_path):
    pairs, histories = open_pairs(tmp_path / "pairs"), []
    for every in (1, 4):
        folder = tmp_path / str(every)
        folder.mkdir()
        options = replace(OPTIONS, steps=4, every=every)
        histories.append(fit(make_network(), about(), make_samples(pairs), [pairs], folder, options).history)
    single, (whole,) = histories
    assert whole["loss"] == pytest.approx(sum(row["loss"] for row in single) / 4, rel=1e-5)


class Normalised(TinyNet):
    """With normalisation of batches before the head."""

    def __init__(self, options):
        super().__init__(options)
        self.head = nn.Sequential(nn.BatchNorm2d(options.width), self.head)


@pytest.mark.parametrize("measured", [True, False])
def test_batch_normalisation_keeps_its_statistics_where_the_run_asks_for_it(tmp_path, pairs, measured):
    torch.manual_seed(0)
    network = Normalised(TinyOptions())
    nn.init.constant_(network.head[0].running_mean, 0.3)
    nn.init.constant_(network.head[0].running_var, 1.7)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = run(tmp_path / "run", pairs, replace(OPTIONS, batch_statistics=measured), network)
    for found in (state.network.state_dict(), state.averaged.state_dict()):
        kept = {name for name, value in found.items() if torch.equal(value, before[name])}
        assert kept == (set() if measured else {f"head.0.{each}" for each in STATISTICS})


def test_the_last_epoch_ends_at_the_steps_that_are_wanted(tmp_path):
    pairs, folder = open_pairs(tmp_path / "pairs"), tmp_path / "run"
    folder.mkdir()
    state = fit(make_network(), about(), make_samples(pairs), [pairs], folder, replace(OPTIONS, steps=5, every=3))
    assert [row["step"] for row in state.history] == [3, 5]
    assert state.step == 5


def test_a_figure_that_an_epoch_lacks_leaves_an_empty_cell(tmp_path):
    write_history(tmp_path / "history.csv", [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25, "f1": 1 / 3}])
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"step": "1", "loss": "0.5", "f1": ""}, {"step": "2", "loss": "0.25", "f1": "0.333333"}]


def test_pictures_show_changed_white_unchanged_black_and_unlabelled_grey():
    labels = np.array([[0, 1], [2, IGNORE]], np.uint8)
    dates = tuple(np.zeros((3, 2, 2), np.uint8) for _ in range(2))
    picture = draw_sample(Sample(dates, np.ones((2, 2, 2), bool), labels), np.full((2, 2), 0.25))
    np.testing.assert_array_equal(picture[:, :, 4:6], np.broadcast_to([[0, 1], [1, 0.5]], (3, 2, 2)))
    np.testing.assert_array_equal(picture[:, :, 6:], 0.25)


def test_an_anchored_network_stays_nearer_to_what_it_was(tmp_path, pairs):
    """Scores of an item of which hardly a pixel is labelled."""
    sample = pairs.read(0)

    def moved(name, weight):
        start = make_network(noise=0.1)
        network = make_network(noise=0.1)
        anchor = None if weight is None else training.Anchor(start.eval(), weight)
        samples = make_samples(pairs)
        whole = samples.vary
        samples.vary = lambda *given: hide(*whole(*given))
        (tmp_path / name).mkdir()
        state = fit(network, about(), samples, [], tmp_path / name, OPTIONS, anchor=anchor)
        dates = torch.tensor(np.stack(sample.dates))[None].float()
        with torch.no_grad():
            return float((state.averaged(dates) - start.eval()(dates)).abs().mean())

    def hide(dates, labels):
        hidden = torch.full_like(labels, IGNORE)
        hidden[:2, :2] = 1
        return dates, hidden

    free, held = moved("free", None), moved("held", 20.0)
    assert held < 0.8 * free
    assert moved("none", 0.0) == free


def test_balanced_weights_are_those_of_scikit_learn_and_are_recorded(pairs, tmp_path):
    utils = pytest.importorskip("sklearn.utils")
    labels = np.concatenate([pairs.read_labels(k).ravel() for k in range(len(pairs))])
    labels = labels[labels != IGNORE]
    wanted = utils.class_weight.compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    run(tmp_path / "run", pairs, replace(OPTIONS, class_weights="balanced"))
    record = torch.load(tmp_path / "run" / LAST, weights_only=True)["options"]
    assert record["class_weights"] == pytest.approx(tuple(wanted))


@pytest.mark.parametrize(
    "settings",
    [{"optimizer": "sgd", "rate": 0.1}, {"optimizer": "adam"}, {"schedule": "one-cycle"}, {"loss": "mse"}],
    ids=["sgd", "adam", "one-cycle", "mse"],
)
def test_an_interrupted_run_of_any_recipe_goes_on_bit_for_bit(pairs, tmp_path, monkeypatch, settings):
    options = replace(OPTIONS, **settings)
    run(tmp_path / "whole", pairs, options)
    stop_after(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", pairs, options)
    monkeypatch.undo()
    run(tmp_path / "stopped", pairs, options)
    assert_same(contents(tmp_path / "stopped"), contents(tmp_path / "whole"))
