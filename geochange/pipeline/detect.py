"""`detect`: two images or a series → probability raster, polygons, picture, and a record of the run."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from glob import escape
from importlib.metadata import version
from itertools import groupby
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from geochange import system
from geochange.buckets import is_bucket
from geochange.detectors.catalogue import detector as make_detector
from geochange.detectors.catalogue import load_fitted
from geochange.detectors.detector import Fitted, require_dates, values_for
from geochange.detectors.fitted_files import pack_fitted
from geochange.detectors.normalisation import GainsAndOffsets, fit_normalisation
from geochange.engine.blocks import PROBABILITY, BlockStore, run_blocks
from geochange.engine.cluster import ClusterOptions, open_crew
from geochange.engine.inference import Inference
from geochange.engine.lattice import SceneBlocks, default_block
from geochange.engine.progress import Listener, Silent, Stages
from geochange.engine.raster_output import bytes_needed
from geochange.engine.thumbnails import Thumbnail
from geochange.engine.work import Work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, BandMismatch, GeochangeError, NothingValid, OutputInTheWay, UnreadableInput
from geochange.files import content_digest, require_space
from geochange.kinds.measure import require_kinds
from geochange.logs import logged
from geochange.open_datasets import release
from geochange.pipeline.bucket_folder import run_folder, working_folder
from geochange.pipeline.check import measure_shift
from geochange.pipeline.fitting import KeptStatistics, fit_detector, name_detector, read_statistics
from geochange.pipeline.local_shift import removable_shift, varies_with_place
from geochange.pipeline.options import VECTOR_FORMATS, DetectOptions, choose_options_and_cluster
from geochange.pipeline.products import COMMAND, DetectionRun, given_dates, write_products
from geochange.pipeline.qgis_project import PROBABILITY_STYLE, PROJECT
from geochange.pipeline.run_folder import LOG, RECORD, RunFolder
from geochange.pipeline.stac import ITEM, require_stac
from geochange.polygons.boxes import object_threshold
from geochange.polygons.preview import PANEL
from geochange.probability.options import LocalRule
from geochange.probability.raster import encode_probability, open_scores
from geochange.probability.threshold_search import open_labelled, require_threshold
from geochange.redaction import plain
from geochange.review.saved import SavedReview
from geochange.review.threshold import Scored, labelled_by, review_of
from geochange.scenes.layers import open_layer
from geochange.scenes.opening import Image
from geochange.scenes.options import STORED, Values
from geochange.scenes.pairing import RESAMPLINGS, Scene, open_scene
from geochange.scenes.scene import open_masked
from geochange.scenes.tiling import Tiling, cut_axis
from geochange.scenes.unread import noted_unread
from geochange.scenes.validity import find_doubts

if TYPE_CHECKING:
    import xarray as xr
    from geopandas import GeoDataFrame

log = logging.getLogger("geochange")

_TARGETS = (
    "probability.tif",
    *(f"changes{suffix}" for suffix in VECTOR_FORMATS.values()),
    "preview.png",
    PROJECT,
    PROBABILITY_STYLE,
    ITEM,
    LOG,
)
POLYGON_BYTES = 0.5  # a pixel, for outlines in scratch and in their files: 50,000 changes on 10,000² take half of it
UNREAD = "unread"
SMALL_BYTES = 32 << 20  # for what else there is


@dataclass(frozen=True, slots=True)
class Detection:
    """What a run found, and where it lies."""

    folder: Path | str
    """A path, or the address of a folder in a bucket."""
    record: dict[str, Any]
    """What run.json holds."""

    @property
    def probability(self) -> Path | str:
        """The raster of probabilities."""
        return self.file("probability.tif")

    @property
    def layer(self) -> Path | str:
        """The layer of changes, in the first of its formats."""
        return self.file(self.record["files"]["changes"][0])

    def file(self, name: str) -> Path | str:
        """Return where a file of the run lies."""
        return f"{self.folder}/{name}" if isinstance(self.folder, str) else self.folder / name

    def changes(self) -> GeoDataFrame:
        """Read the layer of changes.

        Raises:
            BadOption: no layer was written.
        """
        if not self.record["files"]["changes"]:
            raise BadOption(
                f"{self.folder} holds no layer, since no format was asked for; vectorize {self.probability}"
            )
        return open_layer(str(self.layer)).frame

    def open(self) -> xr.DataArray:
        """Open the probabilities lazily: (band, y, x) in 0..1, a band for each class, NaN where there are no data."""
        return open_masked(self.probability)

    def to_dict(self) -> dict[str, Any]:
        """Return the record."""
        return self.record


def detect(
    before: Image,
    after: Image,
    out: str | os.PathLike[str],
    options: DetectOptions | None = None,
    *,
    between: Sequence[Image] = (),
    overwrite: bool = False,
    resume: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Detection:
    """Find the changes between two images, or over a series, as a probability raster, polygons and a picture.

    Args:
        before: the earlier image: a raster that GDAL reads, a product of Sentinel-2 or Landsat, a folder of tiles or of
            bands, or a STAC Item; in Python also a DataArray (band, y, x), a Dataset of bands, or a list of tiles.
        after: the later image, on the same grid, or anywhere with `align`.
        out: folder for the results: probability.tif, changes.gpkg, changes.geojson, changes.qgs, preview.png,
            run.json, run.log; on a disk, or in a bucket, as in s3://bucket/folder.
        options: how it is done; see `DetectOptions`.
        between: images of dates between the two, in the order of their dates, for detectors that take a series.
        overwrite: replace what an earlier run left.
        resume: go on with the same run, which was interrupted.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: an image is missing, broken or not a raster.
        GridMismatch: the images do not lie on one grid, or do not overlap.
        BandMismatch: bands are missing, or differ.
        NothingValid: there is nothing to compare.
        OutputInTheWay: `out` holds another run, or cannot be written.
        DiskFull: the disk holds less than the run needs.
    """
    options, cluster = choose_options_and_cluster(DetectOptions, options, cluster, settings)
    if resume and overwrite:
        raise BadOption("resume and overwrite exclude each other: continue the run, or begin anew")
    stages = Stages(listener or Silent())
    scene = replace(open_scene([before, *between, after], options), given_days=options.dates)
    if (options.remove_shift or options.remove_local_shift) and scene.dates > 2:
        raise BadOption(f"the shift is measured between two dates, and {scene.dates} were given; align them first")
    if options.statistics is not None and Path(out).resolve() == Path(options.statistics).resolve():
        raise OutputInTheWay(f"{out} holds the statistics that are to be taken; choose another folder for the results")
    options, kept, why = _with_detector(options, scene)
    if why:
        stages.notice(f"detector {options.detector}: {why}")
    scene = _without_shift(scene, options, kept, cluster, stages)
    if _values(options, working_folder(out, cluster.scratch), resume=resume) == STORED:
        scene = scene.stored()
    lines, fitted = None, None if kept is None else kept.fitted
    if options.normalize:
        scene, lines = _normalised(scene, options, cluster, stages)
    _require_options(scene, options)
    review = review_of(options)
    identity = _identity(scene, options, review)
    inputs = [before, *between, after, options.aoi, *options.mask_files, options.labels]
    inputs += [_record_of(options.statistics), *options.own_options().values(), *scene.files]
    folder = run_folder(out, cluster.scratch, COMMAND, _targets(options), inputs, _TARGETS, _is_layer)
    results = folder.place if is_bucket(out) else folder.out
    with folder.owned():
        if folder.begin(identity, resume=resume, overwrite=overwrite):
            return Detection(results, json.loads((folder.out / RECORD).read_text()))
        try:
            if options.unreadable == "nodata":
                scene = scene.noting_unread(folder.scratch / UNREAD)
            needs = Needs(inputs=inputs, folder=folder.scratch)
            with logged(folder.out / LOG):
                with open_crew(cluster, stages.notice, needs) as crew:
                    run = DetectionRun(scene, options, folder, Work(crew, stages), identity, lines, fitted)
                    record = _detect(run, review, why)
                    crew.tell(partial(release, folder.scratch))
                folder.publish(record)  # when no worker holds a file in the scratch any more
        except (BandMismatch, BadOption, NothingValid, UnreadableInput) as error:
            folder.abandon(with_blocks=not isinstance(error, UnreadableInput))
            raise
    return Detection(results, record)


def _with_detector(options: DetectOptions, scene: Scene) -> tuple[DetectOptions, KeptStatistics | None, str]:
    """Return options that name a detector, its statistics where they are another run's, and why it was chosen."""
    if options.statistics is not None:
        kept = read_statistics(options.statistics, scene.dates)
        return kept.named(options), kept, ""
    name, why = name_detector(options, scene)
    return replace(options, detector=name), None, why


