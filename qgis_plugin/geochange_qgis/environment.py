"""The environment that has geochange: where its command is, and in which variables it runs. It needs no QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

OVERRIDE = "GEOCHANGE_COMMAND"
"""Environment variable in place of the setting, for qgis_process on servers."""

INSTALL = 'python -m venv geochange-env && geochange-env/bin/pip install "geochange[review]"'
INSTALL_WINDOWS = (
    r'py -m venv "%USERPROFILE%\geochange-env" && "%USERPROFILE%\geochange-env\Scripts\pip" install "geochange[review]"'
)

FOREIGN = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "PYTHONNOUSERSITE", "PYTHONSTARTUP", "VIRTUAL_ENV"),
    *("GDAL_DATA", "GDAL_DRIVER_PATH", "GDAL_PYTHON_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA", "PROJ_NETWORK_ENDPOINT"),
    *("QT_PLUGIN_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
    *("DYLD_FRAMEWORK_PATH", "DYLD_INSERT_LIBRARIES"),
)
"""Variables that QGIS sets for itself, above all on Windows and macOS: with them another Python finds the standard
library, the modules, the libraries and the tables of GDAL and PROJ of QGIS in place of its own, and breaks."""

TIMEOUT = 60  # seconds until a command must have said its version
_WINDOWS = sys.platform == "win32"


class CommandMissing(RuntimeError):
    """There is no geochange where it was looked for."""


class Environment:
    """The environment that a user has named: a folder, a Python, or the command itself."""

    def __init__(self, named: str = "") -> None:
        self.named = os.environ.get(OVERRIDE, "").strip() or named.strip()

    def command(self) -> list[str]:
        """Return the words that run geochange.

        Raises:
            CommandMissing: nothing is named, or nothing is there.
        """
        if not self.named:
            raise CommandMissing(f"geochange is not set up yet: see Settings, Options, geochange, or set {OVERRIDE}")
        return command_of(self.named)

    def variables(self) -> dict[str, str]:
        """Return the environment variables for it: those of QGIS without what would break another Python."""
        return clean_variables(os.environ, self.command()[0])

    def version(self) -> str:
        """Return the version of geochange.

        Raises:
            CommandMissing: it does not say one.
        """
        return version_of(self.command(), self.variables())


def command_of(named: str) -> list[str]:
    """Return the words that run the geochange of a folder, of a Python, or of a command.

    Raises:
        CommandMissing: there is none.
    """
    path = Path(named).expanduser()
    if path.is_dir():
        return _command_in(path)
    if path.is_file() or shutil.which(named):
        words = [str(path) if path.is_file() else named]
    else:
        words = [each.strip('"') for each in shlex.split(named, posix=not _WINDOWS)]
        if not words or not (Path(words[0]).is_file() or shutil.which(words[0])):
            raise CommandMissing(
                f"{named} does not exist: choose the command geochange in Settings, Options, geochange"
            )
    return [*words, "-m", "geochange"] if len(words) == 1 and _is_python(words[0]) else words


def _is_python(path: str) -> bool:
    return re.fullmatch(r"(python|py|pythonw)[0-9.]*(\.exe)?", re.split(r"[\\/]", path)[-1].lower()) is not None


def _command_in(folder: Path) -> list[str]:
    for name in ("bin/geochange", "Scripts/geochange.exe", "geochange", "geochange.exe"):
        if (folder / name).is_file():
            return [str(folder / name)]
    for name in ("bin/python", "Scripts/python.exe", "python.exe"):
        if (folder / name).is_file():
            return [str(folder / name), "-m", "geochange"]
    raise CommandMissing(f"{folder} holds no geochange: install it there, or choose another environment")


def clean_variables(variables: Mapping[str, str], program: str = "") -> dict[str, str]:
    """Return environment variables without those of QGIS, and with what geochange needs.

    Args:
        variables: those of QGIS.
        program: the program that is started; where it lies in an environment of conda on Windows, whose libraries are
            found by PATH alone, that environment comes first there.
    """
    kept = {name: value for name, value in variables.items() if name.upper() not in FOREIGN}
    folders = conda_folders(Path(program).parent) if program else []
    if folders:
        kept["PATH"] = os.pathsep.join([*map(str, folders), kept.get("PATH", "")])
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "110"}


def conda_folders(folder: Path) -> list[Path]:
    """Return the folders of programs of conda's environment on Windows that a program lies in; none elsewhere."""
    for root in (folder, folder.parent):
        if (root / "conda-meta").is_dir() and (root / "python.exe").is_file():
            return [root, root / "Library" / "bin", root / "Scripts"]
    return []


