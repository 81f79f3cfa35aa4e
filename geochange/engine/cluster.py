"""Where tasks run: threads of this process, Dask worker processes, or any Dask cluster by its address.

All three are a `concurrent.futures.Executor`, so the engine is written once. Threads need no Dask at all, which saves
a small scene the second that a local cluster takes to start.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, TypeVar

import rasterio
from threadpoolctl import threadpool_limits

from geochange.declarations import TILES, Options
from geochange.engine.clients import (
    ONE_ARENA,
    client_at,
    local_client,
    open_to_others,
    quiet_dask,
    require_client,
    take_number,
)
from geochange.engine.packing import Packer, run_packed
from geochange.engine.slurm import slurm_client
from geochange.engine.workers import LOOK_SECONDS, Needs, Notice, Workers
from geochange.errors import BadOption, BlockFailed, DiskFull, GeochangeError, UnreadableInput
from geochange.files import is_disk_full, scratch_beside
from geochange.system import START_METHOD, available_cores

T = TypeVar("T")
R = TypeVar("R")

GDAL_CACHE = 128 << 20  # bytes, as rasterio takes it
ATTEMPTS = 3
TASK_SECONDS = 1.0  # beside which the way of a task to a worker does not count
LARGEST_GROUP = 32  # items of one task
DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smh])")

log = logging.getLogger("geochange")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(Options):
    """Where the work is done."""

    panel: ClassVar[str] = TILES

    workers: int | None = None
    """Dask worker processes on this machine, or with --cluster in its jobs; None: threads of this process."""

    scheduler: str | None = None
    """Address of a running Dask cluster, such as tcp://host:8786."""

    queue: Literal["slurm"] | None = field(default=None, metadata={"flags": ("--cluster",)})
    """Whose jobs are the workers: slurm, through dask-jobqueue and its configuration."""

    client: object | None = field(default=None, metadata={"flags": ()})
    """A `distributed.Client` of any cluster, which stays open."""

    threads: int | None = None
    """Threads of this process, without workers or a scheduler; None: one a core."""

    wait_workers: str = "10m"
    """How long a run waits while a cluster has no worker, such as 15s, 10m or 2h."""

    scratch: str | None = field(default=None, metadata={"names": "folder"})
    """Folder, on a disk that all workers share, for the work of a run whose OUT is in a bucket; None: the user's
    cache."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.patience
        if self.workers is not None and self.workers < 1:
            raise BadOption(f"workers {self.workers} must be at least 1")
        if self.threads is not None and self.threads < 1:
            raise BadOption(f"threads {self.threads} must be at least 1")
        if self.scheduler == "":
            raise BadOption("scheduler '' must be an address, as in tcp://host:8786")
        if self.queue is not None and self.workers is None:
            raise BadOption(f"cluster {self.queue} needs the number of workers")
        places = ("scheduler", "client", "workers", "threads")
        given = [name for name in places if getattr(self, name) is not None]
        if len(given) > 1:
            raise BadOption(f"give {given[0]} or {given[1]}, not both: each says where the work is done")

    @property
    def local(self) -> bool:
        """Whether the workers are processes of this machine, started for the run."""
        return self.workers is not None and self.queue is None

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

    packer: Packer | None = None
    """Of what is sent to them."""

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
        todo, pace = iter(items), Pace(self, len(items) if isinstance(items, Sequence) else None)
        together = partial(run_together, function)
        pending: deque[tuple[list[T], Future[Any]]] = deque()
        try:
            while True:
                while len(pending) < pace.tasks and (group := list(islice(todo, pace.take()))):
                    pending.append((group, self.submit(together, group)))
                if not pending:
                    return
                group, future = pending.popleft()
                yield from pace.results(function, group, future, name)
        finally:
            for _, future in pending:
                future.cancel()

    def submit(self, function: Callable[..., R], *arguments: Any) -> Future[R]:
        """Start a task, which is run again where it fails."""
        if self.packer is None:
            return self.executor.submit(attempt, function, *arguments)
        return self.executor.submit(unpacker(), self.packer.pack(function, *arguments))

    def everywhere(self, function: Callable[[], R]) -> list[R]:
        """Return what each worker says that is there now; where there are none, what this process says."""
        return [attempt(function)] if self.workers is None else self.workers.everywhere(function)

    def tell(self, function: Callable[[], None]) -> None:
        """Have this process, and each worker that is there now, call a function; one that does not answer is left."""
        function()
        if self.workers is not None:
            self.workers.tell(function)

    def arrivals(self) -> Arrivals:
        """Return a queue of tasks that are done, for any number of tasks under way."""
        return Arrivals(self)

    @staticmethod
    @contextmanager
    def cancelling(pending: Iterable[Future[Any]]) -> Iterator[None]:
        """Cancel what is still to be done at the end."""
        try:
            yield
        finally:
            for future in pending:
                future.cancel()

    @property
    def patience(self) -> float | None:
        """Seconds to wait for a task before the cluster is looked after; None where there is none."""
        return LOOK_SECONDS if self.workers else None

    def look_after(self, done: Collection[Future[Any]]) -> None:
        """See how the cluster is, unless tasks have failed, which `result` explains.

        Raises:
            ClusterFailed: it is gone.
        """
        if self.workers is None or any(each.cancelled() or each.exception() for each in done):
            return
        self.workers.look(now=bool(done) and self.workers.none)

    def result(self, future: Future[R], task: str = "a block") -> R:
        """Wait for a result.

        Raises:
            GeochangeError: as the task raised it.
            ClusterFailed: the cluster is the reason.
            BlockFailed: any other error; it names the task.
        """
        while not wait({future}, timeout=self.patience).done:
            self.look_after([])
        self.look_after([future])
        try:
            return future.result()
        except (GeochangeError, KeyboardInterrupt):
            raise
        except (Exception, CancelledError) as error:
            if self.workers is not None:
                self.workers.explain(error, task)
            raise BlockFailed(f"{task} failed {ATTEMPTS} times: {type(error).__name__}: {error}") from error


class Arrivals:
    """Tasks under way, whatever their number: what a wait costs does not grow with it."""

    def __init__(self, crew: Crew) -> None:
        """Begin without any."""
        self._crew, self._done = crew, SimpleQueue[Future[Any]]()

    def add(self, future: Future[Any]) -> None:
        """Take one more."""
        future.add_done_callback(self._done.put)

    def wait(self) -> list[Future[Any]]:
        """Wait until at least one is done; return each once.

        Raises:
            ClusterFailed: none can be, since the cluster is gone.
        """
        while True:
            done = []
            with suppress(Empty):  # none is done yet, or no other
                done.append(self._done.get(timeout=self._crew.patience))
                while True:
                    done.append(self._done.get_nowait())
            self._crew.look_after(done)
            if done:
                return done


class Pace:
    """How many items make a task of about a second, by what the workers say that they took."""

    def __init__(self, crew: Crew, total: int | None, *, long: bool = False) -> None:
        """Begin.

        Args:
            crew: who works.
            total: how many items there are, None where that is not known.
            long: whether an item is known to be a task of its own.
        """
        self._crew, self._left, self._done, self._seconds, self._long = crew, total, 0, 0.0, long

    @property
    def tasks(self) -> int:
        """How many may be under way: one for each worker, and, once it is known how long it is, one in reserve."""
        return self._crew.size * (2 if self._done or self._long else 1)

    def take(self) -> int:
        """Return how many items the next task is to hold."""
        many = 1
        if self._crew.workers is not None and self._done:
            many = min(int(TASK_SECONDS * self._done / max(self._seconds, 1e-6)), LARGEST_GROUP)
            if self._left is not None:
                many = min(many, self._left // self._crew.size)  # so that each worker has one
        many = max(many, 1)
        if self._left is not None:
            self._left -= many
        return many

    def results(
        self,
        function: Callable[[T], R],
        group: list[T],
        future: Future[tuple[float, list[R]]],
        name: Callable[[T], str],
    ) -> list[R]:
        """Wait for a task, `run_together` of a group; where it fails, items are tried one by one, to find which.

        Raises:
            GeochangeError, ClusterFailed, BlockFailed: as `Crew.result`.
        """
        try:
            seconds, results = self._crew.result(future, name(group[0]))
        except BlockFailed:
            if len(group) == 1:
                raise
            return [self._crew.result(self._crew.submit(function, item), name(item)) for item in group]
        self._done += len(group)
        self._seconds += seconds
        return results


def run_together(function: Callable[[T], R], items: Sequence[T]) -> tuple[float, list[R]]:
    """Run several small tasks as one; return the seconds that it took, and the results."""
    begun = time.monotonic()
    results = [function(item) for item in items]
    return time.monotonic() - begun, results


def unpacker() -> Callable[[bytes], Any]:
    """Return what runs a packed task. It is sent by value, as an inner function is.

    So a worker that lacks geochange has that as the task's error; what Dask itself cannot unpack closes it silently.
    """

    def run(packed: bytes) -> Any:
        from geochange.engine.cluster import run_on_worker

        return run_on_worker(packed)

    return run


def run_on_worker(packed: bytes) -> Any:
    """Run a packed task in a worker of Dask."""
    take_number()
    return attempt(run_packed, packed)


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
    if options.workers is None and options.scheduler is None and options.client is None:
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
    import distributed  # noqa: F401  (its defaults must be there before one is set, else they go with it at the end)

    settings = dask.config.set(
        {
            "distributed.comm.timeouts.connect": "5s",
            "distributed.worker.multiprocessing-method": START_METHOD,
            "distributed.worker.profile.enabled": False,  # it looks at every task a hundred times a second
            "distributed.nanny.pre-spawn-environ.PYTHONWARNINGS": "ignore",  # of libraries; a worker has no log
            **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in ONE_ARENA.items()},
        }
    )
    with settings, quiet_libraries(), quiet_dask(), threadpool_limits(1), ExitStack() as stack:
        client = stack.enter_context(_client(options, needs.module, notice))
        if (address := open_to_others(client)) is not None:
            notice(f"{address} is not encrypted: who can reach it can run code here; where others can, use tls://")
        shared = stack.enter_context(_shared_folder(options, needs))
        workers = Workers(client, options.patience, needs, shared, notice)
        stack.callback(workers.close)
        if options.local:
            workers.look(now=True)
        else:
            workers.wait_until_asked()
        yield Crew(client.get_executor(pure=False), workers=workers, packer=Packer(shared))


def _client(options: ClusterOptions, module: str | None, notice: Notice) -> AbstractContextManager[Any]:
    if options.client is not None:
        return nullcontext(require_client(options.client))
    if options.scheduler is not None:
        return client_at(options.scheduler)
    assert options.workers is not None
    return slurm_client(options.workers, notice) if options.queue else local_client(options.workers, module)


@contextmanager
def _shared_folder(options: ClusterOptions, needs: Needs) -> Iterator[Path | None]:
    """Make a folder that driver and workers see, for one run; None where no disk is known that they share."""
    if needs.folder is not None:
        with scratch_beside(needs.folder / "workers") as folder:
            yield folder
    elif options.local:
        with TemporaryDirectory(prefix="geochange-") as name:
            yield Path(name)
    else:
        yield None


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep GDAL's block cache small, unless the environment sets it: its default is 5 % of the memory."""
    with rasterio.Env(**({} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": GDAL_CACHE})):
        yield


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
