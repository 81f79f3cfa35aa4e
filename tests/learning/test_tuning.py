"""The search for options: seeded, pruned, resumed, and what it leaves is what `train` takes."""

import csv
import json
import logging
import sys

import numpy as np
import pytest

from geochange.cli import main
from geochange.detectors.networks import registry
from geochange.engine.progress import Silent
from geochange.errors import BadOption, UnreadableInput
from geochange.learning.options import TuneOptions
from geochange.learning.training import NotFinite
from geochange.learning.tuning import choose, interrupted_trials, require_optuna, search
from geochange.pipeline.tune import tune
from tests.tiny_network import TinyNet, write_pairs


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(registry.NETWORKS, "tiny", f"{TinyNet.__module__}:TinyNet")


def pretend(seen):
    """A trial whose F1 follows from its rate alone: best at 0.002."""

    def run_trial(number, chosen, report):
        seen.append(chosen)
        merit = 1 - abs(chosen["rate"] - 0.002) * 50
        for step in (1, 2):
            report({"step": step, "val_f1": merit * step / 2})
        return merit

    return run_trial


def rows_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_best_trial_is_kept(tmp_path):
    seen = []
    best = search(pretend(seen), tmp_path, TuneOptions(trials=8))
    assert best == json.loads((tmp_path / "best.json").read_text())
    finished = [row for row in rows_of(tmp_path) if row["state"] == "complete"]
    top = max(finished, key=lambda row: float(row["f1"]))
    assert best["rate"] == float(top["rate"])
    assert len({chosen["rate"] for chosen in seen}) == len(seen) == 8
    assert set(best) == {"rate", "weight_decay", "encoder_rate", "loss", "batch"}


def test_a_search_in_parts_tries_what_one_in_one_go_does(tmp_path):
    whole, parts = [], []
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    search(pretend(whole), tmp_path / "whole", TuneOptions(trials=6))

    def interrupted(number, chosen, report):
        if number == 3:
            raise KeyboardInterrupt
        return pretend(parts)(number, chosen, report)

    with pytest.raises(KeyboardInterrupt):
        search(interrupted, tmp_path / "parts", TuneOptions(trials=6))
    assert len(parts) == 3
    assert interrupted_trials(tmp_path / "parts", TuneOptions(trials=6)) == [3]
    search(pretend(parts), tmp_path / "parts", TuneOptions(trials=6))
    assert parts == whole


def test_hopeless_trials_end_early(tmp_path):
    ended = []

    def run_trial(number, chosen, report):
        for step in (1, 2, 3):
            report({"step": step, "val_f1": 0.9 if number < 4 else 0.1})
            ended.append((number, step))
        return 0.9

    search(run_trial, tmp_path, TuneOptions(trials=6))
    assert [row["state"] for row in rows_of(tmp_path)] == ["complete"] * 4 + ["pruned"] * 2
    assert max(number for number, _ in ended) == 3


def test_trials_that_overflow_are_answers_too(tmp_path):
    def run_trial(number, chosen, report):
        if number == 0:
            raise NotFinite("the loss is nan")
        return 0.5

    search(run_trial, tmp_path, TuneOptions(trials=2))
    assert [row["state"] for row in rows_of(tmp_path)] == ["pruned", "complete"]


def test_an_error_of_a_trial_is_raised_and_optuna_logs_no_traceback(tmp_path, caplog):
    def run_trial(number, chosen, report):
        raise UnreadableInput("before.png is broken")

    optuna = require_optuna()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logger = logging.getLogger("optuna")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(UnreadableInput, match=r"before\.png"):
            search(run_trial, tmp_path, TuneOptions(trials=2))
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records


def test_impossible_searches_are_refused(tmp_path, monkeypatch):
    with pytest.raises(BadOption, match="trials 0"):
        TuneOptions(trials=0)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BadOption, match="needs optuna"):
        search(pretend([]), tmp_path, TuneOptions())


