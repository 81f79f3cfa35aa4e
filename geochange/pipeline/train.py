"""`train`: a network from labelled pairs."""

from __future__ import annotations

import csv
import os
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from geochange.datasets.collection import Collection
from geochange.datasets.splits import SPLIT_GAP
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import About, load_checkpoint
from geochange.detectors.networks.contract import Network
from geochange.engine.progress import Listener, Silent
from geochange.errors import NothingValid
from geochange.files import content_digest, files_digest
from geochange.learning.board import Board
from geochange.learning.calibration import calibrate, calibrate_distances
from geochange.learning.material import Material, gather, make_network, make_samples, require_labels, uses_labels
from geochange.learning.options import TrainOptions, TrainRunOptions
from geochange.learning.ranks import here
from geochange.learning.run_options import TrainingData, parse_all_training_data, parse_training_data
from geochange.learning.samples import TrainingSamples
from geochange.learning.scoring import scene_of
from geochange.learning.training import BEST, CLASSES, HISTORY, LAST, Anchor, fit, require_possible
from geochange.learning.training_state import CLASS_FIGURES, MAY_DIFFER, Row, State
from geochange.learning.tuning import SEARCH_FILES
from geochange.parsing import parsing
from geochange.pipeline.options import choose_options
from geochange.pipeline.run_folder import RECORD, RunFolder
from geochange.redaction import plain

BOARD, TRIAL_FOLDERS, SEARCH = "tensorboard", "trials", "search.json"
FROZEN, PSEUDO, STATISTICS, LABELS = "frozen", "pseudo-labels", "statistics.pt", "labels"
_FITTED = (LAST, BEST, HISTORY, CLASSES, f"{BOARD}/events.*")
TARGETS: Mapping[str, tuple[str, ...]] = {
    "train": _FITTED,
    "finetune": (
        *_FITTED,
        *(f"{FROZEN}/{name}" for name in _FITTED),
        STATISTICS,
        f"{PSEUDO}/*/*.tif",
        f"{LABELS}/*/*.tif",
        f"{TRIAL_FOLDERS}/{SEARCH}",
        *(f"{TRIAL_FOLDERS}/*/{name}" for name in (*_FITTED, *(f"{FROZEN}/{each}" for each in _FITTED))),
    ),
    "tune": (*SEARCH_FILES, *(f"{TRIAL_FOLDERS}/*/{name}" for name in _FITTED)),
}
"""Patterns of the files that each command of training leaves."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training."""

    folder: Path
    record: dict[str, Any]
    """Content of run.json."""

    @property
    def checkpoint(self) -> Path:
        """The best weights, as `detect` takes them with the option `checkpoint`."""
        return self.folder / BEST

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


