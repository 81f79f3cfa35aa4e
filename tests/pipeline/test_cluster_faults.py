"""`detect` on a cluster whose parts fail: one line, exit code 2, and the same bytes once it goes on."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clusters import address_of, kill, scheduler, wait_until, worker

pytestmark = pytest.mark.xdist_group("clusters")

SAMPLE = Path(__file__).parents[2] / "sample_data"
HOW = ("-d", "change-vector", "--block-size", "128", "--formats", "geojson")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "out"
    assert run(detect(out, "--threads", "2")).returncode == 0
    return contents(out)


def detect(out: Path, *options: str) -> list[str]:
    pair = [str(SAMPLE / f"{date}.tif") for date in ("before", "after")]
    return [sys.executable, "-m", "geochange", "detect", *pair, "-o", str(out), *HOW, "-q", *options]


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("probability.tif", "changes.geojson", "preview.png")}


@contextmanager
def started(out: Path, *options: str):
    """The command, once some of its blocks are done."""
    with subprocess.Popen(detect(out, *options), stderr=subprocess.PIPE, text=True) as command:
        wait_until(lambda: done(out) > 2 or command.poll() is not None)
        assert command.poll() is None, command.stderr.read()
        try:
            yield command
        finally:
            command.kill()


def done(out: Path) -> int:
    return len(list(out.glob(".geochange/blocks/**/*.tif")))


@pytest.mark.parametrize("lost", ["workers", "scheduler"])
def test_what_is_lost_is_told_and_the_run_goes_on_to_the_same_bytes(tmp_path, expected, lost):
    out = tmp_path / "out"
    with scheduler(tmp_path) as (there, told), worker(told) as one:
        address = address_of(told)
        with started(out, "--scheduler", address, "--wait-workers", "3s") as command:
            kill(one if lost == "workers" else there)
            _, errors = command.communicate(timeout=60)
    assert command.returncode == 2
    words = "has had no worker for 3 s" if lost == "workers" else "is gone, or was started anew"
    assert errors.count("\n") == 1
    assert words in errors
    assert "blocks are done; add --resume to go on from what is done" in errors
    assert "waiting 3 s" in (out / "run.log").read_text() or lost == "scheduler"
    assert run(detect(out, "--resume")).returncode == 0
    assert contents(out) == expected


def test_workers_come_and_go_while_a_run_goes_on(tmp_path, expected):
    out = tmp_path / "out"
    with (
        scheduler(tmp_path) as (_, told),
        worker(told) as first,
        started(out, "--scheduler", address_of(told)) as command,
        worker(told),
    ):
        wait_until(lambda: done(out) > 5 or command.poll() is not None)
        kill(first)
        assert command.wait(timeout=60) == 0
    assert contents(out) == expected
