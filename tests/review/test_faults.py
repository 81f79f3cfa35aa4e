"""What goes wrong beside a review: locks, links, moved folders, two starts, numbers and texts that are none."""

import json
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

import geochange
from geochange.errors import BadOption, GeochangeError, OutputInTheWay, UnreadableInput
from geochange.review.labels import IGNORE, ReviewLabels
from geochange.review.pictures import Pictures
from geochange.review.run import open_run
from geochange.review.saved import SavedReview
from geochange.review.store import read_actions
from geochange.scenes.grid import Tile
from geochange.scenes.thinning import display_source, read_thinned
from tests.review.conftest import record, serve
from tests.stand_ins import textured, write_raster

KEEP = {"status": "kept"}


def stop(server):
    server.process.send_signal(signal.SIGINT)
    return server.process.communicate(timeout=30)


def test_overviews_are_built_once_and_show_pixels_of_the_scene(tmp_path):
    pixels = textured((2304, 2048), bands=3)
    before, after = (Path(write_raster(tmp_path / f"{name}.tif", pixels)) for name in "ab")
    content = before.read_bytes()
    geochange.detect(before, after, tmp_path / "out", detector="difference", formats=("gpkg",))
    run = open_run(tmp_path / "out")
    pictures = Pictures(run)
    pictures.prepare(tmp_path / "cache")
    assert [path.suffix for path in sorted((tmp_path / "cache").iterdir())] == [".vrt", ".ovr"] * 2
    thin, valid = read_thinned(pictures.ends[0], run.scene.grid.area, (288, 256))
    assert valid.all()
    blocks = pixels[0].reshape(288, 8, 256, 8)
    assert (blocks == thin[0][:, None, :, None]).any(axis=(1, 3)).all()  # each is one of those that it stands for
    assert before.read_bytes() == content
    written = [(path, path.stat().st_mtime_ns) for path in (tmp_path / "cache").glob("*.ovr")]
    display_source(run.scene.sources[0], run.scene.grid, tmp_path / "cache")
    assert [(path, path.stat().st_mtime_ns) for path in (tmp_path / "cache").glob("*.ovr")] == written


def test_half_an_overview_is_none(tmp_path):
    image = write_raster(tmp_path / "a.tif", textured((2304, 2100), bands=3))
    geochange.detect(image, image, tmp_path / "out", detector="difference", formats=("gpkg",))
    run = open_run(tmp_path / "out")
    display_source(run.scene.sources[0], run.scene.grid, tmp_path / "cache")
    (overviews,) = (tmp_path / "cache").glob("*.ovr")
    whole = overviews.read_bytes()
    overviews.unlink()  # as where it was interrupted: the virtual file is there alone
    display_source(run.scene.sources[0], run.scene.grid, tmp_path / "cache")
    assert overviews.read_bytes() == whole


def test_a_reader_with_a_lock_is_waited_for_while_the_review_goes_on(out):
    server = serve(out, "--port", "0")
    server.log_in()
    with closing(sqlite3.connect(out / "review.gpkg")) as gis:
        cursor = gis.execute("SELECT * FROM changes")
        cursor.fetchone()  # half-way: it holds a lock
        assert server.act("decide", [{"key": "1", "rev": 0, "after": KEEP}])[0] == 200
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=3)
        cursor.close()
    assert server.act("decide", [{"key": "2", "rev": 0, "after": KEEP}])[0] == 200
    for _ in range(40):
        frame = geopandas.read_file(out / "review.gpkg", layer="changes").set_index("id")
        if frame.loc[2, "status"] == "kept":
            break
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(timeout=0.25)
    assert frame.loc[[1, 2], "status"].tolist() == ["kept", "kept"]
    _, errors = stop(server)
    assert "Traceback" not in errors


def test_a_second_start_leaves_the_layer_of_the_first(out, tmp_path):
    frame = geopandas.read_file(out / "changes.gpkg", layer="changes")
    frame.iloc[:5][["geometry"]].to_file(tmp_path / "other.gpkg", layer="other")
    server = serve(out, "--port", "0")
    server.log_in()
    before = (out / "review" / "base.gpkg").read_bytes()
    with pytest.raises(OutputInTheWay, match="in use"):
        geochange.review(out, layer=tmp_path / "other.gpkg", open=False)
    assert (out / "review" / "base.gpkg").read_bytes() == before
    assert server.act("decide", [{"key": "100", "rev": 0, "after": KEEP}])[0] == 200
    stop(server)
    assert geochange.review(out, status=True).tally["kept"] == 1