def _values(options: DetectOptions, out: Path, *, resume: bool) -> Values:
    """Return which values the detector takes: the one that was fitted, where a run is gone on with."""
    kept = RunFolder(out, COMMAND).fitted
    if resume and kept.exists():
        return values_for(load_fitted(kept))
    assert options.detector is not None
    return values_for(make_detector(options.detector, options.own_options()))


def _require_options(scene: Scene, options: DetectOptions) -> None:
    """Refuse, before any work is done, options that do not fit the scene."""
    options.smallest_on(scene.grid, scene.sources[0].name)
    if options.dates and len(options.dates) != scene.dates:
        raise BadOption(f"{len(options.dates)} dates are given for {scene.dates} images; give one for each")
    if isinstance(options.parsed_threshold, LocalRule):
        options.parsed_threshold.side(scene.gsd)
    if options.kinds:
        require_kinds(scene, options)
    if options.stac:
        require_stac(scene, given_dates(options))


def _targets(options: DetectOptions) -> list[str]:
    """Patterns of the files that a run leaves, but for its record and log."""
    item = [ITEM] if options.stac else []
    layers = [escape(f"{name}.tif") for name in (PROBABILITY, *options.layers)]
    layers += [f"changes{VECTOR_FORMATS[name]}" for name in options.formats]
    project = [PROJECT, PROBABILITY_STYLE] if options.project else []
    return [*layers, "preview.png", *project, *item, LOG]


