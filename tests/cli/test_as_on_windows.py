"""Commands run where no file can be replaced, moved or removed that is open, with the calls of Windows."""

import pytest

from tests.every_command import FOLDERS, call_of, every_command, write_inputs
from tests.open_files import run_watched, watchable

pytestmark = [
    pytest.mark.skipif(not watchable(), reason="the system does not tell which files are open"),
    pytest.mark.xdist_group("as on windows"),
]
SHORT = ("align", "vectorize gpkg", "refine", "fuse", "kinds", "datasets import", "detect", "watch", "review")
ONCE = {"datasets doubts", "tune", "train", "finetune", "review"}
"""Commands that are not called again on what they have left."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    write_inputs(folder)
    return folder


def calls(inputs, names):
    """Calls of each command: anew, in place of what that left, and going on with it."""
    for name, command in every_command(inputs).items():
        if name in names:
            folder = inputs / f"out {name}"
            yield call_of(command, folder)
            if name not in ONCE:
                yield call_of(command, folder, "--overwrite")
            if FOLDERS.get(name) and name not in ONCE:
                yield call_of(command, folder, "--resume")


def faults(inputs, cases):
    ended = run_watched(inputs, list(cases))
    assert ended
    return [each for each in ended if each["code"] or each["notes"] or each["left"]]


def test_no_command_touches_what_it_holds_open(inputs):
    assert faults(inputs, calls(inputs, SHORT)) == []


def test_no_worker_holds_what_the_run_removes(inputs):
    pair = [str(inputs / name) for name in ("before.tif", "after.tif")]
    with_workers = ["--workers", "2", "-q"]
    detect = ["detect", *pair, "-o", str(inputs / "detected"), *with_workers]
    refine = ["refine", str(inputs / "p.tif"), "--open", "1px", "-o", str(inputs / "refined.tif"), *with_workers]
    assert faults(inputs, [detect, [*detect, "--overwrite"], refine]) == []


@pytest.mark.long
def test_no_other_command_does(inputs):
    assert faults(inputs, calls(inputs, set(every_command(inputs)) - {*SHORT})) == []
