"""What stops a command: signals, and faults of ours."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.every_command import FOLDERS, call_of, files_of, is_hidden, timed_commands, unreadable
from tests.forked_commands import run_forked
from tests.stand_ins import write_pair, write_raster

if sys.platform == "win32":
    pytest.skip("no such signals there", allow_module_level=True)

PACKAGE = """
import builtins
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class Broken:
    error: str = "TypeError"
    name: ClassVar[str] = "broken"
    dates: ClassVar[int] = 2

    def fit(self, series, map_blocks):
        raise getattr(builtins, self.error)("a fault\\nof ours")
"""


def start(*arguments, **more):
    code = "import sys; from geochange.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, **more)


def wait_for(there, process):
    while not there():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


def stop(process, number):
    """Send a signal; exit code and the only line on stderr."""
    process.send_signal(number)
    _, errors = process.communicate()
    (line,) = errors.strip().splitlines()
    return process.returncode, line


@pytest.fixture
def slow(tmp_path):
    """Arguments of a command that works for long beside its output, and the folder of the output."""
    noise = np.random.default_rng(0).random((1, 3000, 3000), np.float32)
    write_raster(tmp_path / "p.tif", noise)
    write_raster(tmp_path / "image.tif", (noise * 255).astype(np.uint8))
    (tmp_path / "out").mkdir()
    led = ("--image", tmp_path / "image.tif", "--guided", "8", "--crf", "10")
    return ("refine", tmp_path / "p.tif", *led, "-o", tmp_path / "out" / "o.tif", "-q"), tmp_path / "out"


@pytest.mark.parametrize(
    ("number", "code", "how"),
    [(signal.SIGTERM, 143, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted"), (signal.SIGHUP, 129, "SIGHUP")],
)
def test_a_stopped_command_leaves_nothing_and_says_how_to_go_on(slow, number, code, how):
    arguments, out = slow
    process = start(*arguments)
    wait_for(lambda: any(out.glob(".geochange-*/*.tif")), process)
    ended, line = stop(process, number)
    assert ended == code
    assert how in line
    assert line.endswith("run it again")
    assert list(out.iterdir()) == []


def test_an_ignored_hangup_stays_ignored(tmp_path):
    code = (
        "import os, signal; from geochange.interrupts import Interrupts\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with Interrupts() as interrupts: os.kill(os.getpid(), signal.SIGHUP); print(interrupts.wanted)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_a_stopped_detect_is_logged_and_resumed(tmp_path):
    pair = write_pair(tmp_path, (2000, 2000))
    command = ("detect", *pair, "-o", tmp_path / "out", "-d", "change-vector", "--block-size", "128", "-q")
    process = start(*command)
    wait_for(lambda: any((tmp_path / "out").glob(".geochange/blocks*/**/*.tif")), process)
    code, line = stop(process, signal.SIGTERM)
    assert code == 143
    assert line == "geochange: stopped by SIGTERM; add --resume to go on from what is done"
    assert "stopped: Interrupted: SIGTERM" in (tmp_path / "out" / "run.log").read_text()
    assert not (tmp_path / "out" / "run.json").exists()
    again = start(*command, "--resume")
    assert (again.communicate()[1], again.returncode) == ("", 0)


@pytest.fixture
def broken(tmp_path):
    """The environment in which a package with a faulty detector is installed."""
    place = tmp_path / "packages"
    (place / "broken-1.dist-info").mkdir(parents=True)
    (place / "broken.py").write_text(PACKAGE)
    (place / "broken-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (place / "broken-1.dist-info" / "entry_points.txt").write_text("[geochange.detectors]\nbroken = broken:Broken\n")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    paths = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(temporary)}


@pytest.mark.parametrize("error", ["TypeError", "EOFError", "MemoryError"])
def test_a_fault_of_ours_is_one_line_that_names_the_log(tmp_path, broken, error):
    pair = write_pair(tmp_path)
    process = start("detect", *pair, "-o", tmp_path / "out", "-d", "broken", "--option", f"error={error}", env=broken)
    _, errors = process.communicate()
    log = tmp_path / "out" / "run.log"
    assert errors.strip() == f"geochange: unexpected {error}: a fault; see {log}"
    assert process.returncode == 1
    assert "Traceback" in log.read_text()


def test_a_fault_without_a_log_of_the_run_leaves_one(tmp_path, broken):
    code = "from geochange.cli.program import run_command; run_command(lambda: {}['missing'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=broken, check=False)
    assert ended.returncode == 1
    (log,) = Path(broken["TMPDIR"]).glob("geochange-*.log")
    assert ended.stderr == f"geochange: unexpected KeyError: 'missing'; see {log}\n"
    assert "Traceback" in log.read_text()


MOMENTS = 10
BEGUN = 0.05  # seconds after which a forked command has begun
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
LASTING = (".tif", ".geojson", ".fgb", ".png")  # of the same bytes in every run


@pytest.mark.long
def test_commands_that_are_stopped_at_any_moment_are_whole_when_they_are_run_again(tmp_path):
    draw, failed = random.Random(0), []
    commands, whole, seconds = timed_commands(tmp_path)

    def run(places, *more, again=False):
        cases = []
        for name, own, *how in places:
            way_on = FOLDERS.get(name, "").split() if again else []
            signalled = {"signal": how[0], "after": how[1]} if how else {}
            cases.append({"arguments": call_of(commands[name], own, *way_on, *more), **signalled})
        return run_forked(tmp_path, cases)

    stopped = [
        (name, tmp_path / f"{name} {number.name} {moment}", number, draw.uniform(BEGUN, seconds[name]))
        for name in commands
        for number in SIGNALS
        for moment in range(MOMENTS)
    ]
    unfinished = []
    for (name, own, number, after), found in zip(stopped, run(stopped), strict=True):
        failed += [(name, number.name, after, why, found) for why in left_wrong(name, number, own, found, whole[name])]
        if not files_of(own) >= files_of(whole[name]):
            unfinished.append((name, own))
    refused = []
    for (name, own), found in zip(unfinished, run(unfinished, again=True), strict=True):
        if found["code"] == 2 and "--overwrite" in found["lines"][0] and len(found["lines"]) == 1:
            refused.append((name, own))
        elif found["code"]:
            failed.append((name, own.name, "again", found))
    for (name, own), found in zip(refused, run(refused, "--overwrite"), strict=True):
        if found["code"]:
            failed.append((name, own.name, "overwritten", found))
    failed += [(name, own.name, why) for name, own in unfinished for why in unlike(own, whole[name])]
    print(f"{len(stopped)} signals, {len(unfinished)} runs stopped, {len(refused)} begun again with --overwrite")
    assert not failed, "\n".join(map(str, failed))


def kinds_of(folder):
    """How many files of each name a folder holds; trials that take the place of others have other numbers."""
    return Counter(re.sub(r"trials/\d+", "trials/*", path.as_posix()) for path in files_of(folder))


def left_wrong(name, number, own, found, whole):
    """What is wrong with what a signal leaves: a line that says so, what can be read, and no process."""
    if found["orphaned"]:
        yield "a process lives on"
    killed = number == signal.SIGKILL
    if (found["code"], len(found["lines"])) not in ((0, 0), (-number, 0) if killed else (128 + number, 1)):
        yield "another end"
    there = {path for path in files_of(own) if path.name != "run.log" and not is_hidden(path)}
    if found["code"] and not killed and name not in FOLDERS and there and not there >= files_of(whole):
        yield f"{there} are left"  # which of several files is renamed first is soon over
    yield from unreadable(own, there)


def unlike(own, whole):
    """What is wrong with a run that was gone on with."""
    if kinds_of(own) != kinds_of(whole):
        yield f"{sorted(kinds_of(whole).items())} became {sorted(kinds_of(own).items())}"
    if hidden := [path for path in files_of(own) if is_hidden(path)]:
        yield f"{hidden} are left"
    yield from unreadable(own, files_of(own))
    for path in files_of(whole) & files_of(own):
        if path.suffix in LASTING and (own / path).read_bytes() != (whole / path).read_bytes():
            yield f"{path} differs"
