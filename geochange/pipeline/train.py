"""`train` and `tune`: a network from labelled pairs."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geochange.datasets.collection import Collection
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import About, load_checkpoint
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Listener, Silent
from geochange.errors import BadOption, NothingValid, OutputInTheWay
from geochange.files import write_whole
from geochange.learning.board import Board
from geochange.learning.calibration import calibrate, settle_distances
from geochange.learning.material import Material, gather, make_network, make_samples, require_labels, uses_labels
from geochange.learning.options import TrainRunOptions
from geochange.learning.ranks import here
from geochange.learning.run_options import TrainingData, parse_all_training_data, plain
from geochange.learning.scoring import scene_of
from geochange.learning.training import BEST, HISTORY, LAST, fit, require_possible
from geochange.learning.training_state import MAY_DIFFER, Row
from geochange.learning.tuning import SEARCH_FILES

RECORD, BOARD = "run.json", "tensorboard"
TRIAL_FOLDERS = "trials"


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    folder: Path
    record: dict[str, Any]
    """What run.json holds."""


def train(
    data: Sequence[str],
    out: str | os.PathLike[str],
    options: TrainRunOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> Trained:
    """Train a network on folders of labelled pairs, or `change-vae` on pairs that nobody labelled.

    OUT holds last.pt (the whole state), best.pt (the checkpoint to use), history.csv, run.json and tensorboard/.
    Under torchrun, all processes call this alike.

    Args:
        data: folders or tables, each as DIR or DIR@GSD, GSD in metres a pixel; where no labels are used, also the
            dates of a scene.
        out: folder of the run.
        options: all else.
        resume: go on with the same run, which was interrupted.
        overwrite: replace what an earlier run left.
        listener: receives each update, the figures of each epoch, and notices.

    Raises:
        OutputInTheWay: OUT holds a run already, or one of other data or options.
        BadOption: options do not fit each other or the data.
        UnreadableInput: an image is broken or missing.
    """
    options, folder, began = options or TrainRunOptions(), Path(out), time.perf_counter()
    listener = listener or Silent()
    start = None if options.start is None else load_checkpoint(find_checkpoint(options.start))
    sources = parse_all_training_data(data, unlabelled=not uses_labels(options, start))
    identity = {"data": [source_name(each) for each in sources], **options.settings()}
    require_apart(folder, sources)
    first = here()[0] == 0
    if first:
        require_own(folder, identity, resume=resume, overwrite=overwrite)
    material = gather(sources, options, start)
    network, about, origin = make_network(material, options, start, [each.path.name for each in sources])
    require_labels(material, options, start)
    require_possible(options, material.held_out)
    record = first_record(identity, material, network, about, origin)
    if first:
        begin_folder(folder, record, overwrite=overwrite)
    board = open_board(folder / BOARD, material, listener) if first else None
    try:
        state = fit(
            network,
            about,
            make_samples(material, options, network),
            material.held_out,
            folder,
            options.fitting(),
            show=None if board is None else board.show,
            listener=listener,
        )
    finally:
        if board is not None:
            board.close()
    if first:
        if not network.supervised:
            settle_distances(load_checkpoint(folder / BEST), material.training, options.gsd).save(folder / BEST)
        if material.held_out or uses_labels(options, start):
            calibrate_best(folder / BEST, material, options, listener)
    record |= outcome(state.history, state.best_epoch, state.step, folder, time.perf_counter() - began)
    if first:
        write_whole(folder / RECORD, json.dumps(record, indent=2).encode())
    return Trained(folder, record)


def require_own(folder: Path, identity: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds another run, or one that nobody asked to go on with.

    Raises:
        OutputInTheWay: the message names the first option that differs, and both values.
    """
    if resume and overwrite:
        raise BadOption("resume and overwrite exclude each other: continue the run, or begin anew")
    if overwrite or not ((folder / RECORD).exists() or (folder / LAST).exists()):
        return
    if not resume:
        raise OutputInTheWay(f"{folder} holds a run; --resume goes on with it, --overwrite replaces it")
    if not (folder / RECORD).exists():
        return  # `fit` compares with what last.pt says
    before = _read_record(folder).get("identity")
    if not isinstance(before, dict):
        raise OutputInTheWay(f"{folder / RECORD} is not of `geochange train`; --overwrite begins anew")
    now = plain(identity)
    for name in sorted(({*before} | {*now}) - {*MAY_DIFFER, "skip_bad"}):
        if before.get(name) != now.get(name):
            raise OutputInTheWay(
                f"{folder} was begun with {name} {json.dumps(before.get(name))}, now it is "
                f"{json.dumps(now.get(name))}; give the same, or --overwrite begins anew"
            )


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text())
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise OutputInTheWay(f"{folder / RECORD} is damaged; --overwrite begins anew")
    return record


