"""Any layer of polygons under review, with a run or with two dates alone."""

import shutil
import signal

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

import geochange
from geochange.errors import BadOption, GridMismatch, OutputInTheWay, UnreadableInput
from geochange.review.saved import SavedReview
from tests.review.conftest import SAMPLE, record, serve
from tests.review.test_edits import at, drawn, pixels_of

PAIR = {"before": SAMPLE / "before.tif", "after": SAMPLE / "after.tif"}


def annotate(out, *more):
    server = serve(None, "--before", PAIR["before"], "--after", PAIR["after"], "-o", out, "--port", "0", *more)
    server.out = out
    server.log_in()
    return server


def end(server):
    server.process.send_signal(signal.SIGINT)
    _, errors = server.process.communicate(timeout=30)
    assert (server.process.returncode, errors) == (0, "")


@pytest.fixture
def layer(tmp_path):
    """Three polygons in geographic coordinates: one inside the scene, one across its border, one far away."""
    with rasterio.open(PAIR["before"]) as dataset:
        left, _, _, top = dataset.bounds
        crs = dataset.crs
    boxes = [
        shapely.box(left + 10, top - 40, left + 50, top - 20),
        shapely.box(left - 20, top - 30, left + 5, top - 10),
    ]
    boxes.append(shapely.box(left - 900, top, left - 800, top + 50))
    frame = geopandas.GeoDataFrame(
        {"label": ["built", "felled", "built"], "score_mean": [0.7, 0.2, 0.1]}, geometry=boxes, crs=crs
    )
    frame.to_file(tmp_path / "layer.gpkg", layer="any")
    return tmp_path / "layer.gpkg"


def test_two_dates_alone_are_annotated(tmp_path):
    pytest.importorskip("starlette")
    server = annotate(tmp_path / "out")
    scene = server.get("/api/scene")
    assert (scene["layers"], scene["classes"], scene["shape"]) == (["before", "after"], ["change"], [1024, 1024])
    assert server.ask("GET", f"/tiles/after/{scene['look']['name']}/0/0/0")[0] == 200
    assert server.ask("GET", f"/tiles/probability/{scene['look']['name']}/0/0/0")[0] == 404
    assert server.ask("POST", "/api/grow", {"at": [5, 5]})[0] == 422
    rings = [[[10, 20], [40, 20], [40, 60], [10, 60], [10, 20]]]
    status, told = server.act("draw", [{"key": "", "rev": 0, "after": {"geometry": rings, "label": "change"}}])
    assert (status, told["items"][0]["key"]) == (200, "1")
    end(server)
    again = annotate(tmp_path / "out")  # the same command goes on
    assert again.get("/api/progress")["kept"] == 1
    end(again)
    assert len(geopandas.read_file(tmp_path / "out" / "review.gpkg", layer="changes")) == 1
    kept = geochange.review(tmp_path / "out", export=tmp_path / "kept.gpkg", only="kept").file
    found = geopandas.read_file(kept, layer="changes")
    assert pixels_of(tmp_path / "out", found.geometry[0]).equals(shapely.box(10, 20, 40, 60))
    assert found.date_before[0].startswith("2021")


def test_a_network_is_trained_on_what_was_annotated(tmp_path):
    out = tmp_path / "out"
    geochange.review(None, **PAIR, folder=out, status=True)
    record(out, drawn(out, geometry=at(out, (100, 100, 160, 150))), ("look", {"cell 0 0": {"looked": True}}))
    trained = geochange.finetune(
        None, tmp_path / "t", review=[out], start="landscape", steps=1, batch=1, loaders=0, bands=(1, 2, 3)
    )
    assert trained.record["reviews"][0]["pixels"] == {
        "unchanged": 512 * 512 - 60 * 50 - 2 * (60 + 50),
        "change": 58 * 48,
    }


def test_a_layer_is_reviewed_as_it_meets_the_scene(tmp_path, layer):
    out = tmp_path / "out"
    reviewed = geochange.review(None, **PAIR, folder=out, layer=f"{layer}|layername=any", status=True)
    assert reviewed.tally["unreviewed"] == 2
    saved = SavedReview.open(out)
    assert saved.run.classes == ("built", "felled")
    columns = saved.base.columns
    np.testing.assert_allclose(columns.boxes, [[10, 20, 50, 40], [0, 10, 5, 30]], atol=1e-3)
    np.testing.assert_allclose(columns.scores, [0.7, 0.2], atol=1e-6)
    assert columns.labels.tolist() == [0, 1]
    assert saved.base.attributes(1)["area_m2"] == pytest.approx(800)
    assert saved.base.attributes(2)["on_edge"]
    record(out, ("decide", {1: {"status": "kept", "label": "felled"}}))
    assert SavedReview.open(out).state.touched["1"].fields["label"] == "felled"


def test_a_layer_takes_the_place_of_what_a_run_found(out, layer):
    pytest.importorskip("starlette")
    frame = geopandas.read_file(layer).drop(columns="label")
    frame.to_file(layer, layer="any")
    server = serve(out, "--port", "0", "--layer", layer)
    server.log_in()
    assert server.get("/api/progress")["unreviewed"] == 2
    assert server.get("/api/scene")["layers"] == ["before", "after", "probability"]
    server.act("decide", [{"key": "1", "rev": 0, "after": {"status": "kept"}}])
    end(server)
    again = serve(out, "--port", "0")
    again.log_in()
    assert again.get("/api/progress")["kept"] == 1
    end(again)
    with pytest.raises(AssertionError, match="holds a review already; move it away to review"):
        serve(out, "--layer", layer)


def test_what_does_not_fit_is_refused(out, tmp_path, layer):
    for settings, error, said in (
        ({}, BadOption, "a run is needed, or --before, --after and -o"),
        ({"before": PAIR["before"], "folder": tmp_path / "o"}, BadOption, "a run is needed, or --before"),
        ({"run": out, **PAIR}, BadOption, "give a run, or --before"),
        ({"run": out, "align": True}, BadOption, "align is that of the run"),
        ({"run": out, "classes": ("a",)}, BadOption, "classes is that of the run"),
        ({**PAIR, "folder": out}, (BadOption, OutputInTheWay), "holds a run of `geochange detect`"),
        ({**PAIR, "folder": tmp_path / "o", "layer": tmp_path / "none.gpkg"}, UnreadableInput, r"none\.gpkg"),
        ({**PAIR, "folder": tmp_path / "o", "layer": layer, "classes": ("sea",)}, BadOption, "holds the class 'built'"),
        ({"before": PAIR["before"], "after": tmp_path / "x.tif", "folder": tmp_path / "o"}, UnreadableInput, r"x\.tif"),
    ):
        with pytest.raises(error, match=said):
            geochange.review(settings.pop("run", None), **settings, status=True)
    naked = geopandas.read_file(layer).set_crs(None, allow_override=True)
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        naked.to_file(tmp_path / "naked.gpkg")
    with pytest.raises(GridMismatch, match="has no CRS"):
        geochange.review(None, **PAIR, folder=tmp_path / "o", layer=tmp_path / "naked.gpkg", status=True)
    assert not (tmp_path / "o").exists()


def test_another_pair_in_the_folder_is_refused(tmp_path):
    geochange.review(None, **PAIR, folder=tmp_path / "out", status=True)
    shutil.copy(PAIR["after"], tmp_path / "other.tif")
    with pytest.raises(OutputInTheWay, match="holds a run that differs in"):
        geochange.review(
            None, before=PAIR["before"], after=tmp_path / "other.tif", folder=tmp_path / "out", status=True
        )
