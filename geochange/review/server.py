"""The review over HTTP: who is let in, which answer a request gets, and the page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from geochange.errors import DiskFull, GeochangeError, OutputInTheWay
from geochange.review import acting, looking
from geochange.review.actions import BadAction, BadShape, StaleAction
from geochange.review.guard import HEADERS, Refusal
from geochange.review.pictures import NotYet
from geochange.review.served import Review, read_json

PAGE = Path(__file__).with_name("page")

log = logging.getLogger("geochange")

Answer = Callable[[Request], Awaitable[Response]]


def application(review: Review) -> Starlette:
    """Return the server of a review."""
    api = {
        ("GET", "/api/scene"): looking.scene,
        ("GET", "/api/look"): looking.look,
        ("GET", "/api/index"): looking.index,
        ("GET", "/api/shapes"): looking.shapes,
        ("GET", "/api/changes/{id:int}"): looking.change,
        ("GET", "/api/at"): looking.at,
        ("GET", "/api/order/{order}"): looking.order,
        ("GET", "/api/progress"): looking.progress,
        ("GET", "/api/events"): looking.events,
        ("GET", "/tiles/{layer}/{look}/{zoom:int}/{col:int}/{row:int}"): looking.tile,
        ("POST", "/api/actions"): acting.act,
        ("POST", "/api/lease"): acting.lease,
        ("POST", "/api/geometry"): acting.geometry,
        ("POST", "/api/grow"): acting.region,
        ("POST", "/api/take-in"): acting.take_in_edits,
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
        except Exception:
            log.exception("%s %s", request.method, request.url.path)
            response = JSONResponse({"error": "the review has a fault; its log says which"}, 500)
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
    token = (await read_json(request)).get("token")
    response = JSONResponse({})
    response.set_cookie(review.guard.cookie, review.guard.session_for(token), httponly=True, samesite="strict")
    return response
