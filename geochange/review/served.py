"""What the server of a review knows, and how requests are read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from shapely.geometry.polygon import orient
from starlette.requests import Request

from geochange.polygons.features import map_polygons
from geochange.review.actions import Action, Effect
from geochange.review.cells import Cells
from geochange.review.changes import Changes
from geochange.review.geometry import FAR, read_polygon
from geochange.review.gis_view import GisView
from geochange.review.guard import MOST_BYTES, Guard, Refusal
from geochange.review.leases import Leases
from geochange.review.pictures import Pictures
from geochange.review.run import ReviewRun
from geochange.review.state import present
from geochange.review.store import ReviewStore

MOST_SHAPES = 1500
TILE_THREADS = 4


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
    leases: Leases = field(default_factory=Leases)
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
        found = without_outline(present(key, now))
        if key.isdecimal():
            columns = self.changes.columns(state)
            for place in np.flatnonzero(columns.ids == int(key)).tolist():
                found |= {"box": columns.boxes[place].tolist(), "area": float(columns.areas[place])}
        return found

    async def read(self, work: Callable[[], Any]) -> Any:
        """Run what reads files in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.readers, work)


async def read_json(request: Request) -> dict[str, Any]:
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


def read_numbers(request: Request, name: str, kind: type[Any], count: int | None = None) -> list[Any]:
    """Read numbers with commas between them from the query."""
    try:
        found = [kind(each) for each in request.query_params.get(name, "").split(",")]
    except ValueError as error:
        raise Refusal(422, f"{name} must be numbers with commas between them") from error
    if (count is not None and len(found) != count) or len(found) > MOST_SHAPES or not all(abs(n) < FAR for n in found):
        raise Refusal(422, f"{name} must be {count or f'at most {MOST_SHAPES}'} numbers")
    return found


def without_outline(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as clients are told of them: that there is another outline, not which."""
    return {name: value is not None if name == "geometry" else value for name, value in fields.items()}


def _reshapes(item: Effect) -> bool:
    """Whether a change has another outline now, or is there again."""
    return "geometry" in item.after or item.before.get("status") == "deleted"


def told(review: Review, action: Action) -> dict[str, Any]:
    """Return what clients are told of an action."""
    items = [
        review.told_of(item.key) if _reshapes(item) else {"key": item.key, "rev": item.rev, **item.after}
        for item in action.items
    ]
    told = {"seq": action.seq, "who": action.who, "op": action.op, "kind": action.kind, "of": action.of}
    return {**told, "items": items}
