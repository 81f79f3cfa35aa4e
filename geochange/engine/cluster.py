"""Where tasks run: threads of this process, Dask worker processes, or any Dask cluster by its address.

All three are a `concurrent.futures.Executor`, so the engine is written once. Threads need no Dask at all, which saves
a small scene the second that a local cluster takes to start.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, ClassVar, TypeVar

import rasterio
from threadpoolctl import threadpool_limits

from geochange.declarations import TILES, Options
from geochange.engine.workers import LOOK_SECONDS, Needs, Notice, Workers
from geochange.errors import BadOption, BlockFailed, DiskFull, GeochangeError, UnreadableInput
from geochange.files import is_disk_full
from geochange.system import available_cores

T = TypeVar("T")
R = TypeVar("R")

GDAL_CACHE = 128 << 20  # bytes, as rasterio takes it
ATTEMPTS = 3
DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smh])")

log = logging.getLogger("geochange")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(Options):
    """Where the work is done."""

    panel: ClassVar[str] = TILES

    workers: int | None = None
    """Dask worker processes on this machine; None: threads of this process."""

    scheduler: str | None = None
    """Address of a running Dask cluster, such as tcp://host:8786."""

    threads: int | None = None
    """Threads of this process, without workers or a scheduler; None: one a core."""

    wait_workers: str = "10m"
    """How long a run waits while a cluster has no worker, such as 15s, 10m or 2h."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.patience
        if self.workers is not None and self.workers < 1:
            raise BadOption(f"workers {self.workers} must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise BadOption(f"threads {self.threads} must be at least 1")
        if self.threads is not None and (self.workers is not None or self.scheduler is not None):
            raise BadOption("threads are those of this process; leave them out with workers or a scheduler")
        if self.scheduler == "":
            raise BadOption("scheduler '' must be an address, as in tcp://host:8786")
        if self.workers is not None and self.scheduler is not None:
            raise BadOption(f"give workers ({self.workers}) or a scheduler ({self.scheduler}), not both")

    @property
    def patience(self) -> float:
        """Seconds without any worker after which a run ends."""
        found = DURATION.fullmatch(self.wait_workers)
        if found is None:
            raise BadOption(f"wait workers {self.wait_workers!r} must be a number and s, m or h, as in 15s, 10m or 2h")
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


@dataclass(frozen=True, slots=True)
class Crew:
    """An executor, and how many tasks it can work on at once."""

    executor: Executor
    threads: int = 1
    workers: Workers | None = None
    """Of a Dask cluster, which may grow and shrink."""

    @property
    def size(self) -> int:
        """How many tasks are worked on at once, now."""
        return self.threads if self.workers is None else max(1, self.workers.threads)

    def map_ordered(
        self, function: Callable[[T], R], items: Iterable[T], name: Callable[[T], str] = lambda _: "a block"
    ) -> Iterator[R]:
        """Yield results in the order of the items; few are under way or waiting at any time.

        Args:
            function: the task.
            items: one for each task.
            name: what messages call the task of an item.
        """
        todo = iter(items)
        pending: deque[tuple[T, Future[R]]] = deque()
        try:
            while True:
                wanted = 2 * self.size - len(pending)
                pending.extend((item, self.submit(function, item)) for item in islice(todo, max(wanted, 0)))
                if not pending:
                    return
                item, future = pending.popleft()
                yield self.result(future, name(item))
        finally:
            for _, future in pending:
                future.cancel()

    def submit(self, function: Callable[..., R], *arguments: Any) -> Future[R]:
        """Start a task, which is run again where it fails."""
        if self.workers is None:
            return self.executor.submit(attempt, function, *arguments)
        return self.executor.submit(unpacker(), pack((attempt, function, *arguments)))

    def first_done(self, pending: set[Future[Any]]) -> set[Future[Any]]:
        """Wait until at least one is done.

        Raises:
            ClusterFailed: none can be, since the cluster is gone.
        """
        while True:
            done = wait(pending, timeout=LOOK_SECONDS if self.workers else None, return_when=FIRST_COMPLETED).done
            if self.workers is not None:
                self._look_after(self.workers, done)
            if done:
                return done

    @staticmethod
    def _look_after(workers: Workers, done: set[Future[Any]]) -> None:
        if any(each.cancelled() or each.exception() for each in done):
            return  # which `result` explains
        workers.look(now=bool(done) and workers.none)

    def result(self, future: Future[R], task: str = "a block") -> R:
        """Wait for a result.

        Raises:
            GeochangeError: as the task raised it.
            ClusterFailed: the cluster is the reason.
            BlockFailed: any other error; it names the task.
        """
        self.first_done({future})
        try:
            return future.result()
        except (GeochangeError, KeyboardInterrupt):
            raise
        except (Exception, CancelledError) as error:
            if self.workers is not None:
                self.workers.explain(error, task)
            raise BlockFailed(f"{task} failed {ATTEMPTS} times: {type(error).__name__}: {error}") from error


def pack(task: tuple[Any, ...]) -> bytes:
    """Turn a function and its arguments into bytes, as Dask would."""
    from distributed.protocol.pickle import dumps

    packed: bytes = dumps(task)
    return packed


def unpacker() -> Callable[[bytes], Any]:
    """Return what runs a packed task. It is sent by value, as an inner function is.

    So a worker that lacks geochange has that as the task's error; what Dask itself cannot unpack closes it silently.
    """

    def run(packed: bytes) -> Any:
        import pickle

        function, *arguments = pickle.loads(packed)
        return function(*arguments)

    return run


@contextmanager
def open_crew(options: ClusterOptions, notice: Notice = log.warning, needs: Needs | None = None) -> Iterator[Crew]:
    """Start workers as the options ask; at the end they are gone, with what was not yet begun.

    Args:
        options: where the work is done.
        notice: receives a line that a user should know.
        needs: what workers of other machines must reach.

    Raises:
        BadOption: no scheduler answers at the address.
        ClusterFailed: the cluster cannot do the work.
    """
    if options.workers is None and options.scheduler is None:
        with _threads(options.threads or available_cores()) as crew:
            yield crew
    else:
        with _dask(options, notice, needs or Needs()) as crew:
            yield crew


@contextmanager
def _threads(count: int) -> Iterator[Crew]:
    executor = ThreadPoolExecutor(count, thread_name_prefix="geochange")
    with quiet_libraries(), threadpool_limits(1):
        try:
            yield Crew(executor, count)
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _dask(options: ClusterOptions, notice: Notice, needs: Needs) -> Iterator[Crew]:
    import dask
    from distributed import Client

    settings = dask.config.set(
        {
            "distributed.comm.timeouts.connect": "5s",
            "distributed.nanny.pre-spawn-environ.MALLOC_ARENA_MAX": 1,  # as `allocator.use_one_arena`
            "distributed.nanny.pre-spawn-environ.PYTHONWARNINGS": "ignore",  # of libraries; a worker has no log
        }
    )
    with settings, quiet_libraries(), quiet_dask(), threadpool_limits(1), ExitStack() as stack:
        with _ignoring_interrupts():
            address = options.scheduler or stack.enter_context(_local_cluster(options))
        try:
            client = stack.enter_context(Client(address, set_as_default=False))
        except (OSError, TimeoutError, ValueError, TypeError) as error:  # of keys for tls:// that are not given, too
            raise BadOption(f"no Dask scheduler answers at {options.scheduler}: {error}") from error
        workers = Workers(client, options.patience, needs, notice)
        stack.callback(workers.close)
        if options.scheduler is not None:
            workers.wait_until_asked()
        else:
            workers.look(now=True)
        yield Crew(client.get_executor(pure=False), workers=workers)


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start worker processes that ignore Ctrl-C, which is for this process to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _local_cluster(options: ClusterOptions) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,
        memory_limit=0,  # blocks bound the memory; the nanny's limit would kill workers on shared machines
        dashboard_address="127.0.0.1:0",  # any free port: None would still take 8787, with a warning where it is taken
        silence_logs=50,
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep GDAL's block cache small, unless the environment sets it: its default is 5 % of the memory."""
    with rasterio.Env(**({} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": GDAL_CACHE})):
        yield


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Keep Dask from printing tracebacks of what is told as an error of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado.application")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@cache
def limit_worker() -> None:
    """Set, once in each worker process, one BLAS thread: parallel work comes from workers."""
    threadpool_limits(1)


def attempt(function: Callable[..., R], *arguments: Any) -> R:
    """Run a task on a worker, again where it failed: a network drive may be away for a moment.

    Raises:
        DiskFull: at once, for trying again does not help; nor does it with mistakes of the user.
    """
    limit_worker()
    with quiet_libraries():
        for pause in (*(0.2 * 4**i for i in range(ATTEMPTS - 1)), None):
            try:
                return function(*arguments)
            except Exception as error:
                if is_disk_full(error) and not isinstance(error, GeochangeError):
                    raise DiskFull(f"the disk is full: {error.filename or error}; free some and --resume") from error
                if pause is None or (isinstance(error, GeochangeError) and not isinstance(error, UnreadableInput)):
                    raise
                time.sleep(pause)
    raise AssertionError("unreachable")
