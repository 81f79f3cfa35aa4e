"""The dock in QGIS itself: `pytest -m qgis`, where QGIS and its Python are installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import geochange
from geochange.review.saved import SavedReview

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("QGIS_PYTHON", "/usr/bin/python3")
SESSION = Path(__file__).with_name("dock_session.py")

pytestmark = pytest.mark.qgis


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """What somebody saw who reviewed the sample in QGIS, and the review that is left of it."""
    out = tmp_path_factory.mktemp("dock") / "out"
    pair = (ROOT / "sample_data" / f"{date}.tif" for date in ("before", "after"))
    geochange.detect(*pair, out, detector="change-vector", formats=("gpkg",))
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("QT_", "GDAL_", "PROJ_"))}
    variables = {**clean, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": f"{ROOT / 'qgis_plugin'}{os.pathsep}{ROOT}"}
    words = [PYTHON, SESSION, out, sys.executable, "-m", "geochange"]
    ended = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1]), SavedReview.open(out)


@pytest.fixture
def seen(session):
    return session[0]


def decided(review):
    return {int(key): each.fields["status"] for key, each in review.state.touched.items()}


def test_a_folder_of_results_is_opened(seen):
    assert seen["refused"].endswith("nothing holds no results of geochange: it has no run.json")
    assert seen["offered"] == ["out"]
    assert seen["layers"] == [
        ["changes of out", True],
        ["after (after)", True],
        ["before (before)", False],
        ["found", False],
    ]
    assert seen["drawn by"] == "status"


def test_the_first_change_is_described_and_fills_the_map(session):
    seen, review = session
    columns = review.base.columns
    first = columns.ids.tolist().index(seen["first"])
    assert columns.confidences[first] == columns.confidences.max()
    assert seen["fits"]
    assert seen["described"]["dates"] == "2021-06-14 → 2024-07-02"
    assert float(seen["described"]["score"]) == pytest.approx(columns.scores[first], abs=0.005)


def test_decisions_are_in_the_review(session):
    seen, review = session
    assert len({seen[name] for name in ("first", "second", "undone", "third")}) == 4
    assert seen["after undo"] == [seen["undone"], "unreviewed"]
    assert seen["before third"] == seen["undone"]
    assert seen["counted"] == f"2 of {len(review.base.places)} decided"
    assert not seen["edited"]
    expected = {seen["first"]: "kept", seen["second"]: "rejected"}
    expected |= {seen["undone"]: "rejected"}  # while somebody edited the layer
    expected |= {seen["while busy"]: "kept", seen["without geochange"]: "kept", seen["last"]: "unsure"}
    expected |= {seen["after the lock"][0]: "unsure"}
    assert {number: status for number, status in decided(review).items() if status != "unreviewed"} == expected
    assert {action.who for action in review.actions} == {"qgis"}


def test_four_edits_at_once_are_two_take_ins(seen):
    assert seen["take-ins of four"] == 2
    assert seen["saved"] == "all taken in"


def test_keys_belong_to_whoever_types(seen):
    assert seen["typed"] == ["k", True]
    assert seen["with Ctrl"]


def test_in_an_edit_session_of_the_user_a_decision_waits_for_it(seen):
    assert seen["in an edit session"] == [True, 0]
    assert seen["saved by the user"] == [seen["undone"], "rejected"]


def test_what_cannot_be_taken_in_is_said_and_kept(seen):
    assert seen["busy"] == ["OUT is in use by another run; wait for it, or stop it", "1 saved, not taken in"]
    assert seen["not started"].startswith("/nowhere/geochange cannot be started")


def test_while_another_program_writes_a_decision_waits(seen):
    message, saved, edited = seen["locked"]
    assert "database is locked" in message
    assert (saved, edited) == ("1 not saved yet", False)
    assert seen["after the lock"][1] == "unsure"


def test_left_of_the_line_is_before_and_right_of_it_after(seen):
    for line in (200, 400):
        assert seen[f"swipe {line}"] == [[True, False], [False, True]]
    assert seen["after the swipe"]
    assert seen["back"] == [True, False, True]


def test_each_order_begins_with_its_first(session):
    seen, review = session
    columns = review.base.columns
    ids = columns.ids.tolist()
    assert columns.scores[ids.index(seen["order score"])] == columns.scores.max()
    assert columns.areas[ids.index(seen["order area"])] == columns.areas.max()
    assert columns.confidences[ids.index(seen["order confidence"])] == columns.confidences.max()
    assert columns.boxes[ids.index(seen["order place"])][1] < review.run.scene.shape[0] / 16


def test_nothing_of_geochange_is_imported_into_qgis(seen):
    assert seen["imported"] == []


def test_at_the_end_nothing_is_left_open(seen):
    assert seen["closed"] == [False, False]
    waiting, busy, files = seen["left"]
    assert (waiting, busy) == (0, False)
    assert not [name for name in files if name.endswith(("-wal", "-shm", "-journal"))]
