"""The programs for a cluster and for archives, run as users run them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest
import shapely

from tests.stand_ins import PLACE, UTM, textured, write_pair, write_raster

WORKFLOWS = Path(__file__).parents[2] / "workflows"


def write_table(path, *lines):
    """A CSV of the lines, given as dicts with the same keys; its path."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["before", "after", "out", *lines[0]])
        writer.writeheader()
        for number, line in enumerate(lines):
            writer.writerow({"before": "before.tif", "after": "after.tif", "out": f"out{number}", **line})
    return path


def record_of(folder):
    return json.loads((folder / "run.json").read_text())


def run(name, *arguments):
    command = [sys.executable, str(WORKFLOWS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["detect_scene.py", "detect_many.py"])
def test_every_workflow_has_help(name):
    answer = run(name, "--help")
    assert answer.returncode == 0
    assert "Usage" in answer.stdout


def test_one_scene_on_worker_processes_and_again(tmp_path):
    pair = write_pair(tmp_path, (90, 100))
    first = run("detect_scene.py", *pair, tmp_path / "out", "--workers", 1)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert (tmp_path / "out" / "changes.gpkg").exists()
    assert run("detect_scene.py", *pair, tmp_path / "out").returncode == 0


def test_many_pairs_go_on_past_bad_ones_and_list_them(tmp_path):
    write_pair(tmp_path, (90, 100))
    write_raster(tmp_path / "other.tif", textured((50, 50)))
    table = tmp_path / "pairs.csv"
    table.write_text(
        "before,after,out,detector,align\n"
        "before.tif,after.tif,one,change-vector,\n"
        "before.tif,missing.tif,two,,\n"
        "before.tif,other.tif,three,,no\n"
        "before.tif,other.tif,four,,yes\n"
        "before.tif,after.tif,five,magic,\n"
    )
    answer = run("detect_many.py", table)
    assert answer.returncode == 2
    assert "2 of 5 pairs done" in answer.stdout
    listed = [line for line in answer.stderr.splitlines() if line.startswith("line ")]
    assert [line.split(",")[0] for line in listed] == ["line 3", "line 4", "line 6"]
    assert "missing.tif" in listed[0]
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "one" / "run.json").exists()
    assert (tmp_path / "four" / "run.json").exists()


def test_cells_are_read_by_the_type_of_their_option(tmp_path):
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
    answer = run("detect_many.py", write_table(tmp_path / "pairs.csv", line, {**line, "remove_shift": "yes"}))
    assert answer.returncode == 0, answer.stderr
    options = record_of(tmp_path / "out0")["identity"]["options"]
    read = {
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
    assert record_of(tmp_path / "out1")["identity"]["options"]["remove_shift"] is True


def test_areas_of_interest_lie_beside_the_table_or_are_boxes(tmp_path):
    write_pair(tmp_path, (90, 100))
    (left, top), (right, bottom) = PLACE @ (10, 20), PLACE @ (70, 80)
    box = shapely.box(left, bottom, right, top)
    geopandas.GeoDataFrame(geometry=[box], crs=UTM).to_file(tmp_path / "area.gpkg")
    areas = {"aoi": "area.gpkg"}, {"aoi": f"{left},{bottom},{right},{top}"}
    answer = run("detect_many.py", write_table(tmp_path / "pairs.csv", *areas))
    assert answer.returncode == 0, answer.stderr
    assert [record_of(tmp_path / out)["scene"]["shape"] for out in ("out0", "out1")] == [[60, 60], [60, 60]]


def test_lines_that_cannot_be_read_are_failed_pairs(tmp_path):
    write_pair(tmp_path, (90, 100))
    table = tmp_path / "pairs.csv"
    table.write_text(
        "before,after,out,align,tile_size\n"
        "before.tif\n"
        "before.tif,after.tif,long,no,512,more\n"
        "before.tif,after.tif,,no,512\n"
        "before.tif,after.tif,word,perhaps,512\n"
        "before.tif,after.tif,number,no,big\n"
        "before.tif,after.tif,good,no,512\n"
    )
    answer = run("detect_many.py", table)
    assert answer.returncode == 2
    assert "1 of 6 pairs done" in answer.stdout
    assert "Traceback" not in answer.stderr
    listed = [line for line in answer.stderr.splitlines() if line.startswith("line ")]
    assert [line.split(",")[0] for line in listed] == [f"line {number}" for number in range(2, 7)]
    assert "align must be true or false, not 'perhaps'" in listed[3]
    assert "tile_size must be a whole number or none, not 'big'" in listed[4]
    assert (tmp_path / "good" / "run.json").exists()


def test_an_unexpected_error_is_listed_with_its_type(tmp_path):
    write_pair(tmp_path, (90, 100))
    table = write_table(tmp_path / "pairs.csv", {"out": "first"}, {"out": "second"})
    program = (
        f"import sys; sys.path.insert(0, {str(WORKFLOWS)!r}); sys.argv = ['detect_many', {str(table)!r}]\n"
        "import detect_many, geochange\n"
        "sound = geochange.detect\n"
        "def broken(before, after, out, *rest, **settings):\n"
        "    if out.endswith('first'): raise KeyError('torn')\n"
        "    return sound(before, after, out, *rest, **settings)\n"
        "geochange.detect = broken\n"
        "detect_many.run_command(detect_many.detect_many)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "line 2, first: KeyError: 'torn'" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert (tmp_path / "second" / "run.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        "before,after\na,b\n",
        "before,after,out,colour\na,b,c,red\n",
        *(f"before,after,out,{name}\na,b,c,1\n" for name in ("workers", "scheduler", "threads", "resume", "overwrite")),
    ],
)
def test_tables_with_other_columns_are_refused(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text)
    answer = run("detect_many.py", tmp_path / "pairs.csv")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1


def test_a_job_of_slurm_runs_a_pair_and_goes_on_where_it_stopped(tmp_path):
    """With a command of the name srun that runs what it is given on this machine."""
    (tmp_path / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7"}
    pair = write_pair(tmp_path, (90, 100))
    job = ["bash", WORKFLOWS / "slurm" / "detect.sbatch", *pair, tmp_path / "out", "-d", "change-vector", "-q"]
    for _ in range(2):
        answer = subprocess.run(job, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"changes.gpkg", "probability.tif", "run.json"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("script", sorted(WORKFLOWS.glob("slurm/*")), ids=lambda path: path.name)
def test_job_scripts_are_sound_bash(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False).stderr == ""
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < lines.index("set -euo pipefail")  # Slurm reads them up to the first command
