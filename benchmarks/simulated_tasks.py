"""Tasks that are not done: recorded once on real pixels, they sleep as long as they took, and answer as they did.

`record` wraps a real run. `pretend` takes the place of `Crew.submit`: all that the driver does is done, tasks are
packed and travel to workers of Dask, which leave files as large as real ones leave, and answer with as many bytes. A
module of `cluster.py`, also loaded by the workers.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geochange.engine.cluster import ClusterOptions, Crew, attempt, run_together
from geochange.engine.cog_assembly import TILE
from geochange.files import save_array
from geochange.pipeline.detect_many import detect_pair
from geochange.pipeline.options import DetectOptions
from geochange.pipeline.pairs import PairCall
from geochange.polygons.geojson import SEPARATOR
from geochange.polygons.store import CHUNK, Band
from geochange.polygons.tracing import SurveyedBand, TracedBlock
from geochange.scenes.grid import Tile

RECORDED_PIXELS = 5120**2
TRACED = Tile(1024, 1024, 1024, 1024), Tile(1024, 512, 1024, 4096)
"""Blocks as `collect_regions` takes them, of a scene and of a very large one; none touches the scene's border."""


@dataclass
class Kind:
    """What is known of the tasks of one kind."""

    seconds: float = 0.0
    units: float = 0.0
    """Pixels; of layers, regions."""
    tasks: int = 0
    sample: Any = None
    """An answer."""
    more: dict[str, float] = field(default_factory=dict)

    @property
    def pace(self) -> float:
        """Seconds for a unit."""
        return self.seconds / max(self.units, 1)


Profile = dict[str, Kind]


def name_of(function: Any) -> str:
    """Return what tasks of a function are called; those of a kernel by the kernel."""
    if isinstance(function, partial):
        if function.func.__name__ == "lattice_task":
            return f"fit {name_of(function.args[1])}"
        return name_of(function.func)
    return str(getattr(function, "__name__", type(function).__name__))


def tile_of(item: Any) -> Tile | None:
    """Return the pixels that a task is about."""
    return item if isinstance(item, Tile) else getattr(item, "area", None)


def units_of(item: Any) -> float:
    """Return how much a task has to do."""
    if (tile := tile_of(item)) is not None:
        return float(tile.size)
    band = getattr(item, "band", item)
    return float(band.count) if isinstance(band, Band) else 1.0


@contextmanager
def record(profile: Profile) -> Iterator[None]:
    """Take down what tasks take and answer, in this process."""
    submit = Crew.submit

    def recording(crew: Crew, function: Any, *arguments: Any) -> Any:
        def timed(items: list[Any]) -> Any:
            (task, (item,)), name = (function.args[0], items), name_of(function.args[0])
            begun = time.thread_time()
            result = attempt(task, item)
            spent = time.thread_time() - begun
            kind = profile.setdefault(name, Kind())
            kind.seconds += spent
            kind.units += units_of(item)
            kind.tasks += 1
            _keep_sample(kind, name, item, result)
            if name == "trace_task" and kind.sample is None:
                kind.sample = {block.shape: attempt(task, block) for block in TRACED}
            if name == "encode_band" and kind.sample is None:
                kind.sample = _encoded(task.args[0], item)
            return spent, [result]

        return submit(crew, timed, *arguments)

    Crew.submit = recording  # type: ignore[method-assign]
    try:
        yield
    finally:
        Crew.submit = submit  # type: ignore[method-assign]


def record_pair(before: str, after: str, out: str, options: DetectOptions) -> Profile:
    """Take down what a pair takes and answers, once all is loaded."""
    call = PairCall(before, after, out, options)
    for _ in range(2):
        begun = time.perf_counter()
        found = detect_pair("recorded", call, ClusterOptions(threads=1), overwrite=True)
        seconds = time.perf_counter() - begun
    return {"detect_pair": Kind(seconds, 1, 1, found)}


