"""geochange.cli.tables."""

from __future__ import annotations

import pytest
from affine import Affine
from pyproj import CRS

from geochange.cli.tables import print_report
from geochange.scenes.grid import Grid
from geochange.scenes.preflight import DateFacts, Report
from geochange.scenes.radiometry import Radiometry
from geochange.scenes.registration import Shift

GRID = Grid(CRS.from_epsg(26914), Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))
BANDS = (Radiometry(1, 0.75, -12.5, 0.1, 3.0, 0.9), Radiometry(2, 1.25, 1e-4, 0.2, 2.0, 0.8))


def printed(capsys: pytest.CaptureFixture[str], name: str = "before.tif", shift: Shift | None = None) -> str:
    facts = DateFacts(name, GRID, 2, "uint8")
    print_report(Report(facts, facts, 0.125, shift or Shift(0.25, -0.5, 0.11, 0.22, 20, 25), BANDS))
    return capsys.readouterr().out


def test_print_report_tells_how_sure_the_shift_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = next(line for line in printed(capsys).splitlines() if "AFTER lies" in line)
    assert all(figure in line for figure in ("+0.25", "-0.50", "0.11", "0.22", "20 of 25 windows"))


def test_print_report_of_one_window_has_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    assert "(1 of 25 windows, so no spread)" in printed(capsys, shift=Shift(0.1, 0.1, None, None, 1, 25))


def test_print_report_gives_nodata_and_each_bands_gain_and_offset(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys).splitlines()
    assert any("12.5% of the pixels hold no data" in line for line in lines)
    assert ["1", "0.75", "-12.5"] in [line.split()[:3] for line in lines]
    assert ["2", "1.25", "0.0001"] in [line.split()[:3] for line in lines]


def test_print_report_says_once_what_mends_several_findings(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    assert text.count("hardly follows its earlier self") == 2
    assert text.count("check that bands are in one order") == 1


def test_print_report_prints_names_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    name = f"[bold]{'folder/' * 50}before.tif"
    assert name in "".join(line.strip() for line in printed(capsys, name).splitlines())
