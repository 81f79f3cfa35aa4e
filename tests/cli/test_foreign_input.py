"""What a command prints and keeps of names: no secrets, no warnings of libraries, one printable line a mistake."""

import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import geopandas
import pytest
import rasterio
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.commands import refused
from tests.stand_ins import UTM, changed_pair, write_raster

SECRET = "hunter22"
ADDRESSES = [
    f"http://me:{SECRET}@127.0.0.1:1/x{{suffix}}",
    f"http://127.0.0.1:1/x{{suffix}}?sig={SECRET}",
    f"http://127.0.0.1:1/x{{suffix}}?X-Amz-Signature={SECRET}&X-Amz-Date=1",
    f"/vsicurl/http://me:{SECRET}@127.0.0.1:1/x{{suffix}}?token={SECRET}",
    f"/vsicurl?url=http%3A%2F%2Fme%3A{SECRET}%40127.0.0.1%3A1%2Fx{{suffix}}",
    f"PG:host=127.0.0.1 port=1 user=me password={SECRET} dbname=x{{suffix}}",
    f"missing password={SECRET}{{suffix}}",
]
COMMANDS = [
    ("check", "{raster}", "{good}"),
    ("detect", "{good}", "{raster}", "-o", "{out}"),
    ("detect", "{good}", "{good}", "-o", "{out}", "--aoi", "{layer}"),
    ("detect", "{good}", "{good}", "-o", "{out}", "--labels", "{layer}", "--threshold", "f1"),
    ("align", "{good}", "{raster}", "-o", "{out}.tif"),
    ("vectorize", "{raster}", "-o", "{out}.gpkg"),
    ("evaluate", "{layer}", "{good}"),
    ("evaluate", "{good}", "{layer}|layername=a"),
    ("fuse", "{raster}", "{good}", "-o", "{out}.tif"),
    ("kinds", "{layer}", "{good}", "{good}", "-o", "{out}.gpkg"),
    ("from-to", "{layer}", "{layer}", "-o", "{out}.gpkg", "--label-column", "a"),
    ("synthesize", "{good}", "-o", "{out}", "--outlines", "{layer}"),
]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    before, after = changed_pair((60, 80))
    return write_raster(folder / "before.tif", before), write_raster(folder / "after.tif", after)


@pytest.mark.filterwarnings("ignore:HTTP response code")  # pyogrio's, an error here, and on the command line logged
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.sampled_from(COMMANDS), address=st.sampled_from(ADDRESSES))
def test_no_error_line_holds_a_secret(run, pair, tmp_path, command, address):
    names = {
        "raster": address.format(suffix=".tif"),
        "layer": address.format(suffix=".gpkg"),
        "good": pair[0],
        "out": tmp_path / "out",
    }
    code, printed, lines = run(*(word.format(**names) for word in command))
    assert code == 2
    assert len(lines) == 1
    assert SECRET not in printed + lines[0]
    kept = [each.read_text(errors="replace") for each in tmp_path.rglob("*") if each.is_file()]
    assert SECRET not in "".join(kept)


