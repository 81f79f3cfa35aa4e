"""The review over HTTP: who is let in, what is answered, and that looking changes nothing."""

import hashlib
import json
import signal
import socket
import sqlite3
import struct

import numpy as np
import pytest
from geopandas import read_file

from geochange.pipeline.review import _listening
from geochange.review.guard import MOST_BYTES, Guard, Refusal
from geochange.review.store import read_actions
from tests.review.conftest import serve

GETS = [
    "/api/scene",
    "/api/index",
    "/api/order/doubtful",
    "/api/shapes?box=0,0,50,50",
    "/api/shapes?ids=1",
    "/api/changes/1",
    "/api/at?xy=3,4",
    "/api/look?bands=3,2,1&cut=1",
    "/api/progress",
    "/tiles/before/{look}/0/0/0",
    "/tiles/after/{look}/0/0/0",
    "/tiles/probability/{look}/0/0/0",
]
KEEP = {"key": "1", "rev": 0, "after": {"status": "kept"}}


def test_everything_but_the_page_needs_the_cookie_and_this_machine_s_name(served):
    look = served.get("/api/scene")["look"]["name"]
    for path in [each.format(look=look) for each in GETS]:
        assert served.ask("GET", path)[0] == 200, path
        assert served.ask("GET", path, cookie=False)[0] == 401, path
        assert served.ask("GET", path, Cookie=served.cookie[:-3] + "abc")[0] == 401, path
        assert served.ask("GET", path, Host="evil.example")[0] == 403, path
        assert served.ask("GET", path, Host="127.0.0.1.evil.example:80")[0] == 403, path
        assert served.ask("GET", path, Host="localhost:9999")[0] == 200, path
    for path in ("/", "/assets/none.js"):
        assert served.ask("GET", path, Host="evil.example")[0] == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": None}, 403),
        ({"Origin": "null"}, 403),
        ({"X_Geochange": None}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Cookie": "other=1"}, 401),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
    ],
)
def test_only_the_page_itself_can_decide(served, headers, status):
    sent = {"op": "00000000-0000-0000-0000-000000000001", "kind": "decide", "items": [KEEP]}
    assert served.ask("POST", "/api/actions", sent, **headers)[0] == status
    assert served.ask("GET", "/api/actions")[0] == 404
    assert read_actions(served.out / "review" / "review.sqlite") == []


def test_a_wrong_token_gives_no_cookie(served):
    for token in ("", "x" * 43, None, 7):
        status, _, headers = served.ask("POST", "/api/session", {"token": token}, cookie=False)
        assert status == 401
        assert "set-cookie" not in headers
    cookie = served.log_in()
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_headers_keep_other_pages_and_scripts_out(served):
    for path in ("/api/scene", "/nothing", "/api/changes/999999"):
        _, _, headers = served.ask("GET", path)
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../run.json",
        "/..%2frun.json",
        "/%2e%2e/%2e%2e/run.json",
        "/assets/../../server.py",
        "//etc/passwd",
        "/tiles/before/{look}/0/../../../run.json",
        "/tiles/../before/{look}/0/0/0",
        "/tiles/other/{look}/0/0/0",
        "/tiles/before/0123/0/0/0",
        "/tiles/before/{look}/9/0/0",
        "/tiles/before/{look}/0/7/0",
        "/tiles/before/{look}/0/0/99999999999999999999",
        "/api/order/../scene",
        "/api/order/anything",
        "/api/changes/0",
        "/api/at?xy=-1,0",
        "/api/at?xy=100000,0",
    ],
)
def test_no_name_leads_anywhere_else(served, path):
    look = served.get("/api/scene")["look"]["name"]
    status, found, _ = served.ask("GET", path.format(look=look))
    assert status == 404
    assert list(json.loads(found)) == ["error"] or found == b"Not Found"


@pytest.mark.parametrize(
    "query", ["box=1,2,3", "box=a,b,c,d", "box=nan,0,1,1", "box=inf,0,1,1", "ids=x", "ids=" + "1," * 1600]
)
def test_numbers_that_are_none_are_refused(served, query):
    assert served.ask("GET", f"/api/shapes?{query}")[0] == 422


