"""`tune`: a search for the options of a training."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.engine.progress import Listener, Relay, Silent
from geochange.errors import BadOption
from geochange.files import discard_folder
from geochange.interrupts import Interrupts
from geochange.learning.material import Material, gather, make_network, make_samples, require_labels
from geochange.learning.options import TuneOptions
from geochange.learning.rate_finder import find_rate
from geochange.learning.run_options import parse_training_data
from geochange.learning.training import fit
from geochange.learning.tuning import Prune, interrupted_trials, merit_of, require_optuna, search, write_rates
from geochange.pipeline.options import choose_options
from geochange.pipeline.train import TRIAL_FOLDERS, folder_of, identity_of


@dataclass(frozen=True, slots=True)
class Tuned:
    """A finished search."""

    folder: Path
    best: Mapping[str, Any]
    """The best options by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return the best options by name."""
        return dict(self.best)


def tune(
    data: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: TuneOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Tuned:
    """Search rate, weight decay, loss, encoder rate and batch with short runs; a search that was stopped goes on.

    OUT holds trials.csv, best.json (which `train --options` takes) and a folder for each trial; with `find_rate`
    rates.csv and best.json alone.

    Args:
        data: as for `train`.
        out: folder of the search.
        options: what is searched, and how each trial is trained.
        overwrite: replace an earlier search, instead of going on with it.
        listener: receives each update, and the figures of each epoch of each trial.
        settings: options by name, in place of those in `options`.

    Raises:
        BadOption: optuna is not installed, or nothing is held out to compare trials by.
        OutputInTheWay: OUT holds a search on other data or options.
    """
    options, listener = choose_options(TuneOptions, options, settings), listener or Silent()
    if not options.find_rate:
        require_optuna()
    options = replace(options, every=options.every or max(1, options.steps // 5))
    start = None if options.start is None else load_checkpoint(find_checkpoint(options.start))
    sources = [parse_training_data(text) for text in data]
    identity = identity_of(sources, options)
    identity.pop("trials")
    folder = folder_of("tune", out, sources, options)
    with folder.owned():
        folder.require(identity, resume=not overwrite, overwrite=overwrite)
        material = gather(sources, options, start)
        if options.find_rate:
            require_labels(material, options, listener, start)
            folder.start({"finished": False, "identity": identity}, overwrite=overwrite)
            best = _find_rate(material, options, start, listener, folder.out)
            folder.write({"finished": True, "identity": identity, "best": best})
            return Tuned(folder.out, best)
        if not material.held_out:
            raise BadOption("trials are compared by held-out pairs, and there are none; give --val DIR")
        require_labels(material, options, listener, start)
        folder.start({"finished": False, "identity": identity}, overwrite=overwrite)

        def run_trial(number: int, chosen: Mapping[str, Any], report: Prune) -> float:
            network, about, _ = make_network(material, options, start, [each.path.name for each in sources])
            own = _folder_of_trial(folder.out, number)
            own.mkdir(parents=True, exist_ok=True)
            fitting = replace(options.fitting(), **chosen)

            def pass_on(figures: Mapping[str, float]) -> None:
                listener.report({**figures, "trial": number})
                report(figures)

            samples = make_samples(material, options, network)
            state = fit(network, about, samples, material.held_out, own, fitting, listener=Relay(listener, pass_on))
            return max(merit_of(row) for row in state.history)

        for number in interrupted_trials(folder.out, options):
            if (left := _folder_of_trial(folder.out, number)).exists():
                discard_folder(left)
        best = search(run_trial, folder.out, options)
        folder.write({"finished": True, "identity": identity, "best": best})
    return Tuned(folder.out, best)


def _find_rate(
    material: Material, options: TuneOptions, start: Checkpoint | None, listener: Listener, out: Path
) -> dict[str, Any]:
    network, _, _ = make_network(material, options, start, ())
    listener.begin("rates", options.steps, 0)
    with Interrupts():
        test = find_rate(network, make_samples(material, options, network), options.fitting(), options.rates, listener)
    listener.end("rates", 0.0)
    return write_rates(out, test)


def _folder_of_trial(out: Path, number: int) -> Path:
    return out / TRIAL_FOLDERS / f"{number:03d}"
