"""The run that is reviewed: its scene as `detect` opened it, its layer, its classes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np

from geochange.errors import BadOption, OutputInTheWay, UnreadableInput
from geochange.files import appearing, write_whole
from geochange.inputs import sources_elsewhere
from geochange.names import outside_of_archives
from geochange.parsing import parsing
from geochange.probability.raster import ScoreRaster, open_scores
from geochange.review.foreign import read_changes, write_changes
from geochange.review.store import FOLDER, TRUTH, read_actions
from geochange.scenes.opening import files_of
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import Opening, Scene
from geochange.scenes.shift_field import ShiftField

BASE = "base.gpkg"
GIVEN = "layer.txt"  # names the layer that the review began with, where it is not the run's
SCENE_FILES = "aoi", "mask_before", "mask_after"  # options that may name files
LAYER = "changes.gpkg"
COMMANDS = ("detect", "review")
RECORD = "run.json"


@dataclass(frozen=True)
class ReviewRun:
    """A finished run of `detect`, opened for review."""

    out: Path
    record: Mapping[str, Any]
    scene: Scene
    scores: ScoreRaster | None
    """None where nothing was detected: two dates are annotated."""
    opening: Opening
    """How the scene was opened."""

    @property
    def folder(self) -> Path:
        """Where the review is kept."""
        return self.out / FOLDER

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that a change may have."""
        listed: Sequence[str] = self.record.get("classes", ()) if self.scores is None else self.scores.classes
        return tuple(listed) or ("change",)

    @property
    def threshold(self) -> float:
        """The probability from which pixels were predicted as change; with hysteresis the lower one."""
        found = self.record.get("threshold")
        low = found[0] if isinstance(found, list) and found else found
        default = 0.5 if self.scores is None else self.scores.thresholds.get("default", 0.5)
        return float(low) if isinstance(low, int | float) else default


def read_record(out: Path) -> dict[str, Any]:
    """Read what a finished run of `detect` says of itself.

    Raises:
        UnreadableInput: the folder holds none.
    """
    path = out / RECORD
    if not path.is_file():
        raise UnreadableInput(f"{out} holds no finished run; run `geochange detect BEFORE AFTER -o {out}` first")
    with parsing(str(path), "the record of a finished run of `geochange detect`"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["command"] not in COMMANDS or not record.get("finished", True):
            raise ValueError("it is of another command, or not finished")
    return record


def open_run(out: Path, *, remote: bool = False) -> ReviewRun:
    """Open the scene of a run as `detect` did.

    Args:
        out: folder of a finished run.
        remote: whether inputs may be read over the network.

    Raises:
        UnreadableInput: the folder holds no finished run of `detect`, or an input has changed since.
        BadOption: an input would be read over the network.
    """
    record = read_record(out)
    with parsing(f"{out}: its record", "that of a finished run of `geochange detect`"):
        identity = record["identity"]
        names = [str(date["name"]) for date in identity["scene"]["dates"]]
        saved = {each.name: identity["options"].get(each.name, each.default) for each in fields(SceneOptions)}
        masks = [str(mask) for mask in saved["masks"] if mask]
        samples = [str(date["sample"]) for date in identity["scene"]["dates"]]
        shift = tuple(float(each) for each in record["scene"]["removed_shift"])
        saved_field = record["scene"].get("removed_local_shift")
        local_shift = None if saved_field is None else ShiftField.from_json(saved_field)
        lines = record["scene"].get("normalisation")
        normalisation = None if lines is None else tuple((float(gain), float(offset)) for gain, offset in lines)
        if len(names) < 2 or len(shift) != 2 or not np.isfinite(shift).all():
            raise ValueError("it is not that of two dates")
    read = [*names, *(saved[name] for name in SCENE_FILES if isinstance(saved[name], str)), *masks]
    if (elsewhere := [inner for name in read for inner in _read_elsewhere(name)]) and not remote:
        raise BadOption(f"{elsewhere[0]} is read over the network; add --remote where you trust this run.json")
    given: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in saved.items()}
    opening = Opening(SceneOptions(**given), (shift[0], shift[1]), local_shift, normalisation)
    scene = opening.open(names)
    _require_unchanged(scene, samples, out)
    scores = open_scores(str(out / "probability.tif")) if record["command"] == "detect" else None
    return ReviewRun(out, record, scene, scores, opening)


def _read_elsewhere(name: str) -> list[str]:
    """List what of an input is read over the network, the assets of an item among it; nothing is fetched."""
    found = sources_elsewhere(name)
    inside = () if found or not os.path.exists(name) else files_of(name)
    return [*found, *(inner for each in inside for inner in sources_elsewhere(outside_of_archives(each)))]


def _require_unchanged(scene: Scene, before: Sequence[str], out: Path) -> None:
    now = json.loads(json.dumps(scene.fingerprint()))
    for then, date in zip(before, now["dates"], strict=True):
        if then != str(date["sample"]):
            raise UnreadableInput(f"{date['name']} has changed since {out} was made; detect again in another folder")


def layer_of(run: ReviewRun) -> Path:
    """Return the layer as the review began, or, before it begins, that of the run.

    Raises:
        UnreadableInput: the run has no GeoPackage.
    """
    base = run.folder / BASE
    source = base if base.exists() else run.out / LAYER
    if not source.is_file():
        raise UnreadableInput(f"{source} does not exist; run detect with --formats gpkg")
    return source


def begin(run: ReviewRun, layer: Path | None = None) -> None:
    """Copy the layer of the run as the review begins: until there are actions, a new one takes its place.

    Args:
        run: what is reviewed.
        layer: any layer of polygons to review in place of the run's.

    Raises:
        OutputInTheWay: another layer is wanted, and somebody has decided something already.
    """
    base, source, given = run.folder / BASE, run.out / LAYER, run.folder / GIVEN
    if link := next((each for each in (run.folder, base, given, run.folder / TRUTH) if each.is_symlink()), None):
        raise OutputInTheWay(f"{link} is a link; a review lies in the folder of its run itself")
    begun = (run.folder / TRUTH).exists() and read_actions(run.folder / TRUTH)
    if layer is not None:
        if begun:
            raise OutputInTheWay(f"{run.folder} holds a review already; move it away to review {layer}")
        run.folder.mkdir(exist_ok=True)
        changes = read_changes(str(layer), run.scene.grid, run.classes)
        write_whole(given, f"{layer}\n".encode(errors="surrogateescape"))
        write_changes(base, changes, run.scene.grid)
        base.chmod(0o444)
        return
    if base.exists() and (begun or given.exists() or not source.is_file() or digest(base) == digest(source)):
        return
    run.folder.mkdir(exist_ok=True)
    with appearing(base) as temporary:
        shutil.copyfile(layer_of(run) if begun else source, temporary)
    base.chmod(0o444)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