def require_apart(folder: Path, sources: Sequence[TrainingData]) -> None:
    """Raises OutputInTheWay where a run would be written among the data."""
    if folder.resolve() in [each.path.resolve() for each in sources]:
        raise OutputInTheWay(f"{folder} holds the data; name another folder for what comes out")


def begin_folder(folder: Path, record: Mapping[str, Any], *, overwrite: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for name in (LAST, BEST, HISTORY, RECORD, *SEARCH_FILES):
            (folder / name).unlink(missing_ok=True)
        for name in (BOARD, TRIAL_FOLDERS):
            shutil.rmtree(folder / name, ignore_errors=True)
    write_whole(folder / RECORD, json.dumps(record, indent=2).encode())


def open_board(folder: Path, material: Material, listener: Listener) -> Board | None:
    try:
        return Board(folder, material.held_out, material.normalisation)
    except ImportError:
        listener.notice("no figures for TensorBoard: the package tensorboard is not installed")
        return None


def source_name(source: TrainingData) -> str:
    """A source as text that another machine would give too."""
    name = source.path.absolute().name
    return name if source.gsd is None else f"{name}@{source.gsd:g}"


def first_record(
    identity: Mapping[str, Any], material: Material, network: Network, about: About, origin: str | None
) -> dict[str, Any]:
    """What run.json says before the first step."""
    return {
        "finished": False,
        "identity": plain(identity),
        "training": [_counts(each) for each in material.training],
        "held_out": [_counts(each) for each in material.held_out],
        "left_out": [{"item": name, "why": why} for name, why in material.left_out.items()],
        "network": {
            "name": about.network,
            "options": plain(about.options),
            "parameters": sum(each.numel() for each in network.parameters()),
            "begun_with": origin,
        },
        "bands": list(about.bands),
        "gsd": about.gsd,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("geochange", "torch", "timm", "numpy")},
        },
    }


def _counts(collection: Collection) -> dict[str, Any]:
    scenes = {scene_of(item.pair.name) for item in collection.items}
    pixels = sum(item.tile.size for item in collection.items)
    return {"items": len(collection), "scenes": len(scenes), "pixels": pixels, "gsd": collection.gsd}


def calibrate_best(best: Path, material: Material, options: TrainRunOptions, listener: Listener) -> None:
    """Give the best checkpoint a temperature, and thresholds for each wanted precision and recall."""
    try:
        calibrate(load_checkpoint(best), material.held_out, options.gsd).save(best)
    except NothingValid as error:
        listener.notice(f"the checkpoint is not calibrated: {error}")


def outcome(history: Sequence[Row], best_epoch: int, step: int, folder: Path, seconds: float) -> dict[str, Any]:
    """What run.json says at the end."""
    best = load_checkpoint(folder / BEST).about
    figures = {name: value for name, value in best.metrics.items() if name not in ("f1_low", "f1_high")}
    low, high = (best.metrics.get(name) for name in ("f1_low", "f1_high"))
    row = history[best_epoch]
    return {
        "finished": True,
        "steps": step,
        "epochs": len(history),
        "seconds": {"training": round(sum(row["seconds"] for row in history), 3), "this run": round(seconds, 3)},
        "best": {
            "step": row["step"],
            "threshold": best.thresholds["default"],
            **figures,
            "intervals": {"f1": None if low is None else [low, high]},
        },
        "files": {"best": BEST, "last": LAST, "history": HISTORY, "tensorboard": BOARD},
    }
