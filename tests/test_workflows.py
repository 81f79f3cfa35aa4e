"""The programs for a cluster and for archives, run as users run them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stand_ins import textured, write_pair, write_raster

WORKFLOWS = Path(__file__).parents[1] / "workflows"


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


@pytest.mark.parametrize("text", ["before,after\na,b\n", "before,after,out,colour\na,b,c,red\n"])
def test_tables_with_other_columns_are_refused(tmp_path, text):
    (tmp_path / "pairs.csv").write_text(text)
    answer = run("detect_many.py", tmp_path / "pairs.csv")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