def test_a_layer_that_was_given_stays_at_the_next_start(out, tmp_path):
    frame = geopandas.read_file(out / "changes.gpkg", layer="changes")
    frame.iloc[:5][["geometry"]].to_file(tmp_path / "other.gpkg", layer="other")
    counts = []
    for more in (("--layer", tmp_path / "other.gpkg"), ()):
        server = serve(out, "--port", "0", *more)
        server.log_in()
        counts.append(server.get("/api/progress")["unreviewed"])
        stop(server)
    assert counts[0] == counts[1] < len(frame)


def test_a_view_of_a_review_that_was_moved_away_is_made_anew(out, tmp_path):
    server = serve(out, "--port", "0")
    server.log_in()
    square = [[[10, 20], [40, 20], [40, 60], [10, 60], [10, 20]]]
    assert server.act("draw", [{"key": "", "rev": 0, "after": {"geometry": square, "label": "change"}}])[0] == 200
    stop(server)
    assert (geopandas.read_file(out / "review.gpkg", layer="changes").status == "kept").sum() == 1
    shutil.move(out / "review", tmp_path / "elsewhere")
    server = serve(out, "--port", "0")
    server.log_in()
    assert json.loads(server.ask("POST", "/api/take-in", {})[1]) == {"count": 0, "conflicts": []}
    stop(server)
    assert (geopandas.read_file(out / "review.gpkg", layer="changes").status == "kept").sum() == 0


def test_what_was_decided_in_the_layer_before_is_there_to_be_taken_in(out):
    with closing(sqlite3.connect(out / "changes.gpkg")) as database:
        database.execute("DROP TRIGGER IF EXISTS rtree_changes_geom_update6")
        for name in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name[0]}"')
        database.execute("UPDATE changes SET status = 'kept' WHERE id = 3")
        database.commit()
    server = serve(out, "--port", "0")
    server.log_in()
    assert server.get("/api/progress")["kept"] == 0
    assert json.loads(server.ask("POST", "/api/take-in", {})[1])["count"] == 1
    assert server.get("/api/changes/3")["status"] == "kept"
    stop(server)


@pytest.mark.parametrize("ids", ["NULL", "7", "5000000001", "0"])
def test_a_layer_without_plain_ids_is_refused(out, ids):
    with closing(sqlite3.connect(out / "changes.gpkg")) as database:
        for name in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f'DROP TRIGGER "{name[0]}"')
        database.execute(f"UPDATE changes SET id = {ids} WHERE id = 3")
        database.commit()
    with pytest.raises(UnreadableInput, match="ids are not whole numbers"):
        _ = SavedReview.open(out, beginning=True).base.columns


@pytest.mark.parametrize("comment", ["\ud83d", "a\udc00b"])
def test_half_a_character_is_refused_and_costs_nobody_anything(served, comment):
    body = json.dumps(
        {
            "op": "00000000-0000-0000-0000-000000000001",
            "kind": "decide",
            "items": [{"key": "1", "rev": 0, "after": {"comment": comment}}],
        }
    ).encode()
    assert served.ask("POST", "/api/actions", body)[0] == 422
    assert served.act("decide", [{"key": "2", "rev": 0, "after": KEEP}])[0] == 200


@pytest.mark.parametrize("key", ["03", "\u0663", "1" * 5000, "+3", "3.0", "cell 00 0"])
def test_a_change_has_one_key(served, key):
    assert served.act("decide", [{"key": key, "rev": 0, "after": KEEP}])[0] == 422
    assert served.act("decide", [{"key": "3", "rev": 0, "after": KEEP}])[0] == 200
    assert served.get("/api/progress")["kept"] == 1


def test_numbers_beyond_all_bounds_and_broken_headers_get_one_line(served):
    square = [[[0, 0], [10**400, 0], [10, 10], [0, 0]]]
    assert served.act("draw", [{"key": "", "rev": 0, "after": {"geometry": square, "label": "change"}}])[0] == 422
    assert served.ask("GET", f"/api/shapes?ids={'9' * 30}")[0] == 422
    assert served.ask("POST", "/api/actions", {}, Origin="http://[")[0] == 403
    body = b'{"token": "\\ud83d"}'
    assert served.ask("POST", "/api/session", body, cookie=False)[0] == 401


def test_many_are_decided_alike_by_one_action(served):
    ids = [*range(1, 201)]
    sent = {
        "op": "00000000-0000-0000-0000-000000000002",
        "kind": "decide",
        "ids": ids,
        "revs": [0] * 200,
        "after": KEEP,
    }
    for wrong in (
        {"ids": [1, 1], "revs": [0, 0]},
        {"revs": [0]},
        {"ids": ["1"] * 200},
        {"kind": "draw"},
        {"after": {}},
    ):
        assert served.ask("POST", "/api/actions", sent | wrong)[0] == 422
    assert served.ask("POST", "/api/actions", sent)[0] == 200
    (action,) = read_actions(served.out / "review" / "review.sqlite")
    assert [item.key for item in action.items] == [str(each) for each in ids]
    assert served.get("/api/progress")["kept"] == 200


