"""What keeps two dates from lying on one grid, and how much they have in common. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, degrees, hypot, sqrt

from affine import Affine
from pyproj.exceptions import ProjError

from geochange.scenes.grid import Grid, crs_name
from geochange.scenes.placement import covered_share, same_crs

GRID_TOLERANCE = 1e-6
"""Pixels by which corners may differ on one grid: above the rounding of doubles, below any meaning."""

ALIGN = "add --align, or run `geochange align` first"
CHOOSE_OTHERS = "choose two images of one place"
GIVE_CRS = "give both a CRS (gdal_edit.py -a_srs), or neither"
GIVE_ONE_CRS = "give both the CRS that they are in (gdal_edit.py -a_srs), or choose two images of one place"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which two grids differ."""

    subject: str
    """"CRS", "resolution", "rotation", "origin", "size" or "overlap"."""

    before: str
    after: str

    amount: str
    """How much, where that is known: pixels of BEFORE and map units; else empty."""

    fix: str

    def __str__(self) -> str:
        amount = f" ({self.amount})" if self.amount else ""
        return f"{self.subject} {self.before} against {self.after}{amount}"


def grid_differences(before: Grid, after: Grid) -> list[Difference]:
    """List what keeps two dates from lying on one grid; empty where they do.

    Corners that differ by less than 1e-6 px are the same. Where the CRSs differ, origin and rotation have no common
    measure and are left out; where one cannot be brought to the other, so has nothing else.
    """
    share = overlap_share(before, after)
    if share is None and before.crs and after.crs:
        return [Difference("CRS", crs_name(before.crs), crs_name(after.crs), "", GIVE_ONE_CRS)]
    if not same_crs(before.crs, after.crs):
        fix = ALIGN if before.crs and after.crs else GIVE_CRS
        found = [Difference("CRS", crs_name(before.crs), crs_name(after.crs), "", fix), _resolution(before, after)]
    else:
        found = [_resolution(before, after), _rotation(before, after), _origin(before, after)]
    found += [_size(before, after), _overlap(before, after, share)]
    return [difference for difference in found if difference is not None]


def overlap_share(before: Grid, after: Grid) -> float | None:
    """Share of BEFORE's area, 0..1, that AFTER covers.

    None where that cannot be known: just one has a CRS, or one CRS cannot be brought to the other (a local one, Mars).
    """
    if (before.crs is None) != (after.crs is None):
        return None
    try:
        return covered_share(before, after)
    except ProjError:
        return None


def _relative(before: Grid, after: Grid) -> Affine:
    """AFTER's pixel coordinates (column, row) to BEFORE's."""
    relative: Affine = ~before.transform @ after.transform
    return relative


def _resolution(before: Grid, after: Grid) -> Difference | None:
    relative = _relative(before, after)
    ratios = hypot(relative.a, relative.d), hypot(relative.b, relative.e)
    if same_crs(before.crs, after.crs):
        if max(abs(ratio - 1) for ratio in ratios) * max(after.shape) <= GRID_TOLERANCE:
            return None
        amount = f"{ratios[0]:.7g} times as wide and {ratios[1]:.7g} times as high"
    else:
        amount = ""
    return Difference("resolution", _pixel_size(before), _pixel_size(after), amount, ALIGN)


def _pixel_size(grid: Grid) -> str:
    unit = grid.crs.axis_info[0].unit_name if grid.crs and grid.crs.axis_info else "unit"
    x, y = grid.resolution
    return f"{x:.9g} x {y:.9g} {unit}"


def _rotation(before: Grid, after: Grid) -> Difference | None:
    relative = _relative(before, after)
    scale = max(after.shape) / sqrt(abs(relative.determinant))
    off_axis = max(abs(relative.b), abs(relative.d)) * scale
    if off_axis <= GRID_TOLERANCE and relative.a > 0 and relative.e > 0:
        return None
    return Difference("rotation", _heading(before), _heading(after), "", ALIGN)


def _heading(grid: Grid) -> str:
    t = grid.transform
    rows = "down" if t.determinant < 0 else "up"
    return f"{degrees(atan2(t.d, t.a)):.6g} degrees, rows {rows}"


def _origin(before: Grid, after: Grid) -> Difference | None:
    row, col = before.offset_of(after)
    if max(abs(row), abs(col)) <= GRID_TOLERANCE:
        return None
    x, y = after.transform.c - before.transform.c, after.transform.f - before.transform.f
    amount = f"{col:+.6g} columns and {row:+.6g} rows; {x:+.6g}, {y:+.6g} map units"
    return Difference("origin", _corner(before), _corner(after), amount, ALIGN)


def _corner(grid: Grid) -> str:
    return f"{grid.transform.c:.10g},{grid.transform.f:.10g}"


def _size(before: Grid, after: Grid) -> Difference | None:
    if before.shape == after.shape:
        return None
    own, other = (f"{rows} rows x {cols} columns" for rows, cols in (before.shape, after.shape))
    return Difference("size", own, other, "", ALIGN)


def _overlap(before: Grid, after: Grid, share: float | None) -> Difference | None:
    if share is None or (1 - share) * before.area.size <= GRID_TOLERANCE * sum(before.shape):
        return None
    fix = ALIGN if share else CHOOSE_OTHERS
    own, other = (",".join(f"{edge:.10g}" for edge in grid.bounds) for grid in (before, after))
    return Difference("overlap", own, other, f"AFTER covers {share:.1%} of BEFORE", fix)
