"""What stops a command: signals, and faults of ours."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.every_command import FOLDERS, every_command, files_of, read_all, write_inputs
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
    wait_for(lambda: any((tmp_path / "out").glob(".geochange/blocks/**/*.tif")), process)
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
LASTING = (".tif", ".geojson", ".fgb", ".png")  # of the same bytes in every run


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda n: n.name)
@pytest.mark.parametrize("name", list(every_command(Path())))
def test_a_command_that_is_stopped_at_any_moment_is_whole_when_it_is_run_again(inputs, tmp_path, name, number):
    *arguments, output = every_command(inputs)[name]

    def case(own, *more, **how):
        own.mkdir(exist_ok=True)
        return {"arguments": [*arguments, str(own / output), "-q", *more], **how}

    whole, warm = tmp_path / "whole", tmp_path / "warm"
    _, ended = run_forked(tmp_path, [case(warm), case(whole)])
    assert ended["code"] == 0
    draw = random.Random(f"{name} {number}")
    moments = [draw.uniform(0, ended["seconds"]) for _ in range(MOMENTS)]
    places = [tmp_path / f"{place}" for place in range(MOMENTS)]
    cases = [case(own, signal=number, after=after) for own, after in zip(places, moments, strict=True)]
    for own, found in zip(places, run_forked(tmp_path, cases), strict=True):
        require_nothing_half(name, number, own, found, files_of(whole))
    unfinished = [own for own in places if not files_of(own) >= files_of(whole)]
    again = run_forked(tmp_path, [case(own, *FOLDERS.get(name, "").split()) for own in unfinished])
    refused = [own for own, found in zip(unfinished, again, strict=True) if found["code"]]
    for own, found in zip(unfinished, again, strict=True):
        assert not found["code"] or ("--overwrite" in found["lines"][0] and len(found["lines"]) == 1), (own, found)
    for found in run_forked(tmp_path, [case(own, "--overwrite") for own in refused]):
        assert (found["code"], found["lines"]) == (0, [])
    for own in unfinished:
        assert files_of(own) >= files_of(whole)
        assert not [path for path in files_of(own) if is_hidden(path)]
        for path in files_of(whole):
            read_all(own / path)
            if path.suffix in LASTING:
                assert (own / path).read_bytes() == (whole / path).read_bytes(), path


def is_hidden(path):
    return any(part.startswith(".geochange") for part in path.parts)


def require_nothing_half(name, number, own, found, complete):
    """What a signal leaves: a line that says so, what can be read, and no process."""
    assert not found["orphaned"], found
    if number == signal.SIGKILL:
        assert found["code"] in (0, -number), found
    else:
        assert (found["code"], len(found["lines"])) in ((0, 0), (128 + number, 1)), found
    there = {path for path in files_of(own) if path.name != "run.log" and not is_hidden(path)}
    if found["code"] and number != signal.SIGKILL and name not in FOLDERS:
        assert not there or there >= complete, (found, there)  # which of several files is renamed first is soon over
    for path in there:
        read_all(own / path)
