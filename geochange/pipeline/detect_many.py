"""`detect-many`: the changes of many pairs, listed in a table, on one cluster."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Self

from geochange.engine.cluster import ClusterOptions, Crew
from geochange.engine.progress import Listener
from geochange.engine.work import Work, open_work
from geochange.engine.workers import Needs
from geochange.errors import (
    BlockFailed,
    ClusterFailed,
    DiskFull,
    GeochangeError,
    OutputInTheWay,
    OutputInUse,
    WorkerDied,
)
from geochange.interrupts import ignore_interrupts
from geochange.logs import logged
from geochange.names import is_elsewhere
from geochange.pipeline.options import DetectManyOptions, DetectOptions, choose_options_and_cluster
from geochange.pipeline.pairs import (
    ListedPair,
    PairCall,
    PairOutcome,
    merge_layers,
    read_pairs,
    require_layer_name,
    require_own_places,
    write_outcomes,
)
from geochange.pipeline.run_folder import LOG, RunFolder
from geochange.pipeline.stac import COLLECTION, write_collection
from geochange.redaction import plain, redact
from geochange.scenes.options import NO_MASK
from geochange.scenes.pairing import open_image
from geochange.system import START_METHOD

COMMAND = "detect-many"
WORK = "geochange.pipeline.detect"
TABLE = "pairs.csv"
LARGE = 4096**2
"""Pixels from which a pair is cut into blocks for all workers; a smaller one is a task of its own."""
LARGE_AT_ONCE = 2
"""While the polygons of one are written, the other's blocks are scored."""
IN_USE_SECONDS = 60.0  # that a pair is waited for which another process still works on
WRITE_SECONDS = 2.0  # at most so often the table is written anew


@dataclass(frozen=True, slots=True)
class DetectedMany:
    """What became of the pairs of a table."""

    folder: Path
    record: dict[str, Any]
    """What run.json holds."""
    outcomes: tuple[PairOutcome, ...]
    """In the order of the table, as pairs.csv has them."""

    @property
    def failed(self) -> tuple[PairOutcome, ...]:
        """Those that could not be done."""
        return tuple(each for each in self.outcomes if each.state == "failed")

    def to_dict(self) -> dict[str, Any]:
        """Return the record, with all outcomes."""
        return {**self.record, "pairs": [asdict(each) for each in self.outcomes]}


