"""The review over HTTP: the page, its pictures, what is known of each change, and what is decided."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry.polygon import orient
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from geochange.arrays import Array
from geochange.errors import DiskFull, GeochangeError, OutputInTheWay
from geochange.polygons.features import map_polygons
from geochange.review.actions import Action, BadAction, BadShape, StaleAction, read_request
from geochange.review.cells import Cells
from geochange.review.changes import Changes
from geochange.review.geometry import coordinates, cut_out, merge, read_line, read_polygon, split
from geochange.review.gis_view import GisView
from geochange.review.grow import grow
from geochange.review.guard import HEADERS, MOST_BYTES, Guard, Refusal
from geochange.review.pictures import DATES, NotYet, Pictures
from geochange.review.queue import ORDERS, cell_sample
from geochange.review.run import ReviewRun
from geochange.review.state import present
from geochange.review.store import ReviewStore
from geochange.review.take_in import take_in
from geochange.scenes.layers import in_pixels

PAGE = Path(__file__).with_name("page")
MOST_SHAPES = 1500
TILE_THREADS = 4
KEEP_ALIVE_SECONDS = 15.0
FOR_EVER = "private, max-age=31536000, immutable"
KINDS = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}
STATUS_CODES = ("unreviewed", "kept", "rejected", "unsure", "deleted")

Answer = Callable[[Request], Awaitable[Response]]


@dataclass
class Review:
    """All that the server knows."""

    run: ReviewRun
    changes: Changes
    store: ReviewStore
    pictures: Pictures
    cells: Cells
    guard: Guard
    reviewer: str
    view: GisView
    readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(TILE_THREADS, "tiles"))

    def outline(self, sent: Any) -> str:
        """Return what a client has drawn, in pixels of the scene, as a geometry in map units.

        Raises:
            BadShape: it is no outline of a change.
        """
        polygon = read_polygon(sent, self.run.scene.shape)
        (mapped,) = map_polygons(np.array([polygon]), self.run.scene.grid)
        return str(shapely.to_wkb(orient(mapped), hex=True))

    def told_of(self, key: str) -> dict[str, Any]:
        """Return what clients are told of a change or cell as it is now; with its box and area where it has one."""
        state = self.store.state
        now = state.of(key)
        assert now is not None
        found = _without_outline(present(key, now))
        if key.isdecimal():
            columns = self.changes.columns(state)
            for place in np.flatnonzero(columns.ids == int(key)).tolist():
                found |= {"box": columns.boxes[place].tolist(), "area": float(columns.areas[place])}
        return found

    async def read(self, work: Callable[[], Any]) -> Any:
        """Run what reads files in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, work)


def application(review: Review) -> Starlette:
    """Return the server of a review."""
    api = {
        ("GET", "/api/scene"): _scene,
        ("GET", "/api/index"): _index,
        ("GET", "/api/shapes"): _shapes,
        ("GET", "/api/changes/{id:int}"): _change,
        ("GET", "/api/at"): _at,
        ("GET", "/api/order/{order}"): _order,
        ("GET", "/api/progress"): _progress,
        ("GET", "/api/events"): _events,
        ("GET", "/tiles/{layer}/{look}/{zoom:int}/{col:int}/{row:int}"): _tile,
        ("POST", "/api/actions"): _act,
        ("POST", "/api/geometry"): _geometry,
        ("POST", "/api/grow"): _grow,
        ("POST", "/api/take-in"): _take_in,
    }
    routes = [
        Route(path, _guarded(review, partial(answer, review), own_page=method == "POST"), methods=[method])
        for (method, path), answer in api.items()
    ]
    routes += [
        Route(
            "/api/session", _guarded(review, partial(_begin, review), own_page=True, session=False), methods=["POST"]
        ),
        Route("/{name:path}", _guarded(review, _page, session=False), methods=["GET"]),
    ]
    return Starlette(routes=routes)


def _guarded(review: Review, answer: Answer, *, own_page: bool = False, session: bool = True) -> Answer:
    """Let in what the guard lets in, and turn what is raised into one line with a status."""

    async def guarded(request: Request) -> Response:
        try:
            review.guard.require_host(request.headers.get("host", ""))
            if own_page:
                review.guard.require_own_page(request.headers)
            if session:
                review.guard.require_session(request.cookies)
            response = await answer(request)
        except Refusal as refusal:
            response = JSONResponse({"error": refusal.text}, refusal.status)
        except StaleAction as error:
            states = [review.told_of(key) for key in error.ids]
            response = JSONResponse({"error": str(error), "now": states}, 409)
        except BadShape as error:
            response = JSONResponse({"error": str(error), "place": error.place}, 422)
        except BadAction as error:
            response = JSONResponse({"error": str(error)}, 422)
        except DiskFull as error:
            response = JSONResponse({"error": str(error)}, 507)
        except OutputInTheWay as error:
            response = JSONResponse({"error": str(error)}, 409)
        except NotYet:
            response = JSONResponse({"error": "the picture is being prepared"}, 503, {"Retry-After": "2"})
        except GeochangeError as error:
            response = JSONResponse({"error": str(error)}, 500)
        response.headers.update(HEADERS)
        return response

    return guarded


