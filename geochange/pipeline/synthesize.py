"""`synthesize`: single images → pairs with synthetic changes and exact labels, to train with."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from glob import escape
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.datasets.cutouts import open_outlines, open_pictures
from geochange.datasets.listings import IMAGE_SUFFIXES, TABLE_COLUMNS
from geochange.datasets.options import CHANGE_KINDS, SynthesizeOptions
from geochange.datasets.sprites import Cutouts
from geochange.datasets.synthesis import plan_pair
from geochange.datasets.synthetic_pairs import FOLDERS, OBJECTS, Pair, write_pair
from geochange.datasets.unchanged import Tone
from geochange.detectors.statistics import Moments, moments_of, valid_pixels
from geochange.engine.cluster import ClusterOptions
from geochange.engine.lattice import SceneBlocks
from geochange.engine.progress import Listener
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, GridMismatch, NothingValid, UnreadableInput
from geochange.files import require_space, visible_in
from geochange.pipeline.options import choose_options_and_cluster
from geochange.pipeline.run_folder import RunFolder
from geochange.redaction import plain
from geochange.scenes.grid import Tile
from geochange.scenes.numbers import open_numbers
from geochange.scenes.options import NodataRule, SceneOptions
from geochange.scenes.pairing import Scene, open_scene
from geochange.scenes.source import Source

COMMAND, TABLE = "synthesize", "pairs.csv"
TARGETS = (*(f"{part}/*.tif" for part in FOLDERS), f"{OBJECTS}/*.gpkg", TABLE)
"""Patterns of the files of any run."""
TONE_RANGE = 5.0  # standard deviations from the mean to what counts as black and white
FLAT = 1e-3  # deviation of a band that never varies, relative to its range or to 1


@dataclass(frozen=True, slots=True)
class Synthesized:
    """What was synthesized, and where it lies."""

    folder: Path
    record: dict[str, Any]
    """What run.json holds."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


