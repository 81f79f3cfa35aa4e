"""The workers of a Dask cluster: how many there are, whether they can do the work, and what became of them.

Dask waits for ever where no worker is left, and tells a worker that lacks a package or a disk by the error of whichever
task it got. So the driver looks every few seconds: it says that it waits, and ends a run that cannot go on.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from geochange.errors import NoWorkers, SchedulerLost, WorkerDied, WorkerUnfit
from geochange.remote import opening_variables

LOOK_SECONDS = 2.0
AGAIN_SECONDS = 0.2  # until it is looked again whether the first workers are there, and have answered
ASKERS = 8  # calls at once that ask workers
ASKED_TOGETHER = 32  # workers that one call asks; they are judged together, when the last has answered
ANSWER_SECONDS = 30.0  # for what a worker is asked before the first task: it imports nothing for that
PACKAGES = ("numpy", "rasterio", "torch")
"""Packages whose versions may change the last bit of a result."""

Notice = Callable[[str], None]
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What workers of another machine must reach."""

    inputs: Sequence[object] = ()
    """Paths among them, where there is such a file or folder here, must be there on each worker."""

    folder: Path | None = None
    """Where results are written; it exists, and for the time of the run holds a hidden folder that workers use."""

    module: str | None = None
    """What tasks come from: workers that are started for the run load it at once."""

    @property
    def files(self) -> list[str]:
        """Absolute paths of the inputs that lie on a disk."""
        return [os.path.abspath(path) for path in self._paths if os.path.exists(path)]

    @property
    def variables(self) -> list[str]:
        """Names of environment variables that open the inputs that lie elsewhere."""
        return sorted({each for path in self._paths for each in opening_variables(path)})

    @property
    def _paths(self) -> list[str]:
        return [os.fspath(each) for each in self.inputs if isinstance(each, str | os.PathLike)]


