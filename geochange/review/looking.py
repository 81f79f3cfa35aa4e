"""Answers of a review's server that record nothing: the scene, pictures, changes, news."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from geochange.arrays import Array
from geochange.review.actions import Action
from geochange.review.guard import Refusal
from geochange.review.leases import Lease, tell
from geochange.review.pictures import DATES, Look
from geochange.review.queue import ORDERS, cell_sample
from geochange.review.run import ReviewRun
from geochange.review.served import MOST_SHAPES, Review, read_numbers, told, without_outline
from geochange.scenes.layers import in_pixels

KEEP_ALIVE_SECONDS = 15.0
MOST_CUT = 20.0  # per cent
MOST_LOOKS = 10_000
FOR_EVER = "private, max-age=31536000, immutable"
KINDS = {b"\xff\xd8": "image/jpeg", b"\x89P": "image/png"}
STATUS_CODES = ("unreviewed", "kept", "rejected", "unsure", "deleted")


async def scene(review: Review, request: Request) -> Response:
    """Answer what stays the same while the page is open: the scene, its dates, classes, cells and orders."""
    run, pictures = review.run, review.pictures
    grid = run.scene.grid
    look = await review.read(lambda: pictures.look)
    return JSONResponse(
        {
            "review": review.store.id,
            "name": run.out.name,
            "shape": grid.shape,
            "transform": list(grid.transform)[:6],
            "crs": None if grid.crs is None else grid.crs.name,
            "gsd": grid.gsd,
            "dates": [_date(run, name) for name in DATES],
            "bands": [*run.scene.bands],
            "layers": pictures.layers,
            "look": tell_look(review, look),
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


def tell_look(review: Review, look: Look) -> dict[str, Any]:
    """Return what clients are told of how dates are drawn."""
    bands = [review.run.scene.bands[place] for place in look.places]
    return {"name": look.name, "bands": bands, "limits": look.limits.tolist()}


async def look(review: Review, request: Request) -> Response:
    """Answer under which name dates can be had in other bands, or with another stretch."""
    bands = read_numbers(request, "bands", int)
    (cut,) = read_numbers(request, "cut", float, 1)
    if len(bands) not in (1, 3) or not {*bands} <= {*review.run.scene.bands} or not 0 <= cut <= MOST_CUT:
        raise Refusal(422, f"bands are one or three of {review.run.scene.bands}, and cut is 0 to {MOST_CUT} per cent")
    if len(review.pictures.looks) >= MOST_LOOKS:
        raise Refusal(422, "too many stretches were asked for; start the review again")
    found = await review.read(lambda: review.pictures.look_of(bands, cut))
    return JSONResponse(tell_look(review, found))


def _date(run: ReviewRun, name: str) -> dict[str, str | None]:
    place = 0 if name == DATES[0] else -1
    source = run.scene.sources[place]
    said = run.record["identity"]["options"].get(f"date_{name}")
    return {"name": Path(source.name).name, "date": said or source.date}


async def index(review: Review, request: Request) -> Response:
    """All changes as columns of numbers, and cells that have been looked at."""
    state = review.store.state
    seq = state.seq  # read first: the page is told of every later action
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


async def order(review: Review, request: Request) -> Response:
    """Ids of all changes in the order of a queue."""
    name = request.path_params["order"]
    if name not in ORDERS:
        raise Refusal(404, f"the order is not one of {', '.join(ORDERS)}")
    columns = await review.read(lambda: review.changes.base.columns)
    places = await review.read(lambda: ORDERS[name](columns))
    return Response(columns.ids[places].astype("<u4").tobytes(), media_type="application/octet-stream")


async def shapes(review: Review, request: Request) -> Response:
    """Outlines of changes in a box, or of some ids, in pixels of the scene."""
    state = review.store.state
    columns = await review.read(lambda: review.changes.columns(state))
    if "ids" in request.query_params:
        asked = read_numbers(request, "ids", int)
        wanted = columns.ids[np.isin(columns.ids, asked)].tolist()
    else:
        left, top, right, bottom = read_numbers(request, "box", float, 4)
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


async def change(review: Review, request: Request) -> Response:
    """All that is known of a change, with its history."""
    number = request.path_params["id"]
    state = review.store.state
    if state.of(str(number)) is None:
        raise Refusal(404, f"there is no change {number}")
    attributes = await review.read(lambda: review.changes.attributes(state, number))
    history = [
        {"at": action.at, "who": action.who, "kind": action.kind, "after": without_outline(item.after)}
        for action in list(review.store.state.actions.values())
        for item in action.items
        if item.key == str(number)
    ]
    return JSONResponse({**attributes, **review.told_of(str(number)), "history": history})


async def at(review: Review, request: Request) -> Response:
    """Pixel values of both dates, the probability, and the place on the ground, at a pixel."""
    col, row = (int(each) for each in read_numbers(request, "xy", float, 2))
    grid = review.run.scene.grid
    if not (0 <= row < grid.shape[0] and 0 <= col < grid.shape[1]):
        raise Refusal(404, "the place lies outside the scene")
    values = await review.read(lambda: review.pictures.values_at(row, col))
    x, y = grid.transform @ (col + 0.5, row + 0.5)
    return JSONResponse({**values, "x": x, "y": y, "lonlat": _lonlat(grid.crs, x, y)})


def _lonlat(crs: CRS | None, x: float, y: float) -> tuple[float, float] | None:
    """Return longitude and latitude of a place; None where the CRS has none."""
    if crs is None:
        return None
    try:
        lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    except ProjError:  # of a local CRS
        return None
    return (lon, lat) if np.isfinite([lon, lat]).all() else None


async def progress(review: Review, request: Request) -> Response:
    """Answer how many changes are of each status, and whether pictures are being prepared."""
    tally = review.store.state.tally(len(review.changes.base.places))
    return JSONResponse({**tally, "read_only": review.store.read_only, "preparing": review.pictures.preparing})


async def tile(review: Review, request: Request) -> Response:
    """Answer a tile of a date or of the probability."""
    asked = request.path_params
    look = review.pictures.looks.get(asked["look"])
    if asked["layer"] not in review.pictures.layers or look is None:
        raise Refusal(404, "there is no such picture")
    if await request.is_disconnected():
        return Response(status_code=499)
    layer, *place = (asked[name] for name in ("layer", "zoom", "col", "row"))
    drawn = await review.read(lambda: review.pictures.tile(layer, look, *place))
    if drawn is None:
        raise Refusal(404, "there is no such tile")
    return Response(drawn, media_type=KINDS[drawn[:2]], headers={"Cache-Control": FOR_EVER})


async def events(review: Review, request: Request) -> Response:
    """Actions after a number, as they are recorded, and where other pages are."""
    (after,) = read_numbers(request, "after", int, 1)
    loop, news = asyncio.get_running_loop(), asyncio.Queue[Sequence[Action] | Sequence[Lease]]()

    def hear(what: Sequence[Action] | Sequence[Lease]) -> None:
        loop.call_soon_threadsafe(news.put_nowait, what)

    review.store.listen(hear)
    review.leases.listen(hear)

    async def stream() -> AsyncIterator[str]:
        seen = after
        try:
            for action in [each for each in list(review.store.state.actions.values()) if each.seq > after]:
                seen = action.seq
                yield _event(told(review, action))
            while not await request.is_disconnected():
                try:
                    heard = await asyncio.wait_for(news.get(), KEEP_ALIVE_SECONDS)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                actions = [each for each in heard if isinstance(each, Action) and each.seq > seen]
                for action in actions:
                    yield _event(told(review, action))
                if leases := [each for each in heard if isinstance(each, Lease)]:
                    yield _event(tell(leases), "pages")
        finally:
            review.store.forget(hear)
            review.leases.forget(hear)

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _event(content: Any, name: str = "message") -> str:
    return f"event: {name}\ndata: {json.dumps(content)}\n\n"