def synthesize(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: SynthesizeOptions | None = None,
    *,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Synthesized:
    """Synthesize pairs with known changes from single images.

    OUT holds the folders A, B and label, with a GeoTIFF each for every pair, which `train` takes as they are;
    pairs.csv, for images that are to be cut into tiles; objects/NAME.gpkg with the boxes of all changes, their kinds,
    sizes and contrasts; and run.json. Everything follows from the seed and the images, whoever computes it.

    Args:
        images: rasters, or folders of them.
        out: folder for A, B, label, objects and pairs.csv.
        options: what is synthesized.
        overwrite: replace what an earlier run left.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: an image, layer or picture cannot be read.
        NothingValid: an image holds no data.
        OutputInTheWay: OUT holds a run or files of its names, and `overwrite` is off; or an input would be replaced.
    """
    options, cluster = choose_options_and_cluster(SynthesizeOptions, options, cluster, settings)
    paths = find_images(images)
    names = _names(paths, options.copies)
    files = _files([name for copies in names for name in copies])
    given = [images] if isinstance(images, str | os.PathLike) else images
    inputs = [*given, *paths, options.after, options.changed, options.outlines, options.cut_from, options.pictures]
    targets = [escape(name) for each in files.values() for name in each]
    folder = RunFolder(Path(out), COMMAND, targets, inputs, TARGETS)
    with folder.owned():
        folder.begin({"command": COMMAND}, resume=None, overwrite=overwrite)
        try:
            with open_work(cluster, listener, Needs(inputs=inputs, folder=folder.scratch)) as work:
                counts = _write_pairs(list(zip(paths, names, strict=True)), folder, options, work)
            _write_table(folder.ready / TABLE, [name for copies in names for name in copies])
            record = _record(paths, options, counts, sum(map(len, names))) | {"files": files}
            folder.publish(record)
        except BaseException:
            folder.abandon()
            raise
    return Synthesized(folder.out, record)


def _files(names: Sequence[str]) -> dict[str, list[str]]:
    """Return what a run leaves, by folder."""
    parts = {part: [f"{part}/{name}.tif" for name in names] for part in FOLDERS}
    return {**parts, OBJECTS: [f"{OBJECTS}/{name}.gpkg" for name in names], "table": [TABLE]}


def _write_pairs(
    named: Sequence[tuple[str, Sequence[str]]],
    folder: RunFolder,
    options: SynthesizeOptions,
    work: Work,
) -> Counter[str]:
    """Write the pairs of all images; return how many changes there are of each kind."""
    counts: Counter[str] = Counter()
    for name in (*FOLDERS, OBJECTS):
        (folder.ready / name).mkdir()
    for number, (path, copies) in enumerate(named):
        scene, changed = _open(path, options)
        _require_fill(options.nodata, scene)
        require_space(folder.out, int(scene.grid.area.size * len(copies) * (2 * scene.bytes_per_pixel + 1)))
        tone = tone_of(scene, work)
        cutouts = _cutouts(scene, tone, options, work)
        for copy, name in enumerate(copies):
            plan = plan_pair(
                _seed_of(options.seed, number, copy),
                tone,
                options,
                effects=options.effects,
                strength=options.strength,
                cutouts=cutouts,
            )
            pair = Pair(scene, changed, plan, name, folder.ready, options.nodata, options.label_kinds)
            counts += write_pair(pair, work)
    return counts


def find_images(images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    """List rasters, those of folders in the order of their names.

    Raises:
        BadOption: there are none.
    """
    found = []
    for each in map(Path, [images] if isinstance(images, str | os.PathLike) else images):
        if each.is_dir():
            found += [str(path) for path in visible_in(each) if path.suffix.lower() in IMAGE_SUFFIXES]
        else:
            found.append(str(each))
    if not found:
        raise BadOption(f"there is no image in {images}")
    return found


def _open(path: str, options: SynthesizeOptions) -> tuple[Scene, Source | None]:
    """Open an image, or it and its second date, and a mask of what really changed between them."""
    dates = [path] if options.after is None else [path, _beside(options.after, path)]
    scene = open_scene(dates, SceneOptions(bands=options.bands, nodata=options.nodata)).stored()
    if options.changed is None:
        return scene, None
    changed = open_numbers(_beside(options.changed, path))
    if changed.grid.shape != scene.shape:
        raise GridMismatch(
            f"{changed.name} has {changed.grid.shape[0]} x {changed.grid.shape[1]} pixels, {path} has "
            f"{scene.shape[0]} x {scene.shape[1]}"
        )
    return scene, changed


def _require_fill(nodata: NodataRule | None, scene: Scene) -> None:
    """Raise BadOption where the image's type cannot hold a given nodata value."""
    dtype = scene.sources[0].dtype
    if nodata is None or isinstance(nodata, str) or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if not isfinite(nodata) or nodata != round(nodata) or not limits.min <= nodata <= limits.max:
        raise BadOption(
            f"nodata {nodata:g} is not a value that {scene.sources[0].name} can hold: it has whole numbers of "
            f"{limits.min} to {limits.max}"
        )


def _beside(place: str, path: str) -> str:
    """Return the file itself, or the one in a folder with the image's name."""
    if not Path(place).is_dir():
        return place
    found = [each for each in visible_in(place) if each.stem == Path(path).stem]
    if not found:
        raise UnreadableInput(f"{place} holds no file named {Path(path).stem}, as {path} is")
    return str(found[0])


def _names(paths: Sequence[str], copies: int) -> list[list[str]]:
    """Return the names of the pairs of each image."""
    stems = [Path(path).stem for path in paths]
    if twice := [stem for stem, count in Counter(stems).items() if count > 1]:
        raise BadOption(f"two images are named {twice[0]}; synthesize their pairs in folders of their own")
    return [[stem] if copies == 1 else [f"{stem}-{copy}" for copy in range(1, copies + 1)] for stem in stems]


def _seed_of(seed: int, number: int, copy: int) -> int:
    return int(np.random.SeedSequence([seed, number, copy]).generate_state(1, np.uint64)[0] >> 2)


def tone_of(scene: Scene, work: Work) -> Tone:
    """Measure the values of an image, over all of it; of two dates the first.

    Raises:
        NothingValid: no pixel holds data.
    """
    first = Scene(scene.sources[:1], scene.grid)
    with work.stages.stage("statistics"):
        parts = [part for part in SceneBlocks(first, work)(tone_kernel) if part is not None]
    if not parts:
        raise NothingValid(f"no pixel of {scene.sources[0].name} holds data; check --nodata")
    moments = reduce(Moments.__add__, (part[0] for part in parts))
    low, high = np.min([part[1] for part in parts], axis=0), np.max([part[2] for part in parts], axis=0)
    spread = np.maximum(np.sqrt(moments.variance), FLAT * np.maximum(high - low, 1))
    if scene.largest == 255:
        low, high = np.zeros(len(low)), np.full(len(high), 255.0)
    else:
        low = np.maximum(low, moments.mean - TONE_RANGE * spread)
        high = np.maximum(np.minimum(high, moments.mean + TONE_RANGE * spread), low + spread)
    return Tone(mean=moments.mean, spread=spread, low=low, high=high)


def tone_kernel(dates: Floats, valid: Bools, tile: Tile) -> tuple[Moments, Floats, Floats] | None:
    """Measure moments, least and greatest values of a block; None where nothing is valid."""
    pixels = valid_pixels(dates, valid)
    if not pixels.size:
        return None
    return moments_of(pixels), pixels.min(axis=1).astype(float), pixels.max(axis=1).astype(float)


def _cutouts(scene: Scene, tone: Tone, options: SynthesizeOptions, work: Work) -> Cutouts | None:
    if options.pictures is not None:
        return open_pictures(options.pictures, tone)
    if options.outlines is None:
        return None
    if options.cut_from is None:
        return open_outlines(options.outlines, scene.sources[0], tone, tone)
    other = open_scene([options.cut_from], SceneOptions(bands=options.bands, nodata=options.nodata)).stored()
    if len(other.bands) != len(scene.bands):
        raise BadOption(
            f"{options.cut_from} has {len(other.bands)} bands, {scene.sources[0].name} has {len(scene.bands)}; "
            "pick with --bands"
        )
    return open_outlines(options.outlines, other.sources[0], tone_of(other, work), tone)


def _write_table(path: Path, names: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(TABLE_COLUMNS)
        rows.writerows([f"{part}/{name}.tif" for part in FOLDERS] for name in names)


def _record(paths: Sequence[str], options: SynthesizeOptions, counts: Counter[str], pairs: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "command": COMMAND,
        "images": [Path(path).name for path in paths],
        "pairs": pairs,
        "changes": {kind: counts[kind] for kind in CHANGE_KINDS},
        "options": asdict(options),
        "versions": {name: version(name) for name in ("geochange", "numpy", "scipy", "pillow")},
    }
    return plain(record)
