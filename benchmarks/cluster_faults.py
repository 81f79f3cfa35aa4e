"""How long until a fault of a cluster is told, by which line, and whether --resume then gives the same bytes.

    python benchmarks/cluster_faults.py OUT

Runs `detect` on the sample, with a scheduler and workers of Dask as programs of their own, and makes each fault real:
processes are killed, disks are full or elsewhere. Seconds count from the fault, or from the start of the command where
the fault was there from the start, until the command has ended. Then the cause is removed, and the run is gone on with.
Needs root, to mount disks. Prints a table. `--elastic` has three workers come to one while a network runs over 3,072²,
and three of four go; it prints how long after their commands, and after the last has registered, all four had a task.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from distributed import Client

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.clusters import LACKING, address_of, kill, process, scheduler, wait_until, worker  # noqa: E402
from tests.disks import disk  # noqa: E402

FILES = "probability.tif", "changes.geojson", "preview.png"
WAIT = "10s"


@dataclass
class Place:
    """One run, and what it needs."""

    folder: Path
    told: str = ""  # the scheduler's file
    out: Path = Path()
    since: float = 0.0  # when the fault came

    @property
    def images(self) -> Path:
        return self.folder / "images"

    def command(self, *options: str) -> list[str]:
        pair = [str(self.images / f"{date}.tif") for date in ("before", "after")]
        how = ["-d", "change-vector", "--block-size", "128", "--formats", "geojson", "-q"]
        return [sys.executable, "-m", "geochange", "detect", *pair, "-o", str(self.out), *how, *options]

    def on_cluster(self) -> list[str]:
        return self.command("--scheduler", address_of(self.told), "--wait-workers", WAIT)

    def blocks_done(self) -> int:
        return len(list(self.out.glob(".geochange/blocks*/**/*.tif")))

    def files(self) -> dict[str, bytes]:
        return {name: (self.out / name).read_bytes() for name in FILES}


@contextmanager
def begun(place: Place) -> Iterator[subprocess.Popen[str]]:
    """The command, once some of its blocks are done; what is inside makes the fault."""
    with subprocess.Popen(place.on_cluster(), stderr=subprocess.PIPE, text=True) as command:
        wait_until(lambda: place.blocks_done() > 2 or command.poll() is not None)
        place.since = time.monotonic()
        yield command


def ended(command: subprocess.Popen[str]) -> str:
    _, errors = command.communicate(timeout=120)
    return errors


def from_the_start(place: Place) -> str:
    place.since = time.monotonic()
    return subprocess.run(place.on_cluster(), stderr=subprocess.PIPE, text=True, check=False, timeout=120).stderr


def one_killed(place: Place, stack: ExitStack) -> str:
    first, _ = (stack.enter_context(worker(place.told)) for _ in range(2))
    with begun(place) as command:
        kill(first)
        return ended(command)


def all_killed(place: Place, stack: ExitStack) -> str:
    both = [stack.enter_context(worker(place.told)) for _ in range(2)]
    with begun(place) as command:
        for each in both:
            kill(each)
        return ended(command)


def scheduler_killed(place: Place, stack: ExitStack) -> str:
    stack.enter_context(worker(place.told))
    with begun(place) as command:
        subprocess.run(["pkill", "-9", "-f", f"dask_scheduler.*{place.told}"], check=True)
        return ended(command)


def no_workers(place: Place, _: ExitStack) -> str:
    return from_the_start(place)


def no_geochange(place: Place, stack: ExitStack) -> str:
    lacking = place.folder / "lacking"
    lacking.mkdir()
    (lacking / "sitecustomize.py").write_text(
        LACKING.replace("OUTCOME", "raise importlib.metadata.PackageNotFoundError(name)")
    )
    stack.enter_context(worker(place.told, env=os.environ | {"PYTHONPATH": str(lacking)}))
    return from_the_start(place)


def hidden(folder: Callable[[Place], Path]) -> Callable[[Place, ExitStack], str]:
    """A worker for which another disk lies over a folder."""

    def fault(place: Place, stack: ExitStack) -> str:
        folder(place).mkdir(exist_ok=True)
        mount = f"mount -t tmpfs none {folder(place)} && exec {sys.executable} -m distributed.cli.dask_worker"
        command = f"{mount} --scheduler-file {place.told} --nthreads 1 --no-dashboard"
        stack.enter_context(process("unshare", "-m", "sh", "-c", command))
        return from_the_start(place)

    return fault


def little_memory(place: Place, stack: ExitStack) -> str:
    stack.enter_context(worker(place.told, "--memory-limit", "200MB"))
    return from_the_start(place)


def corrupt_tile(place: Place, stack: ExitStack) -> str:
    stack.enter_context(worker(place.told))
    path = place.images / "after.tif"
    whole = path.read_bytes()
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(64))
    found = from_the_start(place)
    path.write_bytes(whole)
    return found


def full_disk(place: Place, stack: ExitStack) -> str:
    shared = stack.enter_context(disk(place.folder / "disk", 100 << 20))
    place.out = shared / "out"
    stack.enter_context(worker(place.told))
    with begun(place) as command:
        subprocess.run(["dd", "if=/dev/zero", f"of={shared}/other", "bs=64k"], capture_output=True, check=False)
        place.since = time.monotonic()
        found = ended(command)
    (shared / "other").unlink()
    return found


def terminated(place: Place, stack: ExitStack) -> str:
    stack.enter_context(worker(place.told))
    with begun(place) as command:
        command.send_signal(signal.SIGTERM)
        return ended(command)


FAULTS: dict[str, Callable[[Place, ExitStack], str]] = {
    "one of two workers killed": one_killed,
    "all workers killed": all_killed,
    "scheduler killed": scheduler_killed,
    "no workers": no_workers,
    "worker without geochange": no_geochange,
    "OUT not visible": hidden(lambda place: place.out.parent),
    "input not visible": hidden(lambda place: place.images),
    "memory limit too small": little_memory,
    "corrupt tile": corrupt_tile,
    "disk full": full_disk,
    "SIGTERM of the driver": terminated,
}


def large_pair(place: Place) -> None:
    """Enlarge the images by laying them side by side, 3 x 3."""
    for path in place.images.glob("*.tif"):
        with rasterio.open(path) as dataset:
            values, profile = np.tile(dataset.read((1, 2, 3)), (1, 3, 3)), dataset.profile
        profile |= {"height": values.shape[1], "width": values.shape[2], "count": 3}
        with rasterio.open(path, "w", **profile) as dataset:
            dataset.write(values)


def elastic(folder: Path) -> dict[str, float | bool]:
    """Workers 1 to 4 and back to 1 in the midst of a run."""
    expected, place = (place_of(folder / name) for name in ("threads", "elastic"))
    for each in (expected, place):
        large_pair(each)
    subprocess.run(expected.command("-d", "landscape"), check=True)
    with ExitStack() as stack:
        _, place.told = stack.enter_context(scheduler(place.folder))
        stack.enter_context(worker(place.told))
        client = stack.enter_context(Client(address_of(place.told)))
        command = [*place.on_cluster(), "-d", "landscape"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
            wait_until(lambda: place.blocks_done() > 2 or started.poll() is not None, 120)
            begun = time.monotonic()
            more = [stack.enter_context(worker(place.told)) for _ in range(3)]
            wait_until(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 4, 60)
            joined = time.monotonic()
            wait_until(lambda: sum(map(bool, client.processing().values())) == 4, 60)
            busy, before = time.monotonic(), place.blocks_done()
            for each in more:
                kill(each)
            errors = ended(started)
    return {
        "seconds from their start": round(busy - begun, 1),
        "seconds from when the last had registered": round(busy - joined, 1),
        "blocks done when three went": before,
        "finished": started.returncode == 0 and not errors,
        "same bytes": place.files() == expected.files(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", help="words of the fault's name")
    parser.add_argument("--elastic", action="store_true", help="workers that come and go, in place of the faults")
    chosen = parser.parse_args()
    shutil.rmtree(chosen.out, ignore_errors=True)
    chosen.out.mkdir(parents=True)
    if chosen.elastic:
        print(json.dumps(elastic(chosen.out), indent=1))
        return
    expected = place_of(chosen.out / "expected")
    subprocess.run(expected.command(), check=True)
    print("| fault | seconds until told | line | `--resume`: same bytes |\n|---|---|---|---|")
    for number, (name, fault) in enumerate(FAULTS.items()):
        if chosen.only is None or chosen.only in name:
            place = place_of(chosen.out / f"fault{number}")
            with ExitStack() as stack:
                _, place.told = stack.enter_context(scheduler(place.folder))
                line = fault(place, stack).strip().replace(str(place.folder), "…")
                seconds = time.monotonic() - place.since
                subprocess.run(place.command("--resume"), check=True)
                same = "yes" if place.files() == expected.files() else "NO"
            print(f"| {name} | {seconds:.1f} | {line or '(none: the run goes on to its end)'} | {same} |", flush=True)


def place_of(folder: Path) -> Place:
    place = Place(folder, out=folder / "results" / "out")
    place.out.parent.mkdir(parents=True)
    shutil.copytree(ROOT / "sample_data", place.images)
    return place


if __name__ == "__main__":
    main()