class Workers:
    """Watches the workers of a cluster for one run."""

    def __init__(self, client: Any, patience: float, needs: Needs, folder: Path | None, notice: Notice) -> None:
        """Take what is asked of every worker; `look` asks.

        Args:
            client: of the cluster.
            patience: seconds without any worker after which the run ends.
            needs: what each worker must reach.
            folder: made for this run, that each worker must see.
            notice: receives a line that a user should know.
        """
        self.client, self.patience, self.needs, self.notice = client, patience, needs, notice
        self._paths = needs.files + ([] if folder is None else [str(folder)])
        self._folder = None if folder is None else str(folder)
        self.address = str(client.scheduler.address)
        self.threads = 0
        self._looked = -LOOK_SECONDS
        self._without: float | None = None  # since when
        self._asking: dict[str, Future[dict[str, Any]]] = {}  # by address; the answers of several in one
        self._fit: set[str] = set()
        self._warned: set[str] = set()
        self._begun = time.time()
        self._asker = ThreadPoolExecutor(ASKERS, thread_name_prefix="geochange-ask")

    def close(self) -> None:
        """Ask no more."""
        self._asker.shutdown(wait=False, cancel_futures=True)

    def look(self, *, now: bool = False) -> None:
        """See how the cluster is; at most every few seconds, unless it must be now.

        Raises:
            SchedulerLost: the scheduler does not answer any more.
            NoWorkers: there has been no worker for too long.
            WorkerUnfit: a worker cannot do the work.
        """
        if not now and time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        present = self._present()
        if present is None:
            return
        self.threads = sum(present.values())
        self._require_some(bool(present))
        self._ask(set(present))

    @property
    def none(self) -> bool:
        """Whether no worker was there at the last look."""
        return self._without is not None

    def wait_until_asked(self) -> None:
        """Look until there are workers, and every one has answered or has had its time."""
        self.look(now=True)
        begun = time.monotonic()
        while self.none or (self._asking and time.monotonic() - begun < ANSWER_SECONDS):
            if self.none:
                time.sleep(AGAIN_SECONDS)
            else:
                wait(self._asking.values(), AGAIN_SECONDS)
            self.look(now=True)

    def everywhere(self, function: Callable[[], R]) -> list[R]:
        """Return the answers of all workers that are there, and stay.

        Raises:
            GeochangeError: as the first worker raised it that did.
        """
        while True:
            self.wait_until_asked()
            answers = self.client.run(function, on_error="return").values()
            told = [each for each in answers if not isinstance(each, OSError)]
            for each in told:
                if isinstance(each, Exception):
                    raise each
            if told:
                return told

    def tell(self, function: Callable[[], None]) -> None:
        """Have all workers that are there now call a function, and wait for them; answers and errors do not matter."""
        with suppress(OSError, ValueError):  # of a scheduler or a worker that is gone
            self.client.run(function, on_error="ignore")

    def explain(self, error: BaseException, task: str) -> None:
        """Raise ClusterFailed where the cluster is the reason for an error of a task."""
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            raise self._death(error, task) from error
        if isinstance(error, CancelledError):
            raise self._lost() from error
        self.wait_until_asked()

    def _present(self) -> dict[str, int] | None:
        """Threads of each worker; None while the client looks for the scheduler."""
        if self.client.status == "connecting":
            return None
        if self.client.status != "running":
            raise self._lost()
        try:
            threads: dict[str, int] = self.client.nthreads()  # `scheduler_info` may be cut to its first workers
        except (OSError, TimeoutError):
            return None
        return threads

    def _lost(self) -> SchedulerLost:
        return SchedulerLost(f"the Dask scheduler at {self.address} is gone, or was started anew")

    def _require_some(self, some: bool) -> None:
        now = time.monotonic()
        if some:
            if self._without is not None:
                self.notice(f"there are workers at {self.address} now")
            self._without = None
        elif self._without is None:
            self._without = now
            if self.patience > 0:
                self.notice(f"no worker at {self.address}; waiting {spoken(self.patience)} for one (--wait-workers)")
        if self._without is not None and now - self._without >= self.patience:
            raise NoWorkers(f"the Dask cluster at {self.address} has had no worker for {spoken(self.patience)}")

    def _ask(self, present: set[str]) -> None:
        new = sorted(present - self._fit - set(self._asking))
        for addresses in (new[k : k + ASKED_TOGETHER] for k in range(0, len(new), ASKED_TOGETHER)):
            answers = self._asker.submit(self._answers, addresses)
            self._asking |= dict.fromkeys(addresses, answers)
        for address, answer in list(self._asking.items()):
            if answer.done():
                del self._asking[address]
                if address in present:
                    self._judge(address, answer)
        self._fit &= present

    def _answers(self, addresses: list[str]) -> dict[str, Any]:
        ask = question(self._paths, self.needs.variables, PACKAGES)
        answers: dict[str, Any] = self.client.run(ask, workers=addresses, on_error="return")
        return answers

    def _judge(self, address: str, answers: Future[dict[str, Any]]) -> None:
        """Raise WorkerUnfit where a worker's answer says so."""
        try:
            told = answers.result()[address]
        except (OSError, KeyError, TimeoutError):  # it has left meanwhile
            return
        if isinstance(told, OSError):
            return
        if isinstance(told, Exception):
            raise WorkerUnfit(
                f"worker {address} cannot run what this process sends ({type(told).__name__}: {told}); it needs Python "
                f"{platform.python_version()} and the same packages"
            )
        mine = {"python": platform.python_version(), "geochange": installed("geochange")}
        if told["geochange"] is None:
            raise WorkerUnfit(f"worker {address} has no geochange; install geochange {mine['geochange']} there")
        for name, own in mine.items():
            if short(told[name]) != short(own) or (name == "geochange" and told[name] != own):
                raise WorkerUnfit(f"worker {address} has {name} {told[name]}, this process {own}; both need the same")
        if told["missing"]:
            missing = os.path.dirname(told["missing"]) if told["missing"] == self._folder else told["missing"]
            raise WorkerUnfit(
                f"worker {address} does not see {missing}; it must lie on a disk that all workers share, or in a bucket"
            )
        if told["unset"]:
            raise WorkerUnfit(
                f"worker {address} has no {told['unset']} in its environment, which opens an input here; "
                "start it with the same value"
            )
        for name in PACKAGES:
            if told[name] != (own := installed(name)) and name not in self._warned:
                self._warned.add(name)
                self.notice(f"worker {address} has {name} {told[name]}, this process {own}: last bits may differ")
        self._fit.add(address)

    def _death(self, error: Any, task: str) -> WorkerDied:
        count, last = error.allowed_failures + 1, error.last_worker
        events = self.client.get_events("worker-restart-memory") or ()
        if any(when >= self._begun for when, _ in events):
            limit = f" of {last.memory_limit / 1e9:.1f} GB" if last.memory_limit else ""
            why = f"each had used up its memory{limit}: give workers more, or take a smaller --block-size"
        else:
            why = f"the log of the last, {last.address}, says why; a smaller --block-size needs less memory"
        return WorkerDied(f"{task} ended {count} workers, one after the other; {why}")


def question(paths: Sequence[str], variables: Sequence[str], packages: Sequence[str]) -> Callable[[], dict[str, Any]]:
    """Return what a worker is asked. It is sent by value, as an inner function is: the worker may lack geochange."""

    def ask() -> dict[str, Any]:
        import os
        import platform
        from importlib.metadata import PackageNotFoundError, version

        told: dict[str, Any] = {"python": platform.python_version()}
        for name in ("geochange", *packages):
            try:
                told[name] = version(name)
            except PackageNotFoundError:
                told[name] = None
        told["missing"] = next((each for each in paths if not os.path.exists(each)), None)
        told["unset"] = next((each for each in variables if each not in os.environ), None)
        return told

    return ask


@cache
def installed(name: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def short(number: str | None) -> str:
    """Return the first two parts of a version."""
    return ".".join((number or "").split(".")[:2])


def spoken(seconds: float) -> str:
    """Return a duration as one would give it to an option."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"
