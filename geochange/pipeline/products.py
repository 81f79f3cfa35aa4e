"""What a run of `detect` leaves: rasters, layers of changes, a picture, and what run.json says of them."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.buckets import is_bucket
from geochange.detectors.boxes import SCORE_STEPS, Boxes, join_boxes
from geochange.detectors.detector import Fitted, confidence_for
from geochange.detectors.normalisation import GainsAndOffsets
from geochange.engine.blocks import PROBABILITY, BlockStore
from geochange.engine.cog import RasterSpec, build_vrt
from geochange.engine.cog_assembly import Level
from geochange.engine.cog_tiles import compress_tiles
from geochange.engine.inference import Inference
from geochange.engine.raster_output import assemble
from geochange.engine.thumbnails import assemble as assemble_thumbnail
from geochange.engine.work import Work
from geochange.files import appearing, load_array
from geochange.pipeline.kinds import measure_kinds, write_kinds
from geochange.pipeline.options import VECTOR_FORMATS, DetectOptions
from geochange.pipeline.qgis_project import shown_dates, write_project
from geochange.pipeline.run_folder import RunFolder
from geochange.pipeline.stac import require_stac, write_item
from geochange.polygons.boxes import found_objects
from geochange.polygons.features import ChangeLayer
from geochange.polygons.layer_means import LayerMeans, MeasuredRaster
from geochange.polygons.options import RegionOptions
from geochange.polygons.parallel_export import write_layers
from geochange.polygons.preview import Captions, hectares, limits_of_dates, render_preview
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import FoundRegions, RegionTotals, found_regions, layer_of, survey_regions
from geochange.probability.raster import Provenance, layer_spec, open_scores, probability_spec
from geochange.scenes.feature_files import open_features
from geochange.scenes.grid import crs_name
from geochange.scenes.pairing import Scene
from geochange.scenes.source import Source

COMMAND = "detect"


@dataclass(frozen=True)
class DetectionRun:
    """A run of `detect`, on its way."""

    scene: Scene
    options: DetectOptions
    folder: RunFolder
    work: Work
    identity: dict[str, Any] = field(default_factory=dict)
    normalisation: GainsAndOffsets | None = None
    """What brought the last date's values to the first's."""
    kept: Fitted | None = None
    """The detector with the statistics of another run, which are taken in place of this scene's."""


def write_products(run: DetectionRun, inference: Inference, store: BlockStore) -> dict[str, Any]:
    """Write all files but the record, ready to be published; return the record."""
    ready = run.folder.ready
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir()
    virtual = {name: virtual_raster(run, inference, store, name) for name in (PROBABILITY, *run.options.layers)}
    specs = {name: _spec(run, inference, name) for name in virtual}
    with run.work.stages.stage("pack"):
        levels = {name: _compress(run, specs[name], path) for name, path in virtual.items()}
    with ThreadPoolExecutor(1) as beside:  # what is left of packing is copying
        packing = [beside.submit(assemble, specs[name], levels[name], ready / f"{name}.tif") for name in virtual]
        with found_changes(run, inference, store, virtual[PROBABILITY]) as (found, layer):
            assert inference.thumbnail is not None
            with run.work.stages.stage("polygons"):
                survey = survey_regions(found.regions, run.scene.grid, run.work, inference.thumbnail.step)
            means = _layer_means(run, inference, virtual)
            files, kinds, pieces = _write_layers(run, found.outlines, layer, means)
            totals = pieces or survey.totals
            limits = _write_preview(run, inference, store, survey.cells, totals)
        with run.work.stages.stage("pack"):
            for each in packing:
                each.result()
    record = _record(run, inference.fitted) | {
        **found.chosen.to_record(),
        "min_confidence": confidence_for(run.options.min_confidence, inference.fitted),
        "changes": {"count": totals.count, "area_px": totals.area_px, "area_m2": totals.area_m2},
        **kinds,
        "files": {
            "probability": "probability.tif",
            "changes": files,
            "preview": "preview.png",
            "layers": [f"{name}.tif" for name in run.options.layers],
        },
    }
    if run.options.project and not is_bucket(run.folder.place):
        regions = _with_dates(run)
        record["scene"]["shown"] = shown_dates(
            run.scene,
            inference.thumbnail.bands,
            limits,
            run.normalisation,
            (regions.date_before, regions.date_after),
        )
        record["files"]["qgis"] = write_project(ready, run.folder.out, record)
    if run.options.stac:
        time = require_stac(run.scene, given_dates(run.options))
        record["files"]["item"] = write_item(ready, run.folder.place, record, time)
    return record


