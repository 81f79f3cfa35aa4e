"""Schedulers and workers of Dask as programs of their own, which tests may kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

# a sitecustomize of a process that lacks geochange, or has another version
LACKING = """
import importlib.metadata, sys
class Lacks:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "geochange":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
real = importlib.metadata.version
def version(name):
    if name == "geochange":
        OUTCOME
    return real(name)
sys.meta_path.insert(0, Lacks())
importlib.metadata.version = version
"""


@contextmanager
def process(*command: str, **settings):
    """A process of its own, and of its own group."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command, start_new_session=True, **quiet, **settings)
    try:
        yield started
    finally:
        kill(started)


def running(module: str, *options: str, **settings):
    return process(sys.executable, "-m", module, *options, **settings)


def kill(started):
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()


def can_unshare() -> bool:
    """Whether a process may have disks of its own."""
    try:
        return subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def scheduler(folder: Path):
    """(process, address) of a scheduler that listens."""
    told = folder / "scheduler.json"
    command = "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
    with running(*command, "--scheduler-file", str(told)) as started:
        wait_until(lambda: is_told(told))
        yield started, str(told)


def is_told(told: Path) -> bool:
    """Whether a scheduler's file is there, and whole: it is written in place."""
    try:
        json.loads(told.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return True


def address_of(told: str) -> str:
    return str(json.loads(Path(told).read_text())["address"])


def worker(told: str, *options: str, **settings):
    how = "--scheduler-file", told, "--nthreads", "1", "--no-dashboard"
    return running("distributed.cli.dask_worker", *how, *options, **settings)


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