def call(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_the_command_leaves_options_that_train_takes(tmp_path, capsys):
    data, out = write_pairs(tmp_path / "data", [f"p{k}" for k in range(5)]), tmp_path / "search"
    short = ("--network", "tiny", "--size", 16, "--loaders", 0, "--device", "cpu")
    search_it = ("tune", data, "-o", out, "--trials", 2, "--steps", 2, "--every", 1, *short)
    assert call(*search_it) == 0
    assert "trial 1 | step 2/2" in capsys.readouterr().out
    assert call(*search_it, "--json") == 0
    best = json.loads(capsys.readouterr().out)
    assert len(rows_of(out)) == 2
    assert call("train", data, "-o", tmp_path / "run", "--options", out / "best.json", "--steps", 2, *short, "-q") == 0
    assert best.items() <= json.loads((tmp_path / "run" / "run.json").read_text())["identity"].items()
    assert call(*search_it, "--val", data) == 2
    assert "val (null then" in capsys.readouterr().err


def test_a_trial_that_was_interrupted_leaves_nothing(tmp_path):
    data, out = write_pairs(tmp_path / "data", [f"p{k}" for k in range(5)]), tmp_path / "search"
    options = {"network": "tiny", "size": 16, "loaders": 0, "device": "cpu", "trials": 2, "steps": 2, "every": 1}

    class Impatient(Silent):
        def report(self, figures):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune([data], out, listener=Impatient(), **options)
    assert [path.name for path in (out / "trials").iterdir()] == ["000"]
    tune([data], out, **options)
    assert sorted(path.name for path in (out / "trials").iterdir()) == ["001", "002"]


def test_without_held_out_pairs_there_is_nothing_to_compare(tmp_path, capsys):
    data = write_pairs(tmp_path / "data", ["only"])
    assert call("tune", data, "-o", tmp_path / "out", "--network", "tiny", "--size", 16, "--device", "cpu") == 2
    assert "--val" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["no journal\n{\n", "[1]\n[2]\n", "{}\n{}\n", "\udcff\n\udcff\n"])
def test_a_journal_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "trials.log").write_text(content, errors="surrogateescape")
    with pytest.raises(UnreadableInput, match=r"trials\.log cannot be read as a journal of trials"):
        search(lambda number, chosen, prune: 0.5, tmp_path, TuneOptions(trials=1))


def test_rates_and_decays_are_drawn_by_their_size_and_choices_from_what_is_given():
    optuna = require_optuna()
    options = TuneOptions(
        rates=(1e-5, 1e-2),
        weight_decays=(1e-4, 1e-1),
        encoder_rates=(0.01, 1.0),
        losses=("dice", "focal"),
        batches=(2, 8),
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [choose(study.ask(), options) for _ in range(300)]
    for name, (low, high) in (("rate", (1e-5, 1e-2)), ("weight_decay", (1e-4, 1e-1)), ("encoder_rate", (0.01, 1.0))):
        values = np.array([each[name] for each in drawn])
        assert low <= values.min() < 2 * low
        assert high / 2 < values.max() <= high
        assert np.median(values) == pytest.approx(np.sqrt(low * high), rel=0.7)
    assert {each["loss"] for each in drawn} == {"dice", "focal"}
    assert {each["batch"] for each in drawn} == {2, 8}


def falling(number, chosen, report):
    """A trial that is worse than those before it at every step."""
    for step in (1, 2):
        report({"step": step, "val_f1": (0.9 - 0.1 * number) * step / 2})
    return 0.9 - 0.1 * number


@pytest.mark.parametrize("first", [1, 2, 4])
def test_trials_are_ended_early_after_the_first_ones_alone(tmp_path, first):
    search(falling, tmp_path, TuneOptions(trials=5, first_trials=first))
    assert [row["state"] for row in rows_of(tmp_path)] == ["complete"] * first + ["pruned"] * (5 - first)


def test_trials_that_were_ended_early_are_neither_interrupted_nor_run_again(tmp_path):
    options = TuneOptions(trials=4, first_trials=1)
    best, run = search(falling, tmp_path, options), []
    assert {row["state"] for row in rows_of(tmp_path)} == {"complete", "pruned"}
    assert interrupted_trials(tmp_path, options) == []
    assert search(pretend(run), tmp_path, options) == best
    assert run == []
    search(pretend(run), tmp_path, TuneOptions(trials=6, first_trials=9))
    assert len(run) == 2


def test_a_trial_that_failed_is_an_interrupted_one(tmp_path):
    def run_trial(number, chosen, report):
        if number == 1:
            raise UnreadableInput("before.png is broken")
        return 0.5

    with pytest.raises(UnreadableInput):
        search(run_trial, tmp_path, TuneOptions(trials=3))
    assert interrupted_trials(tmp_path, TuneOptions(trials=3)) == [1]
    search(run_trial, tmp_path, TuneOptions(trials=3))
    assert [row["state"] for row in rows_of(tmp_path)] == ["complete", "fail", "complete", "complete"]


def test_a_search_of_which_no_trial_finished_has_no_best(tmp_path):
    def overflow(number, chosen, report):
        raise NotFinite("the loss is nan")

    with pytest.raises(BadOption, match="none of 2 trials was finished; give more --trials"):
        search(overflow, tmp_path, TuneOptions(trials=2))
    assert not (tmp_path / "best.json").exists()
    assert interrupted_trials(tmp_path, TuneOptions(trials=2)) == []


def test_another_seed_draws_other_trials_and_the_same_seed_the_same(tmp_path):
    drawn = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        drawn[name] = []
        search(pretend(drawn[name]), tmp_path / name, TuneOptions(trials=2, seed=seed))
    assert drawn["a"] == drawn["b"]
    assert drawn["a"][0] != drawn["c"][0]
