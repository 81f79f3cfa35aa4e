"""`geochange --progress json COMMAND`: one event a line on stderr, and all else as without."""

import json
import math
import signal
import subprocess
import sys
import time

import pytest

from geochange.cli.events import JsonEvents, finite
from tests.commands import refused
from tests.stand_ins import write_pair

EVENTS = {
    "begin": {"stage": str, "blocks": int},
    "advance": {"stage": str, "done": int, "blocks": int, "pixels": int},
    "end": {"stage": str, "seconds": float},
    "figures": {"figures": dict},
    "notice": {"text": str},
    "answer": {"answer": dict},
    "error": {"text": str},
}
BLOCKS = ("-d", "change-vector", "--tile-size", "64", "--overlap", "8", "--block-size", "64")


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path, (200, 300))


def read(lines):
    """Events of lines, all of which are one."""
    found = [json.loads(line) for line in lines]
    for each in found:
        named = EVENTS[each["event"]]
        assert each.keys() == {"event", *named}
        assert all(isinstance(each[name], kind) for name, kind in named.items()), each
    return found


def stages(events):
    """The stages as they begin: name, blocks, and how many were done until the next one."""
    found = []
    for each in events:
        if each["event"] == "begin":
            found.append([each["stage"], each["blocks"], 0])
        elif each["event"] == "advance":
            assert (each["stage"], each["blocks"]) == (found[-1][0], found[-1][1])
            assert each["done"] > found[-1][2]
            found[-1][2] = each["done"]
    return found


def test_blocks_add_up_and_every_line_is_an_event(run, pair, tmp_path):
    code, out, lines = run("--progress", "json", "detect", *pair, "-o", tmp_path / "out", *BLOCKS)
    events = read(lines)
    assert code == 0
    assert out.startswith("scene")
    found = stages(events)
    assert all(done == blocks for _, blocks, done in found)
    assert max(blocks for name, blocks, _ in found if name == "score") > 4
    assert events[-1]["event"] == "answer"
    assert events[-1]["answer"] == json.loads((tmp_path / "out" / "run.json").read_text())


def test_stdout_and_files_are_those_of_a_call_without(run, pair, tmp_path):
    answers = {}
    for name, root in (("plain", ()), ("events", ("--progress", "json"))):
        code, out, lines = run(*root, "detect", *pair, "-o", tmp_path / name, *BLOCKS, "--json")
        answers[name] = json.loads(out)
        assert (code, bool(lines)) == (0, bool(root))
    assert answers["plain"]["changes"] == answers["events"]["changes"]
    files = {name: sorted(path.name for path in (tmp_path / name).iterdir()) for name in answers}
    assert files["plain"] == files["events"]
    for name in ("probability.tif", "changes.geojson"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "events" / name).read_bytes()


def test_quiet_leaves_the_error_alone(run, pair, tmp_path):
    assert run("--progress", "json", "detect", *pair, "-o", tmp_path / "out", *BLOCKS, "-q") == (0, "", [])
    code, _, lines = run("--progress", "json", "detect", *pair, "-o", tmp_path / "out", *BLOCKS, "-q")
    (error,) = read(lines)
    assert code == 2
    assert "--overwrite" in error["text"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["detect", "missing.tif", "{after}", "-o", "{out}"], "missing.tif"),
        (["detect", "{before}", "{after}", "-o", "{out}", "--threshold", "2"], "threshold"),
        (["detect", "{before}", "{after}", "-o", "{out}", "--no-such"], "--no-such"),
        (["detect"], "BEFORE"),
        (["no-such"], "no-such"),
    ],
)
def test_an_error_is_the_last_event_and_the_exit_code_is_2(run, pair, tmp_path, arguments, words):
    places = {"before": pair[0], "after": pair[1], "out": tmp_path / "out"}
    code, out, lines = run("--progress", "json", *(each.format(**places) for each in arguments))
    events = read(lines)
    assert (code, out) == (2, "")
    assert [each["event"] for each in events].index("error") == len(events) - 1
    assert words in events[-1]["text"]


def test_the_next_call_is_plain_again(run, tmp_path):
    run("--progress", "json", "detect")
    refused(run("vectorize", tmp_path / "no.tif", "-o", tmp_path / "o.gpkg"), "geochange:", "no.tif")


def test_another_form_is_refused(run):
    refused(run("--progress", "xml", "detectors"), "--progress must be one of bar, json, not 'xml'")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
@pytest.mark.parametrize(
    ("number", "code", "how"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "stopped by SIGTERM")]
)
def test_a_stopped_run_says_so_and_is_resumed_with_the_same_bytes(tmp_path, number, code, how):
    pair = write_pair(tmp_path, (800, 800))
    command = [sys.executable, "-m", "geochange", "--progress", "json", "detect", *map(str, pair)]

    def start(out, *more):
        arguments = [*command, "-o", str(tmp_path / out), *BLOCKS, *more]
        return subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    process = start("out")
    while not any((tmp_path / "out").glob(".geochange/blocks*/**/*.tif")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    events = read(process.communicate()[1].splitlines())
    assert process.returncode == code
    assert events[-1] == {"event": "error", "text": f"{how}; add --resume to go on from what is done"}
    for out, more in (("out", ["--resume"]), ("whole", [])):
        again = start(out, *more)
        assert read(again.communicate()[1].splitlines())[-1]["event"] == "answer"
    for name in ("probability.tif", "changes.geojson"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_figures_and_notices_are_events_of_one_line(capsys):
    listener = JsonEvents()
    listener.report({"step": 1, "loss": math.nan, "f1": 0.5})
    listener.notice("two\nlines, the password=x")
    first, second = read(capsys.readouterr().err.splitlines())
    assert first["figures"] == {"step": 1, "loss": None, "f1": 0.5}
    assert "\n" not in second["text"]
    assert "x" not in second["text"].split("password")[1]


def test_many_blocks_are_few_lines_and_the_last_is_among_them(capsys):
    listener = JsonEvents()
    listener.begin("score", 1000, 0)
    for _ in range(1000):
        listener.advance(10)
    listener.end("score", 0.1)
    events = read(capsys.readouterr().err.splitlines())
    assert len(events) < 100
    assert events[1]["done"] == 1
    assert events[-2] == {"event": "advance", "stage": "score", "done": 1000, "blocks": 1000, "pixels": 10_000}


def test_numbers_that_json_does_not_have_are_none():
    assert finite({"a": [1.0, math.inf, (math.nan, 2)], "b": "nan"}) == {"a": [1.0, None, [None, 2]], "b": "nan"}
