"""`review`: look at what a run found in the browser, decide with one key, and write what was decided."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from geochange.engine.progress import Listener, Silent
from geochange.errors import BadOption, GeochangeError, OutputInTheWay, UnreadableInput
from geochange.files import require_writable, write_whole
from geochange.pipeline.options import ReviewOptions, choose_options
from geochange.pipeline.qgis_project import add_review
from geochange.pipeline.run_folder import RECORD, RunFolder
from geochange.polygons.export import LAYER_WRITERS, FeatureLayer, write_features
from geochange.polygons.features import SCHEMA
from geochange.qgis.style import status_style
from geochange.redaction import plain
from geochange.review.actions import DECIDED, Status, reviewer_name
from geochange.review.agreement import Agreement, compare, sampled_precision
from geochange.review.coco import SUFFIX as COCO
from geochange.review.coco import write_coco
from geochange.review.foreign import labels_in, read_changes, write_changes
from geochange.review.gis_view import NAME as VIEW
from geochange.review.gis_view import GisView
from geochange.review.guard import Guard
from geochange.review.material import write_labels, write_mask
from geochange.review.run import LAYER, ReviewRun, begin, digest, read_record
from geochange.review.saved import SavedReview
from geochange.review.store import ReviewStore
from geochange.review.take_in import take_in
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.system import STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[1] / "review" / "page"
SERVER = "server.json"
CACHE = "cache"
CATCH_UP_SECONDS = 2.0  # after an action, when the view is brought up to date
LOCAL = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::", "")
COMMAND = "review"
RASTERS = (".tif", ".tiff")
EXPORTS = (*LAYER_WRITERS, COCO, *RASTERS)
WANTED: Mapping[str, tuple[Status, ...] | None] = {"all": None, "decided": DECIDED, "kept": ("kept",)}
"""Statuses of changes that are written."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What has been decided so far."""

    folder: Path
    tally: dict[str, int]
    """Changes of each status, and cells looked at."""
    file: Path | None = None
    """What was exported."""
    sample: dict[str, Any] | None = None
    """What a random sample of the changes says of all; None where it is too small."""
    agreement: Agreement | None = None
    """With another review."""
    conflicts: tuple[str, ...] = ()
    """Edits of a GIS that were left, as somebody has decided otherwise meanwhile, or as they cannot be."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        found: dict[str, Any] = {"folder": str(self.folder), **self.tally}
        found |= {} if self.file is None else {"file": str(self.file)}
        found |= {} if self.sample is None else {"sample": self.sample}
        found |= {} if self.agreement is None else {"agreement": self.agreement.to_dict()}
        return found | ({"conflicts": list(self.conflicts)} if self.conflicts else {})


def review(
    run: str | os.PathLike[str] | None,
    options: ReviewOptions | None = None,
    *,
    before: str | os.PathLike[str] | None = None,
    after: str | os.PathLike[str] | None = None,
    layer: str | os.PathLike[str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Reviewed:
    """Look at what `detect` found in the browser: both dates, one key a decision; or write what has been decided.

    The page is served until Ctrl-C. What it shows as saved is in OUT/review/review.sqlite; OUT/review.gpkg shows it in
    QGIS meanwhile, and is made without a page by `view`. Two dates can be annotated without a run, too.

    Args:
        run: folder of a finished run of `detect`, or of what was annotated before.
        before: without a run, the earlier image.
        after: without a run, the later image.
        layer: any layer of polygons to review, in place of what was found.
        folder: without a run, the folder of the review.
        options: the server's, or what is written in its place; see `ReviewOptions`.
        overwrite: replace the file of `export`.
        listener: receives the address and notices.
        settings: fields of `ReviewOptions`, in place of those in `options`.

    Raises:
        UnreadableInput: the folder holds no finished run of `detect`, or an input has changed since.
        BadOption: the extra `review` is not installed, or the page is not built.
        OutputInTheWay: another server has the review, or a file is in the way.
        DiskFull: the disk has no room for the review.
    """
    options = choose_options(ReviewOptions, options, settings)
    out = _folder(run, before, after, layer, folder, options)
    new = None if layer is None or run is None else Path(layer)
    _require_one_answer(options, new)
    saved = SavedReview.open(out, remote=options.remote)
    if options.export is not None:
        return _export(saved, Path(options.export), options, overwrite=overwrite)
    if options.compare is not None:
        other = SavedReview.open(Path(options.compare), remote=options.remote)
        return Reviewed(saved.run.out, saved.tally(), agreement=compare(saved, other))
    if options.take_in:
        conflicts = _Serving(saved).take_in()
        return Reviewed(out, replace(saved).tally(), conflicts=conflicts)
    if options.view:
        file = _Serving(saved).bring_up_view(new)
        return Reviewed(out, replace(saved).tally(), file)
    if not _answers(options):
        _Serving(saved).serve(new, options, listener or Silent())
        saved = replace(saved)  # with what has been decided meanwhile
    return Reviewed(saved.run.out, saved.tally(), sample=sampled_precision(saved))


def _answers(options: ReviewOptions) -> list[str]:
    """List the options that are asked for in place of the page, as the command line has them."""
    given = {name: getattr(options, name) for name in ("export", "compare", "view", "take_in", "status")}
    return [f"--{name.replace('_', '-')}" for name, value in given.items() if value]


def _require_one_answer(options: ReviewOptions, layer: Path | None) -> None:
    """Refuse options of which only one would have an effect."""
    asked = _answers(options)
    if len(asked) > 1:
        raise BadOption(f"{' and '.join(asked)} go one at a time")
    if layer is not None and asked and not options.view:
        raise BadOption(f"--layer begins a review, which {asked[0]} does not; leave it out")


def _folder(  # noqa: PLR0917, as `review` has them
    run: str | os.PathLike[str] | None,
    before: str | os.PathLike[str] | None,
    after: str | os.PathLike[str] | None,
    layer: str | os.PathLike[str] | None,
    out: str | os.PathLike[str] | None,
    options: ReviewOptions,
) -> Path:
    """Return the folder of the run; made of two dates, where there is none."""
    if run is not None:
        if before is not None or after is not None or out is not None:
            raise BadOption("give a run, or --before, --after and -o for two dates without one")
        own = [each.name for each in fields(SceneOptions) if getattr(options, each.name) != each.default]
        if own or options.classes:
            raise BadOption(f"{(own or ['classes'])[0]} is that of the run; it is given where two dates are annotated")
        return Path(run)
    if before is None or after is None or out is None:
        raise BadOption("a run is needed, or --before, --after and -o for two dates without one")
    _annotate(os.fspath(before), os.fspath(after), None if layer is None else os.fspath(layer), Path(out), options)
    return Path(out)


def _annotate(before: str, after: str, layer: str | None, out: Path, options: ReviewOptions) -> None:
    """Make the folder in which two dates are annotated, or go on with it."""
    how = SceneOptions(**{each.name: getattr(options, each.name) for each in fields(SceneOptions)})
    scene = open_scene([before, after], how)
    begun = (out / RECORD).exists()
    classes = options.classes or (read_record(out).get("classes") if begun else None) or labels_in(layer)
    changes = [] if begun or layer is None else read_changes(layer, scene.grid, classes)
    identity = plain({"scene": scene.fingerprint(), "options": asdict(how), "classes": classes, "layer": layer})
    folder = RunFolder(out.absolute(), COMMAND, [LAYER], [*scene.files, layer, how.aoi, *how.mask_files])
    with folder.owned():
        if folder.begin(identity, resume=begun, overwrite=False):
            return
        write_changes(folder.ready / LAYER, changes, scene.grid)
        record = {
            "inputs": [before, after],
            "scene": {"shape": list(scene.shape), "removed_shift": [0.0, 0.0]},
            "detector": {"name": None},
            "classes": list(classes),
            "identity": identity,
            "changes": {"count": len(changes)},
            "files": {"changes": [LAYER]},
        }
        folder.publish(plain(record))


def _export(saved: SavedReview, path: Path, options: ReviewOptions, *, overwrite: bool) -> Reviewed:
    """Write the changes with what was decided of them: as a layer, as COCO, or as a raster of labels."""
    suffix = path.suffix.lower()
    if suffix not in EXPORTS:
        raise BadOption(f"{path.name}: exports end in {', '.join(EXPORTS)}; choose one of these")
    if path.absolute() == saved.run.out / VIEW:
        raise BadOption(f"{path} is kept up to date by the review itself; give another name")
    require_writable([path], overwrite=overwrite, inputs=_files_of(saved))
    wanted = WANTED[options.only]
    if suffix in RASTERS:
        (write_mask if options.only == "kept" else write_labels)(path, saved)
    elif suffix == COCO:
        write_coco(path, saved, wanted)
    else:
        kind = saved.base.geometry_type
        layer = FeatureLayer(schema=SCHEMA, crs=saved.run.scene.grid.crs, geometry_type=kind, style=status_style())
        write_features(path, _batches(saved, wanted), layer)
    return Reviewed(saved.run.out, saved.tally(), path)


def _files_of(saved: SavedReview) -> list[str | Path]:
    """List what a run and its review consist of, and the images: nothing of it is an export."""
    out, listed = saved.run.out, saved.run.record.get("files", {}).values()
    names = [name for each in listed for name in ([each] if isinstance(each, str) else each)]
    own = [out / name for name in (*names, RECORD, VIEW)]
    review = [path for path in saved.run.folder.rglob("*") if path.is_file()]
    return [*own, *review, *(saved.run.scene.files)]


def _batches(saved: SavedReview, wanted: Sequence[Status] | None) -> Iterator[pa.RecordBatch]:
    for rows in saved.features(wanted, [field.name for field in SCHEMA]):
        columns = [pa.array([each[field.name] for each in rows]).cast(field.type) for field in SCHEMA]
        yield pa.record_batch(columns, schema=SCHEMA)


@dataclass(frozen=True)
class _Serving:
    """A review whose page is served."""

    saved: SavedReview

    @property
    def run(self) -> ReviewRun:
        return self.saved.run

    def serve(self, layer: Path | None, options: ReviewOptions, listener: Listener) -> None:
        """Serve the page until Ctrl-C, the one server of this run; a review begins with its layer, or another one."""
        _require_page()
        who = reviewer_name(options.reviewer or getpass.getuser())
        with self._owned():
            begin(self.run, layer)
            with self._store() as store, self._kept_view(store, listener) as view:
                self._answer(store, view, who, options, listener)
            add_review(self.run.out)

    def bring_up_view(self, layer: Path | None) -> Path:
        """Make the view, or bring it up to date; a review begins with its layer, or another one. Return its path.

        Raises:
            Busy: another program holds it.
        """
        with self._owned():
            begin(self.run, layer)
            with self._store() as store:
                view = self._view(store)
                view.require_up_to_date(store.state)
            add_review(self.run.out)
        return view.path

    def take_in(self) -> tuple[str, ...]:
        """Record what was edited in a GIS; return what was left."""
        if not (path := self.run.out / VIEW).exists():
            raise UnreadableInput(f"{path} does not exist; `geochange review {self.run.out} --view` makes it")
        with self._owned(), self._store() as store:
            return take_in(self._view(store), store, self.run.classes).conflicts

    @contextmanager
    def _owned(self) -> Iterator[None]:
        """Keep other servers out, and say where one is."""
        try:
            with RunFolder(self.run.out, self.run.record["command"]).owned():
                yield
        except OutputInTheWay as error:
            where = _where(self.run.folder / SERVER) if "in use" in str(error) else ""
            raise OutputInTheWay(f"{error}{where}") from error

    def _view(self, store: ReviewStore) -> GisView:
        saved = self.saved
        return GisView(self.run.out / VIEW, saved.changes, f"{digest(saved.base.path)} {store.id}", saved.cells)

    def _store(self) -> ReviewStore:
        saved = self.saved
        return ReviewStore(saved.truth, saved.untouched, saved.facts(), top=saved.changes.top)

    def _answer(self, store: ReviewStore, view: GisView, who: str, options: ReviewOptions, listener: Listener) -> None:
        import uvicorn

        from geochange.review.pictures import Pictures
        from geochange.review.served import Review
        from geochange.review.server import application

        host, asked = options.host or LOCAL, options.port is not None
        if host in EVERYWHERE:
            raise BadOption(f"host {host} is no name that a browser could open; give that of this machine")
        with _listening(host, _port_of(options, self.run.folder / SERVER), asked=asked) as (port, sockets):
            guard = Guard(port, options.host)
            pictures = Pictures(self.run)
            threading.Thread(target=pictures.prepare, args=[self.run.folder / CACHE], daemon=True).start()
            page = Review(self.run, self.saved.changes, store, pictures, self.saved.cells, guard, who, view)
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            write_whole(self.run.folder / SERVER, json.dumps({"address": address, "port": port}).encode())
            print(f"{address}/#token={guard.token}", flush=True)
            if options.host is not None:
                listener.notice(
                    f"the review can be reached from other machines as {options.host}; nothing is encrypted"
                )
            if options.open:
                webbrowser.open(f"{address}/#token={guard.token}")
            config = uvicorn.Config(application(page), log_level="error", access_log=False, timeout_graceful_shutdown=1)
            server = uvicorn.Server(config)
            with _stopped_by_signals(server):
                server.run(sockets)

    @contextmanager
    def _kept_view(self, store: ReviewStore, listener: Listener) -> Iterator[GisView]:
        """Keep the GeoPackage up to date from a thread of its own, and bring it up to date at the end."""
        view = self._view(store)
        news, ended = threading.Event(), threading.Event()

        def follow() -> None:
            while not ended.is_set():
                news.wait()
                news.clear()
                if ended.wait(CATCH_UP_SECONDS):
                    break
                try:
                    if not view.catch_up(store.state):
                        news.set()  # a GIS has it: later
                except GeochangeError as error:  # decisions are kept all the same
                    listener.notice(f"{VIEW} is not brought up to date: {error}")

        view.catch_up(store.state)
        thread = threading.Thread(target=follow, name="review-view", daemon=True)
        thread.start()
        store.listen(lambda actions: news.set())
        try:
            yield view
        finally:
            ended.set()
            news.set()
            thread.join()
            view.catch_up(store.state)


def _require_page() -> None:
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise BadOption(f"the review needs {missing[0]}: pip install 'geochange[review]'")
    if not (PAGE / "index.html").is_file():
        raise BadOption("the page of the review is not built: run `make web` (needs Node), or install a wheel")


def _where(server: Path) -> str:
    """Say where a live server can be found."""
    try:
        address = json.loads(server.read_text(encoding="utf-8"))["address"]
    except (OSError, ValueError, KeyError):
        return ""
    return f"; a review is served at {address}"


def _port_of(options: ReviewOptions, server: Path) -> int:
    """Return the port that is asked for, or the one of last time, under which the browser keeps what was not sent."""
    if options.port is not None:
        return options.port
    try:
        port = int(json.loads(server.read_text(encoding="utf-8"))["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return port if 0 < port < 1 << 16 else 0


@contextmanager
def _listening(host: str, port: int, *, asked: bool) -> Iterator[tuple[int, list[socket.socket]]]:
    """Listen at a port; where nobody has asked for it and it is taken, at any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # by which asyncio knows to send at once
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            opened.bind((host, port))
        except OSError as error:
            if asked:
                raise BadOption(f"port {port} of {host} cannot be listened at: {error.strerror}") from error
            opened.bind((host, 0))
        opened.listen()  # from now on requests wait, also those that come before the server is ready
        yield int(opened.getsockname()[1]), [opened]
    finally:
        opened.close()


@contextmanager
def _stopped_by_signals(server: Any) -> Iterator[None]:
    """End the server at a signal, as is the usual end of a review."""
    server.capture_signals = nullcontext
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    before = {each: signal.signal(each, stop) for each in STOP_SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
