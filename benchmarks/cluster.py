"""A cluster of any size, simulated: how well it is used by `detect` and `detect-many`, and what limits it.

    python benchmarks/cluster.py OUT [--detector change-vector] [--side 100000] [--workers 8 32 128]
    python benchmarks/cluster.py OUT --scenes 1000 --detector landscape --workers 32 256 1000
    python benchmarks/cluster.py OUT --picture docs/assets/cluster.svg

Tasks are first recorded on a real pair, on one thread. Then `detect` runs on a scene without pixels, with the real
driver and the real scheduler of Dask, in processes of their own; workers are real ones of Dask, many in a process, but
tasks sleep as long as they took, and answer as they did (`simulated_tasks.py`). All of that shares the cores of this
machine.

With `--scenes` it is an archive of so many scenes of 2,048², a task each.

Prints JSON. `efficiency` is the time of all tasks over workers times the time of the run; `stages` tells which parts of
the run took it; with `--factor F` tasks sleep for an F-th of their time. `plan` is what the driver takes before the
first task, and `peak_mb` its largest resident set. A line for each run is kept in OUT/runs.jsonl, from which
`--picture` draws the efficiency over the number of workers.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import isqrt
from pathlib import Path
from typing import Any

import rasterio
from cluster_picture import draw
from large_scene import ROOT, made_scene
from simulated_tasks import RECORDED_PIXELS, Log, Profile, peak_mb, pretend, record, record_pair

import geochange
from geochange.engine.cluster import ClusterOptions

sys.path.insert(0, str(ROOT))

from tests.clusters import is_told

HERE = Path(__file__).parent
RECORDED_SIDE = isqrt(RECORDED_PIXELS)
WORKERS_IN_PROCESS = 128
ALL_FORMATS = ("gpkg", "geojson", "parquet", "flatgeobuf")
BANDS = {"change-vector": None, "landscape": (1, 2, 3)}
PAIR_SIDE = 2048


def recorded(folder: Path, detector: str) -> Path:
    """Return the file of what tasks take, which is made if it is missing."""
    path = folder / f"{detector}.pickle"
    if not path.exists():
        profile: Profile = {}
        with record(profile):
            geochange.detect(
                *made_scene(RECORDED_SIDE),
                folder / "recorded",
                detector=detector,
                bands=BANDS[detector],
                formats=ALL_FORMATS,
                threads=1,
                overwrite=True,
            )
        path.write_bytes(pickle.dumps(profile))
    return path


def recorded_pair(folder: Path, detector: str) -> Path:
    """Return the file of what a pair of an archive takes, which is made if it is missing."""
    path = folder / f"{detector}-pair.pickle"
    if not path.exists():
        options = geochange.DetectOptions(detector=detector, bands=BANDS[detector], formats=("parquet",))
        path.write_bytes(pickle.dumps(record_pair(*made_scene(PAIR_SIDE), str(folder / "recorded"), options)))
    return path


def empty_scene(folder: Path, side: int) -> tuple[str, str]:
    """Return the paths of a pair without pixels, as large as wanted, and otherwise as the recorded one."""
    paths = []
    for path in made_scene(RECORDED_SIDE):
        target = folder / f"{Path(path).stem}-{side}.tif"
        with rasterio.open(path) as source:
            profile = source.profile | {"width": side, "height": side, "SPARSE_OK": "TRUE", "BIGTIFF": "YES"}
            with rasterio.open(target, "w", **profile) as dataset:
                dataset.colorinterp = source.colorinterp
        paths.append(str(target))
    return paths[0], paths[1]


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """Start a scheduler and workers; yields the scheduler's address."""
    told = folder / "scheduler.json"
    told.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
        "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "60s",
        "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "10s",  # each worker is to have a core of its own for that
    }
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
    with (folder / "cluster.log").open("w") as log:
        processes = [subprocess.Popen(command, stderr=log, stdout=log, env=environment)]
        try:
            while not is_told(told):
                time.sleep(0.1)
            address = json.loads(told.read_text())["address"]
            left = workers
            while left > 0:
                count = min(left, WORKERS_IN_PROCESS)
                serving = [sys.executable, str(HERE / "cluster.py"), str(folder), "--serve", address, str(count)]
                processes.append(subprocess.Popen(serving, stderr=log, stdout=log, env=environment))
                left -= count
            yield address
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()


