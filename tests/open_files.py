"""What Windows forbids: a file that is replaced, moved or removed while a process of ours holds it open.

Windows refuses that to Python, GDAL, SQLite and NumPy's maps alike; Linux allows it, but tells which files are open.
`python open_files.py CASES` runs commands, one after the other, and prints as JSON what of each would have failed.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

TOOLS = {"open_files.py", "mock.py", "shutil.py", "pathlib.py", "contextlib.py", "tempfile.py"}
"""Files of code that are not named as the place of a fault."""


def watchable() -> bool:
    """Whether the system tells which files are open."""
    return Path("/proc/self/maps").exists()


def processes() -> list[int]:
    """Return the numbers of this process, and of all that it, or one of those, has started."""
    found = [os.getpid()]
    for each in found:
        try:
            tasks = list(Path(f"/proc/{each}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:  # it has ended
            continue
    return found


def files_held() -> set[str]:
    """Return the real paths of the files that are open, or mapped into memory, in any of the processes."""
    return {path for number in processes() for path in (*_opened(number), *_mapped(number))}


def _opened(number: int) -> Iterator[str]:
    try:
        links = list(Path(f"/proc/{number}/fd").iterdir())
    except OSError:
        return
    for link in links:
        try:
            path = os.readlink(link)
        except OSError:
            continue
        if path.startswith("/") and not os.path.isdir(link):  # a folder is open while it is listed
            yield path


def _mapped(number: int) -> Iterator[str]:
    try:
        lines = Path(f"/proc/{number}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return
    yield from (parts[5] for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5].startswith("/"))


@contextmanager
def watched(folder: Path, *, refusing: bool = False) -> Iterator[list[str]]:
    """Note, for all that Python replaces, moves or removes below a folder, what is open; yield the notes.

    Args:
        folder: no link.
        refusing: whether to refuse it, too, as Windows does.
    """
    notes: list[str] = []
    top = os.path.realpath(folder)

    def guarded(name: str, both: bool) -> Any:
        call: Callable[..., Any] = getattr(os, name)

        def check(*paths: Any, **options: Any) -> Any:
            touched = [_real(each, options.get("dir_fd")) for each in paths[: 2 if both else 1]]
            own = [each for each in touched if each.startswith(f"{top}/")]
            held = files_held() if own else set()
            for path in own:
                if found := sorted(each for each in held if each == path or each.startswith(f"{path}/")):
                    notes.append(f"{name} {os.path.relpath(path, top)}: {_place()}, open {found[:3]}")
                    if refusing:
                        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return call(*paths, **options)

        return patch.object(os, name, check)

    with guarded("replace", True), guarded("rename", True), guarded("unlink", False), guarded("remove", False):
        yield notes


def _real(path: Any, folder: int | None) -> str:
    """Return a path without links above it, as the system names open files."""
    text = os.fsdecode(path)
    if folder is not None:
        text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    above, name = os.path.split(os.path.abspath(text))
    return os.path.join(os.path.realpath(above), name)


def _place() -> str:
    """Return where in the code a file is touched, from outside inwards."""
    frames = [each for each in traceback.extract_stack() if os.path.basename(each.filename) not in TOOLS]
    own = [each for each in frames if f"{os.sep}geochange{os.sep}" in each.filename]
    return " > ".join(f"{os.path.basename(each.filename)}:{each.lineno}" for each in own[-4:])


def windows_system() -> ModuleType:
    """Load what `geochange.system` is on Windows: its other branch, with locks that this system has."""
    import_module("geochange.errors")  # before the modules are patched, which forgets those that are new
    found = find_spec("geochange.system")
    assert found is not None
    assert found.origin is not None
    spec = spec_from_file_location("geochange.system", found.origin)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    locks = SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=_lock_byte)
    with (
        patch.object(sys, "platform", "win32"),
        patch.object(signal, "SIGBREAK", signal.SIGHUP, create=True),
        patch.dict(sys.modules, {"msvcrt": locks}),
    ):
        spec.loader.exec_module(module)
    return module


def _lock_byte(descriptor: int, way: int, count: int) -> None:
    """Lock the byte at which a file stands; others may then not read it."""
    import fcntl

    assert count == 1
    assert os.lseek(descriptor, 0, os.SEEK_CUR) > 1 << 20, "the content of a locked file could not be read"
    fcntl.flock(descriptor, fcntl.LOCK_UN if way == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB)


def run_watched(folder: Path, cases: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Run commands in a process of their own, as on Windows: of each its `code`, `line` on stderr, `notes` and `left`.

    Args:
        folder: all that commands write lies below it.
        cases: the arguments of each.
    """
    listed = folder / "watched.json"
    listed.write_text(json.dumps({"folder": str(folder), "cases": [list(each) for each in cases]}))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, __file__, str(listed)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _run(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    from geochange.cli import main

    code: Any = None
    with watched(folder, refusing=True) as notes, redirect_stderr(io.StringIO()) as errors:
        try:
            main(list(arguments))
        except SystemExit as ended:
            code = ended.code
    left = sorted(str(path.relative_to(folder)) for path in folder.rglob(".geochange*"))
    for each in left:
        shutil.rmtree(folder / each, ignore_errors=True)
    return {"arguments": list(arguments), "code": code, "line": errors.getvalue(), "notes": notes, "left": left}


def become_windows() -> None:
    """Have all of geochange that is imported from now on use the calls of Windows."""
    import geochange

    shutil.rmtree.__globals__["_use_fd_functions"] = False  # by paths
    geochange.system = sys.modules["geochange.system"] = windows_system()  # type: ignore[attr-defined]


def main() -> None:
    """Run the commands."""
    become_windows()
    told = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([_run(each, Path(told["folder"])) for each in told["cases"]]))


if __name__ == "__main__":
    main()
