"""Workers as jobs of Slurm: started through dask-jobqueue, and replaced where they end."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import Any

from geochange.engine.clients import ONE_ARENA
from geochange.errors import BadOption
from geochange.extras import require_packages

PLACE = "jobqueue.slurm"


@contextmanager
def slurm_client(workers: int, notice: Callable[[str], None]) -> Iterator[Any]:
    """Have Slurm start so many workers, and new ones in place of those whose time is over.

    What a job asks for (cores, memory, queue, walltime) comes from Dask's configuration, `jobqueue.slurm`. Each core of
    a job is a worker of one thread; there are as many jobs as hold all workers. A job whose workers have been away for
    `distributed.deploy.lost-worker-timeout` (15 s) is cancelled, and another is handed in.

    Args:
        workers: their number, at least.
        notice: receives a line where Slurm does not take a job that replaces one.

    Raises:
        BadOption: dask-jobqueue is not installed, its configuration says too little, there is no Slurm, or it does not
            take the jobs.
    """
    require_packages("--cluster slurm", "slurm", "dask_jobqueue")
    import dask
    from distributed import Client

    if shutil.which("sbatch") is None:
        raise BadOption("--cluster slurm needs the command sbatch, which is not on the PATH; start it where Slurm is")
    settings = _settings()
    with ExitStack() as stack:
        try:
            cluster = stack.enter_context(_cluster()(**settings))
            jobs = _Jobs(cluster, ceil(workers / settings["processes"]), notice)
            cluster.sync(jobs.complete)
        except (RuntimeError, ValueError, TypeError, OSError) as error:
            raise BadOption(f"Slurm starts no workers: {_in_a_line(error)}") from error
        client = stack.enter_context(Client(cluster, set_as_default=False))
        cluster.sync(jobs.watch, dask.utils.parse_timedelta(dask.config.get("distributed.deploy.lost-worker-timeout")))
        stack.callback(cluster.sync, jobs.leave)
        yield client


def _settings() -> Mapping[str, Any]:
    import dask
    import dask_jobqueue.slurm  # noqa: F401  declares the configuration

    missing = [name for name in ("cores", "memory") if not dask.config.get(f"{PLACE}.{name}", None)]
    if missing:
        given = " and ".join(f"DASK_JOBQUEUE__SLURM__{name.upper()}" for name in missing)
        raise BadOption(
            f"what a job of Slurm may use is not known: set {given}, or {PLACE} in ~/.config/dask/jobqueue.yaml"
        )
    prologue = [*dask.config.get(f"{PLACE}.job-script-prologue"), *(f"export {k}={v}" for k, v in ONE_ARENA.items())]
    return {
        "processes": int(dask.config.get(f"{PLACE}.cores")),
        "job_script_prologue": prologue,
        "scheduler_options": {"dashboard_address": ":0"} | dask.config.get(f"{PLACE}.scheduler-options"),
        **_security(),
    }


def _security() -> Mapping[str, Any]:
    """Return how scheduler and workers of a queue are encrypted, where Dask's configuration has keys."""
    import dask
    from distributed.security import Security

    if not dask.config.get("distributed.comm.tls.scheduler.cert"):
        return {}
    return {"security": Security(), "protocol": "tls://"}


def _cluster() -> Any:
    """Return dask-jobqueue's cluster, with jobs that say when they are closed.

    Dask requires it where a cluster is closed; the jobs of dask-jobqueue do not, and one that Slurm refused stays.
    """
    from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    from distributed.core import Status

    class Job(SLURMJob):  # type: ignore[misc,unused-ignore]
        async def close(self) -> None:
            await super().close()  # type: ignore[no-untyped-call,unused-ignore]
            self.status = Status.closed

    class Cluster(SLURMCluster):  # type: ignore[misc,unused-ignore]
        job_cls = Job

    return Cluster


class _Jobs:
    """As many jobs as were asked for, also where some end.

    Dask's own `adapt` knows a worker by the name of its job, and so never misses a job that holds several; nor does it
    ask again for one that was refused.
    """

    def __init__(self, cluster: Any, number: int, notice: Callable[[str], None]) -> None:
        self.cluster, self.number, self.notice = cluster, number, notice
        self._came = _arrivals()
        cluster.scheduler.add_plugin(self._came)
        self._lost: set[str] = set()  # jobs that had workers, and none when last looked at
        self._left = asyncio.Event()

    async def complete(self) -> None:
        """Hand in what is missing.

        Raises:
            RuntimeError: what sbatch said.
        """
        self.cluster.scale(jobs=self.number)
        await self.cluster._correct_state()  # `scale` would do it too, but nobody would hear what sbatch says

    async def watch(self, seconds: float) -> None:
        """Look for jobs that ended from now on; one is over when it has had no worker twice, so many seconds apart."""
        self._watching = asyncio.ensure_future(self._repeat(seconds))

    async def leave(self) -> None:
        """Replace no more; a job that is being handed in is waited for, so that it can be cancelled."""
        self._left.set()
        await self._watching

    async def _repeat(self, seconds: float) -> None:
        while not self._left.is_set():
            try:
                await asyncio.wait_for(self._left.wait(), seconds)
            except TimeoutError:
                await self._replace()

    async def _replace(self) -> None:
        from distributed.core import Status

        jobs = self.cluster.workers
        there = [str(worker["name"]) for worker in self.cluster.scheduler_info["workers"].values()]
        lost = _jobs_of(self._came.names, jobs) - _jobs_of(there, jobs)
        over = {job for job in jobs if jobs[job].status != Status.running} | (lost & self._lost)
        self._lost = lost - over
        for job in over:
            self._came.names -= {name for name in self._came.names if _jobs_of([name], [job])}
            self.cluster.worker_spec.pop(job, None)
            if (ended := jobs.pop(job, None)) is not None:
                await ended.close()
        try:
            await self.complete()
        except (RuntimeError, ValueError, OSError) as error:
            self.notice(f"Slurm takes no job in place of one that ended; asking again: {_in_a_line(error)}")


def _arrivals() -> Any:
    """Return what notes the name of every worker that comes, also of one that is gone before anybody looks."""
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Arrivals(SchedulerPlugin):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            self.names: set[str] = set()

        def add_worker(self, scheduler: Any, worker: str) -> None:
            self.names.add(str(scheduler.workers[worker].name))

    return Arrivals()


def _jobs_of(workers: Iterable[str], jobs: Iterable[str]) -> set[str]:
    """Return the jobs that these workers are of; each is named after its job."""
    return {job for job in jobs if any(name == job or name.startswith(f"{job}-") for name in workers)}


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())
