"""geochange.scenes.differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.warp import Resampling, reproject

from geochange.scenes.differences import grid_differences, overlap_share
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.preflight import DateFacts, Report, Severity

UTM = CRS.from_epsg(26914)
GRID = Grid(UTM, Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))


def subjects(before: Grid, after: Grid) -> list[str]:
    return [difference.subject for difference in grid_differences(before, after)]


def moved(grid: Grid, change: Affine) -> Grid:
    return replace(grid, transform=grid.transform @ change)


# A shift of a millionth of a pixel is what doubles lose on the way through a file; ten times that is no accident.
@given(st.floats(-9e-7, 9e-7), st.floats(-9e-7, 9e-7))
def test_grid_differences_forgives_rounding(col: float, row: float) -> None:
    assert grid_differences(GRID, moved(GRID, Affine.translation(col, row))) == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (GRID, []),
        (replace(GRID, crs=CRS.from_wkt(UTM.to_wkt())), []),
        (moved(GRID, Affine.translation(-1e-5, 0)), ["origin"]),
        (moved(GRID, Affine.scale(0.5)), ["resolution", "overlap"]),
        (moved(GRID, Affine.scale(1, 0.5)), ["resolution", "overlap"]),
        (moved(GRID, Affine.scale(0.5, 1)), ["resolution", "overlap"]),
        (moved(GRID, Affine.rotation(30)), ["rotation", "overlap"]),
        (moved(GRID, Affine.translation(0, 40) @ Affine.scale(1, -1)), ["rotation", "origin"]),
        (replace(GRID, shape=(41, 60)), ["size"]),
        (replace(GRID, crs=CRS.from_epsg(26915)), ["CRS", "resolution", "overlap"]),
        (replace(GRID, crs=None), ["CRS", "resolution"]),
    ],
)
def test_grid_differences_lists_each_difference(after: Grid, expected: list[str]) -> None:
    found = subjects(GRID, after)
    assert [subject for subject in found if subject != "overlap" or "overlap" in expected] == expected


def test_grid_differences_gives_both_values_pixels_and_map_units() -> None:
    origin, overlap = grid_differences(GRID, moved(GRID, Affine.translation(2, 0.5)))
    assert str(origin) == (
        "origin 500000,5200000 against 500010,5199997.5 (+2 columns and +0.5 rows; +10, -2.5 map units)"
    )
    assert "geochange align" in origin.fix
    assert str(overlap) == (
        "overlap 500000,5199800,500300,5200000 against 500010,5199797.5,500310,5199997.5 (AFTER covers 95.5% of BEFORE)"
    )
    assert overlap.fix == origin.fix
    apart = grid_differences(GRID, moved(GRID, Affine.translation(60, 0)))[-1]
    assert (apart.subject, apart.amount) == ("overlap", "AFTER covers 0.0% of BEFORE")
    assert apart.fix == "choose two images of one place"


def test_grid_differences_gives_the_size_and_the_crs_of_each_date() -> None:
    smaller, elsewhere = replace(GRID, shape=(30, 50)), replace(GRID, crs=CRS.from_epsg(26915))
    assert str(grid_differences(GRID, smaller)[0]) == "size 40 rows x 60 columns against 30 rows x 50 columns"
    assert str(grid_differences(GRID, elsewhere)[0]) == "CRS EPSG:26914 against EPSG:26915"


@given(st.integers(-70, 70), st.integers(-50, 50))
def test_overlap_share_counts_common_pixels(col: int, row: int) -> None:
    common = GRID.area.intersect(Tile(row, col, *GRID.shape)).size
    assert overlap_share(GRID, moved(GRID, Affine.translation(col, row))) == pytest.approx(common / GRID.area.size)


def test_overlap_share_in_another_crs_agrees_with_gdal() -> None:
    before = Grid(CRS.from_epsg(3035), Affine(20_000, 0, 2_500_000, 0, -20_000, 4_500_000), (120, 160))
    after = Grid(CRS.from_epsg(4326), Affine(0.1, 0, -10, 0, -0.1, 60), (150, 300))
    covered = np.zeros(before.shape, np.uint8)
    reproject(
        np.ones(after.shape, np.uint8),
        covered,
        src_transform=after.transform,
        src_crs=after.crs.to_wkt(),
        dst_transform=before.transform,
        dst_crs=before.crs.to_wkt(),
        resampling=Resampling.nearest,
    )
    assert 0.1 < covered.mean() < 0.9
    assert overlap_share(before, after) == pytest.approx(covered.mean(), abs=0.01)


def test_overlap_share_is_unknown_where_one_date_has_no_crs() -> None:
    assert overlap_share(GRID, replace(GRID, crs=None)) is None


@pytest.mark.parametrize("crs", ['LOCAL_CS["site",UNIT["metre",1]]', "+proj=eqc +R=3396190 +type=crs"])
def test_crss_that_cannot_be_brought_together_leave_all_else_unknown(crs: str) -> None:
    other = replace(GRID, crs=CRS(crs), shape=(41, 60))
    for before, after in ((GRID, other), (other, GRID)):
        assert overlap_share(before, after) is None
        assert subjects(before, after) == ["CRS"]
    assert subjects(other, other) == []


def test_report_says_that_one_crs_cannot_be_brought_to_the_other() -> None:
    local = replace(GRID, crs=CRS('LOCAL_CS["site",UNIT["metre",1]]'))
    report = Report(DateFacts("before.tif", GRID, 3, "uint8"), DateFacts("after.tif", local, 3, "uint8"), None, None)
    (finding,) = (finding for finding in report.findings if "one CRS cannot be brought to the other" in finding.text)
    assert finding.severity is Severity.PROBLEM
    assert report.verdict == "not comparable"
    assert not any("align" in finding.fix for finding in report.findings)


GRID = Grid(CRS.from_epsg(26914), Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))


@pytest.mark.parametrize(("pixel", "rows"), [((5, -5), "down"), ((5, 5), "up"), ((5, -10), "down")])
def test_a_rotation_is_told_as_the_angle_of_the_rows_on_the_map(pixel, rows):
    turned = Affine.translation(500_000, 5_200_000) @ Affine.rotation(30) @ Affine.scale(*pixel)
    found = grid_differences(GRID, replace(GRID, transform=turned))
    rotation = next(difference for difference in found if difference.subject == "rotation")
    assert (rotation.before, rotation.after) == ("0 degrees, rows down", f"30 degrees, rows {rows}")


GRID = Grid(CRS.from_epsg(26914), Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))


def test_a_resolution_is_told_as_how_large_the_pixels_of_after_are_in_those_of_before():
    coarse = replace(GRID, transform=GRID.transform @ Affine.scale(2, 4))
    found = next(each for each in grid_differences(GRID, coarse) if each.subject == "resolution")
    assert str(found) == "resolution 5 x 5 metre against 10 x 20 metre (2 times as wide and 4 times as high)"
