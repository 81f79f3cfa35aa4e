"""The plugin in QGIS, without a window: `make test-qgis`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from geochange_qgis.parameters import ALGORITHMS, fields_of, is_output
from make_zip import write_zip

import geochange
from geochange.cli.commands import COMMANDS
from geochange.cli.description import describe_command

ROOT = Path(geochange.__file__).parents[1]
SAMPLE = Path(__file__).parents[2] / "sample_data"
SESSION = Path(__file__).with_name("session.py")
PYTHON = "/usr/bin/python3"
SYSTEM_PATH = "/usr/bin:/bin"  # QGIS takes the Python that is first on PATH for its own
QGIS_PROCESS = next(
    filter(None, (shutil.which(each, path=SYSTEM_PATH) for each in ("qgis_process.bin", "qgis_process"))), None
)
"""Debian's script qgis_process adds an option that only qgis knows."""
EXACT = ("probability.tif", "changes.geojson")
"""Files of a run that are the same bytes each time; a GeoPackage holds the time of its writing."""

pytestmark = [
    pytest.mark.qgis,
    pytest.mark.skipif(QGIS_PROCESS is None, reason="QGIS is not installed"),
    pytest.mark.xdist_group("qgis"),
]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory):
    """The folder of plugins of a fresh profile, with the zip file of the plugin installed."""
    folder = tmp_path_factory.mktemp("qgis")
    found = folder / "profiles" / "default" / "python" / "plugins"
    found.mkdir(parents=True)
    write_zip(folder / "geochange_qgis.zip")
    with zipfile.ZipFile(folder / "geochange_qgis.zip") as archive:
        archive.extractall(found)
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A copy of the sample: QGIS writes statistics beside the rasters that it opens."""
    return Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("sample") / "copy"))


@pytest.fixture(scope="module")
def pair(sample):
    """The dates by the names of the parameters."""
    return {"BEFORE": str(sample / "before.tif"), "AFTER": str(sample / "after.tif")}


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The command of the geochange that is tested, as an environment has it."""
    path = tmp_path_factory.mktemp("bin") / "geochange"
    path.write_text(f"#!/bin/sh\nPYTHONPATH='{ROOT}' exec '{sys.executable}' -m geochange \"$@\"\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def variables(plugins, command, tmp_path_factory):
    """The environment of QGIS: the profile, no window, and variables that would break another Python."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": str(tmp_path_factory.mktemp("home")),
        "XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("runtime")),
        "QT_QPA_PLATFORM": "offscreen",
        "LANG": "C.UTF-8",
        "QGIS_CUSTOM_CONFIG_PATH": str(plugins.parents[3]),
        "GEOCHANGE_COMMAND": str(command),
        "PYTHONPATH": "/usr/share/qgis/python",
        "GDAL_DATA": os.environ.get("GDAL_DATA", "/usr/share/gdal"),
    }


@pytest.fixture(scope="module")
def process(variables):
    """Run qgis_process in the profile in which the plugin is enabled; exit code, stdout and stderr."""

    def call(*arguments, **more):
        ended = subprocess.run(
            [QGIS_PROCESS, *map(str, arguments)],
            env={**variables, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return ended.returncode, ended.stdout, ended.stderr

    assert "geochange_qgis" in call("plugins")[1]
    call("plugins", "enable", "geochange_qgis")
    return call


@pytest.fixture(scope="module")
def inside(plugins, variables):
    """Do an action of `session.py` in QGIS's Python; its answer."""

    def call(action, more=(), **given):
        ended = subprocess.run(
            [PYTHON, str(SESSION), str(plugins), action, json.dumps(given)],
            env={**variables, **dict(more)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout.strip().splitlines()[-1])

    return call


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory, pair):
    """What the command line leaves of the sample."""
    out = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run([str(command), "detect", *pair.values(), "-o", str(out), "-q"], check=True)
    return out


def same(out, whole):
    return {name: (out / name).read_bytes() == (whole / name).read_bytes() for name in EXACT} == dict.fromkeys(
        EXACT, True
    )


def test_all_algorithms_are_listed(process):
    code, out, _ = process("list")
    assert code == 0
    assert set(re.findall(r"geochange:([a-z-]+)", out)) == set(ALGORITHMS)


def test_parameters_are_those_of_the_declarations(inside):
    found = inside("describe")
    for name in ALGORITHMS:
        fields = {each.name: each for each in fields_of(describe_command(COMMANDS[name]))}
        parameters = {each["name"]: each for each in found[name]["parameters"] if each["name"] != "LOAD_RESULTS"}
        assert parameters.keys() == fields.keys()
        for key, field in fields.items():
            assert parameters[key]["optional"] == field.optional, key
            assert parameters[key]["advanced"] == field.advanced, key
            assert parameters[key]["help"] == field.help
            assert is_output(field) == parameters[key]["type"].endswith("Destination")
        assert COMMANDS[name].summary.split("'")[0].split("`")[0] in found[name]["help"]


def test_detect_leaves_the_bytes_of_the_command_line(process, whole, tmp_path, pair):
    given = [f"{name}={value}" for name, value in pair.items()]
    code, out, _ = process("run", "geochange:detect", "--", *given, f"OUTPUT={tmp_path / 'out'}")
    assert code == 0, out
    assert same(tmp_path / "out", whole)
    results = dict(re.findall(r"^(\w+):\t(.*)$", out.partition("\nResults\n")[2], re.MULTILINE))
    assert results["CHANGES"] == str(tmp_path / "out" / "changes.gpkg")
    assert results["PROBABILITY"] == str(tmp_path / "out" / "probability.tif")
    assert json.loads(results["ANSWER"]) == json.loads((tmp_path / "out" / "run.json").read_text())
    assert "score" in out
    assert "ir-mad" in out


def test_work_on_changes_leaves_the_bytes_of_the_command_line(process, command, whole, tmp_path):
    raster = whole / "probability.tif"
    code, out, _ = process(
        "run", "geochange:refine", "--", f"PROBABILITY={raster}", "OPEN=1px", f"OUTPUT={tmp_path / 'refined.tif'}"
    )
    assert code == 0, out
    code, out, _ = process(
        "run", "geochange:vectorize", "--", f"RASTER={raster}", "MIN_AREA=9px", f"OUTPUT={tmp_path / 'layer.geojson'}"
    )
    assert code == 0, out
    for name, words in (
        ("refined.tif", ["refine", raster, "--open", "1px"]),
        ("layer.geojson", ["vectorize", raster, "--min-area", "9px"]),
    ):
        (tmp_path / "plain").mkdir(exist_ok=True)
        subprocess.run([command, *words, "-o", tmp_path / "plain" / name, "-q"], check=True)
        assert (tmp_path / name).read_bytes() == (tmp_path / "plain" / name).read_bytes(), name


def test_check_and_evaluate_answer_with_a_report(process, whole, pair, sample):
    truth = sample / "truth.gpkg"
    given = [f"PREDICTED={whole / 'changes.gpkg'}", f"REFERENCE={truth}", f"GRID={pair['BEFORE']}"]
    for name, arguments, key in (
        ("evaluate", given, "pixels"),
        ("check", [f"{name}={value}" for name, value in pair.items()], "verdict"),
    ):
        code, out, _ = process("run", f"geochange:{name}", "--", *arguments)
        assert code == 0, out
        results = dict(re.findall(r"^(\w+):\t(.*)$", out.partition("\nResults\n")[2], re.MULTILINE))
        answer = json.loads(results["ANSWER"])
        assert key in answer
        assert results["REPORT"].endswith(".html")
        if name == "evaluate":
            assert round(answer["pixels"]["f1"], 3) == 0.931
            assert "0.931" in out


@pytest.mark.parametrize("missing", ["before", "folder"])
def test_what_is_wrong_is_one_line(process, whole, tmp_path, missing, pair):
    given = pair | ({"BEFORE": "/no/such/before.tif"} if missing == "before" else {})
    out_folder = whole if missing == "folder" else tmp_path / "out"
    words = [f"{name}={value}" for name, value in given.items()]
    code, out, errors = process("run", "geochange:detect", "--", *words, f"OUTPUT={out_folder}")
    said = {"before": "/no/such/before.tif", "folder": "holds a finished run"}[missing]
    lines = {line.removeprefix("ERROR:").strip() for line in (out + errors).splitlines() if said in line}
    assert code == 1
    assert len([line for line in lines if not line.startswith(("BEFORE:", "OUTPUT:"))]) == 1
    assert "Traceback" not in out + errors


def test_an_environment_that_is_not_there_is_one_line(process, tmp_path, pair):
    words = [f"{name}={value}" for name, value in pair.items()]
    call = ("run", "geochange:detect", "--", *words, f"OUTPUT={tmp_path / 'out'}")
    for named, said in (("", "geochange is not set up yet"), ("/no/such/geochange", "does not exist")):
        code, out, errors = process(*call, GEOCHANGE_COMMAND=named)
        assert code == 1
        assert said in out + errors
        assert "Traceback" not in out + errors
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_cancelled_can_be_resumed_with_the_same_bytes(inside, command, whole, tmp_path, pair):
    out = tmp_path / "out"
    answer = inside("detect", parameters={**pair, "OUTPUT": str(out)}, cancel_in="score")
    assert answer["results"] == {}
    assert answer["said"][-1] == "interrupted; add --resume to go on from what is done"
    assert (out / ".geochange").is_dir()
    assert not (out / "run.json").exists()
    subprocess.run([command, "detect", *pair.values(), "-o", out, "--resume", "-q"], check=True)
    assert same(out, whole)


def test_progress_is_shown_by_stage(inside, tmp_path, pair):
    blocks = {"DETECTOR": "change-vector", "TILE_SIZE": 256, "OVERLAP": 32, "BLOCK_SIZE": 256}
    answer = inside("detect", parameters={**pair, **blocks, "OUTPUT": str(tmp_path / "out")})
    assert answer["ok"]
    stages = [text for text in answer["said"] if text in ("fit", "score", "polygons", "write")]
    assert stages == ["fit", "score", "polygons", "write"]
    assert set(answer["shares"]) > {0, 100}  # there are several blocks, and the first is reported by itself


def test_results_are_opened_in_a_group_with_their_style(inside, tmp_path, pair):
    answer = inside("load", parameters={**pair, "OUTPUT": str(tmp_path / "out")})
    assert answer["layers"] == ["Changes", "Probability of change"]
    assert answer["all"] == 2
    assert answer["renderers"]["Changes"] == "graduatedSymbol"


def test_results_are_in_order_in_a_group_that_is_there(inside, tmp_path, pair):
    answer = inside("load", parameters={**pair, "OUTPUT": str(tmp_path / "out")}, inside_group=True)
    assert answer["layers"] == ["Changes", "Probability of change"]
    assert answer["all"] == 2


def test_the_same_image_twice_is_noticed(inside, pair):
    words = inside("words", name="check", parameters={**pair, "AFTER": pair["BEFORE"]})
    assert words["said"] == ["Before and after are the same image: nothing can have changed."]
    assert inside("words", name="check", parameters=pair)["said"] == []


def test_results_are_left_alone_where_that_is_wanted(inside, tmp_path, pair):
    answer = inside("load", parameters={**pair, "OUTPUT": str(tmp_path / "out"), "LOAD_RESULTS": False})
    assert (answer["ok"], answer["layers"], answer["all"]) == (True, [], 0)
    assert (tmp_path / "out" / "run.json").exists()


def test_with_a_window_a_page_is_added_and_all_is_taken_away_again(inside):
    found = inside("window")
    assert found["before"] == [1, 1, 1, 0]  # page, icon, entry of the menu; the dock comes when it is asked for
    assert found["there"] == [True, 1, 1, 1, 1]
    assert found["title"] == "Review of changes"
    assert found["left"] == [False, 0, 0, 0, 0]


def detect(pair):
    return {**pair, "OUTPUT": "/tmp/out"}


def kinds(pair):
    return {"CHANGES": "changes", **pair, "OUTPUT": "/tmp/kinds.gpkg"}


def test_values_become_the_words_of_the_command_line(inside, pair):
    given = {
        **detect(pair),
        **{"BANDS": [3, 1], "AOI": "512100,512300,5346500,5346900 [EPSG:32633]", "MIN_AREA": "10px", "ALIGN": True},
        **{"FORMATS": ["gpkg"], "SIMPLIFY": 1.5, "OPTION": 'a=1 b="x y"', "CONNECTIVITY": "8", "RESAMPLING": "cubic"},
    }
    words = inside("words", name="detect", parameters=given)["words"]
    assert words[1:4] == ["--progress", "json", "detect"]
    assert set(words[4:-3]) == {
        *("--output=/tmp/out", "--align", "--bands=3,1", "--min-area=10px", "--aoi=512100,5346500,512300,5346900"),
        *("--option=a=1", "--option=b=x y", "--connectivity=8", "--simplify=1.5", "--formats=gpkg"),
    }
    assert words[-3:] == ["--", *pair.values()]


def test_an_extent_is_brought_to_the_crs_of_the_image(inside, pair):
    words = inside("words", name="detect", parameters={**detect(pair), "AOI": "15.16,15.163,48.27,48.275 [EPSG:4326]"})[
        "words"
    ]
    (aoi,) = [word for word in words if word.startswith("--aoi=")]
    left, bottom, right, top = map(float, aoi.removeprefix("--aoi=").split(","))
    assert 511_800 < left < right < 512_200
    assert 5_346_200 < bottom < top < 5_347_000


def test_layers_become_files(inside, pair, sample):
    layers = [["vector", f"{sample / 'truth.gpkg'}|layername=truth", "changes", "ogr"]]
    words = inside("words", name="kinds", parameters=kinds(pair), layers=layers)["words"]
    assert words[-4:] == ["--", f"{sample / 'truth.gpkg'}|layername=truth", *pair.values()]
    rasters = [["raster", path, name, "gdal"] for name, path in pair.items()]
    named = {"RASTERS": ["BEFORE", "AFTER"], "OUTPUT": "/tmp/fused.tif"}
    words = inside("words", name="fuse", parameters=named, layers=rasters)["words"]
    assert words[-2:] == list(pair.values())


@pytest.mark.parametrize(
    ("source", "provider", "said"),
    [
        ("Polygon?crs=EPSG:32633", "memory", "the layer changes is not a file (memory): export it"),
        ("{truth}|subset=fid < 3", "ogr", "the layer changes has a filter"),
    ],
)
def test_layers_that_are_no_whole_file_are_refused(inside, source, provider, said, pair, sample):
    answer = inside(
        "words",
        name="kinds",
        parameters=kinds(pair),
        layers=[["vector", source.format(truth=sample / "truth.gpkg"), "changes", provider]],
    )
    assert said in answer["error"]


def test_the_page_of_the_settings_finds_the_environment_or_says_how_to_install(inside, process, variables, tmp_path):
    ready = f"geochange {version('geochange')} is ready."
    alone = {"GEOCHANGE_COMMAND": "", "HOME": str(tmp_path)}
    texts = inside("page", more=alone)
    assert texts["checked"].startswith("geochange is not set up yet")
    assert texts["missing"].startswith("/no/such/place does not exist")
    assert "geochange was not found" in texts["found"]
    for text in texts["checked"], texts["missing"], texts["found"]:
        assert "pip install" in text
    (tmp_path / "geochange-env" / "bin").mkdir(parents=True)
    found = shutil.copy(variables["GEOCHANGE_COMMAND"], tmp_path / "geochange-env" / "bin")
    texts = inside("page", more=alone)
    assert texts["found"] == ready
    assert texts["kept"] == str(found)
    assert inside("page")["checked"] == f"{ready} It is the one that GEOCHANGE_COMMAND names."


def test_a_fresh_profile_detects_once_the_environment_is_found(process, variables, tmp_path, pair):
    """The newcomer's way, without a window: the plugin installed, the environment named in the settings, a run."""
    settings = Path(variables["QGIS_CUSTOM_CONFIG_PATH"]) / "profiles" / "default" / "QGIS" / "QGIS3.ini"
    text = re.sub(r"\n\[geochange\]\n[^\[]*", "\n", settings.read_text())
    settings.write_text(f"{text}\n[geochange]\ncommand={variables['GEOCHANGE_COMMAND']}\n")
    words = [f"{name}={value}" for name, value in pair.items()]
    run = ("run", "geochange:detect", "--", *words, f"OUTPUT={tmp_path / 'out'}")
    code, out, errors = process(*run, GEOCHANGE_COMMAND="")
    assert code == 0, out + errors
    assert (tmp_path / "out" / "run.json").exists()