def serve(address: str, count: int, folder: Path) -> None:
    """Be so many workers."""
    from distributed import Worker

    importlib.metadata.version = cache(importlib.metadata.version)  # a worker looks once: here all are one process

    async def run() -> None:
        place = str(folder / "workers")
        made = [
            Worker(address, nthreads=1, memory_limit=0, dashboard=False, local_directory=place) for _ in range(count)
        ]
        await asyncio.gather(*made)
        await asyncio.gather(*(worker.finished() for worker in made))

    asyncio.run(run())


def wait_for(address: str, workers: int) -> None:
    """Wait until all workers are there."""
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers, timeout=300)


def drive(arguments: argparse.Namespace, address: str) -> dict[str, Any]:
    """Run the driver, in this process."""
    found = _archive(arguments, address) if arguments.scenes else _scene(arguments, address)
    about = {name: getattr(arguments, name) for name in ("detector", "side", "scenes", "factor", "formats")}
    return {**about, "workers": arguments.workers[0], **found, "peak_mb": peak_mb()}


def _scene(arguments: argparse.Namespace, address: str) -> dict[str, Any]:
    options = geochange.DetectOptions(
        detector=arguments.detector, bands=BANDS[arguments.detector], formats=tuple(arguments.formats)
    )
    pair = empty_scene(arguments.out, arguments.side)
    with pretend(str(recorded(arguments.out, arguments.detector)), arguments.factor) as log:
        begun = time.perf_counter()
        done = geochange.detect(
            *pair, arguments.out / "run", options, overwrite=True, cluster=ClusterOptions(scheduler=address)
        )
        seconds = time.perf_counter() - begun
    return _told(log, arguments.workers[0], begun, seconds) | {
        "changes": done.record["changes"]["count"],
        "stages": done.record["seconds"],
        "seconds_of_tasks": dict(log.by_kind),
        "peaks_mb": log.peaks,
    }


def _archive(arguments: argparse.Namespace, address: str) -> dict[str, Any]:
    before, after = empty_scene(arguments.out, PAIR_SIDE)
    table = arguments.out / "pairs.csv"
    lines = [f"{before},{after},{arguments.out / 'run' / str(k)}\n" for k in range(arguments.scenes)]
    table.write_text("before,after,out\n" + "".join(lines))
    options = geochange.DetectManyOptions(detector=arguments.detector, bands=BANDS[arguments.detector])
    with pretend(str(recorded_pair(arguments.out, arguments.detector)), arguments.factor) as log:
        begun = time.perf_counter()
        done = geochange.detect_many(
            table, arguments.out / "run", options, overwrite=True, cluster=ClusterOptions(scheduler=address)
        )
        seconds = time.perf_counter() - begun
    return _told(log, arguments.workers[0], begun, seconds) | {"stages": done.record["seconds"]}


def _told(log: Log, workers: int, begun: float, seconds: float) -> dict[str, Any]:
    assert log.first is not None
    return {
        "tasks": log.tasks,
        "seconds": seconds,
        "busy": log.busy,
        "efficiency": log.busy / workers / seconds,
        "plan": log.first - begun,
    }


def simulate(arguments: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Run the driver in a process of its own, on a cluster of so many workers."""
    shutil.rmtree(arguments.out / "run", ignore_errors=True)
    with cluster(arguments.out, workers) as address:
        wait_for(address, workers)
        command = [sys.executable, str(HERE / "cluster.py"), str(arguments.out), "--drive", address]
        command += ["--detector", arguments.detector, "--side", str(arguments.side), "--factor", str(arguments.factor)]
        command += ["--workers", str(workers), "--scenes", str(arguments.scenes), "--formats", *arguments.formats]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    shutil.rmtree(arguments.out / "run", ignore_errors=True)
    found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    with (arguments.out / "runs.jsonl").open("a") as file:
        print(json.dumps(found), file=file)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--detector", default="change-vector", choices=BANDS)
    parser.add_argument("--side", type=int, default=100_000)
    parser.add_argument("--scenes", type=int, default=0)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--factor", type=float, default=1.0)
    parser.add_argument("--formats", nargs="+", default=["parquet"], choices=ALL_FORMATS)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--drive", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out = arguments.out.absolute()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.serve:
        serve(arguments.serve[0], int(arguments.serve[1]), arguments.out)
    elif arguments.drive:
        print(json.dumps(drive(arguments, arguments.drive)))
    elif arguments.picture:
        lines = (arguments.out / "runs.jsonl").read_text().splitlines()
        arguments.picture.write_text(draw([json.loads(line) for line in lines]))
    else:
        (recorded_pair if arguments.scenes else recorded)(arguments.out, arguments.detector)
        for workers in arguments.workers:
            print(json.dumps(simulate(arguments, workers), indent=1), flush=True)


if __name__ == "__main__":
    main()
