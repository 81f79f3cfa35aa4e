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

UTM = CRS.from_epsg(26914)
GRID = Grid(UTM, Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 60))
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
        (replace(READY, after=replace(FACTS, grid=replace(GRID, shape=(41, 60)))), "needs alignment"),
        (replace(READY, after=replace(FACTS, grid=replace(GRID, shape=(40, 59)))), "needs alignment"),
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


def findings(report: Report, subject: str) -> list[tuple[str, str]]:
    return [(each.severity.name, each.text) for each in report.findings if each.subject == subject]


def test_report_tells_the_dates_apart() -> None:
    """In the facts and in every text that has a value of each date."""
    after = replace(moved(Affine.scale(2)), name="after.tif", bands=3, dtype="uint16", scaling=((0.1, -5),) * 3)
    report = replace(READY, after=after)
    facts = report.to_dict()
    for date, known in (("before", FACTS), ("after", after)):
        assert {name: facts[date][name] for name in ("name", "bands", "dtype")} == {
            "name": known.name,
            "bands": known.bands,
            "dtype": known.dtype,
        }
        assert facts[date]["bounds"] == list(known.grid.bounds)
        assert facts[date]["resolution"] == list(known.grid.resolution)
    assert facts["after"]["scaling"] == [[0.1, -5]] * 3
    assert facts["before"]["scaling"] is None
    assert findings(report, "bands") == [("PROBLEM", "4 bands against 3")]
    assert findings(report, "dtype") == [("NOTE", "uint8 against uint16: values may be on different scales")]
    assert findings(report, "scale")[0][1].endswith("none before, 0.1 and -5 after")
    assert findings(report, "grid")[0][1].startswith("resolution 5 x 5 metre against 10 x 10 metre")


SCALED, OTHERWISE = ((0.1, 0.0), (0.1, 0.0), (0.2, -5.0), (0.1, 0.0)), ((2.0, 1.0),) * 4


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, None, []),
        (SCALED, None, [("WARNING", "0.1 and 0 or 0.2 and -5 before, none after")]),
        (None, SCALED, [("WARNING", "none before, 0.1 and 0 or 0.2 and -5 after")]),
        (SCALED, OTHERWISE, [("OK", "0.1 and 0 or 0.2 and -5 before, 2 and 1 after")]),
    ],
)
def test_scales_of_one_date_only_are_a_warning(before, after, expected) -> None:
    report = replace(READY, before=replace(FACTS, scaling=before), after=replace(FACTS, scaling=after))
    head = "numbers are taken with their bands' scale and offset: "
    assert findings(report, "scale") == [(severity, head + text) for severity, text in expected]
    assert report.verdict == ("usable with care" if (before is None) != (after is None) else "ready")


@pytest.mark.parametrize(
    ("subject", "report", "severities"),
    [
        ("nodata", replace(READY, nodata=None), []),
        ("nodata", replace(READY, nodata=0.5), ["OK"]),
        ("nodata", replace(READY, nodata=0.51), ["WARNING"]),
        ("nodata", replace(READY, nodata=1.0), ["PROBLEM"]),
        ("overlap", replace(READY, after=moved(Affine.translation(30, 0))), ["OK"]),
        ("overlap", replace(READY, after=moved(Affine.translation(31, 0))), ["WARNING"]),
        ("overlap", replace(READY, after=moved(Affine.translation(0, 40))), ["PROBLEM"]),
        ("shift", replace(READY, shift=replace(STEADY, row=0.3)), ["OK"]),
        ("shift", replace(READY, shift=replace(STEADY, row=-0.31)), ["WARNING"]),
        ("shift", replace(READY, shift=replace(STEADY, col=1.0)), ["WARNING"]),
        ("shift", replace(READY, shift=replace(STEADY, col=-1.01)), ["PROBLEM"]),
        ("shift", replace(READY, shift=replace(STEADY, spread_row=0.5)), ["OK"]),
        ("shift", replace(READY, shift=replace(STEADY, spread_row=0.51)), ["OK", "WARNING"]),
        ("shift", replace(READY, shift=replace(STEADY, row=2.0, spread_col=0.51)), ["PROBLEM", "WARNING"]),
        ("radiometry", replace(READY, radiometry=()), []),
        ("radiometry", READY, ["OK"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], correlation=-0.29), *ALIKE)), ["WARNING"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], correlation=-0.3, gain=-1.0),)), ["NOTE"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], correlation=0.3),)), ["OK"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], gain=1.5),)), ["OK"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], gain=1.51),)), ["NOTE"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], gain=0.67),)), ["OK"]),
        ("radiometry", replace(READY, radiometry=(replace(ALIKE[0], gain=0.66),)), ["NOTE"]),
    ],
)
def test_findings_are_as_severe_as_their_limits_say(subject, report, severities) -> None:
    assert [severity for severity, _ in findings(report, subject)] == severities


