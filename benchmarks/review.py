"""What a reviewer waits for: `geochange review` of a large scene in headless Chromium.

    python benchmarks/review.py FOLDER [FOLDER ...]

Each FOLDER is a finished run of `detect`, for instance of a scene that `sample_data/make_scene.py` drew. It is not
changed: a copy of the run is reviewed. Prints JSON, a row for each: medians, and 95th percentiles of fifty values or
more, in ms.

- `address`: from the start of the command until it prints the address; in s;
- `first_view`: from the navigation until all tiles and changes of the whole scene are drawn;
- `tile`: answers of the server, tiles of both dates and the probability at all zooms, drawn at random, each once;
- `next`: from the key until the next change is described;
- `saved`: from the key until the decision is acknowledged;
- `complete`: from the key until all tiles of the next change are drawn;
- `frame`: between frames while the view is dragged;
- `rate`: decisions a minute of a reviewer who thinks for half a second once the next change is complete;
- with --storm, in their place: eight clients ask for 10,000 actions, and again for what was not answered, while the
  server is killed ten times; what was acknowledged and is lost, what is there twice, and whether the view equals one
  that is made anew.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from playwright.sync_api import Browser, Page, sync_playwright

from geochange.review.gis_view import GisView
from geochange.review.run import digest
from geochange.review.saved import SavedReview

ACTIONS, CLIENTS, KILLS = 10_000, 8, 10
COUNT = 50
THOUGHT = 1000  # ms between decisions
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VIEW = {"width": 1440, "height": 900}

PRESS = """async (key) => {
    const [map, change, saved] = ["map", "change", "saved"].map((id) => document.getElementById(id));
    const before = change.textContent, found = {}, from = performance.now();
    window.dispatchEvent(new KeyboardEvent("keydown", { key }));
    while (Object.keys(found).length < 3 && performance.now() - from < 20000) {
        const now = performance.now() - from;
        if (!("next" in found) && change.textContent !== before) found.next = now;
        if (!("saved" in found) && saved.textContent === "all saved") found.saved = now;
        const complete = Number(map.dataset.complete);
        if (!("complete" in found) && complete > from) found.complete = complete - from;
        await new Promise((done) => setTimeout(done, 1));
    }
    return found;
}"""
FRAMES = """() => new Promise((done) => {
    const times = [];
    const step = (now) => { times.push(now); times.length < 120 ? requestAnimationFrame(step) : done(times); };
    requestAnimationFrame(step);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--storm", action="store_true")
    given = parser.parse_args()
    if given.storm:
        print(json.dumps([storm(run) for run in given.runs], indent=1))
        return
    with sync_playwright() as playwright:
        path = next(found for name in BROWSERS if (found := shutil.which(name)))
        arguments = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        rows = [measure(run, browser) for run in given.runs]
        browser.close()
    print(json.dumps(rows, indent=1))


def measure(run: Path, browser: Browser) -> dict[str, Any]:
    """Return the row of one run."""
    record = json.loads((run / "run.json").read_text())
    row: dict[str, Any] = {"run": run.name, "shape": record["scene"]["shape"], "changes": record["changes"]["count"]}
    with TemporaryDirectory(dir=run.parent) as folder:
        out = Path(folder) / "out"
        shutil.copytree(run, out, ignore=shutil.ignore_patterns("review*"))
        with served(out) as (address, seconds, _):
            row["address"] = round(seconds, 2)
            wait_for_pictures(address, browser)
            views = [first_view(address, browser) for _ in range(3)]
            row["first_view"] = round(median(views))
            row["tile"] = summary(tiles(address, browser))
            row |= decisions(address, browser)
            row["rate"] = rate(address, browser)
    return row


@contextmanager
def served(out: Path) -> Iterator[tuple[str, float, subprocess.Popen[str]]]:
    """Serve a run's review: the address, the seconds until it was printed, and the process."""
    code = "import sys; from geochange.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "review", str(out), "--no-open", "--port", "0", "--reviewer", "benchmark"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        yield address, time.perf_counter() - began, server
        if server.poll() is None:
            server.send_signal(signal.SIGINT)


@contextmanager
def page_at(address: str, browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport=VIEW)
    page.goto(address)
    page.wait_for_selector("#change h2", timeout=120_000)
    yield page
    page.close()


def storm(run: Path) -> dict[str, Any]:
    """Kill the server ten times under eight clients; count what is lost, twice, or not in the view."""
    with TemporaryDirectory(dir=run.parent) as folder:
        out = Path(folder) / "out"
        shutil.copytree(run, out, ignore=shutil.ignore_patterns("review*"))
        told: dict[str, int] = {}
        asked, lock, draw = deque(range(ACTIONS)), threading.Lock(), random.Random(0)
        for kill in range(KILLS + 1):
            with served(out) as (address, _, process):
                clients = [Client(address, number, asked, told, lock) for number in range(CLIENTS)]
                for client in clients:
                    client.start()
                if kill < KILLS:
                    time.sleep(draw.uniform(1, 4))
                    process.kill()
                for client in clients:
                    client.join()
        actions = SavedReview.open(out).actions
        kept = {action.op: action.seq for action in actions}
        saved = SavedReview.open(out)
        view, anew = (GisView(path, saved.changes, digest(saved.base.path), saved.cells) for path in views(out))
        view.catch_up(saved.state)
        anew.catch_up(saved.state)
        return {
            "run": run.name,
            "acknowledged": len(told),
            "recorded": len(actions),
            "lost": sum(kept.get(op) != seq for op, seq in told.items()),
            "twice": len(actions) - len(kept),
            "view_equal": content(view.path) == content(anew.path),
        }


def views(out: Path) -> tuple[Path, Path]:
    return out / "review.gpkg", out / "anew.gpkg"


def content(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as database:
        return [
            database.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in ("changes", "areas", "history")
        ]


class Client(threading.Thread):
    """Decides, and asks again for what was not acknowledged, until the server is gone."""

    def __init__(
        self, address: str, number: int, asked: deque[int], told: dict[str, int], lock: threading.Lock
    ) -> None:
        super().__init__()
        place = urlsplit(address)
        self.place, self.token = place.netloc, place.fragment.removeprefix("token=")
        self.number, self.asked, self.told, self.lock = number, asked, told, lock
        self.turn: int | None = None

    def run(self) -> None:
        connection = HTTPConnection(self.place, timeout=20)
        headers = {"Origin": f"http://{self.place}", "X-Geochange": "1", "Content-Type": "application/json"}
        revs: dict[str, int] = {}
        try:
            connection.request("POST", "/api/session", json.dumps({"token": self.token}), headers)
            answer = connection.getresponse()
            answer.read()
            headers["Cookie"] = str(answer.getheader("set-cookie")).split(";")[0]
            while (turn := self._next()) is not None:
                self._decide(connection, headers, revs, turn)
        except (OSError, HTTPException, ValueError):  # the server was killed: the next one is asked again
            with self.lock:
                self.asked.extend([] if self.turn is None else [self.turn])

    def _next(self) -> int | None:
        with self.lock:
            self.turn = self.asked.popleft() if self.asked else None
            return self.turn

    def _decide(self, connection: HTTPConnection, headers: dict[str, str], revs: dict[str, int], turn: int) -> None:
        key, op = str(1 + turn % 500), str(UUID(int=turn + 1))
        while True:
            after = {"status": ("kept", "rejected")[turn % 2]}
            items = [{"key": key, "rev": revs.get(key, 0), "after": after}]
            sent = {"op": op, "kind": "decide", "who": f"c{self.number}", "items": items}
            connection.request("POST", "/api/actions", json.dumps(sent), headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
            for each in found.get("now") or found["items"]:
                revs[each["key"]] = each["rev"]
            if answer.status == 200:
                with self.lock:
                    self.told[op] = found["seq"]
                return


def wait_for_pictures(address: str, browser: Browser) -> None:
    """Wait until the overviews are there."""
    with page_at(address, browser) as page:
        while page.evaluate("async () => (await (await fetch('/api/progress')).json()).preparing"):
            time.sleep(1)


def first_view(address: str, browser: Browser) -> float:
    """Return ms from the navigation until the whole scene is drawn."""
    with browser.new_context(viewport=VIEW) as context:
        page = context.new_page()
        page.goto(address, wait_until="commit")
        page.wait_for_selector("#map[data-complete]", state="attached", timeout=120_000)
        complete = float(page.evaluate("Number(document.getElementById('map').dataset.complete)"))
    return complete


def tiles(address: str, browser: Browser) -> list[float]:
    """Return ms that the server takes for tiles."""
    with page_at(address, browser) as page:
        (cookie,) = page.context.cookies()
        scene = page.evaluate("async () => (await fetch('/api/scene')).json()")
    place, chosen, found = urlsplit(address), random.Random(0), []
    connection = HTTPConnection(str(place.hostname), int(place.port or 0))
    for _ in range(3 * COUNT):
        zoom = chosen.randint(0, scene["deepest"])
        side = 256 << (scene["deepest"] - zoom)
        rows, cols = (-(-length // side) for length in scene["shape"])
        names = (
            chosen.choice(scene["layers"]),
            scene["look"]["name"],
            zoom,
            chosen.randrange(cols),
            chosen.randrange(rows),
        )
        began = time.perf_counter()
        connection.request(
            "GET", "/tiles/{}/{}/{}/{}/{}".format(*names), headers={"Cookie": f"{cookie['name']}={cookie['value']}"}
        )
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"a tile was answered with {answer.status}")
        found.append(1000 * (time.perf_counter() - began))
    return found


def decisions(address: str, browser: Browser) -> dict[str, Any]:
    """Return what a reviewer waits for between decisions, and while the view is dragged."""
    found: dict[str, list[float]] = {"next": [], "saved": [], "complete": []}
    with page_at(address, browser) as page:
        page.wait_for_timeout(3000)
        for number in range(COUNT):
            for name, value in page.evaluate(PRESS, "kxu"[number % 3]).items():
                found[name].append(value)
            page.wait_for_timeout(THOUGHT)
        page.mouse.move(500, 450)
        page.mouse.down()
        page.evaluate(f"window.frames_ = ({FRAMES})()")
        for step in range(60):
            page.mouse.move(500 + 5 * step, 450 - 2 * step)
        times = page.evaluate("window.frames_")
        page.mouse.up()
    frames = [later - sooner for sooner, later in pairwise(times)]
    return {name: summary(values) for name, values in {**found, "frame": frames}.items()}


def rate(address: str, browser: Browser) -> float:
    """Return decisions a minute of somebody who thinks for half a second once all of the next change is there."""
    with page_at(address, browser) as page:
        page.wait_for_timeout(3000)
        began = time.perf_counter()
        for number in range(COUNT):
            page.evaluate(PRESS, "kxk"[number % 3])
            page.wait_for_timeout(500)
        return round(60 * COUNT / (time.perf_counter() - began), 1)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return median and 95th percentile."""
    return {"median": round(median(values), 1), "p95": round(quantiles(values, n=20)[-1], 1)}


if __name__ == "__main__":
    main()