def train(
    data: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: TrainRunOptions | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Trained:
    """Train a network on folders of labelled pairs, or `change-vae` on pairs that nobody labelled.

    OUT holds last.pt (the whole state), best.pt (the checkpoint to use), history.csv, classes.csv (precision, recall,
    F1 and support of each class on what is held out), run.json and tensorboard/.
    Under torchrun, all processes call this alike.

    Args:
        data: folders or tables, each as DIR or DIR@GSD, GSD in metres a pixel; where no labels are used, also the
            dates of a scene.
        out: folder of the run.
        options: how the data are read and the network is trained.
        overwrite: replace what an earlier run left.
        resume: go on with the same run, which was interrupted.
        listener: receives each update, the figures of each epoch, and notices.
        settings: options by name, in place of those in `options`.

    Raises:
        OutputInTheWay: OUT holds a run already, or one of other data or options.
        BadOption: options do not fit each other or the data.
        UnreadableInput: an image is broken or missing.
    """
    options, began = choose_options(TrainRunOptions, options, settings), time.perf_counter()
    listener, first = listener or Silent(), here()[0] == 0
    start = None if options.start is None else load_checkpoint(find_checkpoint(options.start))
    sources = parse_all_training_data(data, unlabelled=not uses_labels(options, start))
    identity = identity_of(sources, options)
    folder = folder_of("train", out, sources, options)
    with folder.owned() if first else nullcontext():
        if first:
            require_folder(folder, identity, resume=resume, overwrite=overwrite)
        material = gather(sources, options, start)
        network, about, origin = make_network(material, options, start, [each.path.name for each in sources])
        require_labels(material, options, listener, start)
        require_possible(options, material.held_out)
        record = first_record(folder, identity, material, network, about, origin)
        if first:
            folder.start(record, overwrite=overwrite)
        samples = make_samples(material, options, network)
        state = fit_with_board(network, about, samples, material, folder.out, options.fitting(), listener)
        if first:
            best = folder.out / BEST
            if not network.supervised:
                calibrate_distances(load_checkpoint(best), material.training, options.gsd).save(best)
            if material.held_out or uses_labels(options, start):
                calibrate_best(best, material, options, listener)
        record |= outcome(state.history, state.best_epoch, state.step, folder.out, time.perf_counter() - began)
        if first:
            folder.write(record)
    return Trained(folder.out, record)


def identity_of(sources: Sequence[TrainingData], options: TrainRunOptions) -> dict[str, Any]:
    """Return the data and options that identify a run; folders by their own names, files as `files_digest` has them."""
    names = [each.path.absolute().name for each in sources]
    sized = [name if each.gsd is None else f"{name}@{each.gsd:g}" for name, each in zip(names, sources, strict=True)]
    contents = {"data": files_digest(name for each in sources for name in each.files())}
    if options.val is not None:
        contents["val"] = files_digest(parse_training_data(options.val).files())
    if options.start is not None:
        contents["start"] = content_digest(find_checkpoint(options.start)) or ""
    return plain({"data": sized, **options.settings(), "contents": contents})


def folder_of(
    command: str, out: str | os.PathLike[str], sources: Sequence[TrainingData], options: TrainRunOptions
) -> RunFolder:
    """Return the folder of a training."""
    start = None if options.start is None else find_checkpoint(options.start)
    data = [*sources, *([] if options.val is None else [parse_training_data(options.val)])]
    return RunFolder(Path(out), command, TARGETS[command], [start, *(name for each in data for name in each.files())])


def require_folder(folder: RunFolder, identity: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Refuse the folder of another run; see `RunFolder.require`."""
    if resume and (folder.out / LAST).exists() and not (folder.out / RECORD).exists():
        folder = replace(folder, targets=())  # `fit` compares with what last.pt holds
    folder.require(identity, resume=resume, overwrite=overwrite, may_differ=(*MAY_DIFFER, "skip_bad"))


def fit_with_board(  # noqa: PLR0917, as `fit`
    network: Network,
    about: About,
    samples: TrainingSamples,
    material: Material,
    folder: Path,
    options: TrainOptions,
    listener: Listener,
    anchor: Anchor | None = None,
) -> State:
    """Fit a network, with figures and pictures for TensorBoard."""
    board = open_board(folder / BOARD, material, listener) if here()[0] == 0 else None
    show = None if board is None else board.show
    try:
        held_out = material.held_out
        return fit(network, about, samples, held_out, folder, options, anchor=anchor, show=show, listener=listener)
    finally:
        if board is not None:
            board.close()


def open_board(folder: Path, material: Material, listener: Listener) -> Board | None:
    """Open the board; None, with a notice, where TensorBoard is not installed."""
    try:
        return Board(folder, material.held_out, material.normalisation)
    except ImportError:
        listener.notice("no figures for TensorBoard: the package tensorboard is not installed")
        return None


def first_record(  # noqa: PLR0917, all are recorded
    folder: RunFolder,
    identity: Mapping[str, Any],
    material: Material,
    network: Network,
    about: About,
    origin: str | None,
) -> dict[str, Any]:
    """Return what run.json holds before the first step."""
    record = {
        "command": folder.command,
        "finished": False,
        "identity": dict(identity),
        "training": [_counts(each) for each in material.training],
        "held_out": [_counts(each) for each in material.held_out],
        "held_out_blocks": _blocks(material) if identity["val"] is None else None,
        "left_out": [{"item": name, "why": why} for name, why in material.left_out.items()],
        "network": {
            "name": about.network,
            "options": about.options,
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
    return plain(record)


def _blocks(material: Material) -> dict[str, Any] | None:
    """Return where tiles of the training scene itself are held out: [row, column, height, width] of each, in pixels."""
    training, held_out = (
        [item for each in part for item in each.items] for part in (material.training, material.held_out)
    )
    tiles = [item.tile for item in held_out if item.pair == training[0].pair]
    return {"gap": SPLIT_GAP, "tiles": [[tile.row, tile.col, *tile.shape] for tile in tiles]} if tiles else None


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
    """Return what run.json holds at the end."""
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
        "classes": read_classes(folder),
        "files": {"best": BEST, "last": LAST, "history": HISTORY}
        | ({"classes": CLASSES} if (folder / CLASSES).exists() else {})
        | ({"tensorboard": BOARD} if (folder / BOARD).exists() else {}),
    }


def read_classes(folder: Path) -> list[dict[str, Any]]:
    """Return the table of classes of a run; empty where nothing was held out."""
    path = folder / CLASSES
    if not path.exists():
        return []
    with parsing(path, "the table of classes of a training"), path.open(encoding="utf-8", newline="") as file:
        return [
            {"class": row["class"], "support": int(row["support"])}
            | {name: _number(row[name]) for name in CLASS_FIGURES}
            for row in csv.DictReader(file)
        ]


def _number(text: str) -> float | None:
    return float(text) if text else None
