"""A small search for good options of training, with optuna: each trial is a short run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from geochange.errors import BadOption, NotFinite
from geochange.files import write_whole
from geochange.learning.options import TuneOptions
from geochange.learning.rate_finder import RateTest, smoothed
from geochange.learning.scoring import merit_name
from geochange.parsing import parsing

TRIALS, BEST_OPTIONS, JOURNAL, RATES = "trials.csv", "best.json", "trials.log", "rates.csv"
SEARCH_FILES = (TRIALS, BEST_OPTIONS, JOURNAL, RATES)

Prune = Callable[[Mapping[str, float]], None]
"""Receives the figures of each epoch of a trial; ends the trial where others did better."""

RunTrial = Callable[[int, Mapping[str, Any], Prune], float]
"""Number and options of a trial, what receives its figures -> its best F1."""


def search(run_trial: RunTrial, folder: Path, options: TuneOptions) -> dict[str, Any]:
    """Try options until there are as many finished trials as wanted; goes on with those that lie in the folder.

    Trials are drawn by TPE (Bergstra 2011), and ended early where their F1 is below the median of the others at the
    same epoch. The folder gets trials.csv, best.json and optuna's own journal.

    Args:
        run_trial: fits with the options of a trial.
        folder: exists.
        options: what is searched.

    Returns:
        The options of the best trial.

    Raises:
        BadOption: optuna is not installed, or no trial was finished.
    """
    optuna = require_optuna()
    study = _open_study(optuna, folder, options)

    def objective(trial: Any) -> float:
        chosen = choose(trial, options)

        def prune(row: Mapping[str, float]) -> None:
            trial.report(merit_of(row), int(row["step"]))
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            return run_trial(trial.number, chosen, prune)
        except NotFinite as error:  # a rate that is too high is an answer like any other
            raise optuna.TrialPruned(str(error)) from error

    done = _ended(optuna)
    while (begun := len(study.get_trials(deepcopy=False, states=done))) < options.trials:
        study.sampler = optuna.samplers.TPESampler(seed=options.seed + begun)  # the same draws after a resumption
        study.optimize(objective, n_trials=1)
        _write_trials(folder, study)
    finished = study.get_trials(deepcopy=False, states=done[:1])
    if not finished:
        raise BadOption(f"none of {options.trials} trials was finished; give more --trials")
    best: dict[str, Any] = dict(study.best_trial.params)
    write_whole(folder / BEST_OPTIONS, json.dumps(best, indent=2).encode())
    return best


def write_rates(folder: Path, test: RateTest) -> dict[str, Any]:
    """Write rates.csv and best.json of a range test; return the best options."""
    rows = zip(test.rates, test.losses, smoothed(test.losses), strict=True)
    lines = ["rate,loss,smoothed", *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    write_whole(folder / RATES, ("\n".join(lines) + "\n").encode())
    best = {"rate": float(f"{test.best:.3g}")}
    write_whole(folder / BEST_OPTIONS, json.dumps(best, indent=2).encode())
    return best


def interrupted_trials(folder: Path, options: TuneOptions) -> list[int]:
    """Return the numbers of trials of an earlier search that did not come to their end; `search` begins others."""
    optuna = require_optuna()
    trials = _open_study(optuna, folder, options).get_trials(deepcopy=False)
    return [trial.number for trial in trials if trial.state not in _ended(optuna)]


def _ended(optuna: Any) -> tuple[Any, Any]:
    """Return the states of trials that came to their end: finished ones first, and those ended early."""
    return optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED


def choose(trial: Any, options: TuneOptions) -> dict[str, Any]:
    """Choose the options of a trial, by their names in `TrainOptions`."""
    return {
        "rate": trial.suggest_float("rate", *options.rates, log=True),
        "weight_decay": trial.suggest_float("weight_decay", *options.weight_decays, log=True),
        "encoder_rate": trial.suggest_float("encoder_rate", *options.encoder_rates, log=True),
        "loss": trial.suggest_categorical("loss", list(options.losses)),
        "batch": trial.suggest_categorical("batch", list(options.batches)),
    }


def merit_of(row: Mapping[str, float]) -> float:
    """Return what trials are compared by on held-out items: AP50 of objects, else F1, averaged over classes."""
    return row[f"val_{merit_name({name.removeprefix('val_'): 0 for name in row if name.startswith('val_')})}"]


def require_optuna() -> Any:
    """Return the module.

    Raises:
        BadOption: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise BadOption("tuning needs optuna: pip install 'geochange[train]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # of a trial that fails it prints the traceback
    return optuna


def _open_study(optuna: Any, folder: Path, options: TuneOptions) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    journal = str(folder / JOURNAL)
    with parsing(journal, "a journal of trials"):
        return optuna.create_study(
            study_name="geochange",
            storage=JournalStorage(JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal))),
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=options.first_trials),
        )


def _write_trials(folder: Path, study: Any) -> None:
    """Write one row a trial."""
    rows = [
        {"trial": each.number, "state": each.state.name.lower(), "f1": each.value, **each.params}
        for each in study.get_trials(deepcopy=False)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_whole(folder / TRIALS, text.getvalue().encode())
