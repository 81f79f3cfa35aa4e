"""`geochange watch`: each image as `detect` would compare it, none twice, none lost."""

import csv
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import geopandas
import pytest

import geochange
from tests.commands import refused
from tests.small_networks import save_small
from tests.stand_ins import changed_pair, write_raster

SIDE = 96
FAST = ("--every", 0.01, "--until-idle", 0.2)
COLUMNS = ["label", "score_mean", "score_max", "area_px", "geometry"]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "images"
    made.mkdir()
    return made


def image(seed):
    return changed_pair((SIDE, SIDE), seed=seed // 2)[seed % 2]


def put(folder, count):
    return [write_raster(folder / f"{k:03d}.tif", image(k)) for k in range(count)]


def lines_of(out):
    with (out / "frames.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def layer_of(out):
    return geopandas.read_file(out / "changes.gpkg", layer="changes")


def alike(found, detected):
    """Whether features are those that `detect` found, but for their numbers."""
    assert len(found) == len(detected) > 0
    for name in COLUMNS:
        assert list(found[name]) == list(detected[name]), name


@contextmanager
def meanwhile(work):
    """Work in a thread while what is inside goes on."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("detector", ["change-vector", "auto", "network"])
def test_changes_are_those_that_detect_finds(run, folder, tmp_path, detector, reference):
    paths, out = put(folder, 4), tmp_path / "out"
    options = {"detector": detector}
    arguments = ["-d", detector]
    if detector == "network":
        options["checkpoint"] = save_small(tmp_path / "small.pt", "siamese-unet")
        arguments += ["--checkpoint", options["checkpoint"]]
    first = write_raster(tmp_path / "first.tif", image(9)) if reference else None
    arguments += ["--reference", first] if reference else []
    code, printed, errors = run("watch", folder, "-o", out, *FAST, *arguments)
    assert code == 0, errors
    layer, lines = layer_of(out), lines_of(out)
    befores = [first] * 4 if reference else [None, *paths[:3]]
    assert [line["image"] for line in lines] == [f"{k:03d}.tif" for k in range(4)]
    assert list(layer.id) == list(range(1, len(layer) + 1))
    for before, after, line in zip(befores, paths, lines, strict=True):
        found = layer[layer.image == line["image"]]
        assert int(line["count"]) == len(found)
        if before is None:
            assert len(found) == 0
            continue
        alike(found, geochange.detect(before, after, tmp_path / "run", overwrite=True, **options).changes())
        assert set(found.compared_with) == {Path(before).name}
    assert f"{len(layer)}" in printed


def test_images_that_come_while_it_watches_are_taken(folder, tmp_path):
    def bring():
        for k in range(3):
            time.sleep(0.1)
            write_raster(folder / f"{k:03d}.tif", image(k))

    with meanwhile(bring):
        found = geochange.watch(folder, tmp_path / "out", every=0.02, until_idle=2, detector="difference")
    assert found.record["images"] == 3
    assert found.record["compared"] == 2
    assert found.record["median"]["seconds"] > 0


def test_an_image_that_is_not_whole_yet_is_taken_when_it_is(folder, tmp_path):
    put(folder, 2)
    whole = (folder / "001.tif").read_bytes()
    (folder / "001.tif").write_bytes(whole[:3000])

    def complete():
        while not ((tmp_path / "out" / "frames.csv").exists() and len(lines_of(tmp_path / "out")) == 2):
            time.sleep(0.01)
        (folder / "001.tif").write_bytes(whole)

    with meanwhile(complete):
        found = geochange.watch(folder, tmp_path / "out", every=0.02, until_idle=1.5, detector="difference")
    assert found.record["left_out"] == []
    assert [line["error"] == "" for line in lines_of(tmp_path / "out")] == [True, False, True]
    assert set(layer_of(tmp_path / "out").image) == {"001.tif"}


def test_an_image_that_cannot_be_compared_is_named_and_left_out(run, folder, tmp_path):
    put(folder, 3)
    write_raster(folder / "001.tif", image(1)[:2])
    write_raster(folder / "notes.bmp", image(1))
    code, printed, errors = run("watch", folder, "-o", tmp_path / "out", *FAST, "-d", "difference")
    assert code == 0
    assert [line for line in errors if "001.tif is left out" in line and "bands" in line]
    assert "1 left out" in printed
    assert [line["compared_with"] for line in lines_of(tmp_path / "out")] == ["", "000.tif", "000.tif"]


def test_an_image_whose_predecessor_was_removed_is_the_first_of_a_new_row(folder, tmp_path):
    paths, out = put(folder, 2), tmp_path / "out"

    def go_on():
        while not ((out / "frames.csv").exists() and len(lines_of(out)) == 2):
            time.sleep(0.01)
        for path in paths:
            Path(path).unlink()
        for number in (2, 3):
            write_raster(folder / f"{number:03d}.tif", image(number))

    with meanwhile(go_on):
        found = geochange.watch(folder, out, every=0.02, until_idle=1.5, detector="difference")
    assert found.record["left_out"] == []
    assert [line["compared_with"] for line in lines_of(out)] == ["", "000.tif", "", "002.tif"]


def test_a_watch_that_was_killed_goes_on_with_nothing_lost_and_nothing_twice(folder, tmp_path, run):
    put(folder, 12)
    out, arguments = tmp_path / "out", (folder, *FAST, "-d", "difference", "-o")
    command = [sys.executable, "-m", "geochange", "watch", *map(str, arguments), str(out)]
    for wanted in (3, 6, 9):
        resume = ["--resume"] if out.exists() else []
        with subprocess.Popen([*command, *resume], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            listed = out / "frames.csv"
            while process.poll() is None and not (listed.exists() and len(lines_of(out)) >= wanted):
                time.sleep(0.001)
            process.kill()
    with (out / "frames.csv").open("a") as file:
        file.write("011.tif,010")  # half a line
    for each in ((out, "--resume"), (tmp_path / "whole",)):
        code, _, errors = run("watch", *arguments, *each)
        assert code == 0, errors
    assert [line["image"] for line in lines_of(out)] == [f"{k:03d}.tif" for k in range(12)]
    found, whole = layer_of(out), layer_of(tmp_path / "whole")
    assert found.id.is_unique
    for name in [*COLUMNS, "image", "compared_with"]:
        assert list(found[name]) == list(whole[name])


def test_features_of_an_image_that_is_not_listed_are_removed(run, folder, tmp_path):
    """What is left of a process that was killed between the layer and the list."""
    put(folder, 3)
    arguments = ("watch", folder, "-o", tmp_path / "out", *FAST, "-d", "difference")
    assert run(*arguments)[0] == 0
    before, listed = layer_of(tmp_path / "out"), tmp_path / "out" / "frames.csv"
    listed.write_text("".join(listed.read_text().splitlines(keepends=True)[:-1]))
    assert run(*arguments, "--resume")[0] == 0
    after = layer_of(tmp_path / "out")
    assert after.drop(columns="geometry").equals(before.drop(columns="geometry"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_its_usual_end(folder, tmp_path, number):
    put(folder, 2)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "geochange", "watch", folder, "-o", out, "-d", "difference"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        while not ((out / "frames.csv").exists() and len(lines_of(out)) == 2):
            time.sleep(0.01)
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "images" in printed
    record = json.loads((out / "run.json").read_text())
    assert record["finished"]
    assert record["images"] == 2
    assert not list(out.glob(".*"))


def test_mistakes_are_refused(run, folder, tmp_path):
    out = tmp_path / "out"
    refused(run("watch", tmp_path / "none", "-o", out, *FAST), "is no folder")
    refused(run("watch", folder, "-o", out, "--every", 0), "every")
    refused(run("watch", folder, "-o", out, "--until-idle", -1), "until_idle")
    assert not out.exists()
    put(folder, 2)
    refused(run("watch", folder, "-o", out, *FAST, "-d", "no-such"), "unknown detector")


def test_an_empty_folder_leaves_a_record(run, folder, tmp_path):
    code, printed, _ = run("watch", folder, "-o", tmp_path / "out", *FAST, "--json")
    assert code == 0
    assert json.loads(printed)["images"] == 0
    assert json.loads(printed)["median"]["seconds"] is None