@contextmanager
def found_changes(
    run: DetectionRun, inference: Inference, store: BlockStore, raster: Path
) -> Iterator[tuple[FoundRegions, ChangeLayer]]:
    """Find the changes in scored blocks; yield them, and the layer that they make.

    Args:
        run: whose rule for regions is used; regions lie in its scratch meanwhile.
        inference: what scored the blocks.
        store: holds them.
        raster: the probabilities, as `virtual_raster` left them.
    """
    regions, scores = _with_dates(run), open_scores(str(raster))
    layer = layer_of(scores, regions)
    if inference.fitted.objects:
        layer = replace(layer, score_scale=1 / SCORE_STEPS, multipart=False)
        finding = found_objects(_block_boxes(inference, store), inference, regions, run.work, run.folder.scratch)
    else:
        finding = found_regions(scores, regions, run.work, run.folder.scratch)
    with finding as found:
        yield found, layer


def _block_boxes(inference: Inference, store: BlockStore) -> Iterator[tuple[int, Boxes]]:
    """Yield, for each row of blocks, the row of pixels behind it, and the boxes found in it."""
    rows, cols = inference.tiling.shape
    for row in range(rows):
        blocks = [inference.tiling.block((row, col)) for col in range(cols)]
        boxes = join_boxes(Boxes.unpack(load_array(store.boxes(block))) for block in blocks)
        yield blocks[0].area.stop_row, boxes


def virtual_raster(run: DetectionRun, inference: Inference, store: BlockStore, name: str) -> Path:
    """Write a VRT over the block files of one raster."""
    path = run.folder.blocks / f"{name}.vrt"
    parts = [(store.file(block, name), block.area) for block in inference.tiling.blocks()]
    build_vrt(parts, _spec(run, inference, name), path)
    return path


def _spec(run: DetectionRun, inference: Inference, name: str) -> RasterSpec:
    grid, fitted = run.scene.grid, inference.fitted
    if name != PROBABILITY:
        return layer_spec(grid, name, fitted.layers[name], fitted.name)
    thresholds = {} if fitted.objects else fitted.thresholds
    provenance = Provenance(fitted.name, min_confidence=confidence_for(None, fitted))
    return probability_spec(grid, np.dtype(run.options.dtype), fitted.classes, thresholds, provenance)


def _compress(run: DetectionRun, spec: RasterSpec, source: Path) -> list[Level]:
    folder = run.folder.scratch / f"tiles-{source.stem}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return compress_tiles(source, spec, folder, run.work)


def given_dates(options: DetectOptions) -> tuple[str | None, str | None]:
    """Return the dates before and after, as options give them."""
    first, last = (options.dates[0], options.dates[-1]) if options.dates else (None, None)
    return options.date_before or first, options.date_after or last


def _with_dates(run: DetectionRun) -> RegionOptions:
    """Return the region options, with dates from the images' tags where none were given."""
    regions, (before, *_, after) = run.options, run.scene.sources
    first, last = given_dates(regions)
    return replace(regions, date_before=first or before.date, date_after=last or after.date)


def _layer_means(run: DetectionRun, inference: Inference, virtual: Mapping[str, Path]) -> LayerMeans:
    """Return what is measured of each region: the rasters that are written, but for the probabilities."""
    rasters = [MeasuredRaster(name, virtual[name], inference.fitted.layers[name]) for name in run.options.layers]
    return LayerMeans(tuple(rasters), run.scene.days)


