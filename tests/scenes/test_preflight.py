"""geochange.scenes.preflight."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from affine import Affine
from pyproj import CRS

from geochange.scenes.grid import Grid
from geochange.scenes.preflight import DateFacts, Report
from geochange.scenes.radiometry import Radiometry
from geochange.scenes.registration import Shift, Unmeasured

GRID = Grid(CRS.from_epsg(26914), Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))
FACTS = DateFacts("before.tif", GRID, 4, "uint8")
STEADY = Shift(0.05, -0.1, 0.1, 0.1, 20, 25)
ALIKE = (Radiometry(1, 1.0, 0.0, 0.95, 3.0, 0.9),)
READY = Report(FACTS, replace(FACTS, name="after.tif"), 0.02, STEADY, ALIKE)


def moved(change: Affine) -> DateFacts:
    """Facts of a date on a grid that starts, or is scaled, elsewhere."""
    return replace(FACTS, grid=replace(GRID, transform=GRID.transform @ change))


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (READY, "ready"),
        (replace(READY, shift=replace(STEADY, row=-0.7)), "usable with care"),
        (replace(READY, shift=replace(STEADY, spread_col=2.0)), "usable with care"),
        (replace(READY, shift=Unmeasured("no texture")), "usable with care"),
        (replace(READY, shift=replace(STEADY, col=-4.0)), "needs alignment"),
        (replace(READY, after=moved(Affine.translation(0.3, 0))), "needs alignment"),
        (replace(READY, after=moved(Affine.translation(40, 0))), "needs alignment"),
        (replace(READY, after=moved(Affine.translation(80, 0))), "not comparable"),
        (replace(READY, after=replace(FACTS, grid=replace(GRID, crs=None))), "not comparable"),
        (replace(READY, after=replace(FACTS, bands=3)), "not comparable"),
        (replace(READY, after=replace(FACTS, dtype="uint16")), "ready"),
        (replace(READY, nodata=0.7), "usable with care"),
        (replace(READY, nodata=1.0, shift=None, radiometry=()), "not comparable"),
        (replace(READY, radiometry=(replace(ALIKE[0], correlation=0.1),)), "usable with care"),
        (replace(READY, radiometry=(replace(ALIKE[0], gain=256.0),)), "ready"),
        (replace(READY, radiometry=(Radiometry(1, None, None, None, None, 0.0),)), "usable with care"),
    ],
)
def test_report_verdict_follows_the_worst_finding(report: Report, verdict: str) -> None:
    assert report.verdict == verdict


def test_report_offers_a_fix_for_everything_that_is_wrong() -> None:
    after = replace(moved(Affine.translation(0.3, 0) @ Affine.scale(2)), bands=3, dtype="float32")
    report = Report(FACTS, after, 1.0, replace(STEADY, row=3.0, spread_row=1.0), (replace(ALIKE[0], gain=9.0),))
    wrong = [finding for finding in report.findings if finding.severity > 0]
    assert {finding.subject for finding in wrong} == {"grid", "bands", "dtype", "nodata", "shift", "radiometry"}
    assert all(finding.fix and "\n" not in finding.text + finding.fix for finding in wrong)


@pytest.mark.parametrize("shift", [STEADY, Unmeasured("no texture"), None])
def test_report_survives_json(shift: Shift | Unmeasured | None) -> None:
    report = replace(READY, shift=shift).to_dict()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["verdict"] in {"ready", "usable with care"}
    assert report["findings"][0]["severity"] == "ok"
