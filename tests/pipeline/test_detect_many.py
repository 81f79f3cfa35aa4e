"""`geochange detect-many`: each pair as `detect` would, on one cluster, whatever is wrong with the others."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

import geochange
from geochange.errors import BadOption, DiskFull, OutputInTheWay, UnreadableInput
from geochange.pipeline import detect_many as module
from geochange.pipeline.pairs import read_pairs
from tests.clusters import address_of, kill, scheduler, wait_until, worker
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, changed_pair, textured, write_pair, write_raster

FEW = {"detector": "change-vector", "formats": ("gpkg",)}
FILES = "probability.tif", "preview.png"


def write_table(path, *lines):
    """A CSV of the lines, given as dicts with the same keys; its path."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(["before", "after", *lines[0]])))
        writer.writeheader()
        for line in lines:
            writer.writerow({"before": "before.tif", "after": "after.tif", **line})
    return path


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def listed(out):
    with (out / "pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def several(folder, count, shape=(90, 100)):
    """A table of pairs, each with changes of its own."""
    for k in range(count):
        (folder / f"{k}").mkdir()
        write_pair(folder / f"{k}", shape, seed=k)
    return write_table(
        folder / "pairs.csv", *({"before": f"{k}/before.tif", "after": f"{k}/after.tif"} for k in range(count))
    )


def test_each_pair_is_as_detect_does_it_and_the_table_says_so(tmp_path):
    table = several(tmp_path, 3)
    found = geochange.detect_many(table, tmp_path / "out", **FEW)
    assert not found.failed
    for k, line in enumerate(listed(tmp_path / "out")):
        pair = tmp_path / f"{k}" / "before.tif", tmp_path / f"{k}" / "after.tif"
        alone = geochange.detect(*pair, tmp_path / f"alone{k}", **FEW)
        own = tmp_path / "out" / f"{k + 1:04d}"
        for name in FILES:
            assert (own / name).read_bytes() == (alone.folder / name).read_bytes()
        assert line["pair"] == own.name
        assert line["state"] == "done"
        assert int(line["changes"]) == alone.record["changes"]["count"] > 0
        assert float(line["area_m2"]) == alone.record["changes"]["area_m2"]
        assert float(line["seconds"]) > 0
        assert line["out"] == str(own)
        assert line["error"] == ""
    assert record_of(tmp_path / "out")["counts"] == {"pairs": 3, "done": 3, "failed": 0}


def test_bad_pairs_are_told_and_tried_again(tmp_path, run):
    write_pair(tmp_path, (90, 100))
    write_raster(tmp_path / "other.tif", textured((50, 50)))
    lines = [
        {"out": "one", "detector": "change-vector"},
        {"out": "two", "after": "late.tif"},
        {"out": "three", "after": "other.tif", "align": "no"},
        {"out": "four", "after": "other.tif", "align": "yes"},
        {"out": "five", "detector": "magic"},
    ]
    names = ["after", "out", "detector", "align"]
    lines = [{name: line.get(name, "after.tif" if name == "after" else "") for name in names} for line in lines]
    table = write_table(tmp_path / "pairs.csv", *lines)
    answer = run("detect-many", table, "-o", tmp_path / "out")
    code, printed, errors = answer
    assert code == 2
    assert "2 of 5 done" in printed
    assert "3 of 5 pairs failed, as two: " in errors[-1]
    assert [line.split(":")[0].split(",")[0] for line in errors[:-1]] == ["line 3", "line 4", "line 6"]
    states = [line["state"] for line in listed(tmp_path / "out")]
    assert states == ["done", "failed", "failed", "done", "failed"]
    assert "late.tif does not exist" in listed(tmp_path / "out")[1]["error"]
    refused(run("detect-many", table, "-o", tmp_path / "out"), "holds a finished run")
    before = record_of(tmp_path / "one")["started"]
    (tmp_path / "late.tif").write_bytes((tmp_path / "after.tif").read_bytes())
    assert run("detect-many", table, "-o", tmp_path / "out", "--resume")[0] == 2
    assert [line["state"] for line in listed(tmp_path / "out")] == ["done", "done", "failed", "done", "failed"]
    assert record_of(tmp_path / "one")["started"] == before


def test_cells_are_read_by_the_type_of_their_option_and_go_before_the_common_ones(tmp_path):
    write_pair(tmp_path, (90, 100))
    line = {
        "detector": "ir-mad",
        "detector_options": "iterations=3 tolerance=0.01",
        "remove_shift": "false",
        "tile_size": "64",
        "overlap": "none",
        "simplify": "1.5",
        "min_area": "100m2",
        "threshold": "0.4",
        "bands": "3,1",
        "formats": "gpkg",
        "nodata": "0",
    }
    table = write_table(tmp_path / "pairs.csv", line, {**line, "remove_shift": "yes", "tile_size": ""})
    found = geochange.detect_many(table, tmp_path / "out", tile_size=128, detector="change-vector")
    assert not found.failed
    options = record_of(tmp_path / "out" / "0001")["identity"]["options"]
    read = {
        "detector": "ir-mad",
        "detector_options": {"iterations": "3", "tolerance": "0.01"},
        "remove_shift": False,
        "tile_size": 64,
        "overlap": None,
        "simplify": 1.5,
        "bands": [3, 1],
        "formats": ["gpkg"],
        "nodata": 0.0,
    }
    assert {**options, **read} == options
    options = record_of(tmp_path / "out" / "0002")["identity"]["options"]
    assert options["remove_shift"] is True
    assert options["tile_size"] == 128


def test_areas_of_interest_lie_beside_the_table_or_are_boxes(tmp_path):
    write_pair(tmp_path, (90, 100))
    (left, top), (right, bottom) = PLACE @ (10, 20), PLACE @ (70, 80)
    box = shapely.box(left, bottom, right, top)
    geopandas.GeoDataFrame(geometry=[box], crs=UTM).to_file(tmp_path / "area.gpkg")
    table = write_table(tmp_path / "pairs.csv", {"aoi": "area.gpkg"}, {"aoi": f"{left},{bottom},{right},{top}"})
    assert not geochange.detect_many(table, tmp_path / "out").failed
    shapes = [record_of(tmp_path / "out" / name)["scene"]["shape"] for name in ("0001", "0002")]
    assert shapes == [[60, 60], [60, 60]]


def test_lines_that_cannot_be_read_are_failed_pairs(tmp_path):
    write_pair(tmp_path, (90, 100))
    table = tmp_path / "pairs.csv"
    table.write_text(
        "before,after,out,align,tile_size\n"
        "before.tif\n"
        "before.tif,after.tif,long,no,512,more\n"
        "before.tif,,empty,no,512\n"
        "before.tif,after.tif,word,perhaps,512\n"
        "before.tif,after.tif,number,no,big\n"
        "before.tif,after.tif,good,no,512\n"
    )
    found = geochange.detect_many(table, tmp_path / "out")
    errors = [each.error for each in found.outcomes]
    assert "more or fewer cells" in errors[0]
    assert "more or fewer cells" in errors[1]
    assert errors[2] == "after must not be empty"
    assert "align must be true or false, not 'perhaps'" in errors[3]
    assert "tile_size must be a whole number or none, not 'big'" in errors[4]
    assert errors[5] == ""
    assert (tmp_path / "good" / "run.json").exists()


def test_an_unexpected_error_is_one_of_its_pair_and_a_full_disk_is_not(tmp_path, monkeypatch):
    table, sound, faults = several(tmp_path, 2), geochange.detect, [KeyError("torn")]

    def broken(before, *rest, **settings):
        if before.endswith("0/before.tif"):
            raise faults[0]
        return sound(before, *rest, **settings)

    monkeypatch.setattr("geochange.pipeline.detect.detect", broken)
    found = geochange.detect_many(table, tmp_path / "out", **FEW)
    assert [each.error for each in found.outcomes] == ["KeyError: 'torn'", ""]
    faults[0] = DiskFull("the disk is full")
    with pytest.raises(DiskFull):
        geochange.detect_many(table, tmp_path / "out", **FEW, resume=True)
    assert [line["state"] for line in listed(tmp_path / "out")] == ["waiting", "waiting"]


@pytest.mark.parametrize(
    "text",
    [
        "before\na\n",
        "before,after,colour\na,b,red\n",
        "before,after,before\na,b,a\n",
        *(f"before,after,{name}\na,b,1\n" for name in ("workers", "scheduler", "threads", "resume", "overwrite")),
    ],
)
def test_tables_with_other_columns_are_refused(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(BadOption, match=r"columns missing: .*, unknown: .*, twice: "):
        geochange.detect_many(tmp_path / "pairs.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_table_and_two_pairs_of_one_name_are_refused(tmp_path):
    with pytest.raises(UnreadableInput, match="does not exist"):
        geochange.detect_many(tmp_path / "pairs.csv", tmp_path / "out")
    for name, text in (("a.parquet", "no"), ("a.json", "{}"), ("b.json", "["), ("a.csv", "\xff\0")):
        (tmp_path / name).write_text(text)
        with pytest.raises((UnreadableInput, BadOption)):
            geochange.detect_many(tmp_path / name, tmp_path / "out")
    table = write_table(tmp_path / "pairs.csv", {"out": "x"}, {"out": "x"})
    with pytest.raises(BadOption, match="two pairs have the name x"):
        geochange.detect_many(table, tmp_path / "out")
    for places, words in (
        (("x", "./x/"), "line 3 and line 2 have one place"),
        (("out", "y"), "line 2 and the answers"),
    ):
        table = write_table(tmp_path / "pairs.csv", *({"out": place} for place in places))
        with pytest.raises(BadOption, match=words):
            geochange.detect_many(table, tmp_path / "out")
    items = [{"id": "..", "assets": {}}, {"id": "a/b:c", "assets": {}}]
    (tmp_path / "items.json").write_text(json.dumps({"features": items}))
    assert [pair.name for pair in read_pairs(tmp_path / "items.json")] == ["_", "a_b_c"]


def test_parquet_and_stac_say_the_same_as_csv(tmp_path):
    several(tmp_path, 2)
    paths = {name: [f"{k}/{name}.tif" for k in range(2)] for name in ("before", "after")}
    pq.write_table(pa.table({**paths, "tile_size": [64, None]}), tmp_path / "pairs.parquet")
    places = geopandas.GeoDataFrame(paths, geometry=[shapely.Point(0, 0)] * 2, crs=4326)
    places.to_parquet(tmp_path / "places.parquet")
    items = [
        {"type": "Feature", "id": f"item/{k}", "assets": {name: {"href": paths[name][k]} for name in paths}}
        for k in range(2)
    ]
    items.append({"type": "Feature", "id": "lost", "assets": {}})
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    found = {
        name: geochange.detect_many(tmp_path / name, tmp_path / f"out {name}", **FEW)
        for name in ("pairs.csv", "pairs.parquet", "places.parquet", "items.json")
    }
    counts = [[each.changes for each in many.outcomes][:2] for many in found.values()]
    assert counts == [counts[0]] * 4
    assert [each.pair for each in found["items.json"].outcomes] == ["item_0", "item_1", "lost"]
    assert found["items.json"].failed[0].error == "the item must have the assets before and after"
    options = record_of(tmp_path / "out pairs.parquet" / "0001")["identity"]["options"]
    assert options["tile_size"] == 64


@pytest.mark.parametrize("name", ["all.gpkg", "all.parquet", "all.fgb", "all.geojson"])
def test_all_changes_in_one_layer(tmp_path, name):
    found = geochange.detect_many(several(tmp_path, 3), tmp_path / "out", **FEW, merge=name)
    path = tmp_path / "out" / name
    merged = geopandas.read_parquet(path) if name.endswith("parquet") else geopandas.read_file(path, layer="changes")
    assert sorted(merged.id) == list(range(1, len(merged) + 1))
    assert found.record["merged"] == len(merged) == sum(each.changes for each in found.outcomes)
    for each in found.outcomes:
        own = geopandas.read_file(each.layer, layer="changes").to_crs(merged.crs)
        part = merged[merged.pair == each.pair].sort_values("pair_id").reset_index(drop=True)
        assert list(part.pair_id) == list(own.id)
        assert part.geometry.geom_equals_exact(own.geometry, 1e-6).all()
        assert list(part.score_mean) == list(own.score_mean)


def test_layers_of_several_places_meet_in_wgs_84(tmp_path):
    table = several(tmp_path, 1)
    (tmp_path / "there").mkdir()
    for name, values in zip(("before", "after"), changed_pair((90, 100)), strict=True):
        write_raster(tmp_path / "there" / f"{name}.tif", values, crs="EPSG:32634")
    table.write_text(f"{table.read_text()}there/before.tif,there/after.tif\n")
    found = geochange.detect_many(table, tmp_path / "out", **FEW, merge="all.gpkg")
    assert not found.failed
    merged = geopandas.read_file(tmp_path / "out" / "all.gpkg", layer="changes")
    assert merged.crs == 4326
    own = geopandas.read_file(found.outcomes[1].layer, layer="changes").to_crs(4326)
    part = merged[merged.pair == "0002"].reset_index(drop=True)
    assert part.geometry.geom_equals_exact(own.geometry, 1e-9).all()


@pytest.mark.parametrize("wrong", ["all.shp", "there/all.gpkg"])
def test_a_layer_that_cannot_be_written_is_refused_at_once(tmp_path, wrong):
    with pytest.raises(BadOption):
        geochange.detect_many(several(tmp_path, 1), tmp_path / "out", merge=wrong)
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_never_replaced_by_the_merged_layer(tmp_path):
    table = several(tmp_path, 1)
    geochange.detect_many(table, tmp_path / "out", **FEW)
    mine = tmp_path / "out" / "all.gpkg"
    mine.write_bytes(b"mine")
    with pytest.raises(OutputInTheWay, match=r"all\.gpkg exists, and is not of this run"):
        geochange.detect_many(table, tmp_path / "out", **FEW, merge="all.gpkg", resume=True)
    with pytest.raises(OutputInTheWay, match="is an input"):
        geochange.detect_many(table, tmp_path / "out", **FEW, merge="all.gpkg", aoi=str(mine), overwrite=True)
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    for _ in range(2):
        geochange.detect_many(table, tmp_path / "out", **FEW, merge="all.gpkg", resume=True)
    assert len(geopandas.read_file(mine, layer="changes")) > 0


def test_secrets_of_addresses_stay_out_of_the_answers(tmp_path):
    table = write_table(tmp_path / "pairs.csv", {"out": "https://me:hunter22@host/x"})
    found = geochange.detect_many(table, tmp_path / "out")
    assert found.failed
    kept = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "hunter22" not in f"{found} {kept}"


def test_another_run_is_not_gone_on_with(tmp_path):
    table = several(tmp_path, 1)
    geochange.detect_many(table, tmp_path / "out", **FEW)
    with pytest.raises(OutputInTheWay, match="holds a finished run"):
        geochange.detect_many(table, tmp_path / "out", **FEW)
    with pytest.raises(OutputInTheWay, match=r"differs in options\.detector"):
        geochange.detect_many(table, tmp_path / "out", **FEW | {"detector": "ir-mad"}, resume=True)
    geochange.detect_many(table, tmp_path / "out", **FEW | {"detector": "ir-mad"}, overwrite=True)
    assert record_of(tmp_path / "out" / "0001")["identity"]["options"]["detector"] == "ir-mad"


@pytest.mark.xdist_group("clusters")
def test_a_cluster_leaves_the_same_bytes_also_where_pairs_are_cut_into_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGE", 90 * 100)
    table = several(tmp_path, 4)
    for k, shape in ((0, (80, 90)), (3, (30, 40))):  # small ones, of which the last does not fit its other date
        write_pair(tmp_path / f"{k}", shape, seed=k)
    write_raster(tmp_path / "3" / "after.tif", textured((50, 40)))
    settings = FEW | {"block_size": 64, "tile_size": 64}
    ours = geochange.detect_many(table, tmp_path / "threads", **settings)
    theirs = geochange.detect_many(table, tmp_path / "workers", **settings, workers=2)
    assert [each.error for each in theirs.outcomes] == [each.error for each in ours.outcomes]
    assert [each.state for each in theirs.outcomes] == ["done"] * 3 + ["failed"]
    for each in ours.outcomes[:3]:
        for name in FILES:
            there = tmp_path / "workers" / each.pair / name
            assert there.read_bytes() == (tmp_path / "threads" / each.pair / name).read_bytes()


@pytest.mark.xdist_group("clusters")
def test_workers_that_die_cost_no_pair(tmp_path):
    table = several(tmp_path, 6, (400, 500))
    command = [sys.executable, "-m", "geochange", "detect-many", str(table), "-o", str(tmp_path / "out"), "-q"]
    command += ["-d", "change-vector", "--wait-workers", "20s"]
    with (
        scheduler(tmp_path) as (_, told),
        worker(told) as first,
        subprocess.Popen([*command, "--scheduler", address_of(told)], stderr=subprocess.PIPE, text=True) as started,
    ):
        wait_until(lambda: list(Path(tmp_path / "out").glob("*/.geochange")) or started.poll() is not None, 60)
        kill(first)
        with worker(told):
            _, errors = started.communicate(timeout=120)
    assert started.returncode == 0, errors
    assert [line["state"] for line in listed(tmp_path / "out")] == ["done"] * 6
