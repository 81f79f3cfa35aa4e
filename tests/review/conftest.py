import http.client
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import geopandas
import pytest
import shapely

import geochange
from geochange.review.actions import read_request
from geochange.review.saved import SavedReview
from geochange.review.store import ReviewStore

SAMPLE = Path(__file__).parents[2] / "sample_data"


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of `detect`, which tests copy."""
    folder = tmp_path_factory.mktemp("finished")
    pair = (SAMPLE / "before.tif", SAMPLE / "after.tif")
    many = {"shift_tolerance": 0, "min_confidence": 0.0}  # hundreds of changes, many of them false
    geochange.detect(*pair, folder / "out", detector="change-vector", formats=("gpkg",), **many)
    return folder / "out"


@pytest.fixture
def out(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"


def record(out, *requests, who="ada"):
    """Put actions on a run's review, each as (kind, {key: fields}) or (kind, [(key, fields)]); return the review then.

    Geometries are WKB in map units as hexadecimal digits; the key of a new change is empty.
    """
    saved = SavedReview.open(out, beginning=True)
    with ReviewStore(saved.truth, saved.untouched, saved.facts(), top=saved.changes.top) as store:
        for kind, wishes in requests:
            pairs = wishes.items() if isinstance(wishes, dict) else wishes
            items = [{"key": str(k), "rev": store.state.of(str(k)).rev if k else 0, "after": now} for k, now in pairs]
            sent = {"op": str(uuid4()), "kind": kind, "items": items}
            store.act(read_request(sent, who, saved.run.classes, str)).result()
    return SavedReview.open(out)


def decided_by_truth(out, *, cells=()):
    """Keep what has changed indeed, reject the rest, and look at some cells."""
    saved = SavedReview.open(out, beginning=True)
    truth = shapely.union_all(geopandas.read_file(SAMPLE / "truth.gpkg").geometry.values)
    shapes = saved.base.shapes(saved.base.columns.ids.tolist())
    found = {number: shapely.from_wkb(wkb) for number, wkb in shapes.items()}
    right = {number: shape.intersection(truth).area > 0.5 * shape.area for number, shape in found.items()}
    decided = {number: {"status": "kept" if kept else "rejected"} for number, kept in right.items()}
    looked = {saved.cells.key(cell): {"looked": True} for cell in cells}
    return record(out, ("decide", decided), *([("look", looked)] if looked else []))


class ForkedCommand:
    """A command as a process of its own, forked from one that has imported what commands import; as Popen has it."""

    def __init__(self, arguments):
        forks = multiprocessing.get_context("spawn" if os.environ.get("AS_WINDOWS") else "forkserver")
        forks.set_forkserver_preload(["geochange.cli.program", "geochange.pipeline.review", "geochange.review.server"])
        pipes = [forks.Pipe(duplex=False) for _ in range(2)]
        self._process = forks.Process(target=_become, args=(arguments, *(writer for _, writer in pipes)), daemon=True)
        self._process.start()
        for _, writer in pipes:
            writer.close()
        self.stdout, self._errors = (os.fdopen(os.dup(reader.fileno()), encoding="utf-8") for reader, _ in pipes)

    @property
    def returncode(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("geochange", timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """Wait for its end; what it wrote to stdout and stderr, both short."""
        self.wait(timeout)
        with self.stdout as printed, self._errors as errors:
            return printed.read(), errors.read()


def _become(arguments, *writers: Connection):
    """Run a command in place of this process."""
    for number, writer in enumerate(writers, 1):
        os.dup2(writer.fileno(), number)
        writer.close()
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, "utf-8", closefd=False) for number in (1, 2))
    from geochange.cli import main

    main(arguments)


@dataclass
class Served:
    """A server of a review, as a process of its own, and how it is asked."""

    out: Path
    process: ForkedCommand
    address: str
    token: str
    cookie: str = ""
    answers: list = field(default_factory=list)

    @property
    def place(self):
        return urlsplit(self.address).netloc

    def ask(self, method, path, body=None, *, cookie=True, **headers):
        """Status and body of an answer; the headers of a page unless others are given."""
        sent = {"Host": self.place, "Origin": f"http://{self.place}", "X-Geochange": "1"}
        sent |= {"Content-Type": "application/json"} if method == "POST" else {}
        sent |= {"Cookie": self.cookie} if cookie else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(self.place, timeout=20)
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        if content is not None:
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        return answer.status, found, dict(answer.getheaders())

    def log_in(self):
        status, _, headers = self.ask("POST", "/api/session", {"token": self.token}, cookie=False)
        assert status == 200
        self.cookie = headers["set-cookie"].split(";")[0]
        return headers["set-cookie"]

    def get(self, path):
        status, found, _ = self.ask("GET", path)
        assert status == 200, found
        return json.loads(found)

    def act(self, kind, items=(), op=None, who="ada"):
        sent = {"op": op or str(uuid4()), "kind": kind, "who": who, "items": list(items)}
        status, found, _ = self.ask("POST", "/api/actions", sent)
        return status, json.loads(found)


def serve(out, *more):
    run = [] if out is None else [out]
    process = ForkedCommand(["review", *map(str, run), "--no-open", "--reviewer", "ada", *map(str, more)])
    line = process.stdout.readline().strip()
    if not line:
        raise AssertionError(process.communicate()[1])
    address, token = line.split("/#token=")
    return Served(out, process, address, token)


@pytest.fixture
def served(out):
    pytest.importorskip("starlette")
    server = serve(out, "--port", "0")
    server.log_in()
    yield server
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
