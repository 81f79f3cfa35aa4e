import os
import threading
import time

import pytest
from rasterio.env import get_gdal_config
from threadpoolctl import threadpool_info, threadpool_limits

from geochange.engine import cluster
from geochange.engine.cluster import LARGEST_GROUP, ClusterOptions, Crew, attempt, open_crew, quiet_libraries
from geochange.errors import BadOption, BlockFailed, DiskFull, UnreadableInput


def double(number):
    return 2 * number


def late_first(number):
    time.sleep(0.05 if number == 0 else 0)
    return number


@pytest.mark.parametrize("options", [ClusterOptions(threads=3), ClusterOptions(workers=1)])
def test_results_come_in_the_order_of_the_items(options):
    with open_crew(options) as crew:
        assert list(crew.map_ordered(double, range(20))) == [2 * n for n in range(20)]
        assert list(crew.map_ordered(late_first, range(8))) == list(range(8))


def test_few_items_are_under_way_at_a_time():
    taken = []
    with open_crew(ClusterOptions(threads=2)) as crew:
        results = crew.map_ordered(double, (taken.append(n) or n for n in range(100)))
        next(results)
        assert len(taken) <= 2 * 2 + 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"workers": 0}, "workers 0 must be at least 1"),
        ({"workers": -3}, "workers -3 must be at least 1"),
        ({"threads": 0}, "threads 0 must be at least 1"),
        ({"threads": -1}, "threads -1 must be at least 1"),
        ({"threads": 1, "workers": 1}, "give workers or threads, not both"),
        ({"threads": 2, "scheduler": "tcp://host:1"}, "give scheduler or threads, not both"),
        ({"client": object(), "workers": 1}, "give client or workers, not both"),
        ({"queue": "slurm"}, "cluster slurm needs the number of workers"),
        ({"scheduler": ""}, "scheduler '' must be an address"),
        ({"workers": 2, "scheduler": "tcp://host:1"}, "give scheduler or workers, not both"),
    ],
)
def test_impossible_clusters_are_refused(wrong, words):
    with pytest.raises(BadOption, match=words):
        ClusterOptions(**wrong)


@pytest.mark.parametrize("right", [{}, {"workers": 1}, {"threads": 1}, {"scheduler": "tcp://host:1"}])
def test_one_place_to_work_at_or_none_may_be_given(right):
    options = ClusterOptions(**right)
    assert {name: getattr(options, name) for name in right} == right


@pytest.mark.parametrize("error", [OSError("away"), UnreadableInput("a.tif cannot be read")])
def test_a_task_that_fails_for_a_moment_is_tried_again(monkeypatch, error):
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)
    failures = [error, error]

    def task():
        if failures:
            raise failures.pop()
        return "done"

    assert attempt(task) == "done"


def test_a_full_disk_is_not_tried_again():
    calls = []

    def task():
        calls.append(1)
        raise OSError(28, "No space left on device", "block.tif")

    with pytest.raises(DiskFull, match=r"block\.tif"):
        attempt(task)
    assert len(calls) == 1


def test_mistakes_of_the_user_stay_what_they_are(monkeypatch):
    monkeypatch.setattr(cluster.time, "sleep", lambda seconds: None)

    def mistake():
        raise BadOption("no such thing")

    with open_crew(ClusterOptions(threads=1)) as crew:
        with pytest.raises(BadOption, match=r"no such thing"):
            crew.result(crew.submit(mistake))
        with pytest.raises(BlockFailed, match="the last one failed 3 times: ZeroDivisionError"):
            crew.result(crew.submit(lambda: 1 / 0), "the last one")


def test_gdals_block_cache_is_128_megabytes_unless_the_environment_sets_it(monkeypatch):
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with quiet_libraries():
        assert get_gdal_config("GDAL_CACHEMAX") == 128 * 1024**2
    monkeypatch.setenv("GDAL_CACHEMAX", "512")
    assert attempt(double, 2) == 4


