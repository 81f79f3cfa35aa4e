"""`detect` on a cluster whose parts fail: one line, exit code 2, and the same bytes once it goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import rasterio

import geochange
from tests.clusters import address_of, kill, scheduler, wait_until, worker
from tests.disks import disk

pytestmark = pytest.mark.xdist_group("clusters")

SAMPLE = Path(__file__).parents[2] / "sample_data"
HOW = ("-d", "change-vector", "--block-size", "128", "--formats", "geojson")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "out"
    go_on(out)
    return contents(out)


def detect(out: Path, *options: str, images: Path = SAMPLE) -> list[str]:
    pair = [str(images / f"{date}.tif") for date in ("before", "after")]
    return [sys.executable, "-m", "geochange", "detect", *pair, "-o", str(out), *HOW, "-q", *options]


def run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def go_on(out: Path, images: Path = SAMPLE) -> None:
    """Resume a run, in this process."""
    settings = {"detector": "change-vector", "block_size": 128, "formats": ("geojson",)}
    geochange.detect(images / "before.tif", images / "after.tif", out, **settings, resume=True)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in ("probability.tif", "changes.geojson", "preview.png")}


@contextmanager
def started(out: Path, *options: str, images: Path = SAMPLE):
    """The command, once some of its blocks are done."""
    with subprocess.Popen(detect(out, *options, images=images), stderr=subprocess.PIPE, text=True) as command:
        wait_until(lambda: done(out) > 2 or command.poll() is not None)
        assert command.poll() is None, command.stderr.read()
        try:
            yield command
        finally:
            command.kill()


def done(out: Path) -> int:
    return len(list(out.glob(".geochange/blocks*/**/*.tif")))


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
    go_on(out)
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


def test_a_driver_that_is_told_to_end_leaves_a_run_to_go_on_with(tmp_path, expected):
    out = tmp_path / "out"
    with scheduler(tmp_path) as (_, told), worker(told):
        address = address_of(told)
        with started(out, "--scheduler", address) as command:
            command.terminate()
            _, errors = command.communicate(timeout=60)
        assert command.returncode == 128 + signal.SIGTERM
        assert errors == "geochange: stopped by SIGTERM; add --resume to go on from what is done\n"
    go_on(out)
    assert contents(out) == expected


def test_a_disk_that_fills_up_under_the_workers_ends_the_run(tmp_path, expected):
    with disk(tmp_path / "disk", 80 << 20) as shared, scheduler(tmp_path) as (_, told), worker(told):
        out = shared / "out"
        with started(out, "--scheduler", address_of(told)) as command:
            fill(shared / "other")
            _, errors = command.communicate(timeout=60)
        assert command.returncode == 2
        assert errors.count("\n") == 1
        assert "the disk is full" in errors
        assert "--resume" in errors
        (shared / "other").unlink()
        go_on(out)
        assert contents(out) == expected


def fill(path: Path) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={path}", "bs=64k"], capture_output=True, check=False)


def test_a_block_that_cannot_be_read_ends_the_run_and_is_named(tmp_path, expected):
    images = tmp_path / "images"
    shutil.copytree(SAMPLE, images)
    whole = (images / "after.tif").read_bytes()
    with rasterio.open(images / "after.tif") as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    with (images / "after.tif").open("r+b") as file:
        file.seek(offset)
        file.write(bytes(64))
    out = tmp_path / "out"
    with scheduler(tmp_path) as (_, told), worker(told):
        command = detect(out, "--scheduler", address_of(told), images=images)
        found = run(command)
        assert found.returncode == 2
        assert found.stderr.count("\n") == 1, found.stderr
        assert "after.tif" in found.stderr
    (images / "after.tif").write_bytes(whole)
    go_on(out, images)
    assert contents(out) == expected