def _is_layer(path: Path) -> bool:
    """Whether a file is a raster of a detector, whose names are those of any layer."""
    try:
        return path.suffix == ".tif" and open_scores(str(path)).provenance.detector is not None
    except GeochangeError:
        return False


def _without_shift(
    scene: Scene, options: DetectOptions, kept: KeptStatistics | None, cluster: ClusterOptions, stages: Stages
) -> Scene:
    """Move the second date of a scene back by its shifts, where that is asked for, or where they vary."""
    needs, resampling = Needs(inputs=scene.files), RESAMPLINGS[options.resampling]
    if options.remove_shift:
        with open_crew(cluster, stages.notice, needs) as crew, _seen(scene, options) as seen:
            shift = measure_shift(seen, Work(crew, stages))
        log.info("shift removed: %.3f rows, %.3f columns", shift.row, shift.col)
        scene = scene.move(1, (shift.row, shift.col), resampling)
    field, removes_local = None, options.remove_local_shift
    if kept is not None and removes_local is None and kept.shape == scene.shape:
        field = kept.local_shift
    elif varies_with_place(scene, options) if removes_local is None else removes_local:
        with open_crew(cluster, stages.notice, needs) as crew:
            local = removable_shift(scene, Work(crew, stages))
        field = None if local is None else local.field
        if local is not None and removes_local is None:
            stages.notice(
                f"the shift varies over the scene ({local.length:.2f} px in the median): AFTER is moved back place by "
                "place; --no-remove-local-shift leaves it"
            )
    return scene if field is None else scene.move(1, (0.0, 0.0), resampling, field)


def _normalised(
    scene: Scene, options: DetectOptions, cluster: ClusterOptions, stages: Stages
) -> tuple[Scene, GainsAndOffsets]:
    """Bring the second date's values to the first's."""
    needs = Needs(inputs=scene.files)
    with open_crew(cluster, stages.notice, needs) as crew, _seen(scene, options) as seen:
        lines = fit_normalisation(seen, SceneBlocks(seen, Work(crew, stages)))
    log.info("normalised: %s", ", ".join(f"{gain:.4g} x + {offset:.4g}" for gain, offset in lines))
    return scene.normalised(lines), lines