def test_what_is_too_large_or_no_json_is_refused(served):
    assert served.ask("POST", "/api/actions", b"{")[0] == 422
    assert served.ask("POST", "/api/actions", b"[" * 100_000)[0] == 422
    assert served.ask("POST", "/api/actions", b"1")[0] == 422
    assert served.ask("POST", "/api/actions", b" " * (MOST_BYTES + 1))[0] == 413
    items = [{**KEEP, "key": str(number)} for number in range(10_001)]
    assert served.act("decide", items)[0] == 422


def test_looking_changes_nothing(served):
    served.act("decide", [KEEP])
    files = [path for path in served.out.rglob("*") if path.is_file() and path.name not in ("review.gpkg",)]

    def state():
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if "-shm" not in path.name}

    before, look = state(), served.get("/api/scene")["look"]["name"]
    for path in GETS:
        served.ask("GET", path.format(look=look))
    assert state() == before


def index_of(served):
    _, found, _ = served.ask("GET", "/api/index")
    count, cells, seq = struct.unpack_from("<IIQ", found)
    ids = np.frombuffer(found, "<u4", count, 16)
    revs = np.frombuffer(found, "<u4", count, 16 + 4 * count)
    boxes = np.frombuffer(found, "<f4", 4 * count, 16 + 16 * count).reshape(-1, 4)
    statuses = np.frombuffer(found, "u1", count, 16 + 32 * count + 4 * cells)
    assert len(found) == 16 + 34 * count + 5 * cells
    return seq, ids, revs, boxes, statuses


def test_the_index_is_that_of_the_layer(served):
    layer = read_file(served.out / "changes.gpkg", layer="changes").sort_values("id")
    _, ids, revs, boxes, statuses = index_of(served)
    np.testing.assert_array_equal(ids, layer["id"])
    assert not revs.any()
    assert not statuses.any()
    scene = served.get("/api/scene")
    a, _, c, _, e, f = scene["transform"]
    expected = layer.geometry.bounds.to_numpy()
    np.testing.assert_allclose(boxes[:, 0] * a + c, expected[:, 0], atol=0.01)
    np.testing.assert_allclose(boxes[:, 1] * e + f, expected[:, 3], atol=0.01)
    np.testing.assert_allclose(boxes[:, 2] * a + c, expected[:, 2], atol=0.01)
    np.testing.assert_allclose(boxes[:, 3] * e + f, expected[:, 1], atol=0.01)


def test_a_decision_is_seen_by_all_and_lasts(served):
    status, told = served.act("decide", [KEEP])
    assert (status, told["items"]) == (200, [{"key": "1", "rev": 1, "status": "kept"}])
    seq, ids, revs, _, statuses = index_of(served)
    assert seq == 1
    assert (revs[ids == 1], statuses[ids == 1]) == (1, 1)
    assert served.get("/api/progress")["kept"] == 1
    status, told = served.act("decide", [{**KEEP, "after": {"status": "rejected"}}], who="ben")
    assert status == 409
    assert told["now"][0]["status"] == "kept"
    assert served.get("/api/changes/1")["history"][0]["who"] == "ada"


def test_a_comment_stays_text(served):
    comment = "<img src=x onerror=alert(1)> ä 日本"
    assert served.act("decide", [{**KEEP, "after": {"comment": comment}}])[0] == 200
    assert served.get("/api/changes/1")["comment"] == comment


def test_a_second_server_is_refused_with_the_first_one_s_address(served):
    with pytest.raises(AssertionError, match=rf"in use by another run .*a review is served at {served.address}"):
        serve(served.out)


def test_decisions_last_where_the_server_is_killed_and_the_port_stays(out):
    pytest.importorskip("starlette")
    first = serve(out)
    first.log_in()
    assert first.act("decide", [KEEP])[0] == 200
    first.process.kill()
    first.process.communicate()
    again = serve(out)
    again.log_in()
    assert again.address == first.address
    assert again.token != first.token
    assert again.get("/api/changes/1")["status"] == "kept"
    again.process.send_signal(signal.SIGTERM)
    _, errors = again.process.communicate(timeout=30)
    assert (again.process.returncode, errors) == (0, "")
    assert sorted(path.name for path in (out / "review").iterdir()) == ["base.gpkg", "review.sqlite", "server.json"]


