"""The programs for a cluster and for archives, run as users run them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stand_ins import write_pair

WORKFLOWS = Path(__file__).parents[2] / "workflows"


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
    table = tmp_path / "pairs.csv"
    table.write_text("before,after,out\nbefore.tif,after.tif,one\nbefore.tif,missing.tif,two\n")
    answer = run("detect_many.py", table)
    assert answer.returncode == 2
    assert "1 of 2 pairs done" in answer.stdout
    assert "two: " in answer.stderr
    assert "missing.tif does not exist" in answer.stderr
    assert (tmp_path / "one" / "run.json").exists()
    assert (tmp_path / "pairs-results" / "pairs.csv").exists()


def test_a_job_of_slurm_runs_a_pair(tmp_path):
    """With a command of the name srun that runs what it is given on this machine."""
    (tmp_path / "srun").write_text('#!/bin/sh\nshift  # its own option\nexec "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7"}
    pair = write_pair(tmp_path, (90, 100))
    job = ["bash", WORKFLOWS / "slurm" / "detect.sbatch", *pair, tmp_path / "out", "-d", "change-vector", "-q"]
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
