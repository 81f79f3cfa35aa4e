"""Which folders the dock in QGIS takes for results."""

import json

import pytest
from geochange_qgis.review_dock.results import NoResults, folder_of, open_results


@pytest.fixture
def out(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"inputs": ["a.tif", "b.tif", "c.tif"]}))
    return tmp_path


def test_the_first_and_the_last_date_are_shown(out):
    results = open_results(out)
    assert (results.before, results.after, results.view) == ("a.tif", "c.tif", out / "review.gpkg")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"inputs": 7}', '{"inputs": ["a.tif"]}', '{"inputs": [1, 2]}', "\udcff"]
)
def test_what_is_no_record_is_refused_in_one_line(out, text):
    (out / "run.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(NoResults, match=r"run\.json is not the record of a run on two dates") as refused:
        open_results(out)
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_record_is_none(tmp_path):
    with pytest.raises(NoResults, match=r"holds no results of geochange: it has no run\.json"):
        open_results(tmp_path)


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("{}/review.gpkg|layername=changes", True),
        ("{}/changes.gpkg|layername=changes|subset=id > 3", True),
        ("{}/changes.geojson", True),
        ("{}/other.gpkg|layername=changes", False),
        ("{}/elsewhere/changes.gpkg", False),
        ("", False),
    ],
)
def test_a_layer_of_a_run_tells_its_folder(out, source, known):
    assert folder_of(source.format(out)) == (out if known else None)
