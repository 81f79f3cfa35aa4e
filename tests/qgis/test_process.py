"""A run of geochange as the plugin follows it. No QGIS is needed."""

import json
import os
import sys
from pathlib import Path

import pytest
from geochange_qgis import process
from geochange_qgis.environment import clean_variables
from geochange_qgis.process import Follower, event_words, read_event, run

import geochange
from tests.stand_ins import write_pair

ROOT = Path(geochange.__file__).parents[1]
VARIABLES = {**clean_variables(os.environ, sys.executable), "PYTHONPATH": str(ROOT)}
COMMAND = [sys.executable, "-m", "geochange"]
SMALL_BLOCKS = ["-d", "change-vector", "--tile-size", "64", "--overlap", "8", "--block-size", "64"]


BEGUN = '{"event": "begin", "stage": "fit", "blocks": 4}'
ADVANCED = '{"event": "advance", "stage": "fit", "done": 1, "blocks": 4, "pixels": 9}'
REST = ('{"event": "notice", "text": "n"}', '{"event": "end", "stage": "fit", "seconds": 0.5}')
ANSWERED = '{"event": "answer", "answer": {"a": 1}}'
STDERR = "\n".join([BEGUN, ADVANCED, "a warning of a library", '{"a": 1}', *REST, ANSWERED, ""])


class Recorded(Follower):
    """Keeps all that it receives, and cancels in a stage."""

    def __init__(self, cancel_in=None):
        self.cancel_in, self.found, self.wanted = cancel_in, [], False

    def stage(self, name):
        self.found.append(("stage", name))

    def progress(self, share):
        self.found.append(("progress", share))
        self.wanted = self.wanted or self.found[-2:-1] == [("stage", self.cancel_in)]

    def end(self, name, seconds):
        self.found.append(("end", name))

    def notice(self, text):
        self.found.append(("notice", text))

    def line(self, text):
        self.found.append(("line", text))

    def stray(self, text):
        self.found.append(("stray", text))

    def cancelled(self):
        return self.wanted


def python(code):
    return [sys.executable, "-c", code]


def test_events_lines_and_strays_are_told_apart():
    code = f"import sys; print('ä table'); sys.stderr.write({STDERR!r})"
    follower = Recorded()
    outcome = run(python(code), VARIABLES, follower)
    assert (outcome.code, outcome.error, outcome.answer, outcome.printed) == (0, "", {"a": 1}, ["ä table"])
    assert [each for each in follower.found if each[0] != "line"] == [
        ("stage", "fit"),
        ("progress", 0.25),
        ("stray", "a warning of a library"),
        ("stray", '{"a": 1}'),
        ("notice", "n"),
        ("end", "fit"),
    ]


def test_a_program_that_only_dies_is_reported_with_its_code():
    outcome = run(python("raise SystemExit(3)"), VARIABLES, Follower())
    assert (outcome.code, outcome.error) == (3, "geochange ended with code 3, and said nothing")


@pytest.mark.parametrize("text", ["", "geochange: no", "[1]", "1", '{"no": "event"}', '{"event"'])
def test_what_is_no_event_is_none(text):
    assert read_event(text) is None


def test_an_error_of_geochange_is_its_line(tmp_path):
    outcome = run(
        event_words(COMMAND, ["vectorize", "--output=o.gpkg", "--", str(tmp_path / "no.tif")]), VARIABLES, Follower()
    )
    assert outcome.code == 2
    assert "no.tif does not exist" in outcome.error


def test_a_run_gives_progress_table_and_answer(tmp_path):
    pair = map(str, write_pair(tmp_path, (200, 200)))
    follower = Recorded()
    words = event_words(COMMAND, ["detect", f"--output={tmp_path / 'out'}", *SMALL_BLOCKS, "--", *pair])
    outcome = run(words, VARIABLES, follower)
    assert outcome.code == 0
    assert outcome.answer == json.loads((tmp_path / "out" / "run.json").read_text())
    assert outcome.printed[0].startswith("scene")
    assert ("progress", 1.0) in follower.found
    assert ("end", "score") in follower.found
    assert not [each for each in follower.found if each[0] == "stray"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
def test_a_run_that_is_cancelled_can_be_resumed_with_the_same_bytes(tmp_path):
    pair = [str(each) for each in write_pair(tmp_path, (640, 640))]

    def detect(out, *more, follower=None):
        arguments = ["detect", f"--output={tmp_path / out}", *SMALL_BLOCKS, *more, "--", *pair]
        return run(event_words(COMMAND, arguments), VARIABLES, follower or Follower())

    outcome = detect("out", follower=Recorded("score"))
    assert outcome.cancelled
    assert outcome.code == 130
    assert outcome.error == "interrupted; add --resume to go on from what is done"
    assert list((tmp_path / "out").glob(".geochange/blocks*/**/*.tif"))
    assert not (tmp_path / "out" / "run.json").exists()
    assert detect("out", "--resume").code == detect("whole").code == 0
    for name in ("probability.tif", "changes.geojson"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize(("ignored", "number"), [("SIGINT", 15), ("SIGINT, signal.SIGTERM", 9)])
def test_a_program_that_ignores_signals_is_ended_more_firmly(monkeypatch, ignored, number):
    monkeypatch.setattr(process, "PATIENCE", {"INT": 0.3, "TERM": 0.3})
    code = (
        f"import signal, sys, time\nfor each in (signal.{ignored},): signal.signal(each, signal.SIG_IGN)\n"
        f"print({BEGUN!r}, {ADVANCED!r}, sep='\\n', file=sys.stderr, flush=True); time.sleep(600)"
    )
    outcome = run(python(code), VARIABLES, Recorded("fit"))
    assert outcome.cancelled
    assert outcome.code == -number
