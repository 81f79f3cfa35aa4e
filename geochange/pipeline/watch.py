"""`watch`: each new image of a folder is compared as it comes, and its changes are appended to one layer."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geochange.detectors.catalogue import default_name
from geochange.detectors.catalogue import detector as make_detector
from geochange.detectors.choice import AUTO
from geochange.detectors.detector import values_for
from geochange.engine.blocks import PROBABILITY, BlockStore, run_blocks
from geochange.engine.cluster import ClusterOptions
from geochange.engine.inference import Inference
from geochange.engine.progress import Listener, Silent
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, BandMismatch, GridMismatch, NothingValid, UnreadableInput
from geochange.files import discard_folder, naming_full_disks, scratch_beside, write_whole
from geochange.interrupts import Interrupted, Interrupts
from geochange.open_datasets import release
from geochange.parsing import parsing
from geochange.pipeline.detect import check_fitted, tiling_of
from geochange.pipeline.fitting import fit_detector, name_detector
from geochange.pipeline.local_shift import removable_shift, varies_with_place
from geochange.pipeline.options import DetectOptions, WatchOptions, choose_options_and_cluster
from geochange.pipeline.products import DetectionRun, found_changes, virtual_raster
from geochange.pipeline.run_folder import RunFolder
from geochange.polygons.export import LAYER, FeatureLayer, append_features, write_features
from geochange.polygons.features import SCHEMA, feature_batches
from geochange.probability.raster import encode_probability
from geochange.qgis.style import change_style
from geochange.redaction import plain
from geochange.scenes.options import STORED
from geochange.scenes.pairing import RESAMPLINGS, open_scene
from geochange.scenes.scene import open_file

COMMAND, CHANGES, FRAMES = "watch", "changes.gpkg", "frames.csv"
BLOCK = 512  # pixels per side, rounded to whole tiles
NAMES = pa.schema({"image": pa.string(), "compared_with": pa.string()})
WATCHED = pa.schema([*(each for each in SCHEMA if each.name != "geometry"), *NAMES, SCHEMA.field("geometry")])
"""Columns of the layer: those of `detect`, and the names of the two images."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An image, and what came of it."""

    image: str
    compared_with: str = ""
    """Empty for the first image, which there is nothing to compare with."""
    count: int = 0
    """Changes."""
    area_px: int = 0
    seconds: float = 0.0
    """From when the image was taken up until its changes were in the layer."""
    delay: float = 0.0
    """From when the image was last written to until then, in seconds."""
    error: str = ""
    """Why it was left out."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What came of all images."""

    folder: Path
    record: Mapping[str, Any]
    """Content of run.json."""

    @property
    def layer(self) -> Path:
        """The layer of changes."""
        return self.folder / CHANGES

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return dict(self.record)


