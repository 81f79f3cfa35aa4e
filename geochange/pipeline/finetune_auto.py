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
from geochange.learning.options import FinetuneOptions
from geochange.learning.scoring import MERITS, merit_name
from geochange.learning.training import BEST, CLASSES, HISTORY, LAST
from geochange.learning.trials import (
    FEWEST_STEPS,
    Choice,
    Trial,
    best_of,
    candidates,
    longest_run,
    rounds,
    search,
    work,
)
from geochange.parsing import parsing
from geochange.pipeline.finetune_parts import Finetuning, Part, supervise, take_over
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
    record: dict[str, Any]
    """What search.json holds: the steps of the longest trial, and the trials that are done."""

    @classmethod
    def plan(
        cls, run: Finetuning, about: About, begin: Callable[[], Network], scratch: Path, *, resume: bool
    ) -> Automatic:
        """Plan what fits the time, or go on as planned at an earlier start.

        Args:
            run: whose options and data are used.
            about: what checkpoints hold.
            begin: builds the network as it is before the first step.
            scratch: where the time of an update is measured.
            resume: whether to go on with an earlier start.

        Raises:
            BadOption: nothing is held out to choose by, or there is too little time.
        """
        if not run.material.held_out:
            raise BadOption("--auto chooses by held-out labels, and there are none; give --val DIR, or more scenes")
        chosen = tuple(candidates(run.options.rate, encoder=bool(encoder_scales(begin()))))
        path = _folder(run) / SEARCH
        if resume and path.exists():
            with parsing(path, "the search of a run of `geochange finetune --auto`"):
                return cls(about, begin, chosen, dict(json.loads(path.read_text(encoding="utf-8"))))
        update, apart = _time(replace(run, folder=scratch), about, begin())
        minutes, tried = run.options.minutes, rounds(len(chosen))
        apart *= sum(count for count, _ in tried)
        longest = min(run.options.steps, longest_run(len(chosen), max(60 * minutes - apart, 0) / update))
        if longest < (fewest := FEWEST_STEPS * tried[0][1]):
            needed = ceil((update * fewest * work(len(chosen)) + apart) / 6) / 10
            raise BadOption(
                f"--auto needs {fewest} steps in its longest trials, and has {longest}: give --steps {fewest} or more, "
                f"and --minutes {needed:g} or more"
            )
        plan = {"minutes": minutes, "longest": longest, "seconds_per_update": round(update, 4), "trials": []}
        return cls(about, begin, chosen, plan)

    def supervise(self, run: Finetuning, record: MutableMapping[str, Any]) -> Part:
        """Run the trials; the best one becomes the run.

        Args:
            run: the training.
            record: receives what was tried and chosen.

        Returns:
            The part that best.pt is of.

        Raises:
            BadOption: no trial found anything.
        """
        record["auto"] = self.record
        trials = self._search(run)
        best = best_of(trials)
        if best.merit <= 0:
            raise BadOption("no trial of --auto found anything that is held out; label more, or train without --auto")
        number = trials.index(best)
        known = self.record["trials"][number]
        part = Part(_folder(run, number) / known["part"], known["done"])
        take_over(part.folder, run.folder, BEST, LAST, HISTORY, CLASSES)
        calibrate_best(run.folder / BEST, run.material, run.options, run.listener)
        self.record["chosen"] = asdict(best.choice)
        what = MERITS[merit_name(load_checkpoint(run.folder / BEST).about.metrics)]
        found = f"{what} {best.merit:.4f} on held-out labels, the best of {len(trials)} trials"
        run.listener.notice(f"--auto chose {best.choice}: {found}")
        return part

    def _search(self, run: Finetuning) -> list[Trial]:
        """Run the trials that have not been run and for which there is time; each is recorded at its end."""
        known, number, began = self.record["trials"], 0, time.perf_counter()
        run.listener.begin("trials", sum(count for count, _ in rounds(len(self.chosen))), 0)

        def try_one(choice: Choice) -> float | None:
            nonlocal number
            number += 1
            if number > len(known):
                if number > len(self.chosen) and not self._has_time(run.options.minutes, choice):
                    return None
                known.append(self._try(replace(run, folder=_folder(run, number - 1)), choice))
                write_whole(_folder(run) / SEARCH, json.dumps(self.record, indent=2).encode())
                _discard_worse(run, known)
            run.listener.advance(0)
            return float(known[number - 1]["merit"])

        _folder(run).mkdir(exist_ok=True)
        trials = search(self.chosen, int(self.record["longest"]), try_one)
        run.listener.end("trials", time.perf_counter() - began)
        return trials

    def _has_time(self, minutes: float, choice: Choice) -> bool:
        """Whether a trial is done in time: machines become slower than they were."""
        known = self.record["trials"]
        spent = sum(each["seconds"] for each in known)
        update = spent / sum(each["steps"] for each in known)
        return bool(spent + update * choice.steps <= 60 * minutes)

    def _try(self, trial: Finetuning, choice: Choice) -> dict[str, Any]:
        """Train as chosen; return what search.json says of it."""
        options, started = _options(trial.options, choice), time.perf_counter()
        told: dict[str, Any] = {**asdict(choice), "merit": 0.0, "part": ".", "done": 0}
        try:
            part = supervise(
                replace(trial, options=options, listener=Silent(), calibrated=False), self.begin(), self.about
            )
            metrics = load_checkpoint(trial.folder / BEST).about.metrics
            told |= {"merit": float(metrics[merit_name(metrics)]), "done": part.done}
            told["part"] = part.folder.relative_to(trial.folder).as_posix()
        except NotFinite:  # a rate that is too high is an answer like any other
            pass
        return told | {"seconds": round(time.perf_counter() - started, 3)}


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