def _keep_sample(kind: Kind, name: str, item: Any, result: Any) -> None:
    if name == "trace_task":
        kind.more["regions"] = kind.more.get("regions", 0) + result.count + len(result.at_seams.pieces.counts) / 2
    elif name == "compress_chunk":
        for level, sizes in enumerate(result):
            key = f"bytes {level}"
            kind.more[key] = max(kind.more.get(key, 0), float(sizes.mean()) if sizes.size else 0)
    elif name not in {"score_task", "join_task", "survey_band", "encode_band"}:
        kind.sample = result


def _encoded(encoding: Any, numbered: Any) -> tuple[pa.Table, list[bytes]]:
    """Return features, and their text."""
    place = encoding.folder / numbered.name
    with pa.memory_map(str(place)) as source:
        table = pa.ipc.open_file(source).read_all()
    lines = place.with_suffix(".text").read_bytes().split(SEPARATOR.encode())
    return table, lines


@dataclass(frozen=True)
class Answer:
    """How a worker answers a task that it does not do."""

    profile: str
    name: str
    item: Any
    more: tuple[Any, ...] = ()

    def make(self) -> Any:
        """Return the answer, and leave the files."""
        kind = load(self.profile)[self.name]
        made = MAKERS.get(self.name.split()[0])
        return kind.sample if made is None else made(kind, self.item, *self.more)


@cache
def load(path: str) -> Profile:
    """Read a profile."""
    profile: Profile = pickle.loads(Path(path).read_bytes())
    return profile


def _fitted(kind: Kind, tile: Tile, ratio: int) -> Any:
    """Of a sample of the scene, a cell has the less the larger the scene."""
    answer = kind.sample
    return replace(answer, sample=answer.sample[:, ::ratio]) if hasattr(answer, "sample") else answer


def _traced(kind: Kind, tile: Tile) -> TracedBlock:
    samples: dict[tuple[int, int], TracedBlock] = kind.sample
    if (sample := samples.get(tile.shape)) is None:
        sample = samples[TRACED[0].shape]
        return replace(sample, at_seams=replace(sample.at_seams.without_whole(), block=tile, pieces=_none(sample)))
    rows, cols = tile.row - sample.at_seams.block.row, tile.col - sample.at_seams.block.col
    pieces = sample.at_seams.pieces
    corners = replace(pieces.corners, row=pieces.corners.row + rows, col=pieces.corners.col + cols)
    seam = replace(pieces.seam, row=pieces.seam.row + rows, col=pieces.seam.col + cols)
    return replace(
        sample, at_seams=replace(sample.at_seams, block=tile, pieces=replace(pieces, corners=corners, seam=seam))
    )


def _none(sample: TracedBlock) -> Any:
    pieces = sample.at_seams.pieces
    nothing = np.zeros(0, np.int64)
    return replace(
        pieces,
        counts=pieces.counts.where(nothing),
        piece_of_part=nothing,
        corners=pieces.corners.where(nothing),
        seam=pieces.seam.where(nothing),
    )