def test_the_view_shows_what_was_decided_when_the_server_has_ended(out):
    pytest.importorskip("starlette")
    server = serve(out)
    server.log_in()
    server.act("decide", [KEEP, {**KEEP, "key": "2", "after": {"status": "rejected", "comment": "shadow"}}])
    server.act("look", [{"key": "cell 0 0", "rev": 0, "after": {"looked": True}}])
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
    layer = read_file(out / "review.gpkg", layer="changes").set_index("id")
    assert layer.loc[[1, 2], "status"].tolist() == ["kept", "rejected"]
    assert layer.loc[2, "comment"] == "shadow"
    assert read_file(out / "review.gpkg", layer="areas").looked.tolist()[0]
    with sqlite3.connect(out / "review.gpkg") as view:
        assert view.execute("SELECT who, change, field, after FROM history").fetchall()[0] == (
            "ada",
            "1",
            "status",
            "kept",
        )
    view.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:5000", "[::1]:80", "[::1]"])
def test_names_of_this_machine_are_let_in(host):
    Guard(80).require_host(host)


@pytest.mark.parametrize(
    "host", ["", "example.org", "localhost.example.org", "127.0.0.2", "[::2]:80", "evil@127.0.0.1"]
)
def test_other_names_are_not(host):
    with pytest.raises(Refusal):
        Guard(80).require_host(host)


def test_answers_are_sent_at_once():
    """Of a socket whose protocol is not named, asyncio lets answers wait for more to send."""
    with _listening("127.0.0.1", 0, asked=True) as (port, (opened,)):
        assert opened.proto == socket.IPPROTO_TCP
        assert opened.getsockname()[1] == port


SQUARE = [[[10, 20], [40, 20], [40, 60], [10, 60], [10, 20]]]
POSTS = {
    "/api/actions": {"op": "00000000-0000-0000-0000-000000000001", "kind": "decide", "items": [KEEP]},
    "/api/geometry": {"kind": "hole", "ids": [1], "polygon": SQUARE},
    "/api/grow": {"at": [10, 20]},
    "/api/lease": {"page": "a", "key": "1"},
}


@pytest.mark.parametrize("path", POSTS)
def test_every_request_that_is_sent_needs_cookie_name_and_origin(served, path):
    sent = POSTS[path]
    assert served.ask("POST", path, sent, cookie=False)[0] == 401
    assert served.ask("POST", path, sent, Host="evil.example", Origin="http://evil.example")[0] == 403
    assert served.ask("POST", path, sent, Origin="http://evil.example")[0] == 403
    assert served.ask("POST", path, sent, Content_Type="text/plain")[0] == 415
    assert served.ask("POST", path, b" " * (MOST_BYTES + 1))[0] == 413
    assert served.ask("GET", path)[0] == 404
    assert served.ask("POST", path, sent)[0] in (200, 422)


@pytest.mark.parametrize("asked", ["bands=9&cut=2", "bands=1,2&cut=2", "bands=1&cut=50", "bands=1&cut=nan", "bands=1"])
def test_bands_that_are_none_are_refused(served, asked):
    assert served.ask("GET", f"/api/look?{asked}")[0] == 422


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"page": "a", "key": ""}, 200),
        ({"page": "a", "key": "cell 0 0", "who": "ben"}, 200),
        ({"page": "a", "key": "999999"}, 404),
        ({"page": "a", "key": "x"}, 404),
        ({"page": "a", "key": 1}, 422),
        ({"page": "", "key": "1"}, 422),
        ({"page": "x" * 41, "key": "1"}, 422),
        ({"page": "a", "key": "1", "who": "x" * 41}, 422),
    ],
)
def test_where_a_page_is_is_told_and_nothing_is_recorded(served, sent, status):
    answered, found, _ = served.ask("POST", "/api/lease", sent)
    assert answered == status
    if status == 200:
        assert json.loads(found)["pages"] == [{"page": "a", "who": sent.get("who", "ada"), "key": sent["key"]}]
    assert read_actions(served.out / "review" / "review.sqlite") == []


def drawing(rings, **more):
    return [{"key": "", "rev": 0, "after": {"geometry": rings, "label": "change", **more}}]


