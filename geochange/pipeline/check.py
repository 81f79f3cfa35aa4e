"""`check`: how well two dates suit a search for changes, before any time is spent on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from geochange.arrays import Array, Bools, Floats
from geochange.engine.cluster import ClusterOptions
from geochange.engine.progress import Listener
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.errors import BandMismatch, GridMismatch, NothingValid
from geochange.pipeline.local_shift import measure_local_shift, require_picture, write_picture
from geochange.pipeline.options import choose_options_and_cluster
from geochange.scenes.clouds import cell_means, cloud_shares
from geochange.scenes.grid import Tile
from geochange.scenes.opening import Image, files_of
from geochange.scenes.options import NO_MASK, SceneOptions
from geochange.scenes.pairing import Scene, open_image, open_scene
from geochange.scenes.preflight import SMALL_SHIFT, DateFacts, Report
from geochange.scenes.radiometry import Radiometry, radiometry
from geochange.scenes.registration import Shift, Unmeasured, WindowShift, combine_shifts, window_shift, windows_for
from geochange.scenes.source import Source
from geochange.scenes.validity import find_doubts

SAMPLED_PIXELS = 50_000  # over all windows, for gains and offsets


@dataclass(frozen=True)
class _Window:
    """What one window shows."""

    shift: WindowShift | Unmeasured
    valid: float  # pixels, of which those in several windows count a part in each
    pixels: float
    before: Array  # (band, n) sampled pixels that are valid at both dates
    after: Array
    cells: tuple[Floats, Floats]  # both dates' means over cells


def check(
    before: Image,
    after: Image,
    options: SceneOptions | None = None,
    *,
    picture: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Report:
    """Compare two dates' grids, bands and radiometry, and measure the shift between them.

    Dates on different grids are compared as `--align` would bring them together. The share of nodata, the shift and
    the radiometry come from up to 100 windows, regular over the scene. Where these show that the shift varies, or a
    picture is asked for, smaller windows show how.

    Args:
        before: the earlier image.
        after: the later image.
        options: bands, area of interest, nodata rule.
        picture: PNG of how the shift varies over the scene, and of what removing it leaves.
        overwrite: replace a picture that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: an image is missing or is not a raster.
        BandMismatch: a band number is out of range.
        GridMismatch: a picture is asked for, and the dates cannot be brought together.
        NothingValid: a picture is asked for, and no shift can be measured.
        OutputInTheWay: the picture exists and `overwrite` is off, or it cannot be written.
    """
    options, cluster = choose_options_and_cluster(SceneOptions, options, cluster, settings)
    options = replace(options, align=True)
    images = enumerate(zip((before, after), options.masks_of(2), strict=True))
    facts = [_facts(*(open_image(image, k, options, each) for each in (NO_MASK, mask))) for k, (image, mask) in images]
    if picture is not None:
        inputs = [*files_of(before), *files_of(after), before, after, *options.mask_files]
        require_picture(picture, inputs, overwrite=overwrite)
    try:
        scene = open_scene([before, after], options)
    except (GridMismatch, BandMismatch):  # the report says what differs
        if picture is not None:
            raise
        return Report(facts[0], facts[1], None, None)
    with open_work(cluster, listener, Needs(inputs=[*scene.files, *options.mask_files])) as work:
        windows = measure_windows(scene, work)
        shift = combine_shifts(window.shift for window in windows)
        varies = isinstance(shift, Shift) and shift.spread > SMALL_SHIFT
        local = measure_local_shift(scene, work) if varies or picture is not None else None
    if picture is not None:
        write_picture(local, scene, picture)
    valid, pixels = sum(window.valid for window in windows), sum(window.pixels for window in windows)
    sampled = [window for window in windows if window.before.size]
    nodata = 1 - valid / pixels if pixels else None
    radiometry = tuple(_radiometry(sampled, scene.bands))
    clouds = cloud_shares((window.cells for window in windows), radiometry) if radiometry else (0.0, 0.0)
    return Report(facts[0], facts[1], nodata, shift, radiometry, tuple(find_doubts(scene)), scene.notes, local, clouds)


def _radiometry(windows: Sequence[_Window], bands: Sequence[int]) -> list[Radiometry]:
    """How the bands compare in the windows' samples; nothing where there are none."""
    if not windows:
        return []
    before, after = zip(*((window.before, window.after) for window in windows), strict=True)
    return radiometry(np.concatenate(before, axis=1), np.concatenate(after, axis=1), bands)


def measure_shift(scene: Scene, work: Work) -> Shift:
    """Measure where the second date's content lies relative to the first's.

    Raises:
        NothingValid: no window shows it.
    """
    shift = combine_shifts(window.shift for window in measure_windows(scene, work))
    if isinstance(shift, Unmeasured):
        names = " and ".join(source.name for source in scene.sources)
        raise NothingValid(f"the shift between {names} cannot be measured, so not removed: {shift.reason}")
    return shift


def measure_windows(scene: Scene, work: Work) -> Sequence[_Window]:
    """Measure each of the windows over a scene."""
    tiles = windows_for(scene.shape)
    every = max(1, round(sum(tile.size for tile in tiles) / SAMPLED_PIXELS))
    task = partial(_window_task, scene, every, _weights(tiles, 0), _weights(tiles, 1))
    return [window for _, window in work.map("check", task, tiles)]


def _weights(tiles: Sequence[Tile], axis: int) -> Floats:
    """Return one over the number of windows that share a row (axis 0) or a column (1); windows stand in a grid."""
    spans = {((tile.row, tile.stop_row), (tile.col, tile.stop_col))[axis] for tile in tiles}
    shared = np.zeros(max((stop for _, stop in spans), default=0))
    for start, stop in spans:
        shared[start:stop] += 1
    return 1 / np.maximum(shared, 1)


def _weight(rows: Floats, cols: Floats, tile: Tile) -> Floats:
    """(y, x) weight of a window's pixels, of which those in several windows count a part in each."""
    return np.outer(rows[tile.row : tile.stop_row], cols[tile.col : tile.stop_col])


def _window_task(scene: Scene, every: int, rows: Floats, cols: Floats, tile: Tile) -> _Window:
    (before, after), valid = scene.read(tile)
    both: Bools = np.logical_and.reduce(valid)
    weight = _weight(rows, cols, tile)
    samples = [date[:, both][:, ::every].astype(np.float64) for date in (before, after)]
    shift = window_shift(before, after, both)
    cells = cell_means(before, both), cell_means(after, both)
    return _Window(shift, float(weight[both].sum()), float(weight.sum()), samples[0], samples[1], cells)


def _facts(source: Source, masked: Source) -> DateFacts:
    share = None if masked.mark == source.mark else _share_masked(source, masked)
    return DateFacts(source.name, source.grid, len(source.bands), str(source.stored().dtype), source.scaling, share)


def _share_masked(source: Source, masked: Source) -> float:
    """Return the share of a source's pixels with data that a mask hides, in windows regular over it."""
    tiles = windows_for(source.grid.shape) or [source.grid.area]
    rows, cols = _weights(tiles, 0), _weights(tiles, 1)
    seen, left = (
        sum(float(_weight(rows, cols, tile)[each.read(tile)[1]].sum()) for tile in tiles) for each in (source, masked)
    )
    return 1 - left / seen if seen else 0.0