def _compressed(kind: Kind, tile: Tile, files: list[Path]) -> list[Any]:
    sizes = []
    for level, path in enumerate(files):
        shape = -(-(tile.height >> level) // TILE), -(-(tile.width >> level) // TILE)
        each = np.full(shape, max(int(kind.more[f"bytes {level}"]), 8), np.uint32)
        with path.open("wb") as file:
            os.truncate(file.fileno(), int(each.sum()) + 8 * each.size)
        sizes.append(each)
    return sizes


def _surveyed(kind: Kind, band: Band, shape: tuple[int, int], step: int) -> SurveyedBand:
    first, last = (place >> 32 for place in band.places)
    cells = np.zeros((min(last, shape[0] * step - 1) // step - first // step + 1, shape[1]), bool)
    return SurveyedBand(0.0, first // step, cells)


def _scored(kind: Kind, tile: Tile, path: Path | None, spec: Any, dates: int) -> None:
    if path is not None:
        rows, cols = (
            stop // spec.step - start // spec.step + 1
            for start, stop in ((tile.row, tile.stop_row - 1), (tile.col, tile.stop_col - 1))
        )
        save_array(path, np.zeros((dates, len(spec.bands) + 1, rows, cols), np.float32))


def _encode(kind: Kind, band: Any, place: Path, texts: bool) -> None:
    table, lines = kind.sample
    count = band.count
    with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for start in range(0, count, CHUNK):
            for batch in table.slice(0, min(CHUNK, count - start)).to_batches():
                writer.write_batch(batch)
    if texts:
        with place.with_suffix(".text").open("wb") as file:
            for start in range(0, count, CHUNK):
                file.write(SEPARATOR.encode() if start else b"")
                file.write(SEPARATOR.encode().join(lines[: min(CHUNK, count - start)]))


MAKERS: dict[str, Callable[..., Any]] = {
    "fit": _fitted,
    "trace_task": _traced,
    "compress_chunk": _compressed,
    "survey_band": _surveyed,
    "score_task": _scored,
    "encode_band": _encode,
    "detect_pair": lambda kind, name: replace(kind.sample, pair=name),
}


def _made(seconds: float, answer: Answer | list[Answer]) -> Any:
    return (seconds, [each.make() for each in answer]) if isinstance(answer, list) else answer.make()


async def pretend_task(packed: bytes, seconds: float, answer: Answer | list[Answer]) -> Any:
    """Sleep, and answer."""
    del packed
    begun = time.perf_counter()
    result = await asyncio.to_thread(
        _made, seconds, answer
    )  # so that other workers of this process do not wait for its files
    await asyncio.sleep(max(seconds - (time.perf_counter() - begun), 0))
    return result


def _asked(task: Any, item: Any) -> tuple[str, float, tuple[Any, ...]]:
    """Return what a task is called, how much it has to do, and what its answer needs to know."""
    name, units = name_of(task), units_of(item)
    if name == "encode_band":
        encoding = task.args[0]
        return name, units, (encoding.folder / item.name, encoding.texts)
    if name.startswith("fit "):
        return name, units, (max(task.args[0].grid.area.size // RECORDED_PIXELS, 1),)
    if name == "survey_band":
        grid, step = task.args
        return name, units, ((-(-grid.shape[0] // step), -(-grid.shape[1] // step)), step)
    if name == "compress_chunk":
        (chunks,) = task.args
        if chunks.more:
            chunks.pixels(item).touch()
        return name, units, ([chunks.tiles(chunks.level + k, item) for k in range(chunks.levels)],)
    if name == "score_task":
        inference, store = task.args
        place = None if inference.thumbnail is None else store.thumbnail(item)
        return name, units, (place, inference.thumbnail, inference.scene.dates)
    return name, units, ()


def peak_mb() -> float:
    """Return the largest resident set of this process until now; `getrusage` would begin with that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


@dataclass
class Log:
    """What became of the tasks of a run."""

    busy: float = 0.0
    """Seconds of all tasks."""
    tasks: int = 0
    first: float | None = None
    """When the first was handed out."""
    by_kind: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    peaks: dict[str, float] = field(default_factory=dict)
    """The largest resident set in MB until the last task of a kind was handed out."""


@contextmanager
def pretend(path: str, factor: float = 1.0) -> Iterator[Log]:
    """Have tasks sleep for their time over a factor in place of being done."""
    profile, log = load(path), Log()
    submit = Crew.submit

    def pretending(crew: Crew, function: Callable[..., Any], *arguments: Any) -> Any:
        grouped = isinstance(function, partial) and function.func is run_together
        task, items = (function.args[0], list(arguments[0])) if grouped else (function, [arguments[0]])
        answers, seconds = [], 0.0
        for item in items:
            name, units, more = _asked(task, item)
            spent = profile[name].pace * units / factor
            log.by_kind[name] += spent
            log.peaks[name] = peak_mb()
            seconds += spent
            answers.append(Answer(path, name, tile_of(item) or getattr(item, "band", item), more))
        now = time.perf_counter()
        log.first = log.first or now
        log.busy += seconds
        log.tasks += 1
        assert crew.packer is not None
        packed = crew.packer.pack(function, *arguments)
        return crew.executor.submit(pretend_task, packed, seconds, answers if grouped else answers[0])

    Crew.submit = pretending  # type: ignore[method-assign]
    try:
        yield log
    finally:
        Crew.submit = submit  # type: ignore[method-assign]