def test_what_is_done_first_does_not_wait_for_the_others():
    gate = threading.Event()
    with open_crew(ClusterOptions(threads=2)) as crew:
        slow, quick = crew.submit(gate.wait, 2), crew.submit(double, 1)
        arrivals = crew.arrivals()
        arrivals.add(slow)
        arrivals.add(quick)
        try:
            assert arrivals.wait() == [quick]
        finally:
            gate.set()
        assert arrivals.wait() == [slow]


def test_items_that_wait_behind_one_that_fails_are_not_begun():
    begun, gate = [], threading.Event()

    def task(number):
        begun.append(number)
        if number == 0:
            raise BadOption("no such thing")
        gate.wait(5)

    with open_crew(ClusterOptions(threads=2)) as crew:
        with pytest.raises(BadOption, match="no such thing"):
            list(crew.map_ordered(task, range(9)))
        gate.set()
        assert [crew.submit(double, n).result() for n in range(4)] == [0, 2, 4, 6]
    assert max(begun) < 3


class Refused(Exception):
    """Of a task that cannot be done."""


def own_process(number):
    if number == 77:
        raise Refused("no")
    return number, os.getpid(), time.monotonic()


def test_small_tasks_go_to_workers_together_and_one_that_fails_is_named_alone(monkeypatch):
    submitted, submit = [], Crew.submit
    monkeypatch.setattr(Crew, "submit", lambda crew, *task: submitted.append(task) or submit(crew, *task))
    with open_crew(ClusterOptions(workers=1)) as crew:
        found = [number for number, *_ in crew.map_ordered(own_process, range(72))]
        assert found == list(range(72))
        assert 72 / LARGEST_GROUP < len(submitted) < 40
        with pytest.raises(BlockFailed, match=r"^number 77 failed 3 times: Refused: no$"):
            list(crew.map_ordered(own_process, range(120), lambda number: f"number {number}"))
        assert list(crew.map_ordered(double, (number for number in range(9)))) == [2 * n for n in range(9)]


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def allow_two_threads():
    threadpool_limits(2)


@pytest.mark.parametrize("options", [ClusterOptions(threads=2), ClusterOptions(workers=1)])
def test_tasks_have_one_blas_thread_each(options):
    with threadpool_limits(2):
        with open_crew(options) as crew:
            assert blas_threads() == {1}
            if options.workers:
                crew.executor.submit(allow_two_threads).result()
            assert crew.submit(blas_threads).result() == {1}
        assert blas_threads() == {2}


def test_threads_are_of_this_process_and_workers_are_not():
    with open_crew(ClusterOptions(threads=3)) as crew:
        assert (crew.size, crew.submit(os.getpid).result()) == (3, os.getpid())
    with open_crew(ClusterOptions()) as crew:
        assert (crew.size, crew.submit(os.getpid).result()) == (cluster.available_cores(), os.getpid())
    with open_crew(ClusterOptions(workers=1)) as crew:
        assert crew.size == 1
        assert crew.submit(os.getpid).result() != os.getpid()


def test_a_scheduler_works_where_it_is_with_all_its_threads_and_outlives_the_crew():
    from distributed import LocalCluster

    settings = {"n_workers": 1, "threads_per_worker": 5, "processes": False, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(**settings, silence_logs=50) as there:
        for _ in range(2):
            with open_crew(ClusterOptions(scheduler=there.scheduler_address)) as crew:
                assert crew.size == 5
                assert "geochange" not in crew.submit(lambda: threading.current_thread().name).result()


@pytest.mark.parametrize("address", ["nowhere://host:1", "tcp://127.0.0.1"])
def test_an_address_at_which_nothing_answers_is_refused_by_its_name(address):
    with (
        pytest.raises(BadOption, match=f"no Dask scheduler answers at {address}"),
        open_crew(ClusterOptions(scheduler=address)),
    ):
        pass


def environment_of(_):
    names = ("OMP_NUM_THREADS", "MALLOC_ARENA_MAX", "PYTHONWARNINGS")
    return {name: os.environ.get(name) for name in names}


def test_workers_begin_with_one_thread_for_libraries_and_one_arena(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with open_crew(ClusterOptions(workers=1)) as crew:
        (found,) = crew.map_ordered(environment_of, [0])
    assert found == {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONWARNINGS": "ignore"}
