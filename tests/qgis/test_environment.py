"""Where the plugin finds geochange, and in which variables it runs. No QGIS is needed."""

import os
import sys
from pathlib import Path

import pytest
from geochange_qgis import environment
from geochange_qgis.environment import (
    FOREIGN,
    OVERRIDE,
    CommandMissing,
    Environment,
    candidates,
    clean_variables,
    command_of,
    conda_folders,
    find,
    version_of,
)

import geochange

ROOT = Path(geochange.__file__).parents[1]
OF_QGIS = {
    "PYTHONHOME": r"C:\QGIS\apps\Python39",
    "PYTHONPATH": "/usr/share/qgis/python",
    "GDAL_DATA": "/qgis/gdal",
    "PROJ_LIB": "/qgis/proj",
    "PROJ_DATA": "/qgis/proj",
    "GDAL_DRIVER_PATH": "/qgis/drivers",
    "DYLD_LIBRARY_PATH": "/qgis/lib",
}
unix = pytest.mark.skipif(sys.platform == "win32", reason="scripts of a shell")


@pytest.fixture(autouse=True)
def _no_override(monkeypatch):
    monkeypatch.delenv(OVERRIDE, raising=False)


def executable(path, text="#!/bin/sh\necho geochange 9.8.7\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_variables_of_qgis_are_left_out_and_others_kept():
    kept = clean_variables({**OF_QGIS, "HOME": "home", "Pythonhome": "x", "GDAL_CACHEMAX": "512"})
    assert {"HOME": "home", "GDAL_CACHEMAX": "512"}.items() <= kept.items()
    assert not {name.upper() for name in kept} & set(FOREIGN)
    assert set(OF_QGIS) <= set(FOREIGN)
    assert kept["PYTHONUTF8"] == "1"


def test_another_python_runs_in_these_variables_and_not_in_those_of_qgis():
    command = [sys.executable, "-m", "geochange"]
    broken = {**os.environ, "PYTHONHOME": "/no/such/python"}
    with pytest.raises(CommandMissing):
        version_of(command, broken)
    clean = {**clean_variables(broken, sys.executable), "PYTHONPATH": str(ROOT)}
    assert version_of(command, clean)


def test_an_environment_of_conda_on_windows_comes_first_on_the_path(tmp_path):
    assert conda_folders(tmp_path / "Scripts") == []
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "python.exe").touch()
    folders = [tmp_path, tmp_path / "Library" / "bin", tmp_path / "Scripts"]
    assert conda_folders(tmp_path / "Scripts") == conda_folders(tmp_path) == folders
    kept = clean_variables({"PATH": "x"}, str(tmp_path / "Scripts" / "geochange.exe"))
    assert kept["PATH"].split(os.pathsep) == [*map(str, folders), "x"]


@pytest.mark.parametrize("place", ["bin/geochange", "Scripts/geochange.exe"])
def test_a_folder_names_its_command(tmp_path, place):
    path = executable(tmp_path / place)
    assert command_of(str(tmp_path)) == command_of(str(path)) == [str(path)]


@pytest.mark.parametrize("name", ["python", "python3", "python3.11", "python.exe", "pythonw.exe"])
def test_a_python_runs_the_module(tmp_path, name):
    path = executable(tmp_path / "my env" / name)
    assert command_of(str(path)) == [str(path), "-m", "geochange"]


def test_a_folder_with_a_python_alone_runs_the_module(tmp_path):
    path = executable(tmp_path / "bin" / "python")
    assert command_of(str(tmp_path)) == [str(path), "-m", "geochange"]


def test_a_command_may_have_several_words(tmp_path):
    path = executable(tmp_path / "python")
    assert command_of(f"{path} -m geochange") == [str(path), "-m", "geochange"]


@pytest.mark.parametrize("named", ["/no/such/geochange", "no-such-command -m geochange"])
def test_what_is_not_there_is_one_line(named):
    with pytest.raises(CommandMissing, match=r"does not exist: choose the command geochange") as raised:
        command_of(named)
    assert "\n" not in str(raised.value)


def test_an_empty_folder_and_an_empty_setting_say_what_to_do(tmp_path):
    with pytest.raises(CommandMissing, match="holds no geochange"):
        command_of(str(tmp_path))
    with pytest.raises(CommandMissing, match="not set up yet"):
        Environment("").command()


@unix
def test_the_variable_is_in_place_of_the_setting(tmp_path, monkeypatch):
    first, second = executable(tmp_path / "first" / "geochange"), executable(tmp_path / "second" / "geochange")
    assert Environment(str(first)).command() == [str(first)]
    monkeypatch.setenv(OVERRIDE, str(second))
    assert Environment(str(first)).command() == [str(second)]
    assert Environment().version() == "9.8.7"


@unix
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho something else\n", "is not geochange: it says something else"),
        ("#!/bin/sh\necho no module >&2; exit 1\n", "it says no module"),
        ("#!/bin/sh\n", "it says nothing"),
        ("#!/no/such/interpreter\n", "cannot be run"),
    ],
)
def test_another_program_is_not_taken_for_it(tmp_path, text, words):
    path = executable(tmp_path / "geochange", text)
    with pytest.raises(CommandMissing, match=words) as raised:
        Environment(str(path)).version()
    assert "\n" not in str(raised.value)


HOMES = {
    "venv": "geochange-env/bin/geochange",
    "pipx": ".local/share/pipx/venvs/geochange/bin/geochange",
    "uv": ".local/share/uv/tools/geochange/bin/geochange",
    "virtualenvwrapper": ".virtualenvs/change/bin/geochange",
    "pyenv": ".pyenv/versions/3.12.1/bin/geochange",
    "conda": "miniforge3/envs/change/bin/geochange",
    "mamba on Windows": "mambaforge/envs/change/Scripts/geochange.exe",
    "pipx on Windows": "AppData/Local/pipx/venvs/geochange/Scripts/geochange.exe",
    "user": ".local/bin/geochange",
}


@pytest.mark.parametrize("place", HOMES.values(), ids=HOMES)
def test_environments_are_found_where_tools_make_them(tmp_path, place):
    path = executable(tmp_path / place)
    assert str(path) in list(candidates({"PATH": ""}, tmp_path))


def test_environments_that_conda_lists_are_found(tmp_path):
    path = executable(tmp_path / "elsewhere" / "bin" / "geochange")
    (tmp_path / ".conda").mkdir()
    (tmp_path / ".conda" / "environments.txt").write_text(f"{tmp_path / 'gone'}\n{tmp_path / 'elsewhere'}\n")
    assert str(path) in list(candidates({"PATH": ""}, tmp_path))


@unix
def test_the_first_that_is_geochange_is_found(tmp_path, monkeypatch):
    executable(tmp_path / "path" / "geochange", "#!/bin/sh\necho a stranger of the same name\n")
    right = executable(tmp_path / "home" / "geochange-env" / "bin" / "geochange")
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.setattr(environment.Path, "home", lambda: tmp_path / "home")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    assert find() == str(right)