def test_report_gives_facts_in_plain_numbers() -> None:
    facts = READY.to_dict()
    assert facts["before"]["transform"] == [5, 0, 500_000, 0, -5, 5_200_000]
    assert facts["before"]["shape"] == [40, 60]
    assert (facts["shift"]["row"], facts["shift"]["col"], facts["shift"]["windows_used"]) == (0.05, -0.1, 20)
    assert replace(READY, shift=None).to_dict()["shift"] is None
    assert findings(READY, "dtype") == findings(READY, "CRS") == []


def test_report_tells_the_spread_of_the_shift_where_there_are_several_windows() -> None:
    assert findings(READY, "shift")[0][1].endswith("off (spread 0.10 and 0.10 px over 20 of 25 windows)")
    single = replace(READY, shift=Shift(0.05, -0.1, None, None, 1, 4))
    assert findings(single, "shift") == [
        ("OK", "AFTER lies +0.05 rows and -0.10 columns off (1 of 4 windows, so no spread)")
    ]


@pytest.mark.parametrize(("before", "after"), [(None, UTM), (UTM, None), (None, None)])
def test_report_says_what_a_missing_crs_means(before, after) -> None:
    dates = [replace(FACTS, grid=replace(GRID, crs=crs)) for crs in (before, after)]
    report = replace(READY, before=dates[0], after=dates[1])
    if before == after:
        assert findings(report, "CRS")[0][0] == "NOTE"
        assert findings(report, "overlap") == [("OK", "AFTER covers 100.0% of BEFORE")]
    else:
        assert findings(report, "overlap") == [("PROBLEM", "not known: just one date has a CRS")]


@pytest.mark.parametrize(
    ("after", "subjects"),
    [
        (GRID, []),
        (replace(GRID, shape=(41, 60)), ["size"]),
        (replace(GRID, shape=(40, 60), transform=GRID.transform @ Affine.translation(0, 0.25)), ["origin"]),
        (replace(GRID, shape=(39, 61), transform=GRID.transform @ Affine.translation(3, 0)), ["origin", "size"]),
        (replace(GRID, shape=(80, 120), transform=GRID.transform @ Affine.scale(0.5)), ["resolution", "size"]),
        (replace(GRID, transform=GRID.transform @ Affine.rotation(3)), ["rotation"]),
        (replace(GRID, crs=CRS.from_epsg(26915)), ["CRS", "resolution"]),
        (replace(GRID, crs=None, shape=(20, 60)), ["CRS", "resolution", "size"]),
    ],
)
def test_every_way_in_which_the_grids_differ_is_a_problem_but_for_overlap_which_is_told_apart(after, subjects) -> None:
    report = replace(READY, after=replace(FACTS, grid=after))
    found = findings(report, "grid")
    assert len(findings(report, "overlap")) == 1
    if not subjects:
        assert found == [("OK", "one grid")]
        return
    assert [severity for severity, _ in found] == ["PROBLEM"] * len(subjects)
    assert [text.split()[0] for _, text in found] == subjects
    assert report.verdict != "ready"
    assert all(each.fix for each in report.findings if each.subject == "grid")