def test_a_port_that_was_asked_for_is_that_or_none(served, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "second")
    port = int(served.place.rsplit(":", 1)[1])
    with pytest.raises(BadOption, match=f"port {port}"):
        geochange.review(tmp_path / "second", port=port, open=False)
    with pytest.raises(BadOption, match="no name that a browser could open"):
        geochange.review(tmp_path / "second", host="0.0.0.0", open=False)


def test_one_answer_at_a_time(out, tmp_path):
    with pytest.raises(BadOption, match="one at a time"):
        geochange.review(out, status=True, export=str(tmp_path / "a.gpkg"))
    with pytest.raises(BadOption, match="--layer begins a review"):
        geochange.review(out, status=True, layer=out / "changes.gpkg")


def test_a_review_behind_a_link_is_refused(out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (out / "review").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputInTheWay, match="is a link"):
        geochange.review(out, open=False)
    assert [*(tmp_path / "elsewhere").iterdir()] == []


@pytest.mark.parametrize("name", ["dates", "aoi", "source"])
def test_nothing_is_fetched_without_being_asked(out, tmp_path, name):
    path = out / "run.json"
    run = json.loads(path.read_text())
    url = "/vsicurl/http://127.0.0.1:9/a.tif"
    if name == "dates":
        run["identity"]["scene"]["dates"][0]["name"] = url
    elif name == "aoi":
        run["identity"]["options"]["aoi"] = url
    else:
        (out / "a.vrt").write_text(
            '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f'<SourceFilename relativeToVRT="0">{url}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
        )
        run["identity"]["scene"]["dates"][0]["name"] = str(out / "a.vrt")
    path.write_text(json.dumps(run))
    with pytest.raises(BadOption, match="read over the network; add --remote"):
        open_run(out)


@pytest.mark.parametrize("broken", ["dates", "sample", "shift"])
def test_a_record_that_is_none_gets_one_line(out, broken):
    path = out / "run.json"
    run = json.loads(path.read_text())
    if broken == "dates":
        run["identity"]["scene"]["dates"] = []
    elif broken == "sample":
        del run["identity"]["scene"]["dates"][0]["sample"]
    else:
        run["scene"]["removed_shift"] = [float("nan"), 0.0]
    path.write_text(json.dumps(run))
    with pytest.raises(GeochangeError, match="cannot be read"):
        open_run(out)


def test_between_two_classes_nothing_is_labelled():
    boxes = np.array([shapely.box(5, 5, 15, 25), shapely.box(15, 5, 25, 25)])
    drawn = ReviewLabels((Tile(0, 0, 30, 30),), boxes, np.array([1, 2])).draw(
        Tile(0, 0, 30, 30), np.ones((30, 30), bool)
    )
    assert drawn[15, 6:24].tolist() == [1] * 8 + [IGNORE] * 2 + [2] * 8


def test_an_export_while_a_server_ends_costs_neither(out):
    record(out, ("decide", {"1": KEEP}))
    server = serve(out, "--port", "0")
    server.log_in()
    with closing(sqlite3.connect(f"file:{out}/review/review.sqlite?mode=ro", uri=True)) as reader:
        cursor = reader.execute("SELECT * FROM actions")
        cursor.fetchone()
        assert server.act("decide", [{"key": "2", "rev": 0, "after": KEEP}])[0] == 200
        _, errors = stop(server)
        cursor.close()
    assert "Traceback" not in errors
    assert len(read_actions(out / "review" / "review.sqlite")) == 2


def test_resuming_by_a_review_asks_only_what_was_decided(out, tmp_path):
    from tests.review.conftest import SAMPLE, decided_by_truth

    decided_by_truth(out, cells=range(4))
    settings = {"detector": "change-vector", "formats": ("gpkg",), "labels": str(out), "threshold": "f1"}
    pair = (SAMPLE / "before.tif", SAMPLE / "after.tif")
    geochange.detect(*pair, tmp_path / "next", **settings)
    stop(serve(out, "--port", "0"))  # opened and closed, and nothing decided
    geochange.detect(*pair, tmp_path / "next", resume=True, **settings)
    record(out, ("decide", {"1": {"status": "unsure"}}))
    with pytest.raises(OutputInTheWay, match="review"):
        geochange.detect(*pair, tmp_path / "next", resume=True, **settings)
