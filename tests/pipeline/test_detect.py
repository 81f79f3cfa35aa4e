"""The laws, on the whole path from two files to polygons, for every detector."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rioxarray
from rasterio.features import shapes
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import shape

import geochange
from geochange.detectors.catalogue import TRAINING_FREE
from geochange.engine.progress import Silent
from geochange.errors import (
    BadOption,
    BandMismatch,
    BlockFailed,
    DiskFull,
    NothingValid,
    OutputInTheWay,
    UnreadableInput,
)
from geochange.pipeline import detect as pipeline
from tests.forked_commands import files_at_most
from tests.stand_ins import PLACE, SHARED, UTM, changed_pair, textured, write_pair, write_raster

SHAPE = (230, 310)
FILES = ("probability.tif", "changes.geojson")
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="real imagery is not beside the project")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), SHAPE)


@pytest.fixture(scope="module")
def warped_pair(tmp_path_factory):
    """AFTER on another grid, in another CRS."""
    folder = tmp_path_factory.mktemp("warped")
    before, after = changed_pair(SHAPE)
    paths = write_raster(folder / "before.tif", before), write_raster(folder / "after.tif", after)
    with rasterio.open(paths[1]) as dataset:
        transform, width, height = rasterio.warp.calculate_default_transform(
            UTM, "EPSG:4326", *SHAPE[::-1], *dataset.bounds
        )
        there = np.zeros((3, height, width), np.uint8)
        rasterio.warp.reproject(
            after, there, src_transform=PLACE, src_crs=UTM, dst_transform=transform, dst_crs="EPSG:4326"
        )
    return paths[0], write_raster(folder / "there.tif", there, crs="EPSG:4326", transform=transform, nodata=0)


def outputs(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def features(folder):
    return geopandas.read_file(folder / "changes.gpkg", layer="changes")


@pytest.mark.parametrize("detector", TRAINING_FREE)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_any_block_size_and_threads_give_the_same_bytes(pair, tmp_path, detector, dtype):
    settings = {"detector": detector, "tile_size": 64, "dtype": dtype}
    runs = [
        geochange.detect(*pair, tmp_path / f"{block}-{threads}", block_size=block, threads=threads, **settings).folder
        for block, threads in ((64, 1), (130, 2), (5000, 4))
    ]
    assert outputs(runs[0]) == outputs(runs[1]) == outputs(runs[2])
    assert features(runs[0]).equals(features(runs[1]))
    assert features(runs[0]).equals(features(runs[2]))


@pytest.mark.parametrize("align", [False, True])
def test_any_number_of_worker_processes_gives_the_same_bytes(pair, warped_pair, tmp_path, align):
    settings = {"tile_size": 64, "align": align}
    chosen = warped_pair if align else pair
    runs = [geochange.detect(*chosen, tmp_path / "threads", threads=1, **settings).folder]
    for workers, block in ((1, 100), (3, 64)):
        out = tmp_path / f"{workers}"
        runs.append(geochange.detect(*chosen, out, workers=workers, block_size=block, **settings).folder)
    assert len({tuple(outputs(run).values()) for run in runs}) == 1


def test_a_running_cluster_is_used_by_its_address(pair, tmp_path):
    from distributed import LocalCluster

    expected = outputs(geochange.detect(*pair, tmp_path / "threads").folder)
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        found = geochange.detect(*pair, tmp_path / "cluster", scheduler=cluster.scheduler_address)
    assert outputs(found.folder) == expected


@pytest.mark.parametrize("detector", TRAINING_FREE)
def test_tiled_is_untiled(pair, tmp_path, detector):
    def probability(size):
        found = geochange.detect(*pair, tmp_path / str(size), detector=detector, tile_size=size, dtype="float32")
        with rasterio.open(found.probability) as dataset:
            return dataset.read(1)

    np.testing.assert_allclose(probability(48), probability(512), atol=1e-5)


@pytest.mark.parametrize("detector", TRAINING_FREE)
def test_swapped_dates_change_alike(pair, tmp_path, detector):
    def probability(images, name):
        with rasterio.open(geochange.detect(*images, tmp_path / name, detector=detector).probability) as dataset:
            return dataset.read(1).astype(int)

    difference = np.abs(probability(pair, "there") - probability(pair[::-1], "back"))
    assert np.percentile(difference, 99.9) <= 1
    assert difference.max() <= 3


@pytest.mark.parametrize("detector", TRAINING_FREE)
def test_nodata_of_either_date_is_nodata_out_and_all_else_is_scored(tmp_path, detector):
    before, after = changed_pair(SHAPE)
    before, after = np.clip(before, 1, 255), np.clip(after, 1, 255)
    expected = np.zeros(SHAPE, bool)
    expected[:50, :60] = expected[200:, 250:] = True
    before[:, :50, :60] = 0
    after[:, 200:, 250:] = 0
    images = [write_raster(tmp_path / f"{i}.tif", date, nodata=0) for i, date in enumerate((before, after))]
    found = geochange.detect(*images, tmp_path / "out", detector=detector, tile_size=64)
    with rasterio.open(found.probability) as dataset:
        np.testing.assert_array_equal(dataset.read(1) == 255, expected)
        nodata = [shape(s) for s, v in shapes(expected.astype(np.uint8), transform=dataset.transform) if v]
    assert not features(found.folder).intersects(nodata[0].buffer(-0.1)).any()


def test_polygons_are_the_pixels_over_the_threshold(pair, tmp_path):
    found = geochange.detect(*pair, tmp_path / "out", threshold=0.3, min_area=0, tile_size=64)
    with rasterio.open(found.probability) as dataset:
        mask = (dataset.read(1) >= np.ceil(0.3 * 254)) & (dataset.read(1) != 255)
        expected = [shape(s) for s, _ in shapes(mask.astype(np.uint8), mask=mask, transform=dataset.transform)]
    layer = features(found.folder)
    assert layer.area_px.sum() == mask.sum()
    assert {g.normalize().wkb for g in layer.geometry} == {g.normalize().wkb for g in expected}


def test_detect_then_vectorize_gives_the_same_layer(pair, tmp_path):
    settings = {"threshold": "0.3:0.8", "min_area": "40m2"}
    found = geochange.detect(*pair, tmp_path / "out", **settings)
    geochange.vectorize(found.probability, tmp_path / "again.geojson", geochange.VectorizeOptions(**settings))
    assert (tmp_path / "again.geojson").read_bytes() == (found.folder / "changes.geojson").read_bytes()


@pytest.mark.parametrize("threshold", [None, "otsu", "em"])
def test_automatic_thresholds_stay_with_the_raster(pair, tmp_path, threshold):
    found = geochange.detect(*pair, tmp_path / "out", threshold=threshold)
    again = geochange.vectorize(
        found.probability, tmp_path / "again.gpkg", geochange.VectorizeOptions(threshold=threshold)
    )
    assert again.threshold == found.record["threshold"]
    assert again.totals.count == found.record["changes"]["count"]


def test_the_folder_holds_what_the_design_names_and_no_scratch(pair, tmp_path):
    found = geochange.detect(*pair, tmp_path / "out")
    names = {"probability.tif", "changes.gpkg", "changes.geojson", "preview.png", "run.json", "run.log"}
    names |= {"changes.qgs", "probability.qml"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record == found.record
    assert {"threshold", "changes", "seconds", "versions", "inputs", "detector", "identity"} <= set(record)


def test_the_raster_is_a_valid_cog_that_says_what_it_holds(pair, tmp_path):
    found = geochange.detect(*pair, tmp_path / "out")
    valid, errors, warnings = cog_validate(found.probability, quiet=True)
    assert valid
    assert errors == warnings == []
    with rasterio.open(found.probability) as dataset, rasterio.open(pair[0]) as before:
        assert dataset.crs == before.crs
        assert dataset.transform == before.transform
        assert dataset.shape == before.shape
        assert dataset.nodata == 255
        assert dataset.scales == (pytest.approx(1 / 254),)
        assert dataset.descriptions == ("change",)


@pytest.mark.parametrize("formats", [("flatgeobuf",), ("parquet", "gpkg")])
def test_other_formats_hold_the_same_features(pair, tmp_path, formats):
    found = geochange.detect(*pair, tmp_path / "out", formats=formats)
    for name in found.record["files"]["changes"]:
        path = found.folder / name
        layer = (
            geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, layer="changes")
        )
        assert len(layer) == found.record["changes"]["count"]
        assert layer.crs == UTM


def test_layers_of_the_detector_are_written_beside_the_probability(pair, tmp_path):
    found = geochange.detect(
        *pair, tmp_path / "out", detector="ir-mad", layers=("chi-square",), tile_size=64, block_size=64
    )
    with rasterio.open(found.folder / "chi-square.tif") as dataset:
        assert dataset.dtypes == ("float32",)
        assert np.isfinite(dataset.read(1)).all()
    with pytest.raises(BadOption, match="chi-square"):
        geochange.detect(*pair, tmp_path / "other", detector="ir-mad", layers=("nonsense",))


def test_numbers_with_a_scale_and_an_offset_are_the_quantities_that_they_stand_for(tmp_path, monkeypatch):
    """An index of stored numbers is another one; each date has its scale; and what is gone on with goes on with it."""
    paths, quantities = [], []
    for date, (scale, offset) in enumerate([(0.5, -20.0), (0.25, 3.0)]):
        stored = np.rint((changed_pair((64, 96))[date] - offset) / scale).astype(np.int16)
        paths.append(write_raster(tmp_path / f"{date}.tif", stored))
        with rasterio.open(paths[-1], "r+") as dataset:
            dataset.scales, dataset.offsets = (scale,) * 3, (offset,) * 3
        quantities.append(write_raster(tmp_path / f"{date}-plain.tif", (stored * scale + offset).astype(np.float32)))
    settings = {"detector": "difference", "detector_options": {"index": "2,1"}, "tile_size": 32, "block_size": 32}
    expected = outputs(geochange.detect(*quantities, tmp_path / "plain", **settings).folder)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_products", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            geochange.detect(*paths, tmp_path / "out", **settings)
    _, *others = sorted((tmp_path / "out").rglob("blocks*/probability/[0-9]*.tif"))
    assert len(others) > 4
    for block in others:
        block.unlink()
    assert outputs(geochange.detect(*paths, tmp_path / "out", resume=True, **settings).folder) == expected


def test_images_without_a_crs_work(tmp_path):
    for name, date in zip(("a.png", "b.png"), changed_pair(SHAPE), strict=True):
        with rasterio.open(
            tmp_path / name, "w", driver="PNG", count=3, height=SHAPE[0], width=SHAPE[1], dtype="uint8"
        ) as dataset:
            dataset.write(date)
    found = geochange.detect(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "out")
    layer = features(found.folder)
    assert layer.area_m2.isna().all()
    left, bottom, right, top = layer.total_bounds
    assert left >= 0
    assert right <= SHAPE[1]
    assert bottom >= -SHAPE[0]
    assert top <= 0
    answer = json.loads((tmp_path / "out" / "changes.geojson").read_text())
    assert "crs" not in answer


def test_dataarrays_are_taken_like_files(pair, tmp_path):
    expected = outputs(geochange.detect(*pair, tmp_path / "files").folder)
    arrays = geochange.open_pair(*pair)
    assert all(array.chunks is not None for array in arrays)
    assert outputs(geochange.detect(*arrays, tmp_path / "arrays").folder) == expected


def test_open_pair_aligns_on_the_fly(warped_pair):
    before, after = geochange.open_pair(*warped_pair, align=True)
    assert before.rio.crs == after.rio.crs
    assert before.rio.transform() == after.rio.transform()
    assert before.shape == after.shape
    assert after.rio.nodata == 0
    seen = (after != 0).any("band").values
    assert np.corrcoef(before.values[:, seen].ravel(), after.values[:, seen].ravel())[0, 1] > 0.5


def test_an_area_of_interest_is_scored_alone(pair, tmp_path):
    left, top = PLACE @ (100, 50)
    right, bottom = PLACE @ (220, 170)
    found = geochange.detect(*pair, tmp_path / "out", aoi=(left, bottom, right, top))
    with rasterio.open(found.probability) as dataset:
        assert dataset.shape == (120, 120)
        assert dataset.bounds == (left, bottom, right, top)


def test_a_finished_folder_is_kept_without_overwrite(pair, tmp_path):
    first = geochange.detect(*pair, tmp_path / "out")
    kept = outputs(first.folder)
    with pytest.raises(OutputInTheWay, match="--overwrite"):
        geochange.detect(*pair, tmp_path / "out")
    assert outputs(first.folder) == kept
    geochange.detect(*pair, tmp_path / "out", overwrite=True, threshold=0.9)
    assert json.loads((tmp_path / "out" / "run.json").read_text())["threshold"] == 0.9


def test_an_overwriting_run_that_fails_leaves_the_old_files(pair, tmp_path, monkeypatch):
    first = geochange.detect(*pair, tmp_path / "out")
    kept = outputs(first.folder)
    monkeypatch.setattr("geochange.pipeline.products._write_preview", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        geochange.detect(*pair, tmp_path / "out", overwrite=True, threshold=0.9)
    assert outputs(first.folder) == kept


def test_overwriting_with_other_outputs_leaves_none_of_the_old_ones(pair, tmp_path):
    geochange.detect(*pair, tmp_path / "out", formats=("flatgeobuf", "geojson"), layers=("weights",))
    geochange.detect(*pair, tmp_path / "out", formats=("gpkg",), project=False, overwrite=True)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"probability.tif", "changes.gpkg", "preview.png", "run.json", "run.log"}


def test_a_run_that_fails_before_its_first_block_leaves_nothing(pair, tmp_path):
    with pytest.raises(BadOption, match=r"layer 'nonsense' is not one that"):
        geochange.detect(*pair, tmp_path / "out", layers=("nonsense",))
    assert not (tmp_path / "out").exists()
    assert geochange.detect(*pair, tmp_path / "out").folder.exists()


def test_a_block_that_fails_is_named_after_retries(pair, tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr("geochange.engine.blocks.score_block", lambda work, block: tried.append(block) or 1 / 0)
    monkeypatch.setattr("geochange.engine.cluster.time.sleep", lambda seconds: None)
    with pytest.raises(BlockFailed, match=r"rows 0\.\.229 and columns 0\.\.309 failed 3 times: ZeroDivisionError"):
        geochange.detect(*pair, tmp_path / "out")
    assert len(tried) == 3


def test_a_shift_is_removed_while_reading(tmp_path):
    values = textured((400, 420))
    before = write_raster(tmp_path / "before.tif", values[:, 5:395, 5:415])
    after = write_raster(tmp_path / "after.tif", values[:, 7:397, 4:414])
    settings = {"threshold": "otsu", "shift_tolerance": 0, "min_confidence": 0.0}
    kept = geochange.detect(before, after, tmp_path / "kept", **settings)
    removed = geochange.detect(before, after, tmp_path / "removed", remove_shift=True, **settings)
    assert removed.record["scene"]["removed_shift"] == pytest.approx([-2, 1], abs=0.1)
    assert removed.record["changes"]["area_px"] < kept.record["changes"]["area_px"] / 2


def test_an_area_of_interest_keeps_its_border_where_a_shift_is_removed(tmp_path):
    values = textured((500, 520))
    before = write_raster(tmp_path / "before.tif", values[:, 5:495, 5:515])
    after = write_raster(tmp_path / "after.tif", values[:, 9:499, 2:512])
    left, top = PLACE @ (100, 100)
    right, bottom = PLACE @ (400, 400)
    found = geochange.detect(before, after, tmp_path / "out", remove_shift=True, aoi=(left, bottom, right, top))
    with rasterio.open(found.probability) as dataset:
        assert (dataset.read(1) != 255).all()


def test_relative_paths_reach_workers_in_another_folder(pair, tmp_path, monkeypatch):
    from distributed import LocalCluster

    expected = outputs(geochange.detect(*pair, tmp_path / "here").folder)
    monkeypatch.chdir(tmp_path)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        monkeypatch.chdir(os.path.dirname(pair[0]))
        relative = [os.path.basename(path) for path in pair]
        found = geochange.detect(*relative, tmp_path / "there", scheduler=cluster.scheduler_address)
    assert outputs(found.folder) == expected


def test_resuming_a_finished_run_is_done_at_once(pair, tmp_path, monkeypatch):
    first = geochange.detect(*pair, tmp_path / "out")
    monkeypatch.setattr(pipeline, "_detect", lambda run: 1 / 0)
    assert geochange.detect(*pair, tmp_path / "out", resume=True).record == first.record


@pytest.mark.parametrize(
    "other", [{"tile_size": 128}, {"threshold": 0.7}, {"detector": "change-vector"}, {"bands": (1, 2)}]
)
def test_resuming_with_other_options_is_refused(pair, tmp_path, monkeypatch, other):
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_products", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            geochange.detect(*pair, tmp_path / "out")
    with pytest.raises(OutputInTheWay, match="--resume"):
        geochange.detect(*pair, tmp_path / "out")
    with pytest.raises(OutputInTheWay, match=next(iter(other))):
        geochange.detect(*pair, tmp_path / "out", resume=True, **other)


def test_resuming_with_another_image_is_refused(pair, tmp_path, monkeypatch):
    other = write_raster(tmp_path / "other.tif", textured(SHAPE, seed=5))
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_products", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            geochange.detect(*pair, tmp_path / "out")
    with pytest.raises(OutputInTheWay, match="differs"):
        geochange.detect(pair[0], other, tmp_path / "out", resume=True)


def start_slow_run(pair, out, *more):
    """`geochange detect` as a process of its own, slowed so that it can be stopped in the middle."""
    code = (
        "import time, sys, geochange.engine.blocks as b\n"
        "write = b.write_whole\n"
        "b.write_whole = lambda *a: (time.sleep(0.15), write(*a))\n"
        "from geochange.cli import main; main(sys.argv[1:])"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "detect",
        *pair,
        "-o",
        str(out),
        "--tile-size",
        "32",
        "--block-size",
        "32",
        *more,
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for_blocks(out, count, process):
    for _ in range(600):
        if len(list(out.glob(".geochange/blocks*/probability/[0-9]*.tif"))) >= count:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    pytest.fail("the run did not get going")


@pytest.mark.parametrize("detector", ["change-vector", "pca-kmeans"])
def test_a_run_killed_in_the_middle_resumes_to_the_same_bytes(pair, tmp_path, detector):
    options = {"detector": detector, "tile_size": 32, "block_size": 32}
    expected = outputs(geochange.detect(*pair, tmp_path / "whole", **options).folder)
    process = start_slow_run(pair, tmp_path / "out", "--detector", detector)
    wait_for_blocks(tmp_path / "out", 5, process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "out" / "run.json").exists()
    assert not (tmp_path / "out" / "probability.tif").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("blocks*/probability/[0-9]*.tif")}
    assert len(done) >= 5
    found = geochange.detect(*pair, tmp_path / "out", resume=True, **options)
    assert outputs(found.folder) == expected


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_ctrl_c_ends_with_130_and_can_be_resumed(pair, tmp_path, more):
    process = start_slow_run(pair, tmp_path / "out", "--detector", "change-vector", *more)
    wait_for_blocks(tmp_path / "out", 3, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert len(errors.strip().splitlines()) == 1
    options = {"detector": "change-vector", "tile_size": 32, "block_size": 32}
    found = geochange.detect(*pair, tmp_path / "out", resume=True, **options)
    assert outputs(found.folder) == outputs(geochange.detect(*pair, tmp_path / "whole", **options).folder)


@pytest.mark.parametrize("more", [{"resume": True}, {"overwrite": True}, {}])
def test_a_folder_in_use_is_refused_and_its_run_ends_as_it_would(pair, tmp_path, more):
    process = start_slow_run(pair, tmp_path / "out", "--detector", "change-vector")
    wait_for_blocks(tmp_path / "out", 3, process)
    options = {"detector": "change-vector", "tile_size": 32, "block_size": 32}
    with pytest.raises(OutputInTheWay, match=f"in use by another run .*process {process.pid}"):
        geochange.detect(*pair, tmp_path / "out", **options, **more)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert outputs(tmp_path / "out") == outputs(geochange.detect(*pair, tmp_path / "whole", **options).folder)
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".geochange")]


def test_a_file_that_an_array_reads_is_an_input(pair, tmp_path):
    (tmp_path / "out").mkdir()
    shutil.copy(pair[0], tmp_path / "out" / "probability.tif")
    with (
        rioxarray.open_rasterio(tmp_path / "out" / "probability.tif") as before,
        pytest.raises(OutputInTheWay, match="is an input"),
    ):
        geochange.detect(before, pair[1], tmp_path / "out", overwrite=True)


def test_resuming_notices_any_change_of_an_input(pair, tmp_path):
    pair = [shutil.copy(each, tmp_path) for each in pair]
    aoi, labels = tmp_path / "aoi.geojson", tmp_path / "labels.tif"
    write_aoi(aoi, 100)
    write_raster(labels, np.tile(np.arange(128) < 64, (96, 1))[None].astype(np.uint8))
    options = {"aoi": str(aoi), "labels": str(labels), "threshold": "f1"}
    geochange.detect(*pair, tmp_path / "out", **options)
    assert geochange.detect(*pair, tmp_path / "out", resume=True, **options).record["command"] == "detect"
    kept = {path: path.read_bytes() for path in (aoi, labels)}
    write_aoi(aoi, 90)
    write_raster(labels, np.tile(np.arange(128) > 64, (96, 1))[None].astype(np.uint8))
    new = {path: path.read_bytes() for path in (aoi, labels)}
    for path, name in ((aoi, "contents.aoi"), (labels, "contents.labels")):
        path.write_bytes(new[path])
        with pytest.raises(OutputInTheWay, match=name):
            geochange.detect(*pair, tmp_path / "out", resume=True, **options)
        path.write_bytes(kept[path])
    os.utime(pair[1], ns=(1, 1))
    with pytest.raises(OutputInTheWay, match=r"scene\.dates\.2\.files"):
        geochange.detect(*pair, tmp_path / "out", resume=True, **options)


def write_aoi(path, side):
    corners = [PLACE @ corner for corner in ((0, 0), (side, 0), (side, side), (0, side), (0, 0))]
    polygon = {"type": "Polygon", "coordinates": [corners]}
    crs = {"type": "name", "properties": {"name": UTM}}
    feature = {"type": "Feature", "properties": {}, "geometry": polygon}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))


@pytest.mark.skipif(os.name == "nt", reason="no file size limits there")
def test_a_run_that_a_full_disk_ended_is_gone_on_with(pair, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    geochange.detect(*pair, whole, tile_size=64, block_size=64)
    with files_at_most(50_000), pytest.raises(DiskFull, match="--resume"):
        geochange.detect(*pair, parts, tile_size=64, block_size=64)
    assert not (parts / "run.json").exists()
    assert (parts / ".geochange" / "run.json").exists()
    geochange.detect(*pair, parts, tile_size=64, block_size=64, resume=True)
    assert (parts / "probability.tif").read_bytes() == (whole / "probability.tif").read_bytes()


@needs_shared
@pytest.mark.parametrize("detector", ["ir-mad", "change-vector"])
def test_naip_from_2009_to_2020(tmp_path, detector):
    folder = SHARED / "naip_wetlands"
    found = geochange.detect(
        folder / "naip_20090818.tif", folder / "naip_20200831.tif", tmp_path / "out", align=True, detector=detector
    )
    assert found.record["scene"]["shape"] == [723, 934]
    layer = features(found.folder)
    assert layer.crs == "EPSG:26914"
    share = layer.area_px.sum() / (723 * 934)
    assert 0.02 < share < 0.6  # lakes grew and crops changed; most of the land did not
    np.testing.assert_allclose(layer.area_m2, layer.area_px * 25)


@needs_shared
def test_pucallpa_from_1985_to_2020_has_geodesic_areas(tmp_path):
    folder = SHARED / "landsat_pucallpa"
    found = geochange.detect(folder / "1985.tif", folder / "2020.tif", tmp_path / "out")
    layer = features(found.folder)
    pixel = 0.0008084837557075694
    metres = pixel * 110_600 * pixel * 111_320 * np.cos(np.radians(8.4))
    np.testing.assert_allclose(layer.area_m2 / layer.area_px, metres, rtol=0.01)


@needs_shared
@pytest.mark.parametrize(
    ("detector", "options", "least"),
    [
        ("change-vector", {}, (0.909, 0.889)),
        ("ir-mad", {}, (0.945, 0.932)),
        ("slow-features", {}, (0.941, 0.928)),
    ],
)
def test_taizhou_reaches_the_reference_implementations(tmp_path, detector, options, least):
    from geochange.pipeline.evaluate import EvaluateOptions

    folder = SHARED / "landsat_taizhou"
    found = geochange.detect(
        folder / "T1.tif", folder / "T2.tif", tmp_path / "out", detector=detector, detector_options=options
    )
    scores = geochange.evaluate(found.probability, folder / "label.tif", EvaluateOptions(ignore=(255,))).to_dict()
    assert scores["pixels"]["f1"] >= least[0] - 0.005
    assert scores["pixels"]["kappa"] >= least[1] - 0.005


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": "local:16px"}, "too small"),
        ({"min_area": "3m2"}, "needs a CRS"),
        ({"kinds": True, "band_roles": "red=1,nir=9"}, "out of range"),
    ],
)
def test_options_that_do_not_fit_the_scene_are_refused_before_any_work(tmp_path, options, words):
    crs = None if "min_area" in options else UTM
    paths = [write_raster(tmp_path / f"{k}.tif", each, crs=crs) for k, each in enumerate(changed_pair((64, 64)))]
    stages = []

    class Heard(Silent):
        def begin(self, stage, blocks, pixels):
            stages.append(stage)

    with pytest.raises((BadOption, BandMismatch), match=words):
        geochange.detect(*paths, tmp_path / "out", listener=Heard(), **options)
    assert stages == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("side", [2_000_000, 10_000_000])
def test_a_scene_too_large_to_go_through_is_refused_and_a_part_of_it_is_not(tmp_path, side):
    paths = [write_raster(tmp_path / f"{k}.tif", each) for k, each in enumerate(changed_pair((64, 64)))]
    virtual = []
    for path in paths:
        with rasterio.open(path) as dataset:
            bands = "".join(
                f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename>{path}</SourceFilename>'
                f"<SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
                for band in dataset.indexes
            )
            place = ", ".join(map(str, dataset.transform.to_gdal()))
        text = f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><SRS>{UTM}</SRS><GeoTransform>{place}'
        virtual.append(tmp_path / f"{Path(path).stem}.vrt")
        virtual[-1].write_text(f"{text}</GeoTransform>{bands}</VRTDataset>")
    for call in (
        lambda: geochange.detect(*virtual, tmp_path / "out"),
        lambda: geochange.check(*virtual),
        lambda: geochange.vectorize(virtual[0], tmp_path / "out.gpkg"),
    ):
        with pytest.raises(UnreadableInput, match=f"{side:,} x {side:,} pixels"):
            call()
    left, bottom, right, top = 500_000, 5_399_872, 500_128, 5_400_000
    found = geochange.detect(*virtual, tmp_path / "part", aoi=(left, bottom, right, top))
    assert found.record["scene"]["shape"] == [64, 64]


def test_layers_and_probabilities_are_nodata_where_a_date_is(tmp_path):
    dates = [date // 2 + 20 for date in changed_pair((80, 90))]
    dates[0][:, :9], dates[1][:, :, :7] = 0, 0
    paths = [write_raster(tmp_path / f"{k}.tif", each, nodata=0) for k, each in enumerate(dates)]
    for name, layers in (("ir-mad", ("mad", "chi-square", "weights")), ("change-vector", ("magnitude", "direction"))):
        geochange.detect(*paths, tmp_path / name, detector=name, layers=layers, tile_size=64)
        expected = np.zeros((80, 90), bool)
        expected[:9] = expected[:, :7] = True
        for layer in ("probability", *layers):
            with rasterio.open(tmp_path / name / f"{layer}.tif") as dataset:
                empty = dataset.read_masks() == 0
            assert (empty == expected).all(), layer


def test_labels_that_are_no_probabilities_are_refused_before_any_work(tmp_path, pair):
    labels = write_raster(tmp_path / "labels.tif", np.full((1, *SHAPE), 3.3, np.float32))
    with pytest.raises(UnreadableInput, match=r"holds 3\.3, and probabilities lie in 0\.\.1"):
        geochange.detect(*pair, tmp_path / "out", labels=labels, threshold="f1")
    assert not (tmp_path / "out").exists()


def test_a_run_whose_labels_give_no_threshold_leaves_nothing(tmp_path, pair):
    labels = write_raster(tmp_path / "labels.tif", np.ones((1, *SHAPE), np.uint8))
    with pytest.raises(NothingValid, match="none of them as unchanged"):
        geochange.detect(*pair, tmp_path / "out", labels=labels, threshold="f1")
    assert not (tmp_path / "out").exists()


def test_a_date_that_no_caption_can_hold_is_refused():
    with pytest.raises(BadOption, match="has 5000 characters"):
        geochange.DetectOptions(date_before="x" * 5000)
