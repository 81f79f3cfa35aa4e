"""How the shift between two dates varies over the scene: measured, removed, and drawn."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import Resampling

from geochange.engine.work import Work
from geochange.errors import BadOption, NothingValid
from geochange.files import appearing, require_writable
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene
from geochange.scenes.registration import Unmeasured, WindowShift, window_shift
from geochange.scenes.shift_field import LocalShift, fit_field, local_windows_for
from geochange.scenes.shift_picture import draw_local_shift

log = logging.getLogger("geochange")


def measure_local_shift(scene: Scene, work: Work) -> LocalShift | Unmeasured:
    """Measure where the second date's content lies relative to the first's, place by place."""
    tiles = local_windows_for(scene.shape)
    shifts = [shift for _, shift in work.map("check", partial(_shift_task, scene), tiles)]
    return fit_field(tiles, shifts, scene.shape)


def without_local_shift(scene: Scene, work: Work, resampling: Resampling) -> tuple[Scene, LocalShift | None]:
    """Return a scene with its second date moved back place by place, and by what; None where it stays: it is said."""
    found = measure_local_shift(scene, work)
    stays = "AFTER stays where it is: no local shift"
    if isinstance(found, Unmeasured):
        work.stages.notice(f"{stays} can be measured, since {found.reason}")
        return scene, None
    if found.field is None:
        work.stages.notice(f"{stays} stands out (windows lie {found.length:.2f} px off)")
        return scene, None
    log.info("local shift removed: %.2f px in the median, up to %.2f px", found.length, found.field.longest)
    return scene.move(1, (0.0, 0.0), resampling, found.field), found


def _shift_task(scene: Scene, tile: Tile) -> WindowShift | Unmeasured:
    (before, after), valid = scene.read(tile)
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