def _identity(scene: Scene, options: DetectOptions, review: SavedReview | None) -> dict[str, Any]:
    labels = options.labels if review is None else None  # a review tells itself what has been decided
    masks = {"mask_before": options.mask_before, "mask_after": options.mask_after}
    masks |= {f"mask {place}": mask or None for place, mask in enumerate(options.masks, start=1)}
    named = {
        "aoi": options.aoi,
        **masks,
        "statistics": _record_of(options.statistics),
        "labels": labels,
        **options.own_options(),
    }
    return plain(
        ({} if review is None else {"review": review.identity()})
        | {
            "geochange": version("geochange"),
            "scene": _fingerprint(scene, options),
            "options": {name: value for name, value in asdict(options).items() if name != "unreadable"},
            "contents": {name: digest for name, each in named.items() if (digest := content_digest(each))},
        }
    )


def _record_of(run: str | None) -> str | None:
    return None if run is None else str(Path(run) / RECORD)


def _fingerprint(scene: Scene, options: DetectOptions) -> dict[str, Any]:
    with _seen(scene, options) as seen:
        return seen.fingerprint()


@contextmanager
def _seen(scene: Scene, options: DetectOptions) -> Iterator[Scene]:
    """Give a scene as `unreadable` asks for it before the run has a folder of its own."""
    if options.unreadable == "stop":
        yield scene
        return
    with TemporaryDirectory() as folder:
        yield scene.noting_unread(Path(folder))


def _detect(run: DetectionRun, review: SavedReview | None = None, chosen_for: str = "") -> dict[str, Any]:
    started, doubts = datetime.now(UTC), [f"{doubt.text}; {doubt.fix}" for doubt in find_doubts(run.scene)]
    doubts = [*run.scene.notes, *doubts]
    for doubt in doubts:
        run.work.stages.notice(doubt)
    if run.options.labels is not None and review is None:  # a mistake in them is better reported now than at the end
        open_labelled(run.options.labels, run.options.label_column, run.scene.grid, run.work)
    require_space(run.folder.out, _least_bytes(run) - run.folder.bytes_done())
    fitted = _fitted(run)
    if review is not None:
        scored = Scored(fitted.name, fitted.thresholds.get("default", 0.5))
        folder = run.folder.scratch / "labels"
        run = replace(run, options=labelled_by(review, run.options, folder, scored, run.work.stages.notice))
    tiling = tiling_of(run.scene, fitted, run.options)
    inference = Inference(run.scene, fitted, tiling, run.options.layers, _thumbnail(run.scene))
    encode = partial(encode_probability, dtype=np.dtype(run.options.dtype))
    store = BlockStore(run.folder.blocks, encode, run.options.layers)
    require_space(run.folder.out, _bytes_needed(inference, run.options) - run.folder.bytes_done())
    run_blocks(run.work, inference, store)
    record = write_products(run, inference, store)
    record["statistics"] = pack_fitted(run.folder.fitted)
    if chosen_for:
        record["detector"]["chosen_for"] = chosen_for
    record["scene"]["notes"] = doubts
    if run.options.unreadable == "nodata":
        record["unreadable"] = noted_unread(run.folder.scratch / UNREAD)
        for image, parts in groupby(record["unreadable"], key=lambda each: str(each["image"])):
            run.work.stages.notice(f"{image}: {len(list(parts))} blocks cannot be read, and hold no data; see run.json")
    record |= {"started": started.isoformat(timespec="seconds"), "seconds": _rounded(run.work.stages.seconds)}
    ready: dict[str, Any] = plain(record)
    return ready


def _fitted(run: DetectionRun) -> Fitted:
    """Return the detector with its statistics: from an earlier part of the same run, or fitted now."""
    if run.folder.fitted.exists():
        return load_fitted(run.folder.fitted)
    fitted = run.kept or _fitted_anew(run)
    check_fitted(fitted, run)
    temporary = run.folder.fitted.with_name("fitting")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    fitted.save(temporary)
    system.replace(temporary, run.folder.fitted)
    return fitted


