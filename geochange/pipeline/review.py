"""`review`: look at what a run found in the browser, decide with one key, and write what was decided."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from geochange.engine.progress import Listener, Silent
from geochange.errors import BadOption, OutputInTheWay, UnreadableInput
from geochange.files import require_writable, write_whole
from geochange.parsing import parsing
from geochange.pipeline.options import ReviewOptions, choose_options
from geochange.pipeline.run_folder import RECORD, RunFolder
from geochange.polygons.export import FeatureLayer, write_features, writer_of
from geochange.polygons.features import SCHEMA, UNREVIEWED
from geochange.polygons.style import status_style
from geochange.review.actions import DECIDED, Fields, reviewer_name
from geochange.review.base import Base, wkb_of
from geochange.review.cells import Cells
from geochange.review.gis_view import NAME as VIEW
from geochange.review.gis_view import GisView
from geochange.review.guard import Guard
from geochange.review.run import ReviewRun, begin, digest, layer_of, open_run
from geochange.review.state import ReviewState, fold
from geochange.review.store import TRUTH, ReviewStore, read_actions
from geochange.system import STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[1] / "review" / "page"
SERVER = "server.json"
CACHE = "cache"
CATCH_UP_SECONDS = 2.0  # after an action, when the view is brought up to date
LOCAL = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What has been decided so far."""

    folder: Path
    tally: dict[str, int]
    """Changes of each status, and cells looked at."""
    file: Path | None = None
    """What was exported."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {"folder": str(self.folder), **self.tally, **({} if self.file is None else {"file": str(self.file)})}


def review(
    run: str | os.PathLike[str],
    options: ReviewOptions | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> Reviewed:
    """Look at what `detect` found in the browser: both dates, one key a decision; or write what has been decided.

    The page is served until Ctrl-C. What it shows as saved is in OUT/review/review.sqlite; OUT/review.gpkg shows it in
    QGIS meanwhile.

    Args:
        run: folder of a finished run of `detect`.
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
    opened = _Opened.of(Path(run), options)
    if options.export is not None:
        return opened.export(Path(options.export), options, overwrite=overwrite)
    if not options.status:
        opened.serve(options, listener or Silent())
    return Reviewed(opened.run.out, opened.saved_state().tally(len(opened.base.places)))