def detect_many(
    pairs: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: DetectManyOptions | None = None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> DetectedMany:
    """Find the changes of many pairs of images, listed in a table, on one cluster.

    A pair that cannot be done does not stop the others. On a cluster small pairs are tasks of their own, and large ones
    are cut into blocks for all workers.

    Args:
        pairs: table: CSV or GeoParquet with the columns before and after, and optionally out and others with the names
            of options of `detect`; or a STAC ItemCollection whose items have the assets before and after. Relative
            paths start at the table's folder.
        out: folder for pairs.csv, which says what became of each pair, run.json and run.log, and for the results of
            pairs without a place of their own.
        options: how it is done; see `DetectManyOptions`. What a line of the table says goes before.
        overwrite: replace what an earlier run left, also of each pair.
        resume: go on with a run: pairs that are done stay, the others are done now, also those that failed.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: the table is missing, or not one of these.
        BadOption: columns are missing or unknown, or two pairs have one place for their results.
        OutputInTheWay: `out` holds another run, or cannot be written.
        DiskFull: a disk has no room for results.
    """
    options, cluster = choose_options_and_cluster(DetectManyOptions, options, cluster, settings)
    if options.merge is not None:
        require_layer_name(options.merge)
    listed = read_pairs(Path(pairs))
    targets = [TABLE, LOG, *([] if options.merge is None else [options.merge]), *([COLLECTION] if options.stac else [])]
    read = [name for pair in listed for name in pair.reads()]
    folder = RunFolder(Path(out).absolute(), COMMAND, targets, [pairs, options.aoi, options.labels, *read])
    require_own_places(listed, folder.out)
    identity = plain({"options": asdict(options.each)})
    with folder.owned():
        folder.require(identity, resume=resume, overwrite=overwrite)
        if not overwrite:
            _require_own_merged(folder, options.merge)
        merged = {} if overwrite or options.merge not in folder.listed() else {"files": {"merged": options.merge}}
        folder.start({"finished": False, "identity": identity, **merged}, overwrite=overwrite)
        needs = Needs(inputs=read, folder=folder.out, module=WORK)
        with logged(folder.out / LOG), open_work(cluster, listener, needs) as work:
            archive = _Archive(listed, options.each, folder.out, cluster, overwrite=overwrite)
            archive.run(work)
            record = {"identity": identity} | archive.summary() | {"files": {"pairs": TABLE}}
            if options.merge is not None and (layers := archive.layers()):
                with work.stages.stage("merge"):
                    record["merged"] = merge_layers(folder.out / options.merge, layers)
                record["files"]["merged"] = options.merge
            if options.stac and (collection := write_collection(folder.out, archive.folders())):
                record["files"]["collection"] = collection
        record = plain(record | {"seconds": {name: round(spent, 3) for name, spent in work.stages.seconds.items()}})
        folder.write(record)
    return DetectedMany(folder.out, record, tuple(archive.outcomes.values()))


def _require_own_merged(folder: RunFolder, name: str | None) -> None:
    """Refuse to replace a file that is not the merged layer of an earlier part of the run."""
    if name is not None and (folder.out / name).exists() and name not in folder.listed():
        raise OutputInTheWay(f"{folder.out / name} exists, and is not of this run; --overwrite replaces it")


@dataclass
class _Archive:
    """The pairs of a table, and what has become of them."""

    pairs: Sequence[ListedPair]
    common: DetectOptions
    out: Path
    cluster: ClusterOptions
    overwrite: bool
    outcomes: dict[str, PairOutcome] = field(init=False)
    """By the pair's name, in the order of the table."""
    written: float = 0.0

    def __post_init__(self) -> None:
        self.outcomes = {pair.name: PairOutcome(pair=pair.name, state="waiting") for pair in self.pairs}

    def run(self, work: Work) -> None:
        """Do all of them; the table is kept up to date.

        Raises:
            DiskFull: there is no room for results.
            ClusterFailed: the cluster can do no more.
        """
        try:
            with work.stages.stage("pairs", len(self.pairs), len(self.pairs)) as listener:
                local = work.crew.workers is None
                for pair, outcome in self._in_turn() if local else self._on_cluster(work.crew):
                    self._note(pair, outcome, listener)
        except ClusterFailed as error:
            done = sum(each.state == "done" for each in self.outcomes.values())
            raise type(error)(f"{error}; {done} of {len(self.pairs)} pairs are done") from error
        finally:
            write_outcomes(self.out / TABLE, self.outcomes.values())

    def _note(self, pair: ListedPair, outcome: PairOutcome, listener: Listener) -> None:
        self.outcomes[pair.name] = outcome
        if outcome.error:
            listener.notice(f"{pair.line}, {pair.name}: {outcome.error}")
        if time.monotonic() - self.written >= WRITE_SECONDS:
            write_outcomes(self.out / TABLE, self.outcomes.values())
            self.written = time.monotonic()
        listener.advance(1)

    def _calls(self) -> Iterator[tuple[ListedPair, PairCall | PairOutcome]]:
        for pair in self.pairs:
            try:
                yield pair, pair.call(self.common, self.out)
            except GeochangeError as error:
                yield pair, PairOutcome(pair=pair.name, state="failed", error=redact(str(error)))

    def _in_turn(self) -> Iterator[tuple[ListedPair, PairOutcome]]:
        """In this process, each on all of its threads."""
        for pair, asked in self._calls():
            if isinstance(asked, PairOutcome):
                yield pair, asked
            else:
                yield pair, detect_pair(pair.name, asked, self.cluster, self.overwrite)

    def _on_cluster(self, crew: Crew) -> Iterator[tuple[ListedPair, PairOutcome]]:
        """Keep every worker busy: with small pairs, or with the blocks of large ones."""
        calls, large = self._calls(), deque[tuple[ListedPair, PairCall]]()
        pending: dict[Future[PairOutcome], ListedPair] = {}
        cut: set[Future[PairOutcome]] = set()  # those that are cut into blocks, by processes beside this one
        alone, way, arrivals = self._alone, self._way_to(crew), crew.arrivals()
        with _Drivers() as drivers, crew.cancelling(pending):
            while True:
                while way is not None and large and len(cut) < LARGE_AT_ONCE:
                    pair, call = large.popleft()
                    future = drivers.submit(pair.name, call, way, self.overwrite)
                    pending[future] = pair
                    cut.add(future)
                    arrivals.add(future)
                while len(pending) - len(cut) < crew.size + 2 and (following := next(calls, None)) is not None:
                    pair, asked = following
                    if isinstance(asked, PairOutcome):
                        yield pair, asked
                    elif way is not None and _is_large(asked):
                        large.append((pair, asked))
                        if len(cut) < LARGE_AT_ONCE:
                            break
                    else:
                        future = crew.submit(detect_pair, pair.name, asked, alone, self.overwrite)
                        pending[future] = pair
                        arrivals.add(future)
                if large and len(cut) < LARGE_AT_ONCE and way is not None:
                    continue
                if not pending:
                    return
                for future in arrivals.wait():
                    cut.discard(future)
                    pair = pending.pop(future)
                    yield pair, self._outcome(crew, future, pair)

    @property
    def _alone(self) -> ClusterOptions:
        """How a worker does a pair by itself."""
        return ClusterOptions(threads=1, scratch=self.cluster.scratch)

    def _way_to(self, crew: Crew) -> ClusterOptions | None:
        """Return how other processes of this machine reach the cluster; None where they cannot."""
        assert crew.workers is not None
        address = crew.workers.address
        known = not address.startswith("inproc") and (self.cluster.client is None or address.startswith("tcp"))
        if not known:
            return None
        return ClusterOptions(scheduler=address, wait_workers=self.cluster.wait_workers, scratch=self.cluster.scratch)

    @staticmethod
    def _outcome(crew: Crew, future: Future[PairOutcome], pair: ListedPair) -> PairOutcome:
        try:
            return crew.result(future, f"pair {pair.name}")
        except WorkerDied as error:  # of this pair; the others may do
            return PairOutcome(pair=pair.name, state="failed", error=str(error))
        except BlockFailed as error:
            if not isinstance(error.__cause__, BrokenProcessPool):
                raise
            why = "the process that cut it into blocks was ended, as for want of memory"
            return PairOutcome(pair=pair.name, state="failed", error=why)

    def summary(self) -> dict[str, Any]:
        """Return what the record says of all pairs."""
        done = [each for each in self.outcomes.values() if each.state == "done"]
        return {
            "counts": {"pairs": len(self.pairs), "done": len(done), "failed": len(self.pairs) - len(done)},
            "changes": {
                "count": sum(each.changes or 0 for each in done),
                "area_px": sum(each.area_px or 0 for each in done),
            },
        }

    def folders(self) -> dict[str, str]:
        """Return the folder of each pair that is done, and lies on a disk, by its name."""
        return {each.pair: each.out for each in self.outcomes.values() if each.out and not is_elsewhere(each.out)}

    def layers(self) -> Mapping[str, str]:
        """Return the layer of each pair that is done and has one, by its name."""
        return {each.pair: each.layer for each in self.outcomes.values() if each.layer}


class _Drivers:
    """Processes that cut large pairs into blocks; where this one is stopped, so are they."""

    def __init__(self) -> None:
        self._others = set(active_children())
        self._pool = self._new()

    @staticmethod
    def _new() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(LARGE_AT_ONCE, get_context(START_METHOD), initializer=ignore_interrupts)

    def submit(self, *task: Any) -> Future[PairOutcome]:
        """Start `detect_pair`."""
        try:
            return self._pool.submit(detect_pair, *task)
        except BrokenProcessPool:  # one has died, and with it the others
            self._pool = self._new()
            return self._pool.submit(detect_pair, *task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        for child in set(active_children()) - self._others if kind is not None else ():
            child.kill()  # it ignores all else


def _is_large(call: PairCall) -> bool:
    """Whether a pair is worth all workers; one that cannot be opened is not."""
    try:
        return open_image(call.before, 0, call.options, NO_MASK).grid.area.size >= LARGE
    except GeochangeError:
        return False


def detect_pair(name: str, call: PairCall, cluster: ClusterOptions, overwrite: bool) -> PairOutcome:
    """Find the changes of a pair, or go on where an earlier try ended; say what became of it.

    Raises:
        DiskFull, ClusterFailed: it is no fault of the pair.
    """
    from geochange.pipeline.detect import detect  # here, so that on a cluster the workers alone load it

    began = time.perf_counter()
    find = partial(detect, call.before, call.after, call.out, call.options, cluster=cluster)
    try:
        while True:
            try:
                found = find(overwrite=overwrite, resume=not overwrite)
                break
            except OutputInUse:  # by a worker that was taken for lost, or told too late to stop
                if time.perf_counter() - began > IN_USE_SECONDS:
                    raise
                time.sleep(IN_USE_SECONDS / 30)
    except (DiskFull, ClusterFailed):
        raise
    except GeochangeError as error:
        return PairOutcome(
            pair=name, state="failed", seconds=_since(began), out=redact(call.out), error=redact(str(error))
        )
    except Exception as error:  # the next pairs may be sound, whatever is wrong with this one; the log has it all
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return PairOutcome(pair=name, state="failed", seconds=_since(began), out=redact(call.out), error=redact(text))
    changes = found.record["changes"]
    return PairOutcome(
        pair=name,
        state="done",
        seconds=_since(began),
        changes=changes["count"],
        area_px=changes["area_px"],
        area_m2=changes.get("area_m2"),
        threshold=found.record["threshold"] if isinstance(found.record["threshold"], int | float) else None,
        out=str(found.folder),
        layer=str(found.layer) if found.record["files"]["changes"] else "",
    )


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 3)
