"""Dates of acquisition, as texts and as decimal years."""

import pytest

from geochange.scenes.dates import date_in_name, dates_of, decimal_years


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("1985.tif", "1985"), ("S2A_20240702T104500.tif", "2024-07-02"), ("scene_2024-07-02.tif", "2024-07-02"),
        ("a/b_202407.tif", "2024-07"), ("LC08_20240702_x.tif", "2024-07-02"), ("tile12345.tif", None), ("x.tif", None),
    ],
)  # fmt: skip
def test_dates_are_read_from_names(name, date):
    assert date_in_name(name) == date


def test_given_dates_go_before_tags_and_tags_before_names():
    names = ["1985.tif", "1990.tif"]
    assert dates_of((), ["2001-01-01", None], names) == ("2001-01-01", "1990")
    assert dates_of(("a", "b"), ["2001-01-01", None], names) == ("a", "b")


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("1985", 1985.5), ("2023-01-01", 2023 + 0.5 / 365), ("2024-12-31", 2024 + 365.5 / 366),
        ("2023-07-02", 2023.5), ("2023-07-02T10:45:00", 2023.5), ("2023-01", 2023 + 15.5 / 365),
    ],
)  # fmt: skip
def test_dates_become_years_with_fractions(date, year):
    assert decimal_years([date]) == pytest.approx((year,), abs=1e-9)


@pytest.mark.parametrize("unknown", [None, "dry season", "2023-13-01", "2023-02-30", "", "20230101"])
def test_one_date_that_is_not_known_leaves_all_unknown(unknown):
    assert decimal_years(["1985", unknown]) is None
