"""What counts as a change, and how it is outlined."""

import re

import pytest
from affine import Affine
from pyproj import CRS

from geochange.errors import BadOption
from geochange.polygons.options import LONGEST_DATE, MinArea, MinAreaOptions, RegionOptions, parse_min_area
from geochange.scenes.grid import Grid

UTM = Grid(CRS("EPSG:32633"), Affine(10, 0, 500_000, 0, -4, 5_400_000), (20, 30))
FEET = Grid(CRS("EPSG:2263"), Affine(3, 0, 1_000_000, 0, -9, 200_000), (20, 30))
PLAIN = Grid(None, Affine(0.5, 0, 100, 0, 0.25, 200), (20, 30))


@pytest.mark.parametrize(
    ("text", "pixels"),
    [
        *[("4px", 4), ("4", 4), ("4.0", 4), (4, 4), (0, 0), ("0px", 0), (" 12 px ", 12), ("1e3", 1000)],
        *[(4.5, 5), ("4.01px", 5)],
    ],
)
def test_a_smallest_area_in_pixels_is_rounded_up(text, pixels):
    assert parse_min_area(text) == MinArea(pixels=pixels)


@pytest.mark.parametrize(
    ("text", "square_metres"), [("100m2", 100), ("2.25m²", 2.25), (" 7 m2 ", 7), ("0m2", 0), ("5e2m2", 500)]
)
def test_a_smallest_area_in_square_metres_is_kept_to_the_digit(text, square_metres):
    assert parse_min_area(text) == MinArea(square_metres=square_metres)


@pytest.mark.parametrize(
    "text", ["-1", -0.5, "4ft", "m2", "", "1.2.3", ".", "4px2", "4 5", "1e18", 1e18, "nan", "inf", float("nan")]
)
def test_other_smallest_areas_are_refused(text):
    with pytest.raises(BadOption, match=rf"min-area {re.escape(repr(text))} must be pixels, .* 0 or more"):
        parse_min_area(text)
    with pytest.raises(BadOption, match="min-area"):
        MinAreaOptions(min_area=text)


def test_areas_below_the_limit_are_read():
    assert parse_min_area("9e17") == MinArea(pixels=9 * 10**17)


@pytest.mark.parametrize("grid", [UTM, FEET, PLAIN])
@pytest.mark.parametrize("text", ["4px", 0, "0m2"])
def test_pixels_and_nothing_at_all_need_no_crs(grid, text):
    assert MinAreaOptions(min_area=text).smallest_on(grid, "p.tif") == parse_min_area(text)


def test_square_metres_need_a_crs():
    options = MinAreaOptions(min_area="0.5m2")
    assert options.smallest_on(UTM, "p.tif") == MinArea(square_metres=0.5)
    with pytest.raises(BadOption, match=r"min-area '0\.5m2' needs a CRS, which p\.tif lacks; give pixels, as in 4px"):
        options.smallest_on(PLAIN, "p.tif")


@pytest.mark.parametrize(("grid", "pixels"), [(UTM, 6 / 10), (FEET, 6 / (9 * 1200 / 3937)), (PLAIN, 6)])
def test_the_tolerance_is_in_pixels_of_their_longer_side(grid, pixels):
    assert RegionOptions(simplify=6).tolerance_on(grid) == pytest.approx(pixels, rel=1e-4)
    assert RegionOptions().tolerance_on(grid) == 0


@pytest.mark.parametrize("simplify", [-0.1, float("inf"), float("nan")])
def test_tolerances_below_0_and_without_end_are_refused(simplify):
    with pytest.raises(BadOption, match=rf"simplify {simplify} must be 0 or more metres"):
        RegionOptions(simplify=simplify)


@pytest.mark.parametrize("name", ["date_before", "date_after"])
def test_each_date_is_printable_text_of_some_length(name):
    longest = "2" * LONGEST_DATE
    assert getattr(RegionOptions(**{name: longest}), name) == longest
    assert getattr(RegionOptions(**{name: ""}), name) == ""
    with pytest.raises(BadOption, match=rf"date 2{{20}}\.\.\. has {LONGEST_DATE + 1} characters; {LONGEST_DATE} are"):
        RegionOptions(**{name: longest + "2"})
    with pytest.raises(BadOption, match=r"date '2009\\n' must be text that can be printed"):
        RegionOptions(**{name: "2009\n"})