def watch(
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: WatchOptions | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Watched:
    """Compare each new image of a folder with a reference, or with the one before, and append the changes to a layer.

    The network stays in memory. Images are taken in the order of their names, once they have stopped growing; those
    that are there already come first. An image that cannot be read or compared is named and left out. Ctrl-C ends it;
    `resume` goes on with the images that have come since.

    OUT holds changes.gpkg, whose polygons are those that `detect` finds in the same two images, frames.csv (a line an
    image: what it was compared with, how many changes, seconds, delay), and run.json.

    Args:
        images: the folder, which may be empty.
        out: folder for the results.
        options: how it is done; see `WatchOptions`.
        overwrite: replace what an earlier run left.
        resume: go on with an earlier run.
        cluster: where the work is done.
        listener: receives a notice for each image.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        BadOption: IMAGES is no folder, or options do not fit each other or the detector.
        OutputInTheWay: `out` holds another run, or cannot be written.
        DiskFull: the layer holds all images up to the last line of frames.csv.
    """
    options, cluster = choose_options_and_cluster(WatchOptions, options, cluster, settings)
    source = Path(images)
    if not source.is_dir():
        raise BadOption(f"{source} is no folder; give the one that images arrive in")
    if options.detector != AUTO:  # what is wrong is refused now
        values_for(make_detector(options.detector or default_name(1, options), options.own_options()))
    listener = listener or Silent()
    folder = RunFolder(Path(out).absolute(), COMMAND, (CHANGES, FRAMES), [options.reference, options.aoi])
    identity = plain({"images": source.absolute().name, **asdict(options)})
    with (
        folder.owned(),
        scratch_beside(folder.out) as scratch,
        open_work(cluster, None, Needs(inputs=[source, options.reference], folder=scratch)) as work,
        Interrupts() as interrupts,
    ):
        folder.require(identity, resume=resume, overwrite=overwrite, may_differ=("until_idle", "every"))
        folder.start({"finished": False, "identity": identity}, overwrite=overwrite)
        frames = _Frames(folder, options, work, interrupts, RunFolder(scratch / "frame", COMMAND))
        frames.begin(source)
        with suppress(Interrupted):  # the usual end; an image that is being compared comes again
            for path in _arrivals(source, options, frames.taken):
                frames.take(path, listener)
                interrupts.obey()
        record = {"finished": True, "identity": identity, **frames.summary()}
        folder.write(record)
    return Watched(folder.out, record)


def _arrivals(folder: Path, options: WatchOptions, done: set[str]) -> Iterator[Path]:
    """Yield images that are not done, by name, each when it was alike at two looks; end where none came for long.

    One that was yielded, and is not done then, comes again when it has changed.
    """
    seen: dict[str, tuple[int, int]] = {}
    tried: dict[str, tuple[int, int]] = {}
    news = time.monotonic()
    while True:
        for path in sorted({path for pattern in options.pattern for path in folder.glob(pattern)}):
            if path.name in done or path.name.startswith(".") or not path.is_file():
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # it has gone again
                continue
            now = status.st_size, status.st_mtime_ns
            if tried.get(path.name) == now:
                continue
            if seen.get(path.name) == now:
                tried[path.name] = now
                yield path
            seen[path.name], news = now, time.monotonic()
        if options.until_idle is not None and time.monotonic() - news >= options.until_idle:
            return
        time.sleep(options.every)


@dataclass(slots=True)
class _Frames:
    """What has been compared, and what is compared next."""

    folder: RunFolder
    options: WatchOptions
    work: Work
    interrupts: Interrupts
    scratch: RunFolder
    """Where an image is compared."""
    done: list[Arrival] = field(default_factory=list)
    last: Path | None = None
    """What the next image is compared with."""
    top: int = 0
    """The highest id in the layer."""
    taken: set[str] = field(default_factory=set)
    """Names of the images that are done: all but those that were left out."""

    def begin(self, images: Path) -> None:
        """Go on where an earlier run ended: with what is in the list, and the polygons of those images alone."""
        listed, layer = self.folder.out / FRAMES, self.folder.out / CHANGES
        if listed.exists():
            text = listed.read_text(encoding="utf-8")
            whole = text[: text.rfind("\n") + 1]  # a killed process may have left half a line
            with parsing(str(listed), "the list of a run of `geochange watch`"):
                self.done = [_parsed(row) for row in csv.DictReader(whole.splitlines())]
        else:
            whole = ",".join(each.name for each in fields(Arrival)) + "\n"
        write_whole(listed, whole.encode())
        if layer.exists():
            self.top = _keep_only(layer, {each.image for each in self.done})
        self.taken.update(each.image for each in self.done if not each.error)
        self.last = None if self.options.reference is None else Path(self.options.reference)
        for frame in reversed(self.done if self.last is None else []):
            if not frame.error and (images / frame.image).exists():
                self.last = images / frame.image
                break

    def take(self, path: Path, listener: Listener) -> None:
        """Compare an image, and append its changes and its line; what is wrong with the image is in its line."""
        began, written = time.perf_counter(), path.stat().st_mtime if path.exists() else time.time()
        error, batches, layer = "", list[pa.RecordBatch](), None
        if self.options.reference is None and self.last is not None and not self.last.exists():
            listener.notice(f"{self.last.name} is gone: {path.name} is compared with nothing")
            self.last = None
        name = "" if self.last is None else self.last.name
        try:
            if self.last is None:
                open_file(str(path))
            else:
                batches, layer = self._compare(self.last, path)
        except (BandMismatch, BadOption, GridMismatch, NothingValid, UnreadableInput) as fault:
            if isinstance(fault, BadOption) and not any(each.compared_with for each in self.done):
                raise
            error = str(fault)
        with self.interrupts.hold():
            if layer is not None:
                self._append(batches, layer)
            seconds = time.perf_counter() - began
            delay = time.time() - written
            count = sum(batch.num_rows for batch in batches)
            area = sum(pc.sum(batch["area_px"]).as_py() or 0 for batch in batches)
            frame = Arrival(path.name, name, count, area, round(seconds, 4), round(delay, 4), error)
            self._list(frame)
        _report(frame, listener)
        if error:
            return
        self.taken.add(path.name)
        if self.options.reference is None:
            self.last = path

    def _compare(self, before: Path, after: Path) -> tuple[list[pa.RecordBatch], FeatureLayer]:
        """Find the changes between two images as `detect` does, without its other products."""
        options = self._detection()
        scene = open_scene([str(before), str(after)], options)
        name, _ = name_detector(options, scene)
        options, detector = replace(options, detector=name), make_detector(name, options.own_options())
        if varies_with_place(scene, options) and (local := removable_shift(scene, self.work)) is not None:
            scene = scene.move(1, (0.0, 0.0), RESAMPLINGS[options.resampling], local.field)
        if values_for(detector) == STORED:
            scene = scene.stored()
        run = DetectionRun(scene, options, self.scratch, self.work)
        self.work.crew.tell(partial(release, self.scratch.out))
        if self.scratch.out.exists():
            discard_folder(self.scratch.out)
        self.scratch.blocks.mkdir(parents=True)
        fitted = fit_detector(detector, scene, self.work)
        check_fitted(fitted, run)
        inference = Inference(scene, fitted, tiling_of(scene, fitted, options))
        store = BlockStore(self.scratch.blocks, partial(encode_probability, dtype=np.dtype(options.dtype)))
        run_blocks(self.work, inference, store)
        with found_changes(run, inference, store, virtual_raster(run, inference, store, PROBABILITY)) as (found, layer):
            names = {"image": after.name, "compared_with": before.name}
            batches = [_named(batch, names, self.top) for batch in feature_batches(found.outlines.chunks(), layer)]
        style = change_style(layer.labels)
        described = FeatureLayer(schema=WATCHED, crs=layer.grid.crs, geometry_type=layer.geometry_type, style=style)
        return batches, described

    def _detection(self) -> DetectOptions:
        common = {each.name for each in fields(DetectOptions)}
        given = {name: value for name, value in vars(self.options).items() if name in common}
        given["block_size"] = self.options.block_size or BLOCK  # small: all workers have a part of one image
        return DetectOptions(**given, formats=())

    def _append(self, batches: Sequence[pa.RecordBatch], layer: FeatureLayer) -> None:
        path = self.folder.out / CHANGES
        (append_features if path.exists() else write_features)(path, iter(batches), layer)
        self.top += sum(batch.num_rows for batch in batches)

    def _list(self, frame: Arrival) -> None:
        path = self.folder.out / FRAMES
        with naming_full_disks(path), path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(asdict(frame).values())
            file.flush()
            os.fsync(file.fileno())
        self.done.append(frame)

    def summary(self) -> dict[str, Any]:
        """Return what the record says of all images."""
        last = {each.image: each for each in self.done}.values()
        compared = [each for each in last if each.compared_with and not each.error]
        middle = {
            name: round(statistics.median(getattr(each, name) for each in compared), 4) if compared else None
            for name in ("seconds", "delay")
        }
        return {
            "images": len(last),
            "compared": len(compared),
            "left_out": [{"image": each.image, "why": each.error} for each in last if each.error],
            "changes": {
                "count": sum(each.count for each in compared),
                "area_px": sum(each.area_px for each in compared),
            },
            "median": middle,
            "files": {"frames": FRAMES} | ({"changes": CHANGES} if (self.folder.out / CHANGES).exists() else {}),
        }


def _keep_only(layer: Path, images: set[str]) -> int:
    """Remove the features of an image that a killed process has not listed; return the highest id."""
    others = f"DELETE FROM {LAYER} WHERE image NOT IN (SELECT value FROM json_each(?))"
    form = parsing(str(layer), "the layer of a run of `geochange watch`")
    with form, closing(sqlite3.connect(layer)) as database, database:
        database.execute(others, [json.dumps(sorted(images))])
        return int(database.execute(f"SELECT max(id) FROM {LAYER}").fetchone()[0] or 0)


def _named(batch: pa.RecordBatch, names: Mapping[str, str], top: int) -> pa.RecordBatch:
    """Return features numbered on from the highest id so far, with the names of the images they were found in."""
    columns = {field.name: batch.column(field.name) for field in batch.schema}
    columns["id"] = pc.add(columns["id"], top)
    columns |= {name: pa.array([value] * batch.num_rows, pa.string()) for name, value in names.items()}
    return pa.record_batch([columns[field.name] for field in WATCHED], schema=WATCHED)


def _parsed(row: Mapping[str, str]) -> Arrival:
    numbers = {"count": int, "area_px": int, "seconds": float, "delay": float}
    return Arrival(**{name: numbers.get(name, str)(value) for name, value in row.items()})


def _report(frame: Arrival, listener: Listener) -> None:
    if frame.error:
        listener.notice(f"{frame.image} is left out: {frame.error}")
    elif not frame.compared_with:
        listener.notice(f"{frame.image}: the first image")
    else:
        what = "1 change" if frame.count == 1 else f"{frame.count:,} changes"
        listener.notice(f"{frame.image}: {what} since {frame.compared_with}, {frame.seconds:.2f} s")
