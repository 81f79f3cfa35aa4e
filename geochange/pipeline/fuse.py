"""`fuse`: several rasters of probabilities of one place → one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geochange.engine.cluster import ClusterOptions
from geochange.engine.progress import Listener
from geochange.engine.raster_output import RasterOutput, raster_output
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption
from geochange.files import require_geotiff, require_writable, write_whole
from geochange.pipeline.options import FuseOptions, choose_options_and_cluster
from geochange.probability.fusion import (
    FusionRule,
    StackingModel,
    maximum,
    noisy_or,
    stacked,
    vote_share,
    weighted_mean,
)
from geochange.probability.raster import Provenance, encode_probability, probability_spec
from geochange.probability.stack import SourceStack, open_stack
from geochange.probability.stacking import fit_stacking, read_model, write_model
from geochange.redaction import plain, redact
from geochange.scenes.grid import Tile
from geochange.scenes.scene import open_masked

if TYPE_CHECKING:
    import xarray as xr

FUSED_BLOCK = 512  # px; nothing but the number of scratch files depends on it
DTYPES = ("uint8", "float32")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What `fuse` wrote."""

    path: Path
    method: str
    sources: tuple[str, ...]
    classes: tuple[str, ...]
    threshold: float
    """The default one of the fused raster."""

    details: Mapping[str, Any]
    """What the method used or found: weights, the sources' thresholds, or the model."""

    seconds: dict[str, float] = field(default_factory=dict)

    def open(self) -> xr.DataArray:
        """Open the raster lazily: (band, y, x) in 0..1, a band for each class, NaN where there are no data."""
        return open_masked(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "file": str(self.path),
            "method": self.method,
            "sources": list(self.sources),
            "classes": list(self.classes),
            "threshold": self.threshold,
            **self.details,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class _Run:
    """One run, on its way."""

    options: FuseOptions
    stack: SourceStack
    work: Work


@dataclass(frozen=True, slots=True)
class _Plan:
    """A method with all that it needs."""

    fusion: FusionRule
    details: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 0.5
    model: StackingModel | None = None


def fuse(
    rasters: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: FuseOptions | None = None,
    *,
    save_model: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Fused:
    """Fuse probabilities of change of one place into one raster, a COG as `detect` leaves it.

    Rasters on another grid than the first are brought to it, bilinearly. A pixel is nodata where all rasters are;
    elsewhere those that hold data are fused.

    Args:
        rasters: two or more of the same classes, as `detect` leaves them: of several detectors, scales or dates.
        out: the file, .tif.
        options: how; see `FuseOptions`.
        save_model: a JSON file to write the fitted model of `stacking` to.
        overwrite: replace files that are there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        BadOption: there is nothing to fuse, or options do not fit.
        UnreadableInput: a raster, the labels or the model cannot be read.
        BandMismatch: the rasters differ in classes.
        GridMismatch: a raster does not overlap the first.
        NothingValid: the labels do not hold both changed and unchanged pixels.
        OutputInTheWay: a file exists and `overwrite` is off, is one of the inputs, or cannot be written.
    """
    options, cluster = choose_options_and_cluster(FuseOptions, options, cluster, settings)
    path = Path(out)
    require_geotiff(path)
    if save_model is not None and options.labels is None:
        raise BadOption("a model is only saved where stacking fits one on labels")
    inputs = [*rasters, *(each for each in (options.labels, options.model) if each is not None)]
    require_writable([path, *([] if save_model is None else [Path(save_model)])], overwrite=overwrite, inputs=inputs)
    with open_work(cluster, listener, Needs(inputs=inputs, folder=path.absolute().parent)) as work:
        stack = open_stack(rasters, work)
        run = _Run(options, stack, work)
        plan = METHODS[options.method](run)
        _write(path, plan, run)
    if save_model is not None and plan.model is not None:
        write_model(plan.model, Path(save_model))
    return Fused(
        path=path,
        method=options.method,
        sources=tuple(map(redact, stack.names)),
        classes=stack.classes,
        threshold=plan.threshold,
        details=plan.details,
        seconds=work.stages.seconds,
    )


def _write(path: Path, plan: _Plan, run: _Run) -> None:
    """Fuse block by block into scratch files, and these into a COG."""
    how = plain({"method": run.options.method, "sources": list(run.stack.names), **plan.details})
    spec = probability_spec(
        run.stack.grid,
        np.dtype(run.options.dtype),
        run.stack.classes,
        {"default": plan.threshold},
        Provenance("fusion", fusion=how),
    )
    with raster_output(path, spec, FUSED_BLOCK) as output:
        for _ in run.work.map("fuse", partial(_fuse_task, run.stack, plan.fusion, output), output.blocks):
            pass
        output.pack(run.work)


def _fuse_task(stack: SourceStack, fusion: FusionRule, output: RasterOutput, block: Tile) -> None:
    """Leave the file of one block."""
    fused = fusion(*stack.read(block))
    content = encode_probability(np.nan_to_num(fused), np.isfinite(fused[0]), output.spec.dtype)
    write_whole(output.file(block), content)


def _weighted(run: _Run) -> _Plan:
    weights = run.options.weights or ()
    if len(weights) != len(run.stack.sources):
        raise BadOption(f"{len(weights)} weights were given for {len(run.stack.sources)} rasters; give one for each")
    return _Plan(partial(weighted_mean, weights=weights), {"weights": list(weights)})


def _vote(run: _Run) -> _Plan:
    wanted = run.options.threshold
    thresholds = run.stack.thresholds if wanted is None else (wanted,) * len(run.stack.sources)
    return _Plan(partial(vote_share, thresholds=thresholds), {"thresholds": list(thresholds)})


def _stacking(run: _Run) -> _Plan:
    labels, model = run.options.labels, run.options.model
    if labels is not None:
        fitted = fit_stacking(run.stack, labels, run.options.fit, run.work)
        fitted = replace(fitted, sources=tuple(map(redact, fitted.sources)))
    else:
        assert model is not None
        fitted = read_model(model, run.stack)
    return _Plan(partial(stacked, model=fitted), {"model": fitted.to_dict()}, fitted.threshold, fitted)


METHODS: dict[str, Callable[[_Run], _Plan]] = {
    "mean": lambda run: _Plan(partial(weighted_mean, weights=(1.0,) * len(run.stack.sources))),
    "weighted": _weighted,
    "maximum": lambda run: _Plan(maximum),
    "vote": _vote,
    "noisy-or": lambda run: _Plan(noisy_or),
    "stacking": _stacking,
}
"""Name -> what prepares all that the method needs."""
