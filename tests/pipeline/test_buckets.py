"""Images from buckets and servers, and results in a bucket: the same bytes as on a disk, or one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest
import rasterio

import geochange
from geochange.buckets import open_bucket
from geochange.errors import OutputInTheWay
from geochange.remote import remote_options
from tests.clusters import address_of, kill, scheduler, wait_until, worker
from tests.servers import KEYS, failing_server, free_port, s3_server
from tests.stand_ins import write_pair

pytest.importorskip("obstore")
pytestmark = pytest.mark.xdist_group("clusters")

SAMPLE = Path(__file__).parents[2] / "sample_data"
HOW = {"detector": "change-vector", "block_size": 128, "formats": ("geojson",)}
NAMES = "probability.tif", "changes.geojson", "preview.png"


@pytest.fixture(scope="module")
def server():
    """Address of the bucket, what opens it; the sample lies in it."""
    with s3_server(free_port(), "bucket") as (_, opening):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in opening.items():
                patch.setenv(name, value)
            images = open_bucket("s3://bucket/images")
            for date in ("before.tif", "after.tif"):
                images.write(date, SAMPLE / date)
        yield opening


@pytest.fixture
def opened(server, monkeypatch, tmp_path):
    """The environment has what opens the bucket, and a cache of its own."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return server


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    out = tmp_path_factory.mktemp("expected") / "out"
    geochange.detect(SAMPLE / "before.tif", SAMPLE / "after.tif", out, **HOW)
    return {name: (out / name).read_bytes() for name in NAMES}


def contents(url):
    return {name: open_bucket(url).read(name) for name in NAMES}


def left(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_run_from_a_bucket_into_a_bucket_leaves_the_same_bytes(opened, expected, tmp_path):
    pair = "s3://bucket/images/before.tif", "/vsis3/bucket/images/after.tif"
    found = geochange.detect(*pair, "s3://bucket/out", **HOW)
    assert contents("s3://bucket/out") == expected
    assert open_bucket("s3://bucket/out").names() == {*NAMES, "run.json", "run.log"}
    assert found.folder == "s3://bucket/out"
    assert len(found.changes()) == found.record["changes"]["count"]
    with rasterio.Env(**remote_options()):
        assert found.open().shape == (1, 1024, 1024)
    assert not left(tmp_path)
    again = geochange.detect(*pair, "s3://bucket/out", **HOW, resume=True)
    assert again.record["started"] == found.record["started"]
    with pytest.raises(OutputInTheWay, match=r"^s3://bucket/out holds a finished run; --resume keeps it"):
        geochange.detect(*pair, "s3://bucket/out", **HOW)
    with pytest.raises(OutputInTheWay, match=r"^s3://bucket/out holds a run that differs in options.block_size"):
        geochange.detect(*pair, "s3://bucket/out", **HOW | {"block_size": 256}, resume=True)
    geochange.detect(*pair, "s3://bucket/out", **HOW | {"formats": ("gpkg",)}, overwrite=True)
    assert open_bucket("s3://bucket/out").names() == {
        "probability.tif", "changes.gpkg", "preview.png", "run.json", "run.log"
    }  # fmt: skip
    (tmp_path / "layer.gpkg").write_bytes(open_bucket("s3://bucket/out").read("changes.gpkg"))
    assert len(geopandas.read_file(tmp_path / "layer.gpkg", layer="changes")) == found.record["changes"]["count"]


def test_what_is_in_the_way_in_a_bucket_is_named(opened):
    open_bucket("s3://bucket/other").write("preview.png", b"mine")
    pair = SAMPLE / "before.tif", SAMPLE / "after.tif"
    with pytest.raises(OutputInTheWay, match=r"^s3://bucket/other/preview.png exists, and is not of a finished run"):
        geochange.detect(*pair, "s3://bucket/other", **HOW)
    with pytest.raises(OutputInTheWay, match=r"^s3://nobody/out/\S+ cannot be written: .*not found"):
        geochange.detect(*pair, "s3://nobody/out", **HOW)
    assert open_bucket("s3://bucket/other").read("preview.png") == b"mine"


def command(out, *options, pair=None, folder=SAMPLE):
    pair = pair or [str(folder / f"{date}.tif") for date in ("before", "after")]
    how = ["-d", "change-vector", "--block-size", "128", "--formats", "geojson", "-q"]
    return [sys.executable, "-m", "geochange", "detect", *pair, "-o", out, *how, *options]


def run(arguments, **settings):
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=120, **settings)


def test_on_a_cluster_and_a_worker_that_cannot_open_the_bucket_is_told(opened, expected, tmp_path):
    pair = ["s3://bucket/images/before.tif", "s3://bucket/images/after.tif"]
    locked = {name: value for name, value in os.environ.items() if name not in opened}
    with scheduler(tmp_path) as (_, told):
        arguments = command("s3://bucket/by-cluster", "--scheduler", address_of(told), pair=pair)
        with worker(told, env=locked):
            failed = run(arguments)
        assert failed.returncode == 2
        assert "has no AWS_ACCESS_KEY_ID in its environment, which opens an input here" in failed.stderr
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in failed.stderr
        with worker(told):
            done = run([*arguments, "--resume"])
        assert done.returncode == 0, done.stderr
    assert contents("s3://bucket/by-cluster") == expected


def test_a_bucket_that_is_gone_at_the_end_loses_nothing(expected, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    port = free_port()
    with s3_server(port, "bucket") as (process, opening):
        settings = os.environ | opening
        with subprocess.Popen(command("s3://bucket/out"), env=settings, stderr=subprocess.PIPE, text=True) as started:
            wait_until(lambda: any(path.suffix == ".tif" for path in left(tmp_path)) or started.poll() is not None)
            kill(process)
            _, errors = started.communicate(timeout=120)
    assert started.returncode == 2, errors
    assert errors.count("\n") == 1
    assert "s3://bucket/out/" in errors
    assert "add --resume" in errors
    with s3_server(port, "bucket") as (_, opening):
        done = run(command("s3://bucket/out", "--resume"), env=os.environ | opening)
        assert done.returncode == 0, done.stderr
        for name, value in opening.items():
            monkeypatch.setenv(name, value)
        assert contents("s3://bucket/out") == expected
    assert not left(tmp_path)


def test_a_server_that_fails_now_and_then_is_asked_again(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    write_pair(folder, (400, 500))
    with failing_server(folder) as (address, server):
        pair = [f"{address}/before.tif", f"/vsicurl/{address}/after.tif"]
        done = run(command(str(tmp_path / "remote"), pair=pair))
        asked = next(server.count)
    assert done.returncode == 0, done.stderr
    assert asked > 20  # so that some have failed
    assert run(command(str(tmp_path / "local"), folder=folder)).returncode == 0
    for name in NAMES[:2]:  # the picture names its images
        assert (tmp_path / "remote" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
