"""Faults of a cluster, with real schedulers and workers: each ends a run with a line that says what to do."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack

import pytest

from geochange.engine.cluster import ClusterOptions, open_crew
from geochange.engine.workers import Needs
from geochange.errors import BadOption, NoWorkers, SchedulerLost, WorkerDied, WorkerUnfit
from tests.clusters import LACKING, address_of, can_unshare, kill, process, scheduler, wait_until, worker

pytestmark = pytest.mark.xdist_group("clusters")


def pause(seconds):
    time.sleep(seconds)
    return seconds


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def fill_memory(_):
    held = []
    while True:
        held.append(bytearray(b"x" * 2**24))
        time.sleep(0.01)


def test_a_cluster_without_workers_is_told_of_and_waited_for(tmp_path):
    notices = []
    with scheduler(tmp_path) as (_, told):
        begun = time.monotonic()
        options = ClusterOptions(scheduler=address_of(told), wait_workers="3s")
        with pytest.raises(NoWorkers, match=r"has had no worker for 3 s"), open_crew(options, notices.append) as crew:
            list(crew.map_ordered(pause, [0]))
        assert 3 <= time.monotonic() - begun < 12
    assert notices == [f"no worker at {options.scheduler}; waiting 3 s for one (--wait-workers)"]


def test_when_all_workers_die_the_run_ends_and_when_one_comes_it_goes_on(tmp_path):
    notices = []
    with scheduler(tmp_path) as (_, told):
        options = ClusterOptions(scheduler=address_of(told), wait_workers="6s")
        with worker(told) as first, open_crew(options, notices.append) as crew:
            results = crew.map_ordered(pause, [0.1] * 12)
            next(results)
            notices.clear()  # the worker may not have been there at the first look
            kill(first)
            wait_until(lambda: crew.workers.look(now=True) or len(notices) > 0)
            with worker(told) as second:
                assert [next(results) for _ in range(4)] == [0.1] * 4
                kill(second)
                with pytest.raises(NoWorkers):
                    list(results)
    assert [notice.split(" at ")[0] for notice in notices] == ["no worker", "there are workers", "no worker"]


def test_a_scheduler_that_dies_ends_the_run(tmp_path):
    with scheduler(tmp_path) as (started, told):
        address = address_of(told)
        with worker(told), open_crew(ClusterOptions(scheduler=address)) as crew:
            results = crew.map_ordered(pause, [0.2] * 50)
            next(results)
            kill(started)
            begun = time.monotonic()
            with pytest.raises(SchedulerLost, match=f"the Dask scheduler at {address} is gone"):
                list(results)
            assert time.monotonic() - begun < 15


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("raise importlib.metadata.PackageNotFoundError(name)", r"has no geochange; install geochange \S+ there"),
        ("return '0.0.1'", r"has geochange 0\.0\.1, this process \S+; both need the same"),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_worker_that_lacks_geochange_is_refused_whenever_it_comes(tmp_path, outcome, words, late):
    (tmp_path / "sitecustomize.py").write_text(LACKING.replace("OUTCOME", outcome))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with scheduler(tmp_path) as (_, told), ExitStack() as stack:
        options = ClusterOptions(scheduler=address_of(told))

        def run():
            stack.enter_context(worker(told, env=None if late else environment))
            with open_crew(options) as crew:
                assert late  # else it is refused before any work
                results = crew.map_ordered(pause, [0.2] * 100)
                next(results)
                stack.enter_context(worker(told, env=environment))
                list(results)

        with pytest.raises(WorkerUnfit, match=rf"^worker tcp://\S+ {words}"):
            run()


def test_what_a_worker_does_not_see_is_told_before_any_work(tmp_path):
    image = tmp_path / "image.tif"
    image.touch()
    with scheduler(tmp_path) as (_, told), worker(told):
        options = ClusterOptions(scheduler=address_of(told))
        with open_crew(options, needs=Needs(inputs=[image, None, "no such file"], folder=tmp_path)) as crew:
            assert list(crew.map_ordered(pause, [0])) == [0]
        assert not list(tmp_path.glob(".seen*"))


@pytest.mark.skipif(not can_unshare(), reason="no mount namespaces here")
@pytest.mark.parametrize("hidden", ["inputs", "out"])
def test_a_worker_on_another_disk_is_refused(tmp_path, hidden):
    """In a mount namespace of its own an empty disk lies over the folder, as on another machine."""
    folders = {name: tmp_path / name for name in ("inputs", "out")}
    for folder in folders.values():
        folder.mkdir()
    image = folders["inputs"] / "image.tif"
    image.touch()
    with scheduler(tmp_path) as (_, told):
        mount = f"mount -t tmpfs none {folders[hidden]} && exec {sys.executable} -m distributed.cli.dask_worker "
        command = f"{mount} --scheduler-file {told} --nthreads 1 --no-dashboard"
        with process("unshare", "-m", "sh", "-c", command):
            missing = image if hidden == "inputs" else folders["out"]
            words = f"does not see {missing}; it must lie on a disk that all workers share"
            options = ClusterOptions(scheduler=address_of(told))
            with (
                pytest.raises(WorkerUnfit, match=words),
                open_crew(options, needs=Needs(inputs=[image], folder=folders["out"])),
            ):
                pass


def test_a_worker_that_runs_out_of_memory_says_so(tmp_path):
    with (
        scheduler(tmp_path) as (_, told),
        worker(told, "--memory-limit", "400MB"),
        open_crew(ClusterOptions(scheduler=address_of(told))) as crew,
        pytest.raises(WorkerDied, match=r"a block ended 4 workers.*used up its memory of 0.4 GB.*--block-size"),
    ):
        list(crew.map_ordered(fill_memory, [0]))


def test_workers_that_come_later_get_work(tmp_path):
    with (
        scheduler(tmp_path) as (_, told),
        worker(told),
        open_crew(ClusterOptions(scheduler=address_of(told))) as crew,
    ):
        assert crew.size == 1
        results = crew.map_ordered(pid_after, [0.1] * 300)
        seen = {next(results)}
        with worker(told), worker(told):
            wait_until(lambda: seen.add(next(results)) or (len(seen) == 3 and crew.size == 3), 15)


@pytest.mark.parametrize("wrong", ["", "soon", "-5s", "10"])
def test_a_wait_that_is_no_duration_is_refused(wrong):
    with pytest.raises(BadOption, match=r"wait workers .* must be a number and s, m or h"):
        ClusterOptions(wait_workers=wrong)