def test_what_is_drawn_is_in_the_index_among_the_shapes_and_told(served):
    top = served.get("/api/scene")["top"]
    status, told = served.act("draw", drawing(SQUARE))
    assert status == 200
    (item,) = told["items"]
    assert (item["key"], item["rev"], item["status"], item["origin"]) == (str(top + 1), 1, "kept", "drawn")
    assert (item["box"], item["area"], item["geometry"]) == ([10, 20, 40, 60], 1200, True)
    _, ids, revs, boxes, statuses = index_of(served)
    assert (ids[-1], revs[-1], boxes[-1].tolist(), statuses[-1]) == (top + 1, 1, [10, 20, 40, 60], 1)
    (shape,) = served.get(f"/api/shapes?ids={top + 1}")["features"]
    assert sorted(shape["geometry"]["coordinates"][0][:-1]) == sorted(SQUARE[0][:-1])
    assert top + 1 in [each["id"] for each in served.get("/api/shapes?box=11,21,12,22")["features"]]
    known = served.get(f"/api/changes/{top + 1}")
    assert (known["area_px"], known["score_mean"], known["geometry"]) == (1200, None, True)
    assert [each["kind"] for each in known["history"]] == ["draw"]
    served.act("undo")
    assert index_of(served)[1].max() == top
    assert served.get("/api/progress")["kept"] == 0


@pytest.mark.parametrize(
    ("rings", "said"),
    [
        ([[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]], "not valid"),
        ([[[-5, 0], [10, 0], [10, 10], [-5, 0]]], "beyond the scene"),
        ([[[0, 0], [2000, 0], [10, 10], [0, 0]]], "beyond the scene"),
        ([[[0, 0], [1, 0], [1, None], [0, 0]]], "two finite numbers"),
        ([[[k % 1000, k % 7] for k in range(100_002)]], "4 to 100000 vertices"),
        ("POLYGON", "list of rings"),
    ],
)
def test_outlines_that_cannot_be_are_refused_with_their_place(served, rings, said):
    status, told = served.act("draw", drawing(rings))
    assert status == 422
    assert said in told["error"]
    assert (told["place"] == [5, 5]) == (said == "not valid")
    assert read_actions(served.out / "review" / "review.sqlite") == []


def test_numbers_that_are_no_json_are_refused(served):
    body = json.dumps(
        {
            "op": "00000000-0000-0000-0000-000000000001",
            "kind": "draw",
            "items": drawing([[[0, 0], [9, 0], [9, float("nan")], [0, 0]]]),
        }
    )
    assert "NaN" in body
    assert served.ask("POST", "/api/actions", body.encode())[0] == 422


def test_cuts_holes_and_merges_are_answered_and_nothing_is_recorded(served):
    (item,) = served.act("draw", drawing(SQUARE))[1]["items"]
    number = int(item["key"])

    def ask(**sent):
        status, found, _ = served.ask("POST", "/api/geometry", {"ids": [number], **sent})
        return status, json.loads(found)

    status, told = ask(kind="split", line=[[0, 40], [100, 40]])
    assert (status, len(told["shapes"])) == (200, 2)
    status, told = ask(kind="hole", polygon=[[[20, 30], [30, 30], [30, 40], [20, 30]]])
    assert (status, len(told["shapes"][0])) == (200, 2)
    assert ask(kind="split", line=[[0, 0], [100, 0]])[0] == 422
    assert ask(kind="merge", ids=[number, 1])[0] == 422
    assert ask(kind="turn")[0] == 422
    assert ask(kind="split", ids=[99999], line=[[0, 40], [100, 40]])[0] == 404
    assert ask(kind="split", ids=["1"], line=[[0, 40], [100, 40]])[0] == 422
    assert ask(kind="split", ids=[], line=[[0, 40], [100, 40]])[0] == 422
    assert len(read_actions(served.out / "review" / "review.sqlite")) == 1


@pytest.mark.parametrize(("at", "status"), [([-1, 5], 404), ([5, 5000], 404), ("x", 422), ([1], 422), ([True, 1], 422)])
def test_a_region_grows_inside_the_scene_only(served, at, status):
    assert served.ask("POST", "/api/grow", {"at": at})[0] == status


def test_an_edit_of_what_somebody_else_has_changed_is_refused_with_what_is_there(served):
    served.act("decide", [KEEP], who="ben")
    status, told = served.act("reshape", [{"key": "1", "rev": 0, "after": {"geometry": SQUARE}}])
    assert status == 409
    assert (told["now"][0]["status"], told["now"][0]["geometry"]) == ("kept", False)
    status, told = served.act("reshape", [{"key": "1", "rev": 1, "after": {"geometry": SQUARE}}])
    assert (status, told["items"][0]["box"]) == (200, [10, 20, 40, 60])
    status, told = served.act("delete", [{"key": "1", "rev": 2, "after": {"status": "deleted"}}])
    assert status == 200
    status, told = served.act("decide", [{**KEEP, "rev": 3}])
    assert (status, told["error"]) == (422, "change 1 was deleted")
