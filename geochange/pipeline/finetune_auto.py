"""Fine-tuning by itself: frozen parts, rate and steps are chosen by short trials, within so many minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, MutableMapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from geochange.detectors.networks.checkpoint import About, load_checkpoint, load_tensors
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Silent
from geochange.errors import BadOption, NotFinite
from geochange.files import discard_folder, write_whole
from geochange.learning.freezing import encoder_scales
from geochange.learning.halving import (
    FEWEST_STEPS,
    Choice,
    Trial,
    best_of,
    candidates,
    halve,
    longest_run,
    rounds,
    work,
)
from geochange.learning.options import FinetuneOptions
from geochange.learning.scoring import MERITS, merit_name
from geochange.learning.training import BEST, LAST
from geochange.parsing import parsing
from geochange.pipeline.finetune_parts import Finetuning, Part, supervise
from geochange.pipeline.train import SEARCH, TRIAL_FOLDERS, calibrate_best

TIMED_STEPS = 3


@dataclass(frozen=True, slots=True)
class Automatic:
    """A search for the way to fine-tune, with what it has tried."""

    about: About
    begin: Callable[[], Network]
    """Builds the network as it is before the first step."""
    chosen: tuple[Choice, ...]
    """What is compared."""
    search: dict[str, Any]
    """What search.json holds: the steps of the longest trial, and the trials that are done."""

    @classmethod
    def plan(cls, run: Finetuning, about: About, begin: Callable[[], Network], scratch: Path) -> Automatic:
        """Plan what fits the time, or go on as planned at an earlier start.

        Args:
            run: whose options and data are used.
            about: what checkpoints hold.
            begin: builds the network as it is before the first step.
            scratch: where the time of an update is measured.

        Raises:
            BadOption: nothing is held out to choose by, or there is too little time.
        """
        if not run.material.held_out:
            raise BadOption("--auto chooses by held-out labels, and there are none; give --val DIR, or more scenes")
        chosen = tuple(candidates(run.options.rate, encoder=bool(encoder_scales(begin()))))
        path = _folder(run) / SEARCH
        if path.exists():
            with parsing(path, "the search of a run of `geochange finetune --auto`"):
                return cls(about, begin, chosen, dict(json.loads(path.read_text(encoding="utf-8"))))
        update, apart = _time(replace(run, folder=scratch), about, begin())
        minutes, tried = run.options.minutes, rounds(len(chosen))
        apart *= sum(count for count, _ in tried)
        longest = min(run.options.steps, longest_run(len(chosen), max(60 * minutes - apart, 0) / update))
        if longest < (fewest := FEWEST_STEPS * tried[0][1]):
            needed = ceil((update * fewest * work(len(chosen)) + apart) / 6) / 10
            raise BadOption(
                f"--auto needs {fewest} steps in its longest trial, and has {longest}: give --steps {fewest} or more, "
                f"and --minutes {needed:g} or more"
            )
        plan = {"minutes": minutes, "longest": longest, "seconds_per_update": round(update, 4), "trials": []}
        return cls(about, begin, chosen, plan)

    def supervise(self, run: Finetuning, record: MutableMapping[str, Any]) -> tuple[Part, Path]:
        """Choose by trials, and train as chosen: on all labels, where the held-out ones were drawn from them.

        Args:
            run: the training.
            record: receives what was tried and chosen.

        Returns:
            The part that best.pt is of, and the checkpoint whose scores on held-out labels can be believed: the best
            trial's, where the last training saw them.

        Raises:
            BadOption: no trial found anything.
        """
        record["auto"] = self.search
        trials = self._search(run)
        best = best_of(trials)
        scored = _folder(run, trials.index(best)) / BEST
        if best.merit <= 0:
            raise BadOption("no trial of --auto found anything that is held out; label more, or train without --auto")
        items = [item for each in run.material.held_out for item in each.items]
        drawn = run.options.val is None and not any(item.pair.split == "val" for item in items)
        self.search.update({"chosen": asdict(best.choice), "trained_on_held_out": drawn})
        calibrate_best(scored, run.material, run.options, run.listener)
        trusted = load_checkpoint(scored).about
        what = MERITS[merit_name(trusted.metrics)]
        found = f"{what} {best.merit:.4f} on held-out labels, the best of {len(trials)} trials"
        run.listener.notice(f"--auto chose {best.choice}: {found}")
        if not drawn:
            chosen = _options(run.options, best.choice)
            return supervise(replace(run, options=chosen), self.begin(), self.about), run.folder / BEST
        part = supervise(_with_all(run, best.choice), self.begin(), self.about)
        trained = load_checkpoint(run.folder / BEST)
        told = {name: getattr(trusted, name) for name in ("thresholds", "temperature", "metrics")}
        replace(trained, about=replace(trained.about, **told)).save(run.folder / BEST)
        return part, scored

    def _search(self, run: Finetuning) -> list[Trial]:
        """Run the trials that have not been run and for which there is time; each is recorded at its end."""
        known, number, began = self.search["trials"], 0, time.perf_counter()
        run.listener.begin("trials", sum(count for count, _ in rounds(len(self.chosen))), 0)

        def try_one(choice: Choice) -> float | None:
            nonlocal number
            number += 1
            if number > len(known):
                if number > len(self.chosen) and not self._has_time(run.options.minutes, choice):
                    return None
                started = time.perf_counter()
                merit = self._merit(replace(run, folder=_folder(run, number - 1)), choice)
                known.append({**asdict(choice), "merit": merit, "seconds": round(time.perf_counter() - started, 3)})
                write_whole(_folder(run) / SEARCH, json.dumps(self.search, indent=2).encode())
                _discard_worse(run, known)
            run.listener.advance(0)
            return float(known[number - 1]["merit"])

        _folder(run).mkdir(exist_ok=True)
        trials = halve(self.chosen, int(self.search["longest"]), try_one)
        run.listener.end("trials", time.perf_counter() - began)
        return trials

    def _has_time(self, minutes: float, choice: Choice) -> bool:
        """Whether a trial, and the training that follows, are done in time: machines become slower than they were."""
        known = self.search["trials"]
        spent = sum(each["seconds"] for each in known)
        update = spent / sum(each["steps"] for each in known)
        return bool(spent + update * 2 * choice.steps <= 60 * minutes)

    def _merit(self, trial: Finetuning, choice: Choice) -> float:
        options = _options(trial.options, choice)
        try:
            supervise(replace(trial, options=options, listener=Silent(), calibrated=False), self.begin(), self.about)
        except NotFinite:  # a rate that is too high is an answer like any other
            return 0.0
        metrics = load_checkpoint(trial.folder / BEST).about.metrics
        return float(metrics[merit_name(metrics)])


def _folder(run: Finetuning, number: int | None = None) -> Path:
    """Return the folder of the search, or of a trial."""
    folder = run.folder / TRIAL_FOLDERS
    return folder if number is None else folder / f"{number:03d}"


def _time(run: Finetuning, about: About, network: Network) -> tuple[float, float]:
    """Measure the seconds of an update of all weights, and those that a trial takes apart from its updates."""
    began, folder = time.perf_counter(), run.folder / "timing"
    options = replace(_options(run.options, Choice(0.0, run.options.rate, 2 * TIMED_STEPS)), every=TIMED_STEPS)
    supervise(replace(run, folder=folder, options=options, listener=Silent(), calibrated=False), network, about)
    history = load_tensors(folder / LAST)["history"]
    apart = time.perf_counter() - began - sum(row["seconds"] for row in history)
    return history[-1]["seconds"] / TIMED_STEPS, apart


def _discard_worse(run: Finetuning, known: list[dict[str, Any]]) -> None:
    """Keep the folder of the best trial so far alone."""
    best = max(range(len(known)), key=lambda k: (known[k]["merit"], known[k]["steps"]))
    for number in range(len(known)):
        if number != best and _folder(run, number).exists():
            discard_folder(_folder(run, number))


def _with_all(run: Finetuning, choice: Choice) -> Finetuning:
    """Return the training on all labels."""
    material = replace(run.material, training=(*run.material.training, *run.material.held_out), held_out=())
    return replace(run, material=material, options=replace(_options(run.options, choice), patience=None))


def _options(options: FinetuneOptions, choice: Choice) -> FinetuneOptions:
    """Return the options of a training as chosen, which is validated at its end."""
    return replace(
        options,
        auto=False,
        steps=choice.steps,
        rate=choice.rate,
        frozen_steps=round(choice.frozen * choice.steps),
        every=choice.steps,
        warmup=min(options.warmup, choice.steps // 10),
    )