async def _page(request: Request) -> Response:
    """Serve a file of the page, whose names are those that the build has left."""
    name = request.path_params["name"] or "index.html"
    files = {path.relative_to(PAGE).as_posix(): path for path in PAGE.rglob("*") if path.is_file()}
    if name not in files:
        raise Refusal(404, "there is no such page")
    return FileResponse(files[name], headers={"Cache-Control": "no-cache"})


async def _begin(review: Review, request: Request) -> Response:
    token = (await _json(request)).get("token")
    response = JSONResponse({})
    response.set_cookie(review.guard.cookie, review.guard.session_for(token), httponly=True, samesite="strict")
    return response


async def _json(request: Request) -> dict[str, Any]:
    """Read a JSON object of at most `MOST_BYTES`."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refusal(413, f"a request holds at most {MOST_BYTES >> 20} MiB")
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, "the request is not JSON") from error
    if not isinstance(sent, dict):
        raise Refusal(422, "the request must be an object")
    return sent


async def _scene(review: Review, request: Request) -> Response:
    run, pictures = review.run, review.pictures
    grid = run.scene.grid
    limits = await review.read(lambda: pictures.limits)
    return JSONResponse(
        {
            "name": run.out.name,
            "shape": grid.shape,
            "transform": list(grid.transform)[:6],
            "crs": None if grid.crs is None else grid.crs.name,
            "gsd": grid.gsd,
            "dates": [_date(run, name) for name in DATES],
            "bands": [run.scene.bands[place] for place in pictures.shown],
            "limits": limits.tolist(),
            "layers": pictures.layers,
            "look": await review.read(lambda: pictures.look),
            "deepest": pictures.lattice.deepest,
            "classes": run.classes,
            "top": review.changes.top,
            "threshold": run.threshold,
            "orders": [*ORDERS],
            "cells": [[tile.row, tile.col, tile.height, tile.width] for tile in review.cells.tiles],
            "cell_columns": review.cells.columns,
            "cell_sample": cell_sample(len(review.cells.tiles)).tolist(),
            "reviewer": review.reviewer,
            "read_only": review.store.read_only,
            "preparing": pictures.preparing,
        }
    )


def _date(run: ReviewRun, name: str) -> dict[str, str | None]:
    place = 0 if name == DATES[0] else -1
    source = run.scene.sources[place]
    said = run.record["identity"]["options"].get(f"date_{name}")
    return {"name": Path(source.name).name, "date": said or source.date}


async def _index(review: Review, request: Request) -> Response:
    """All changes as columns of numbers, and cells that have been looked at."""
    state = review.store.state
    seq = state.seq  # before all else: the page hears of what comes after it
    columns = await review.read(lambda: review.changes.columns(state))
    places = {number: place for place, number in enumerate(columns.ids.tolist())}
    statuses, revs = np.zeros(len(columns.ids), np.uint8), np.zeros(len(columns.ids), np.uint32)
    labels = columns.labels.copy()
    numbers = {name: place for place, name in enumerate(review.run.classes)}
    looked, cell_revs = np.zeros(len(review.cells.tiles), np.uint8), np.zeros(len(review.cells.tiles), np.uint32)
    for key, touched in list(state.touched.items()):
        if (cell := review.cells.places.get(key)) is not None:
            looked[cell], cell_revs[cell] = bool(touched.fields["looked"]), touched.rev
            continue
        if (place := places.get(int(key))) is None:  # drawn, and deleted since
            continue
        statuses[place] = STATUS_CODES.index(str(touched.fields["status"]))
        labels[place], revs[place] = numbers.get(str(touched.fields["label"]), 0), touched.rev
    parts = [
        struct.pack("<IIQ", len(columns.ids), len(looked), seq),
        columns.ids.astype("<u4").tobytes(),
        revs.astype("<u4").tobytes(),
        columns.areas.astype("<f4").tobytes(),
        columns.scores.astype("<f4").tobytes(),
        columns.boxes.astype("<f4").tobytes(),
        cell_revs.astype("<u4").tobytes(),
        statuses.tobytes(),
        labels.tobytes(),
        looked.tobytes(),
    ]
    return Response(b"".join(parts), media_type="application/octet-stream")


async def _order(review: Review, request: Request) -> Response:
    """Ids of all changes in the order of a queue."""
    name = request.path_params["order"]
    if name not in ORDERS:
        raise Refusal(404, f"the order is not one of {', '.join(ORDERS)}")
    columns = await review.read(lambda: review.changes.base.columns)
    places = await review.read(lambda: ORDERS[name](columns))
    return Response(columns.ids[places].astype("<u4").tobytes(), media_type="application/octet-stream")


async def _shapes(review: Review, request: Request) -> Response:
    """Outlines of changes in a box, or of some ids, in pixels of the scene."""
    state = review.store.state
    columns = await review.read(lambda: review.changes.columns(state))
    if "ids" in request.query_params:
        asked = _numbers(request, "ids", int)
        wanted = columns.ids[np.isin(columns.ids, asked)].tolist()
    else:
        left, top, right, bottom = _numbers(request, "box", float, 4)
        boxes = columns.boxes
        meets = (boxes[:, 0] <= right) & (boxes[:, 2] >= left) & (boxes[:, 1] <= bottom) & (boxes[:, 3] >= top)
        wanted = columns.ids[meets].tolist()
    if len(wanted) > MOST_SHAPES:
        return JSONResponse({"too_many": len(wanted)})
    found = await review.read(lambda: review.changes.shapes(state, wanted))
    return Response(_collection(found, review), media_type="application/geo+json")


def _collection(found: dict[int, Array], review: Review) -> str:
    shapes = in_pixels(np.array([*found.values()], object), review.run.scene.grid)
    features = [
        f'{{"type":"Feature","id":{number},"geometry":{geometry}}}'
        for number, geometry in zip(found, shapely.to_geojson(shapes).tolist(), strict=True)
    ]
    return f'{{"type":"FeatureCollection","features":[{",".join(features)}]}}'


def _numbers(request: Request, name: str, kind: type[Any], count: int | None = None) -> list[Any]:
    """Read numbers with commas between them from the query."""
    try:
        found = [kind(each) for each in request.query_params.get(name, "").split(",")]
    except ValueError as error:
        raise Refusal(422, f"{name} must be numbers with commas between them") from error
    if (count is not None and len(found) != count) or len(found) > MOST_SHAPES or not np.isfinite(found).all():
        raise Refusal(422, f"{name} must be {count or f'at most {MOST_SHAPES}'} numbers")
    return found


async def _change(review: Review, request: Request) -> Response:
    """All that is known of a change, with its history."""
    number = request.path_params["id"]
    state = review.store.state
    now = state.of(str(number))
    if now is None:
        raise Refusal(404, f"there is no change {number}")
    attributes = await review.read(lambda: review.changes.attributes(state, number))
    history = [
        {"at": action.at, "who": action.who, "kind": action.kind, "after": _without_outline(item.after)}
        for action in list(review.store.state.actions.values())
        for item in action.items
        if item.key == str(number)
    ]
    return JSONResponse({**attributes, **_without_outline(present(str(number), now)), "history": history})


async def _at(review: Review, request: Request) -> Response:
    """Pixel values of both dates, the probability, and the place on the ground, at a pixel."""
    col, row = (int(each) for each in _numbers(request, "xy", float, 2))
    grid = review.run.scene.grid
    if not (0 <= row < grid.shape[0] and 0 <= col < grid.shape[1]):
        raise Refusal(404, "the place lies outside the scene")
    values = await review.read(lambda: review.pictures.values_at(row, col))
    x, y = grid.transform @ (col + 0.5, row + 0.5)
    place = None if grid.crs is None else Transformer.from_crs(grid.crs, 4326, always_xy=True).transform(x, y)
    return JSONResponse({**values, "x": x, "y": y, "lonlat": place})


async def _progress(review: Review, request: Request) -> Response:
    tally = review.store.state.tally(len(review.changes.base.places))
    return JSONResponse({**tally, "read_only": review.store.read_only, "preparing": review.pictures.preparing})


async def _tile(review: Review, request: Request) -> Response:
    asked = request.path_params
    if asked["layer"] not in review.pictures.layers or asked["look"] != review.pictures.look:
        raise Refusal(404, "there is no such picture")
    if await request.is_disconnected():
        return Response(status_code=499)
    place = asked["layer"], asked["zoom"], asked["col"], asked["row"]
    drawn = await review.read(lambda: review.pictures.tile(*place))
    if drawn is None:
        raise Refusal(404, "there is no such tile")
    return Response(drawn, media_type=KINDS[drawn[:2]], headers={"Cache-Control": FOR_EVER})


async def _act(review: Review, request: Request) -> Response:
    """Record an action; the answer comes when it is on the disk."""
    sent = await _json(request)
    who = sent.get("who", review.reviewer)
    if not isinstance(who, str):
        raise BadAction("who must be a name")
    asked = await review.read(lambda: read_request(sent, who, review.run.classes, review.outline))
    action = await asyncio.wrap_future(review.store.act(asked))
    return JSONResponse(_told(review, action))


async def _geometry(review: Review, request: Request) -> Response:
    """Answer what becomes of changes that are cut, merged or given a hole; nothing is recorded."""
    sent = await _json(request)
    return JSONResponse({"shapes": await review.read(lambda: _reshaped(review, sent))})


def _reshaped(review: Review, sent: dict[str, Any]) -> list[Any]:
    ids = sent.get("ids")
    if not isinstance(ids, list) or not 0 < len(ids) <= MOST_SHAPES or not all(type(each) is int for each in ids):
        raise Refusal(422, f"ids must be a list of 1 to {MOST_SHAPES} numbers")
    found = review.changes.shapes(review.store.state, ids)
    if missing := [each for each in ids if each not in found]:
        raise Refusal(404, f"there is no change {missing[0]}")
    shapes = in_pixels(np.array([found[each] for each in ids], object), review.run.scene.grid)
    match sent.get("kind"):
        case "split":
            parts = split(shapes[0], read_line(sent.get("line")))
        case "merge":
            parts = [merge(shapes.tolist())]
        case "hole":
            parts = [cut_out(shapes[0], read_polygon(sent.get("polygon"), review.run.scene.shape))]
        case kind:
            raise Refusal(422, f"kind {str(kind)[:50]!r} is not one of split, merge, hole")
    return [coordinates(part) for part in parts]


async def _grow(review: Review, request: Request) -> Response:
    """Answer the region of the probability about a pixel; nothing is recorded."""
    sent = await _json(request)
    place = sent.get("at")
    if not isinstance(place, list) or len(place) != 2 or not all(type(each) in (int, float) for each in place):
        raise Refusal(422, "at must be a column and a row")
    rows, cols = review.run.scene.shape
    if not (0 <= place[0] < cols and 0 <= place[1] < rows):
        raise Refusal(404, "the place lies outside the scene")
    if (scores := review.run.scores) is None:
        raise Refusal(422, "there is no probability that a change could grow in; draw it instead")
    row, col = int(place[1]), int(place[0])
    region = await review.read(lambda: grow(scores, row, col, review.run.threshold))
    return JSONResponse({"shapes": [coordinates(region)]})


async def _take_in(review: Review, request: Request) -> Response:
    """Record what was edited in a GIS."""
    await _json(request)
    taken = await review.read(lambda: take_in(review.view, review.store, review.run.classes))
    return JSONResponse({"count": taken.count, "conflicts": taken.conflicts})


def _without_outline(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as clients are told of them: that there is another outline, not which."""
    return {name: value is not None if name == "geometry" else value for name, value in fields.items()}