@dataclass(frozen=True)
class _Opened:
    """A run with its review."""

    run: ReviewRun
    base: Base
    cells: Cells

    @classmethod
    def of(cls, out: Path, options: ReviewOptions) -> _Opened:
        run = open_run(out.absolute(), _record(out), remote=options.remote)
        if options.export is None and not options.status:
            begin(run)
        return cls(run, Base(layer_of(run), run.scene.grid.transform, run.classes), Cells(run.scene.shape))

    @property
    def truth(self) -> Path:
        return self.run.folder / TRUTH

    def untouched(self, key: str) -> Fields | None:
        """Fields of a change as it was found, or of a cell."""
        if key in self.cells.places:
            return {"looked": False}
        if not key.isdecimal() or (place := self.base.places.get(int(key))) is None:
            return None
        return {"status": UNREVIEWED, "label": self.run.classes[self.base.columns.labels[place]], "comment": ""}

    def facts(self) -> dict[str, str]:
        """Return what the review is of."""
        return {"layer": digest(self.base.path), "classes": ", ".join(self.run.classes)}

    def saved_state(self) -> ReviewState:
        """Return what the file holds, beside a live server too."""
        return fold(self.untouched, read_actions(self.truth) if self.truth.exists() else [])

    def export(self, path: Path, options: ReviewOptions, *, overwrite: bool) -> Reviewed:
        """Write the changes with what was decided of them."""
        writer_of(path)
        require_writable([path], overwrite=overwrite, inputs=[self.base.path, self.truth])
        state = self.saved_state()
        wanted = {"all": None, "decided": DECIDED, "kept": ("kept",)}[options.only]
        layer = FeatureLayer(schema=SCHEMA, crs=self.run.scene.grid.crs, style=status_style())
        write_features(path, self._batches(state, wanted), layer)
        return Reviewed(self.run.out, state.tally(len(self.base.places)), path)

    def _batches(self, state: ReviewState, wanted: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        names = [field.name for field in SCHEMA]
        for rows in self.base.rows([name for name in names if name not in ("geometry", "status", "comment", "label")]):
            kept = []
            for number, blob, values in rows:
                now = state.of(str(number))
                assert now is not None
                if wanted is None or now.fields["status"] in wanted:
                    kept.append({**values, **now.fields, "geometry": wkb_of(blob)})
            columns = [pa.array([each[field.name] for each in kept]).cast(field.type) for field in SCHEMA]
            yield pa.record_batch(columns, schema=SCHEMA)

    def serve(self, options: ReviewOptions, listener: Listener) -> None:
        """Serve the page until Ctrl-C, the one server of this run."""
        _require_page()
        who = reviewer_name(options.reviewer or getpass.getuser())
        folder = RunFolder(self.run.out, "detect")
        try:
            with folder.owned(), ReviewStore(self.truth, self.untouched, self.facts()) as store, self._kept_view(store):
                self._answer(store, who, options, listener)
        except OutputInTheWay as error:
            raise OutputInTheWay(f"{error}{_where(self.run.folder / SERVER)}") from error

    def _answer(self, store: ReviewStore, who: str, options: ReviewOptions, listener: Listener) -> None:
        import uvicorn

        from geochange.review.pictures import Pictures
        from geochange.review.server import Review, application

        with _listening(options.host or LOCAL, _port_of(options, self.run.folder / SERVER)) as (port, sockets):
            guard = Guard(port, options.host)
            pictures = Pictures(self.run)
            threading.Thread(target=pictures.prepare, args=[self.run.folder / CACHE], daemon=True).start()
            page = Review(self.run, self.base, store, pictures, self.cells, guard, who)
            address = f"http://{options.host or LOCAL}:{port}"
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
    def _kept_view(self, store: ReviewStore) -> Iterator[None]:
        """Keep the GeoPackage up to date from a thread of its own, and bring it up to date at the end."""
        view = GisView(self.run.out / VIEW, self.base.path, digest(self.base.path), self.run.scene.grid, self.cells)
        news, ended = threading.Event(), threading.Event()

        def follow() -> None:
            while not ended.is_set():
                news.wait()
                news.clear()
                if ended.wait(CATCH_UP_SECONDS):
                    break
                if not view.catch_up(store.state):
                    news.set()

        view.catch_up(store.state)
        thread = threading.Thread(target=follow, name="review-view", daemon=True)
        thread.start()
        store.listen(lambda actions: news.set())
        try:
            yield
        finally:
            ended.set()
            news.set()
            thread.join()
            view.catch_up(store.state)


def _record(out: Path) -> dict[str, Any]:
    path = out / RECORD
    if not path.is_file():
        raise UnreadableInput(f"{out} holds no finished run; run `geochange detect BEFORE AFTER -o {out}` first")
    with parsing(str(path), "the record of a finished run of `geochange detect`"):
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if record["command"] != "detect" or not record.get("finished", True):
            raise ValueError("it is of another command, or not finished")
    return record


def _require_page() -> None:
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise BadOption(f"the review needs {missing[0]}: pip install 'geochange[review]'")
    if not (PAGE / "index.html").is_file():
        raise BadOption("the page of the review is not built: run `make web` (needs Node), or install a wheel")


def _where(server: Path) -> str:
    """Say where a live server can be found."""
    try:
        address = json.loads(server.read_text())["address"]
    except (OSError, ValueError, KeyError):
        return ""
    return f"; a review is served at {address}"


def _port_of(options: ReviewOptions, server: Path) -> int:
    """Return the port that is asked for, or the one of last time, under which the browser keeps what was not sent."""
    if options.port is not None:
        return options.port
    try:
        return int(json.loads(server.read_text())["port"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


@contextmanager
def _listening(host: str, port: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """Listen at a port; where it is the one of last time and is taken, at any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # by which asyncio knows to send at once
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        try:
            opened.bind((host, port))
        except OSError:
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
