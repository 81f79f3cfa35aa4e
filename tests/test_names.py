"""Names of files, those of Windows too: drives, shares, what its systems forbid."""

import ntpath
import nturl2path
import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geochange import names
from geochange.files import require_on_disk
from geochange.inputs import files_read
from geochange.names import (
    fault_of_name,
    file_name,
    is_elsewhere,
    local_paths_in,
    outside_of_archives,
    relative_name,
    split_layer,
    sqlite_name,
    text_of,
)
from geochange.redaction import redact
from geochange.scenes import stac_items
from geochange.scenes.layer_files import is_layer

LETTERS = st.characters(codec="utf-8", categories=("L", "Nd"), include_characters=" _-.()+&")
PARTS = st.text(LETTERS, min_size=1, max_size=12).map(file_name)
ANCHORS = st.sampled_from(["C:\\", "d:\\", "Z:/", "\\\\server\\share\\", "\\\\?\\C:\\", "\\\\10.0.0.7\\data$\\"])
FORMS = (
    *('NETCDF:"{}":ndvi', "HDF5:{}:2", "GTIFF_DIR:1:{}", "vrt://{}?bands=1"),
    *("/vsizip/{}", "/vsizip/{{{}}}/inner.tif", "/vsisubfile/0_9,{}"),
)


@st.composite
def windows_paths(draw):
    """An absolute path of Windows, on a drive or on a share, with slashes of either kind."""
    path = draw(ANCHORS) + "\\".join(draw(st.lists(PARTS, min_size=1, max_size=4)))
    return path.replace("\\", "/") if draw(st.booleans()) and not path.startswith("\\\\") else path


@pytest.fixture
def windows(monkeypatch):
    """Paths as Windows has them, in the modules that take apart or join text."""
    for module in (names, stac_items):
        monkeypatch.setattr(
            module, "os", SimpleNamespace(path=ntpath, sep="\\", fspath=os.fspath, PathLike=os.PathLike)
        )
    monkeypatch.setattr(stac_items, "url2pathname", nturl2path.url2pathname)


@given(windows_paths())
def test_a_path_of_windows_is_no_address(path):
    assert not is_elsewhere(path)
    assert text_of(path) == path == outside_of_archives(path)
    require_on_disk(PureWindowsPath(path))
    assert local_paths_in(path)[0] == path


@given(windows_paths())
def test_a_path_of_windows_holds_no_secret(path):
    assert redact(path) == path


@given(windows_paths().filter(lambda path: not {*path} & {*"{}()"} and path == path.strip() and "?" not in path))
def test_the_path_in_a_name_of_gdal_is_found_whole(path):
    for form in FORMS:
        found = local_paths_in(form.format(path))
        assert path in found or f"{path}/inner.tif" in found, (form, found)


@given(windows_paths())
def test_the_layer_of_a_path_of_windows_is_split_off(path):
    assert split_layer(f"{path}|layername=a:b") == (path, "a:b")
    assert is_layer(f"{path}.gpkg")
    assert is_layer(f"{path}.gdb\\")


@pytest.mark.parametrize(
    "name", ["/vsis3/bucket/a.tif", "/vsizip/vsicurl/https://host/a.zip/b.tif", "/vsizip/C:/a.zip/b.tif"]
)
def test_a_virtual_path_keeps_its_slashes(name):
    assert text_of(PureWindowsPath(name)).startswith("/vsi")
    assert "\\" not in text_of(PureWindowsPath(name))


def test_other_paths_keep_the_form_of_their_system():
    assert text_of(PureWindowsPath("C:/a/b.tif")) == "C:\\a\\b.tif"
    assert text_of(PurePosixPath("/a/b.tif")) == "/a/b.tif"


def test_the_source_of_a_netcdf_name_is_read(tmp_path):
    (tmp_path / "a.nc").write_bytes(b"")
    assert files_read([f'NETCDF:"{tmp_path}/a.nc":ndvi', f"HDF5:{tmp_path}/a.nc://group/x"]) == [tmp_path / "a.nc"]
    assert files_read([f"/vsizip/{{{tmp_path}/a.nc}}/b.tif"]) == [tmp_path / "a.nc"]


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [
        (r"D:\data\a.tif", r"D:\out", "../data/a.tif"),
        (r"D:\data\a.tif", r"E:\out", "D:/data/a.tif"),
        (r"\\server\share\a.tif", r"C:\out", "//server/share/a.tif"),
        (r"\\server\share\a.tif", r"\\server\share\out", "../a.tif"),
    ],
)
def test_names_in_tables_lead_to_other_drives(windows, path, folder, name):
    assert relative_name(path, folder) == name
    assert ntpath.normpath(ntpath.join(folder, name)) == path


def test_relative_names_lead_back():
    assert relative_name("/data/a.tif", "/out/run") == "../../data/a.tif"


@pytest.mark.parametrize(
    ("path", "address"),
    [
        (r"C:\data\a b.gpkg", "file:///C:/data/a%20b.gpkg?mode=ro"),
        (r"\\server\share\a#.gpkg", "file:////server/share/a%23.gpkg?mode=ro"),
    ],
)
def test_sqlite_opens_drives_and_shares(path, address):
    assert sqlite_name(PureWindowsPath(path), "mode=ro") == address
    assert sqlite_name(PurePosixPath("/data/a b.gpkg"), "mode=ro") == "file:///data/a%20b.gpkg?mode=ro"


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("./B04.tif", r"D:\items\B04.tif"),
        ("../B04.tif", r"D:\B04.tif"),
        ("E:/b/B04.tif", "E:/b/B04.tif"),
        ("file:///E:/b/B%2004.tif", r"E:\b\B 04.tif"),
        ("file://server/share/B04.tif", r"\\server\share\B04.tif"),
        ("file://localhost/E:/B04.tif", r"E:\B04.tif"),
        ("s3://bucket/B04.tif", "s3://bucket/B04.tif"),
    ],
)
def test_links_of_items_lead_to_files_of_windows(windows, link, path):
    assert stac_items.resolve(link, r"D:\items\item.json") == path


@given(st.text(max_size=20))
@example("con")
@example("aux.tif")
@example("a. ")
@example("a..")
@example("2024-05-01T10:20:30")
@example("COM1 .txt")
def test_a_file_name_is_one_on_each_system(text):
    name = file_name(text)
    assert fault_of_name(name) is None
    assert file_name(name) == name
    assert Path(name).name == PureWindowsPath(name).name == name
    assert not PureWindowsPath(name).is_reserved()


@pytest.mark.parametrize("name", ["a.tif", "ä 1.gpkg", "console.tif", "com.tif", "changes-2024.geojson", ".hidden"])
def test_usual_names_stay(name):
    assert file_name(name) == name
    assert fault_of_name(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a:b.tif", "':'"),
        ("NUL", "device"),
        ("con.gpkg", "device"),
        ("a.", "dot"),
        ("a?.tif", r"'\?'"),
        ("a ", "space"),
    ],
)
def test_what_windows_forbids_is_found(name, fault):
    assert fault.replace("\\", "") in fault_of_name(name)