def version_of(command: list[str], variables: Mapping[str, str]) -> str:
    """Return the version that a command says.

    Raises:
        CommandMissing: it cannot be run, or says something else.
    """
    flags = subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0
    try:
        ended = subprocess.run(
            [*command, "--version"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT,
            creationflags=flags,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandMissing(f"{' '.join(command)} cannot be run: {error}") from error
    found = re.fullmatch(r"geochange (\S+)", ended.stdout.strip())
    if ended.returncode or found is None:
        said = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
        raise CommandMissing(f"{' '.join(command)} is not geochange: it says {said}")
    return found[1]


def find() -> str | None:
    """Return the first command that is geochange where environments usually are; None if there is none."""
    for named in dict.fromkeys(candidates(os.environ, Path.home())):
        try:
            named_version(named)
        except CommandMissing:
            continue
        return named
    return None


def named_version(named: str) -> str:
    """Return the version of what is named."""
    command = command_of(named)
    return version_of(command, clean_variables(os.environ, command[0]))


def candidates(variables: Mapping[str, str], home: Path) -> Iterator[str]:
    """Yield commands that may be geochange: of PATH, of environments, and of each Python on PATH.

    Args:
        variables: environment variables.
        home: the user's folder.
    """
    on_path = shutil.which("geochange", path=variables.get("PATH"))
    if on_path:
        yield on_path
    for folder in environments(variables, home):
        for name in ("bin/geochange", "Scripts/geochange.exe"):
            if (folder / name).is_file():
                yield str(folder / name)
    for name in ("python3", "python", "py"):
        python = shutil.which(name, path=variables.get("PATH"))
        if python:
            yield python


def environments(variables: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield folders of environments: the one in use, those of venv, pipx, uv, virtualenvwrapper, pyenv and conda."""
    for name in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if variables.get(name):
            yield Path(variables[name])
    for name in ("geochange-env", "geochange", ".venv", "venv", "geochange/.venv"):
        yield home / name
    local = Path(variables.get("LOCALAPPDATA") or home / "AppData" / "Local")
    shared = Path(variables.get("XDG_DATA_HOME") or home / ".local" / "share")
    for tools in ("pipx/venvs", "uv/tools"):
        for root in (shared, local, home / ".local", home, Path(variables.get("APPDATA") or home)):
            yield root / tools / "geochange"
    yield home / ".local"
    for root in (Path(variables.get("WORKON_HOME") or home / ".virtualenvs"), home / ".pyenv" / "versions"):
        yield from _folders_in(root)
    yield from conda_environments(variables, home)


def conda_environments(variables: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yield the environments of conda: those that it lists itself, then those in its usual places."""
    listed = home / ".conda" / "environments.txt"
    if listed.is_file():
        yield from (Path(line) for line in listed.read_text(encoding="utf-8", errors="replace").splitlines() if line)
    roots = [
        home,
        Path("/opt"),
        Path("/usr/local"),
        *(Path(variables[name]) for name in ("LOCALAPPDATA", "PROGRAMDATA") if variables.get(name)),
    ]
    for root in roots:
        for name in ("miniforge3", "mambaforge", "miniconda3", "anaconda3", "micromamba", "conda"):
            yield root / name
            yield from _folders_in(root / name / "envs")


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError:  # it is not there, or not for this user
        return []
