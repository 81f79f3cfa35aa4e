"""How the shift between two dates varies over the scene: measured, removed, and drawn."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geochange.detectors.catalogue import detector_class
from geochange.detectors.options import DetectorOptions
from geochange.engine.work import Work
from geochange.errors import BadOption, NothingValid, UnreadableInput
from geochange.files import appearing, require_writable
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene
from geochange.scenes.preflight import SMALL_SHIFT
from geochange.scenes.registration import Shift, Unmeasured, WindowShift, combine_shifts, window_shift, windows_for
from geochange.scenes.shift_field import LocalShift, fit_field, local_windows_for
from geochange.scenes.shift_picture import draw_local_shift

log = logging.getLogger("geochange")

LOOKS, LOOK = 25, 128  # windows in which it is measured at first, and their pixels a side
SMALLEST = 256  # pixels a side of a scene; in less stand too few windows


def varies_with_place(scene: Scene, options: DetectorOptions) -> bool:
    """Whether windows over the scene, of which half at least can be measured, show that the shift varies.

    It is looked at for a detector that compares pixels, where no tolerance of shifts is given.

    Args:
        scene: to compare.
        options: name the detector.
    """
    assert options.detector is not None
    tolerant = any(each.name == "shift_tolerance" for each in fields(detector_class(options.detector)))
    if scene.dates != 2 or not tolerant or "shift_tolerance" in options.own_options() or min(scene.shape) < SMALLEST:
        return False
    tiles = windows_for(scene.shape, LOOK, LOOKS)
    shift = combine_shifts(_shift_task(scene, tile) for tile in tiles)
    return isinstance(shift, Shift) and 2 * shift.windows_used >= len(tiles) and shift.spread > SMALL_SHIFT


def measure_local_shift(scene: Scene, work: Work) -> LocalShift | Unmeasured:
    """Measure where the second date's content lies relative to the first's, place by place."""
    tiles = local_windows_for(scene.shape)
    shifts = [shift for _, shift in work.map("check", partial(_shift_task, scene), tiles)]
    return fit_field(tiles, shifts, scene.shape)


def removable_shift(scene: Scene, work: Work) -> LocalShift | None:
    """Return by what the second date is to be moved back place by place; None where it stays: it is said."""
    found = measure_local_shift(scene, work)
    stays = "AFTER stays where it is: no local shift"
    if isinstance(found, Unmeasured):
        work.stages.notice(f"{stays} can be measured, since {found.reason}")
        return None
    if found.field is None:
        work.stages.notice(f"{stays} stands out (windows lie {found.length:.2f} px off)")
        return None
    log.info("local shift removed: %.2f px in the median, up to %.2f px", found.length, found.field.longest)
    return found


def _shift_task(scene: Scene, tile: Tile) -> WindowShift | Unmeasured:
    try:
        (before, after), valid = scene.read(tile)
    except UnreadableInput as error:  # who reads all of the scene stops there, or goes on without, as is asked for
        return Unmeasured(str(error))
    return window_shift(before, after, np.logical_and.reduce(valid))


def require_picture(picture: str | os.PathLike[str], inputs: Sequence[Any], *, overwrite: bool) -> None:
    """Refuse a picture that cannot be written.

    Raises:
        BadOption: it is not a PNG.
        OutputInTheWay: it exists and `overwrite` is off, is an input, or cannot be written.
    """
    if Path(picture).suffix.lower() != ".png":
        raise BadOption(f"{picture} must end in .png")
    require_writable([Path(picture)], overwrite=overwrite, inputs=inputs)


def write_picture(local: LocalShift | Unmeasured | None, scene: Scene, picture: str | os.PathLike[str]) -> None:
    """Draw a local shift.

    Raises:
        NothingValid: there is none to draw.
    """
    if not isinstance(local, LocalShift):
        reason = "it was not measured" if local is None else local.reason
        raise NothingValid(f"{picture} would show nothing: no local shift can be measured, since {reason}")
    with appearing(Path(picture)) as temporary:
        draw_local_shift(local, scene.shape).save(temporary, format="PNG")
