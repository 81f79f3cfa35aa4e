"""The threshold that a review chooses: by cells that were looked at, or, where there are none, only a higher one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from geochange.errors import BadOption, NothingValid
from geochange.probability.options import ThresholdOptions
from geochange.review.material import HELD_OUT, TRAINING, hold_out, write_labels
from geochange.review.saved import SavedReview
from geochange.scenes.layer_files import is_layer

HELD_OUT_SHARE = 0.25  # of the cells that were looked at: one number needs few to be chosen by

T = TypeVar("T", bound=ThresholdOptions)


def review_of(options: ThresholdOptions) -> SavedReview | None:
    """Open the reviewed run that options name as labels; None where they name none.

    Raises:
        UnreadableInput: the folder holds no finished run of `detect`.
        BadOption: a column is wanted of it.
    """
    if options.labels is None or is_layer(options.labels) or not Path(options.labels).is_dir():
        return None
    if options.label_column is not None:
        raise BadOption(f"{options.labels} is a run that was reviewed, which has no column {options.label_column!r}")
    return SavedReview.open(Path(options.labels))


@dataclass(frozen=True, slots=True)
class Scored:
    """A raster whose threshold is chosen."""

    detector: str | None
    default: float
    """The detector's threshold."""


def labelled_by(saved: SavedReview, options: T, folder: Path, scored: Scored, notice: Callable[[str], None]) -> T:
    """Write the labels of a review as rasters, and return options that name them.

    Only cells that were looked at tell how much was missed. Where they hold changes, labels are theirs alone, and some
    cells are held out. Elsewhere the threshold may only rise: from that of the reviewed run, where its detector was the
    same, else from the detector's.

    Args:
        saved: the review.
        options: whose labels it is.
        folder: in which the rasters are written.
        scored: the raster whose threshold is chosen.
        notice: is told where the threshold may only rise.

    Raises:
        NothingValid: nothing has been decided.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TRAINING
    parts = write_labels(path, saved, looked_alone=True)
    if any(part.changed for part in parts):
        held = hold_out(folder, saved, parts, HELD_OUT_SHARE)
        return replace(options, labels=str(path), held_out=str(folder / HELD_OUT) if held else None)
    if not write_labels(path, saved):
        raise NothingValid(f"{saved.run.out} has no label yet: keep or reject changes, or look at cells, first")
    least = saved.run.threshold if saved.run.record["detector"]["name"] == scored.detector else scored.default
    notice(
        f"no cell of {saved.run.out.name} that was looked at holds a change, so nothing is known of what was missed: "
        f"the threshold may only rise, from {least:.3f}"
    )
    return replace(options, labels=str(path), least=least)