@pytest.fixture
def served(pair):
    """Address of a server of the pair's folder, in a process of its own, that takes any name, password and query."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(Path(pair[0]).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        yield f"127.0.0.1:{re.search(r'port ([0-9]+)', server.stdout.readline())[1]}"
        server.terminate()


def test_the_address_of_a_scheduler_is_printed_without_its_password(run, pair, tmp_path):
    for scheme in ("tls", "tcp", "nonsense"):
        address = f"{scheme}://me:{SECRET}@127.0.0.1:1"
        answer = run("detect", *pair, "-o", tmp_path / "out", "--scheduler", address)
        refused(answer, f"{scheme}://***@127.0.0.1:1")
        assert SECRET not in answer[2][0]


def test_what_a_run_leaves_and_answers_holds_no_secret(run, pair, served, tmp_path):
    after = f"/vsicurl/http://me:{SECRET}@{served}/after.tif?sig={SECRET}"
    code, printed, lines = run("detect", pair[0], after, "-o", tmp_path / "out", "--json")
    assert (code, lines) == (0, [])
    assert served in printed
    kept = {each.name: each.read_bytes() for each in (tmp_path / "out").rglob("*") if each.is_file()}
    assert {"run.json", "run.log", "probability.tif", "changes.gpkg"} <= {*kept}
    assert SECRET not in printed
    assert not [name for name, content in kept.items() if SECRET.encode() in content]
    assert served in kept["run.json"].decode()
    code, printed, _ = run("check", pair[0], after)
    assert SECRET not in printed


def test_a_run_is_resumed_with_another_signature(run, pair, served, tmp_path):
    for signature in ("first", "second"):
        after = f"/vsicurl/http://{served}/after.tif?sig={signature}"
        assert run("detect", pair[0], after, "-o", tmp_path / "out", "-q", "--resume")[0] == 0


def test_fused_rasters_name_their_sources_without_secrets(run, pair, served, tmp_path):
    assert run("detect", *pair, "-o", tmp_path / "out", "-q")[0] == 0
    source = tmp_path / "out" / "probability.tif"
    os.link(source, Path(pair[0]).parent / "probability.tif")
    address = f"/vsicurl/http://{served}/probability.tif?token={SECRET}"
    code, printed, _ = run("fuse", source, address, "-o", tmp_path / "fused.tif", "--json")
    assert code == 0
    with rasterio.open(tmp_path / "fused.tif") as file:
        assert SECRET not in json.dumps(file.tags()) + printed
        assert served in json.dumps(file.tags())


def curved(path):
    """A layer whose geometry is of another type than its column: GDAL warns."""
    geopandas.GeoDataFrame({"a": [1]}, geometry=[shapely.box(500_020, 5_399_900, 500_080, 5_399_960)], crs=UTM).to_file(
        path, layer="a"
    )
    with closing(sqlite3.connect(path)) as database, database:
        for (name,) in database.execute("select name from sqlite_master where type='trigger'").fetchall():
            database.execute(f'drop trigger "{name}"')
        database.execute("update gpkg_geometry_columns set geometry_type_name='CURVEPOLYGON'")
        ((blob,),) = database.execute("select geom from a").fetchall()
        assert struct.unpack("<I", blob[41:45]) == (3,)
    return path


def test_warnings_of_libraries_are_logged_and_not_printed(pair, tmp_path):
    area = curved(tmp_path / "area.gpkg")
    command = [sys.executable, "-m", "geochange"]
    done = subprocess.run(
        [*command, "evaluate", area, area, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    labels = ["--labels", str(area), "--threshold", "f1"]
    done = subprocess.run(
        [*command, "detect", *pair, "-o", "out", "-q", *labels],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")


ODD_NAMES = ["a\udcff.gpkg", "a\nb.gpkg", "a\x1b[31mb.gpkg", "a\u2028b.gpkg", "ä" * 200 + ".gpkg", "a\0b.gpkg"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_does_not_print_is_one_printable_line(run, pair, tmp_path, name):
    for command in (("evaluate", name, pair[0]), ("detect", *pair, "-o", tmp_path / "out", "--aoi", name)):
        answer = run(*command)
        refused(answer, "does not exist")
        assert answer[2][0].isprintable()


def test_a_date_that_does_not_print_is_refused(run, pair, tmp_path):
    refused(run("detect", *pair, "-o", tmp_path / "out", "--date-before", "\udcff"), r"'\udcff'")


def test_a_name_that_is_not_utf8_is_printed_as_an_escape(run, pair, tmp_path):
    out = tmp_path / "out\udcff.geojson"
    assert run("detect", *pair, "-o", tmp_path / "out", "-q")[0] == 0
    code, printed, lines = run("vectorize", tmp_path / "out" / "probability.tif", "-o", out)
    assert (code, lines) == (0, [])
    assert r"out\udcff.geojson" in printed.replace("\n", "")
    assert out.exists()