def _fitted_anew(run: DetectionRun) -> Fitted:
    assert run.options.detector is not None
    detector = make_detector(run.options.detector, run.options.own_options())
    require_dates(detector.name, detector.dates, run.scene.dates)
    with run.work.stages.stage("fit"):
        return fit_detector(detector, run.scene, run.work)


def check_fitted(fitted: Fitted, run: DetectionRun) -> None:
    """Refuse, with BadOption or BandMismatch, options and images that do not fit the detector."""
    if fitted.objects and run.options.labels is not None:
        raise BadOption(f"labels choose thresholds of pixels; {fitted.name} finds objects: give a number")
    if fitted.objects:
        object_threshold(run.options.threshold, fitted.thresholds)
    elif run.options.labels is None:
        require_threshold(run.options.parsed_threshold, fitted.thresholds)
    unknown = sorted(set(run.options.layers) - set(fitted.layers))
    if unknown:
        offered = ", ".join(fitted.layers) or "none"
        raise BadOption(f"layer {unknown[0]!r} is not one that {fitted.name} offers: {offered}")
    if fitted.bands is not None and fitted.bands != len(run.scene.bands):
        raise BandMismatch(f"{fitted.name} needs {fitted.bands} bands, the images have {len(run.scene.bands)}")


def tiling_of(scene: Scene, fitted: Fitted, options: DetectOptions) -> Tiling:
    """Cut a scene into tiles and blocks for a detector."""
    if fitted.largest_tile is not None and (options.tile_size or 0) > fitted.largest_tile:
        raise BadOption(
            f"tile size {options.tile_size} must be at most {fitted.largest_tile}, which is what {fitted.name} takes"
        )
    axes = [
        cut_axis(
            length,
            options,
            radius=fitted.receptive_radius,
            stride=fitted.stride,
            default_tile=fitted.default_tile,
            default_overlap=fitted.default_overlap,
        )
        for length in scene.shape
    ]
    if options.block_size is None:
        sides = default_block(scene, (axes[0].step, axes[1].step))
        axes = [
            replace(axis, tiles_per_block=max(1, side // axis.step)) for axis, side in zip(axes, sides, strict=True)
        ]
    return Tiling(*axes)


def _thumbnail(scene: Scene) -> Thumbnail:
    colours = scene.sources[0].colours or (1, 2, 3)
    if all(colour in scene.bands for colour in colours):
        positions = tuple(scene.bands.index(colour) for colour in colours)
    else:
        positions = (0, 1, 2) if len(scene.bands) >= 3 else (0,)
    return Thumbnail(scene.shape, max(1, round(max(scene.shape) / PANEL)), positions)


def _least_bytes(run: DetectionRun) -> int:
    """Return what a raster of one class takes on the disk at the worst: what is known before the fit."""
    return bytes_needed(run.scene.shape, np.dtype(run.options.dtype).itemsize)


def _bytes_needed(inference: Inference, options: DetectOptions) -> int:
    """Return what rasters, the sums of two rows of blocks, polygons and thumbnails take on the disk at the worst."""
    pixels = inference.scene.grid.area.size
    stored = len(inference.fitted.classes) * np.dtype(options.dtype).itemsize + 4 * sum(
        inference.fitted.layers[name] for name in inference.layers
    )
    row = inference.scene.shape[1] * inference.tiling.block((0, 0)).area.height
    sums = 2 * 8 * len(inference.fitted.classes) * row if inference.tiling.blended else 0
    thumbnail = inference.thumbnail
    cells = 0 if thumbnail is None else (len(thumbnail.bands) + 1) * prod(thumbnail.size)
    rest = 4 * inference.scene.dates * cells + SMALL_BYTES
    return bytes_needed(inference.scene.shape, stored) + int(pixels * POLYGON_BYTES) + sums + rest


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {stage: round(spent, 3) for stage, spent in seconds.items()}