def _write_layers(
    run: DetectionRun, outlines: RegionStore, layer: ChangeLayer, means: LayerMeans
) -> tuple[list[str], dict[str, Any], RegionTotals | None]:
    """Write the layer in all formats; return the files' names, what to record of kinds, and totals of what was cut."""
    names = [f"changes{VECTOR_FORMATS[format_]}" for format_ in run.options.formats]
    if run.options.kinds:
        return names, *_write_with_kinds(run, outlines, layer, means, names)
    with run.work.stages.stage("write"):
        paths = [run.folder.ready / name for name in names]
        write_layers(paths, outlines, layer, means, run.work)
    return names, {}, None


def _write_with_kinds(
    run: DetectionRun, outlines: RegionStore, layer: ChangeLayer, means: LayerMeans, names: list[str]
) -> tuple[dict[str, Any], RegionTotals | None]:
    scratch = run.folder.scratch / "kinds"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    write_layers([scratch / "changes.parquet"], outlines, layer, means, run.work)
    features = open_features(str(scratch / "changes.parquet"))
    ends = replace(run.scene, sources=(run.scene.sources[0], run.scene.sources[-1]))
    measured = measure_kinds(features, ends, run.options, run.work, scratch)
    with run.work.stages.stage("write"):
        for name in names:
            write_kinds(run.folder.ready / name, measured)
        found = {"kinds": {"counts": measured.counts(), **measured.basis()}}
    shutil.rmtree(scratch)
    return found, measured.totals


def _write_preview(
    run: DetectionRun, inference: Inference, store: BlockStore, changed: Bools, totals: RegionTotals
) -> Floats:
    """Draw the picture; return (date, band, 2) values that are black and white in it."""
    assert inference.thumbnail is not None
    with run.work.stages.stage("preview"):
        parts = ((block.area, load_array(store.thumbnail(block))) for block in inference.tiling.blocks())
        before, *_, after = assemble_thumbnail(parts, run.scene.dates, inference.thumbnail)
        picture = render_preview(before, after, changed, _captions(run, totals))
        with appearing(run.folder.ready / "preview.png") as temporary:
            picture.save(temporary, compress_level=3)
    return limits_of_dates(before, after)


def _captions(run: DetectionRun, totals: RegionTotals) -> Captions:
    regions = _with_dates(run)
    before = f"before · {regions.date_before}" if regions.date_before else "before"
    after = f"after · {regions.date_after}" if regions.date_after else "after"
    size = f"{totals.area_px:,} px" if totals.area_m2 is None else hectares(totals.area_m2)
    changes = "1 change" if totals.count == 1 else f"{totals.count:,} changes"
    return Captions(before=before, after=after, changes=f"{changes} · {size}")


@cache
def _versions() -> Mapping[str, str]:
    libraries = ("geochange", "numpy", "scipy", "rasterio", "shapely", "pyogrio", "dask")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _band_names(source: Source) -> list[str | None]:
    """Return the own name of each band that is read, None where it has none."""
    names = dict(zip(source.choices, source.band_names, strict=False))
    return [names[band][0] if names.get(band) else None for band in source.bands]


def _record(run: DetectionRun, fitted: Fitted) -> dict[str, Any]:
    local_shift = run.scene.sources[1].local_shift
    return {
        "command": COMMAND,
        "inputs": [source.name for source in run.scene.sources],
        "scene": {
            "crs": crs_name(run.scene.grid.crs),
            "shape": list(run.scene.shape),
            "pixels": run.scene.grid.area.size,
            "transform": list(run.scene.grid.transform)[:6],
            "bands": list(run.scene.bands),
            "band_names": [_band_names(source) for source in run.scene.sources],
            "removed_shift": list(run.scene.sources[1].shift),  # rows, columns
            "removed_local_shift": None if local_shift is None else local_shift.to_json(),
            "normalisation": None if run.normalisation is None else [list(each) for each in run.normalisation],
            "scaling": [None if source.scaling is None else list(source.scaling) for source in run.scene.sources],
        },
        "detector": {"name": fitted.name, "thresholds": dict(fitted.thresholds), **fitted.summary()},
        "identity": run.identity,
        "versions": dict(_versions()),
    }