def _told(review: Review, action: Action) -> dict[str, Any]:
    """Return what clients are told of an action."""
    items = [
        review.told_of(item.key) if "geometry" in item.after else {"key": item.key, "rev": item.rev, **item.after}
        for item in action.items
    ]
    told = {"seq": action.seq, "who": action.who, "op": action.op, "kind": action.kind, "of": action.of}
    return {**told, "items": items}


async def _events(review: Review, request: Request) -> Response:
    """Actions after a number, as they are recorded."""
    (after,) = _numbers(request, "after", int, 1)
    loop, news = asyncio.get_running_loop(), asyncio.Queue[list[Action]]()

    def tell(actions: Sequence[Action]) -> None:
        loop.call_soon_threadsafe(news.put_nowait, list(actions))

    review.store.listen(tell)

    async def stream() -> AsyncIterator[str]:
        seen = after
        try:
            for action in [each for each in list(review.store.state.actions.values()) if each.seq > after]:
                seen = action.seq
                yield f"data: {json.dumps(_told(review, action))}\n\n"
            while not await request.is_disconnected():
                try:
                    actions = await asyncio.wait_for(news.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                for action in actions:
                    if action.seq > seen:
                        yield f"data: {json.dumps(_told(review, action))}\n\n"
        finally:
            review.store.forget(tell)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
