"""What `import geochange` offers: functions of one shape, typed settings, results that can be read back."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields, is_dataclass
from datetime import date
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import geochange
from geochange.cli.commands import COMMANDS
from geochange.cli.signatures import signature_of
from geochange.cli.stub import stub_text
from geochange.engine.cluster import ClusterOptions
from tests.stand_ins import write_pair

PACKAGE = Path(geochange.__file__).parent
EXPORTED = {name: getattr(geochange, name) for name in geochange.__all__}
FUNCTIONS = [each for each in EXPORTED.values() if isinstance(each, FunctionType)]
COMMAND_FUNCTIONS = [each for each in FUNCTIONS if each.__name__ not in {"list_detectors", "open_pair"}]
OWN_FLAGS = {"--json", "--quiet", "--options", "--output", "--version", "--help", "--no-", "--progress", "--describe"}


def settings_of(function: FunctionType) -> list[str]:
    """Names that a function takes as `**settings`."""
    signature = signature_of(function.__module__, function.__name__)
    kinds = [signature.options, *([ClusterOptions] if signature.clustered else [])]
    return [field.name for kind in kinds if kind is not None for field in fields(kind)]


@pytest.mark.parametrize("function", COMMAND_FUNCTIONS, ids=lambda each: each.__name__)
def test_functions_have_one_shape(function):
    parameters = [*inspect.signature(function).parameters.values()]
    names = [each.name for each in parameters]
    options = names.index("options")
    assert parameters[options].default is None
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters[: options + 1])
    assert all(each.default is each.empty for each in parameters[:options])
    assert "out" not in names or names[options - 1] == "out"
    assert all(each.kind is each.KEYWORD_ONLY for each in parameters[options + 1 : -1])
    assert parameters[-1].kind is parameters[-1].VAR_KEYWORD
    assert names[-1] == "settings"
    running = [name for name in names if name in {"overwrite", "resume", "cluster", "listener"}]
    assert names[-1 - len(running) : -1] == running == sorted(running, key="overwrite resume cluster listener".find)


@pytest.mark.parametrize("function", COMMAND_FUNCTIONS, ids=lambda each: each.__name__)
def test_no_setting_has_the_name_of_a_parameter(function):
    names = [*inspect.signature(function).parameters, *settings_of(function)]
    assert len(names) == len(set(names))


def test_every_command_is_a_function_of_the_api():
    assert {command.function_name for command in COMMANDS.values()} <= {each.__name__ for each in FUNCTIONS}


def test_all_that_functions_take_and_all_errors_are_exported():
    kinds = {signature_of(each.__module__, each.__name__).options for each in FUNCTIONS} - {None}
    assert {kind.__name__ for kind in kinds} | {"ClusterOptions"} <= set(geochange.__all__)
    errors = ast.parse((PACKAGE / "errors.py").read_text()).body
    assert {node.name for node in errors if isinstance(node, ast.ClassDef)} <= set(geochange.__all__)


@pytest.mark.parametrize("function", COMMAND_FUNCTIONS, ids=lambda each: each.__name__)
def test_results_are_frozen_and_become_plain_values(function):
    name = re.fullmatch(r"(?:list\[)?(\w+)\]?", inspect.signature(function).return_annotation)[1]
    kind = EXPORTED[name]
    assert is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert callable(kind.to_dict)


def test_the_stub_is_that_of_the_declarations():
    assert stub_text() == (PACKAGE / "__init__.pyi").read_text(encoding="utf-8"), "run `make stub`"


def test_a_type_checker_finds_a_misspelt_setting_and_a_wrong_choice(tmp_path):
    api = pytest.importorskip("mypy.api")
    script = tmp_path / "script.py"
    right = 'import geochange\ngeochange.detect("a", "b", "out", align=True, workers=2, resume=True).changes().area\n'
    wrong = 'geochange.detect("a", "b", "out", thershold=0.5)\ngeochange.vectorize("a", "b", connectivity=5)\n'
    script.write_text(right + wrong)
    found, _, code = api.run([str(script), "--strict", "--cache-dir", str(PACKAGE.parent / ".mypy_cache")])
    assert code == 1
    assert re.findall(r":(\d+): error: .*\[([a-z-]+)\]", found) == [("3", "call-arg"), ("4", "arg-type")]


def test_a_misspelt_setting_is_refused_with_the_likely_one(tmp_path):
    with pytest.raises(TypeError, match="'thershold' is not an option of DetectOptions; did you mean 'threshold'"):
        geochange.detect("a.tif", "b.tif", tmp_path / "out", thershold=0.5)
    with pytest.raises(TypeError, match="'workers' is not an option of TrainRunOptions"):
        geochange.train(["data"], tmp_path / "out", workers=2)


def test_settings_take_the_place_of_options_and_cluster(tmp_path):
    pair = write_pair(tmp_path, (60, 70))
    options, cluster = geochange.DetectOptions(detector="difference", min_area=9), ClusterOptions(threads=2)
    found = geochange.detect(*pair, tmp_path / "out", options, cluster=cluster, threads=1, min_area="1px")
    used = found.record["identity"]["options"]
    assert (used["detector"], used["min_area"]) == ("difference", "1px")
    with pytest.raises(geochange.BadOption, match="threads 0"):
        geochange.detect(*pair, tmp_path / "none", options, cluster=cluster, threads=0)


def test_a_detection_is_read_back(tmp_path):
    found = geochange.detect(*write_pair(tmp_path, (60, 70)), tmp_path / "out")
    changes, probability = found.changes(), found.open()
    assert len(changes) == found.record["changes"]["count"] > 0
    assert changes.crs == probability.rio.crs
    assert probability.dims == ("band", "y", "x")
    values = probability.to_numpy()
    assert values.shape == (1, 60, 70)
    assert 0 <= np.nanmin(values) < 0.5 < np.nanmax(values) <= 1
    assert found.to_dict() == found.record
    fused = geochange.fuse([found.probability, found.probability], tmp_path / "fused.tif")
    np.testing.assert_allclose(fused.open().to_numpy(), values, atol=1 / 254)


def test_options_stand_in_no_module_of_the_command_line():
    for path in (PACKAGE / "cli").glob("*.py"):
        texts = [node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]
        flags = {text for text in texts if isinstance(text, str) and re.fullmatch(r"--[a-z-]+", text)}
        assert flags <= OWN_FLAGS, path.name


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda each: each.name)
def test_what_commands_show_first_and_hide_exists(command):
    known = {each.name for each in (*command.signature.keywords, *command.options, *command.cluster)}
    hidden = set(command.hidden) - {field.name for field in fields(command.signature.options or ClusterOptions)}
    assert set(command.first) <= known
    assert hidden <= {each.name for each in command.signature.keywords}


def test_a_value_that_is_no_choice_is_refused_with_the_choices():
    for settings, words in (
        ({"dtype": "int8"}, "dtype 'int8' is not one of uint8, float32"),
        ({"formats": ("gpkg", "shp")}, "formats 'shp' is not one of gpkg, geojson, flatgeobuf, parquet"),
        ({"nodata": "none"}, "nodata 'none' is not one of any, all or a number"),
        ({"connectivity": 6}, "connectivity 6 is not one of 4, 8"),
        ({"resampling": "best"}, "resampling 'best' is not one of nearest, bilinear, cubic, lanczos, average"),
    ):
        with pytest.raises(geochange.BadOption, match=re.escape(words)):
            geochange.DetectOptions(**settings)
    assert geochange.DetectOptions(nodata=0).nodata == 0


def test_options_take_lists_paths_and_text_as_a_script_has_them(tmp_path):
    pair = write_pair(tmp_path, (60, 70))
    found = geochange.detect(*pair, tmp_path / "out", bands=[3, 1], formats="gpkg", date_before=date(2020, 1, 31))
    used = found.record["identity"]["options"]
    assert (used["bands"], used["formats"], used["date_before"]) == ([3, 1], ["gpkg"], "2020-01-31")
    assert set(found.changes().date_before) == {"2020-01-31"}
    within = geochange.detect(*pair, tmp_path / "within", aoi=found.layer)
    assert within.record["identity"]["options"]["aoi"] == str(found.layer)
    labelled = geochange.detect(*pair, tmp_path / "labelled", labels=found.layer, threshold="f1")
    assert labelled.record["threshold_labels"]["f1"] > 0.9
    with pytest.raises(geochange.UnreadableInput, match=r"none\.pt"):
        geochange.detect(*pair, tmp_path / "none", checkpoint=tmp_path / "none.pt")


def test_values_of_another_type_are_one_line(tmp_path):
    for settings, words in (
        ({"bands": 3}, "bands 3 must be whole numbers or names with commas between"),
        ({"aoi": (1, 2, 3)}, "aoi (1, 2, 3) must be text or 4 numbers with commas between"),
        ({"tile_size": "256"}, "tile size '256' must be a whole number"),
        ({"align": "no"}, "align 'no' must be true or false"),
        ({"detector_options": ["a"]}, "detector options ['a'] must be values by name"),
        ({"workers": "2"}, "workers '2' must be a whole number"),
        ({"workers": 2, "threads": 2}, "give workers or threads, not both"),
    ):
        with pytest.raises(geochange.BadOption, match=re.escape(words)):
            geochange.detect("a.tif", "b.tif", tmp_path / "out", **settings)
    with pytest.raises(TypeError, match="options must be DetectOptions, not VectorizeOptions"):
        geochange.detect("a.tif", "b.tif", tmp_path / "out", geochange.VectorizeOptions())
    assert not (tmp_path / "out").exists()


def test_changes_that_were_not_written_cannot_be_read(tmp_path):
    found = geochange.detect(*write_pair(tmp_path, (60, 70)), tmp_path / "out", formats=())
    with pytest.raises(geochange.BadOption, match="holds no layer"):
        found.changes()


@pytest.mark.parametrize("text", ["0.4:", "nan", "local:10px", "precision=nan", "precision=1.5", "recall="])
def test_thresholds_that_cannot_be_are_refused_at_once(text):
    with pytest.raises(geochange.BadOption, match=r"^threshold"):
        geochange.DetectOptions(threshold=text)
