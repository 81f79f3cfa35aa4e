"""Answers of a review's server to what reviewers send: actions, outlines to be made, edits of a GIS."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from geochange.review.actions import BadAction, read_request, reviewer_name
from geochange.review.geometry import coordinates, cut_out, merge, read_line, read_polygon, split
from geochange.review.grow import grow
from geochange.review.guard import Refusal
from geochange.review.leases import Lease, tell
from geochange.review.served import MOST_SHAPES, Review, read_json, told
from geochange.review.take_in import take_in
from geochange.scenes.layers import in_pixels

LONGEST_PAGE = 40


async def act(review: Review, request: Request) -> Response:
    """Record an action; the answer comes when it is on the disk."""
    sent = await read_json(request)
    who = _who(review, sent)
    asked = await review.read(lambda: read_request(sent, who, review.run.classes, review.outline))
    action = await asyncio.wrap_future(review.store.act(asked))
    return JSONResponse(told(review, action))


def _who(review: Review, sent: dict[str, Any]) -> str:
    who = sent.get("who", review.reviewer)
    if not isinstance(who, str):
        raise BadAction("who must be a name")
    return reviewer_name(who)


async def lease(review: Review, request: Request) -> Response:
    """Note that a page is at a change or cell, at none, or closed, and answer where all are; nothing is recorded."""
    sent = await read_json(request)
    page, key = sent.get("page"), sent.get("key")
    if not isinstance(page, str) or not 0 < len(page) <= LONGEST_PAGE or not (key is None or isinstance(key, str)):
        raise Refusal(422, f"a lease is of a page of at most {LONGEST_PAGE} characters, at a key")
    if key is None:
        review.leases.end(page)
        return JSONResponse({"pages": tell(review.leases.now)})
    if key and review.store.state.of(key) is None:
        raise Refusal(404, f"there is no {key[:50]!r}")
    review.leases.take(Lease(page, _who(review, sent), key))
    return JSONResponse({"pages": tell(review.leases.now)})


async def geometry(review: Review, request: Request) -> Response:
    """Answer what becomes of changes that are cut, merged or given a hole; nothing is recorded."""
    sent = await read_json(request)
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


async def region(review: Review, request: Request) -> Response:
    """Answer the region of the probability about a pixel; nothing is recorded."""
    sent = await read_json(request)
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


async def take_in_edits(review: Review, request: Request) -> Response:
    """Record what was edited in a GIS."""
    await read_json(request)
    taken = await review.read(lambda: take_in(review.view, review.store, review.run.classes))
    return JSONResponse({"count": taken.count, "conflicts": taken.conflicts})
