"""The zip file of the plugin, and its modules as QGIS's Python takes them. No QGIS is needed."""

import ast
import configparser
import io
import json
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

import pytest
from make_zip import SOURCE, plugin_files, write_zip

from geochange.cli.description import describe_commands

MODULES = sorted(SOURCE.rglob("*.py"))
WITHOUT_QGIS = ("__init__", "parameters", "arguments", "environment", "process")
"""What the tests of the default run import; `__init__` imports QGIS where it is called."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "geochange_qgis.zip"
    write_zip(path)
    return path


def test_the_zip_holds_one_folder_with_the_plugin(archive):
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        assert file.testzip() is None
        commands = json.loads(file.read("geochange_qgis/commands.json"))
    assert names == sorted(names)
    assert {name.split("/")[0] for name in names} == {"geochange_qgis"}
    needed = {"__init__.py", "plugin.py", "metadata.txt", "LICENSE", "icon.svg", "commands.json"}
    assert needed <= {name.removeprefix("geochange_qgis/") for name in names}
    assert not [name for name in names if "__pycache__" in name]
    assert commands == describe_commands()


def test_the_bytes_are_the_same_each_time(archive, tmp_path):
    write_zip(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.zip"]


def test_the_metadata_is_what_qgis_asks_for():
    files = plugin_files()
    parser = configparser.ConfigParser()
    parser.read_file(io.StringIO(files["geochange_qgis/metadata.txt"].decode()))
    found = parser["general"]
    assert found["version"] == version("geochange")
    assert found["qgisMinimumVersion"] == "3.22"
    assert found.getboolean("hasProcessingProvider")
    assert found["license"] == "GPL-2.0-or-later"
    assert f"geochange_qgis/{found['icon']}" in files
    for name in ("name", "description", "about", "author", "tags"):
        assert found[name]


def test_the_licence_is_the_gpl_and_each_module_says_so():
    licence = (SOURCE / "LICENSE").read_text()
    assert "GNU GENERAL PUBLIC LICENSE" in licence
    assert "Version 2, June 1991" in licence
    for path in MODULES:
        assert "SPDX-License-Identifier: GPL-2.0-or-later" in path.read_text(), path


def test_the_icon_is_a_picture():
    assert ElementTree.parse(SOURCE / "icon.svg").getroot().tag.endswith("svg")


def roots(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda each: each.relative_to(SOURCE).as_posix())
def test_modules_import_nothing_but_qgis_and_the_standard_library(path):
    foreign = set(roots(path)) - set(sys.stdlib_module_names)
    assert foreign <= {"qgis", "processing", "geochange_qgis"}
    if path.parent == SOURCE and path.stem in WITHOUT_QGIS:
        assert foreign <= {"geochange_qgis"}


@pytest.mark.parametrize("path", MODULES, ids=lambda each: each.relative_to(SOURCE).as_posix())
def test_modules_are_read_by_python_3_9(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert future, "annotations must not be evaluated: X | Y is newer"


def test_no_option_is_listed_in_the_plugin():
    flags = {
        flag for command in describe_commands()["commands"] for each in command["options"] for flag in each["flags"]
    }
    allowed = {"--progress", "--version", "--describe", "--", "--view", "--take-in", "--json"}  # what it does itself
    for path in MODULES:
        texts = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert {text for text in texts if isinstance(text, str) and text in flags} <= allowed, path


def test_paths_of_this_repository_are_not_in_it():
    for name, content in plugin_files().items():
        assert str(Path(__file__).parents[2]).encode() not in content, name
