"""The programs of `workflows/` that are more than a call: run as they are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import geochange
from geochange.review.saved import SavedReview
from tests.review.conftest import SAMPLE, decided_by_truth

pytestmark = pytest.mark.xdist_group("workflows")  # groups are begun first, and a round takes long
ROUND = Path(__file__).parents[1] / "workflows" / "review_round.py"


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    out = tmp_path_factory.mktemp("round") / "first"
    geochange.detect(
        SAMPLE / "before.tif", SAMPLE / "after.tif", out, detector="change-vector", bands=(1, 2, 3), min_area="6px",
        formats=("gpkg",),
    )  # fmt: skip
    decided_by_truth(out, cells=range(4))
    return out


def round_of(*arguments):
    done = subprocess.run([sys.executable, ROUND, *map(str, arguments)], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("step ")]  # of the training
    return done.returncode, lines, done.stderr


def test_a_round_learns_detects_carries_over_and_scores(reviewed, tmp_path):
    before = {path: path.read_bytes() for path in reviewed.rglob("*") if path.is_file()}
    code, printed, errors = round_of(reviewed, "--from", "landscape", "-o", tmp_path / "next", "--steps", 2)
    assert code == 0, errors
    first, *scores = printed
    new = SavedReview.open(tmp_path / "next" / "first")
    carried = len(new.actions[0].items)
    assert first.startswith(f"{tmp_path / 'next' / 'first'}: {carried} decisions and ")
    assert [line.split(":")[0].strip() for line in scores] == ["before", "after"]
    assert new.run.scene.bands == (1, 2, 3)
    assert new.run.record["identity"]["options"]["min_area"] == "6px"
    assert {path: path.read_bytes() for path in reviewed.rglob("*") if path.is_file()} == before
    assert round_of(reviewed, "--from", "landscape", "-o", tmp_path / "next", "--steps", 2)[:2] == (0, printed)


def test_without_weights_a_round_chooses_the_threshold(reviewed, tmp_path):
    code, printed, errors = round_of(reviewed, "-o", tmp_path / "next")
    assert code == 0, errors
    found = SavedReview.open(tmp_path / "next" / "first").run
    assert found.record["detector"]["name"] == "change-vector"
    assert printed[-1] == f"threshold {found.record['threshold']}"
    assert found.record["threshold_labels"]["held_out"]["f1"] > 0.5


def test_what_cannot_be_is_refused_in_a_line(reviewed, tmp_path):
    shutil.copytree(reviewed, tmp_path / "first")
    for arguments, said in (
        ([reviewed, tmp_path / "first", "-o", tmp_path / "n"], "folders must have different names"),
        ([tmp_path, "-o", tmp_path / "n"], "holds no finished run"),
    ):
        code, _, errors = round_of(*arguments)
        assert (code, len(errors.splitlines())) == (2, 1)
        assert said in errors
    assert not (tmp_path / "n").exists()
