"""Fine-tuning by itself: frozen parts and rate are chosen by short trials, within so many minutes.

Every scene is held out once, so trials are compared, and thresholds chosen, on all labels; the weights of the trainings
that follow, each of which has not seen another third of them, are averaged (Wortsman 2022).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

from geochange.datasets.collection import Collection
from geochange.detectors.networks.checkpoint import About, Checkpoint, load_checkpoint, load_tensors
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Silent
from geochange.errors import BadOption, NotFinite, NothingValid
from geochange.files import discard_folder, write_whole
from geochange.learning.calibration import Calibration, measure_calibration
from geochange.learning.freezing import encoder_scales
from geochange.learning.material import Material
from geochange.learning.optimising import mean_weights
from geochange.learning.options import FinetuneOptions
from geochange.learning.scoring import MERITS, merit_name, pool_scores
from geochange.learning.training import BEST, CLASSES, HISTORY, LAST
from geochange.learning.training_state import write_classes
from geochange.learning.trials import FEWEST_STEPS, LONGER, Choice, best_of, candidates, plan_steps
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
    """What search.json holds: how many steps there are, the trials that are done, and what comes of them."""

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
        parts = _parts(run.material)
        if not parts[0].held_out:
            raise BadOption("--auto chooses by held-out labels, and there are none; give --val DIR, or more scenes")
        chosen = tuple(candidates(run.options.rate, encoder=bool(encoder_scales(begin()))))
        path = _folder(run) / SEARCH
        if resume and path.exists():
            with parsing(path, "the search of a run of `geochange finetune --auto`"):
                return cls(about, begin, chosen, dict(json.loads(path.read_text(encoding="utf-8"))))
        timed = replace(run, folder=scratch, material=parts[0])
        update, apart = _time(timed, about, begin())
        minutes, trials, finals = run.options.minutes, len(chosen) * len(parts), len(parts)
        left = max(60 * minutes - apart * (trials + finals), 0)
        steps = plan_steps(trials, finals, int(left / update), run.options.steps)
        if min(steps.values()) < FEWEST_STEPS:
            needed = ceil((update * FEWEST_STEPS * (trials + finals * LONGER) + apart * (trials + finals)) / 6) / 10
            raise BadOption(
                f"--auto needs {FEWEST_STEPS} steps in each of its {trials} trials, and has {steps['trial']}: give "
                f"--steps {FEWEST_STEPS} or more, and --minutes {needed:g} or more"
            )
        seconds = {"seconds_per_update": round(update, 4), "seconds_apart": round(apart, 4)}
        plan = {"minutes": minutes, "folds": finals, "steps": steps, **seconds}
        return cls(about, begin, chosen, {**plan, "trials": [], "finals": []})

    def supervise(self, run: Finetuning, record: MutableMapping[str, Any]) -> tuple[Part, dict[str, float]]:
        """Run the trials, and train in the best way.

        Args:
            run: the training.
            record: receives what was tried and chosen.

        Returns:
            The part that best.pt is of, and figures on held-out labels.

        Raises:
            BadOption: no trial found anything.
        """
        record["auto"] = self.record
        if "chosen" not in self.record:
            self._choose(run)
        if run.material.folds:
            return self._average(run)
        part = supervise(self._final(run), self.begin(), self.about)
        calibrate_best(run.folder / BEST, run.material, run.options, run.listener)
        return part, run.score(load_checkpoint(run.folder / BEST))

    def _choose(self, run: Finetuning) -> None:
        """Run the trials; record the best way, and how many steps it has time for."""
        merits = self._search(run)
        place = best_of(merits)
        if fmean(merits[place]) <= 0:
            raise BadOption("no trial of --auto found anything that is held out; label more, or train without --auto")
        chosen, steps = self.chosen[place], self.record["steps"]
        steps["final"] = self._in_time()
        self.record["chosen"] = asdict(chosen)
        self._write(run)
        what = MERITS[self.record["merit"]]
        run.listener.notice(
            f"--auto chose {chosen}, {steps['final']} steps: {what} {fmean(merits[place]):.4f} in trials of "
            f"{steps['trial']} steps, the best of {len(merits)} ways"
        )

    def _slowness(self) -> float:
        """Return how many times longer the trials took than was measured before them: machines become slower."""
        known = self.record["trials"]
        return float(sum(each["seconds"] for each in known)) / (len(known) * self._planned("trial"))

    def _planned(self, kind: str, share: float = 1.0) -> float:
        """Return the seconds of a trial or of a training at the end, or of one with a share of its steps."""
        return float(
            self.record["seconds_apart"] + self.record["seconds_per_update"] * self.record["steps"][kind] * share
        )

    def _time_left(self) -> float:
        """Return the seconds that there are left, as they were measured before the trials."""
        spent = sum(each["seconds"] for each in self.record["trials"])
        return float(60 * self.record["minutes"] - spent) / self._slowness()

    def _in_time(self) -> int:
        """Return the steps that each training at the end has time for, of those that were planned."""
        each, steps = self._time_left() / self.record["folds"], self.record["steps"]
        updates = int((each - self.record["seconds_apart"]) / self.record["seconds_per_update"])
        return int(max(min(steps["final"], updates), steps["trial"]))

    def _final(self, run: Finetuning) -> Finetuning:
        """Return a training as chosen."""
        options = _options(run.options, Choice(**self.record["chosen"]), self.record["steps"]["final"])
        options = replace(options, every=run.options.every, loaders=run.options.loaders)
        return replace(run, options=options, calibrated=False)

    def _average(self, run: Finetuning) -> tuple[Part, dict[str, float]]:
        """Train once for each fold; the average of the weights is the result, unless it finds less than they do."""
        folders = [_folder(run, f"final-{number}") for number in range(len(run.material.folds))]
        known = self.record["finals"]
        for folder, material in list(zip(folders, _parts(run.material), strict=True))[len(known) :]:
            part = supervise(self._final(replace(run, folder=folder, material=material)), self.begin(), self.about)
            metrics = load_checkpoint(folder / BEST).about.metrics
            told = {"merit": metrics[merit_name(metrics)], "part": part.folder.relative_to(folder).as_posix()}
            known.append({**told, "done": part.done})
            self._write(run)
        parts = [
            (load_checkpoint(folder / BEST), material.held_out)
            for folder, material in zip(folders, _parts(run.material), strict=True)
        ]
        best = max(range(len(known)), key=lambda number: float(known[number]["merit"]))
        calibration, figures = self._calibrate(run, parts)
        chosen = replace(parts[best][0], weights=mean_weights([each.weights for each, _ in parts]))
        chosen = chosen if calibration is None else calibration.given_to(chosen)
        name = merit_name(figures)
        if run.score(chosen)[name] < figures[name]:
            run.listener.notice(
                f"the average of {len(known)} networks finds less than they do on what each had not seen; best.pt is "
                "the best one of them"
            )
            chosen = replace(chosen, weights=parts[best][0].weights)
        replace(chosen, about=replace(chosen.about, metrics=figures)).save(run.folder / BEST)
        part = Part(folders[best] / known[best]["part"], known[best]["done"])
        take_over(part.folder, run.folder, LAST, HISTORY)
        return Part(run.folder, part.done), figures

    def _calibrate(
        self, run: Finetuning, parts: Sequence[tuple[Checkpoint, Sequence[Collection]]]
    ) -> tuple[Calibration | None, dict[str, float]]:
        """Return the calibration of networks, and their figures, on all that was held out from any."""
        calibration = None
        try:
            calibration = measure_calibration(parts, run.options.gsd)
        except NothingValid as error:
            run.listener.notice(f"the checkpoint is not calibrated: {error}")
        else:
            parts = [(calibration.given_to(checkpoint), held_out) for checkpoint, held_out in parts]
        threshold = parts[0][0].about.thresholds["default"]
        scores = pool_scores(item for checkpoint, held_out in parts for item in run.score_items(checkpoint, held_out))
        write_classes(run.folder / CLASSES, scores.confusion_at(threshold), self.about.classes)
        return calibration, scores.figures(threshold, run.options.seed)

    def _write(self, run: Finetuning) -> None:
        write_whole(_folder(run) / SEARCH, json.dumps(self.record, indent=2).encode())

    def _numbers(self, place: int) -> range:
        """Return the numbers of the trials of a choice."""
        return range(place * self.record["folds"], (place + 1) * self.record["folds"])

    def _search(self, run: Finetuning) -> list[list[float]]:
        """Run the trials that have not been run and for which there is time; return the merits of each choice."""
        known, began, parts = self.record["trials"], time.perf_counter(), _parts(run.material)
        merits: list[list[float]] = []
        run.listener.begin("trials", len(self.chosen) * len(parts), 0)
        _folder(run).mkdir(exist_ok=True)
        for place, choice in enumerate(self.chosen):
            numbers = self._numbers(place)
            if place and len(known) <= numbers[0] and not self._has_time(len(numbers)):
                break
            for number, material in zip(numbers, parts, strict=True):
                if number >= len(known):
                    trial = replace(run, folder=_folder(run, f"{number:03d}"), material=material)
                    known.append(self._try(trial, choice))
                    self._write(run)
                run.listener.advance(0)
            merits.append([float(known[number]["merit"]) for number in numbers])
        run.listener.end("trials", time.perf_counter() - began)
        return merits

    def _has_time(self, trials: int) -> bool:
        """Whether there is time for further trials, and for half of the trainings at the end."""
        needed = trials * self._planned("trial") + self.record["folds"] * self._planned("final", 0.5)
        return bool(needed <= self._time_left())

    def _try(self, trial: Finetuning, choice: Choice) -> Mapping[str, Any]:
        """Train as chosen; return what search.json says of it."""
        options = _options(trial.options, choice, self.record["steps"]["trial"])
        merit, started = 0.0, time.perf_counter()
        try:
            supervise(replace(trial, options=options, listener=Silent(), calibrated=False), self.begin(), self.about)
            metrics = load_checkpoint(trial.folder / BEST).about.metrics
            self.record["merit"] = merit_name(metrics)
            merit = float(metrics[merit_name(metrics)])
        except NotFinite:  # a rate that is too high is an answer like any other
            pass
        discard_folder(trial.folder)
        return {**asdict(choice), "merit": merit, "seconds": round(time.perf_counter() - started, 3)}


def _parts(material: Material) -> list[Material]:
    """Return what trials are trained and compared on: a material for each fold, or the one that there is."""
    return [material.fold(number) for number in range(len(material.folds))] or [material]


def _folder(run: Finetuning, name: str = "") -> Path:
    """Return the folder of the search, or of a training in it."""
    return run.folder / TRIAL_FOLDERS / name


def _time(run: Finetuning, about: About, network: Network) -> tuple[float, float]:
    """Measure the seconds of an update of all weights, and those that a trial takes apart from its updates."""
    began, folder = time.perf_counter(), run.folder / "timing"
    choice = Choice(0.0, run.options.rate)
    options = replace(_options(run.options, choice, 2 * TIMED_STEPS), every=TIMED_STEPS)
    supervise(replace(run, folder=folder, options=options, listener=Silent(), calibrated=False), network, about)
    history = load_tensors(folder / LAST)["history"]
    apart = time.perf_counter() - began - sum(row["seconds"] for row in history)
    return history[-1]["seconds"] / TIMED_STEPS, apart


def _options(options: FinetuneOptions, choice: Choice, steps: int) -> FinetuneOptions:
    """Return the options of a trial, which is validated at its end; another process to read takes longer to start."""
    return replace(
        options,
        auto=False,
        loaders=0,
        steps=steps,
        rate=choice.rate,
        frozen_steps=round(choice.frozen * steps),
        every=steps,
        warmup=min(options.warmup, steps // 10),
    )
