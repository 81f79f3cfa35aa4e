"""Runs commands that are hindered: `python forked_commands.py CASES`; prints a list of what became of each, as JSON.

CASES is JSON, a list of mappings: `arguments`; `limit` of the size of files in bytes, or null; `signal` that the
command gets, or arguments of another one that runs `beside` it, `after` so many seconds. Each command is a fork, so
that imports are paid for once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTED = (
    "geopandas",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "optuna",
    "rasterio",
    "torch.utils.tensorboard",
    "geochange.cli.program",
    *(f"geochange.pipeline.{name}" for name in ("detect", "evaluate", "explain", "export_model", "finetune", "tune")),
)
"""What takes long to import, before the first case."""
GRACE = 10  # seconds that processes may live on after the one that started them


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Limit the size of files that this process writes, in bytes."""
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def run_forked(folder: Path, cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run cases, and return of each: `code`, `lines` on stderr, `seconds`, whether processes were `orphaned`; `beside`.

    Args:
        folder: where the list of cases may be written.
        cases: as in CASES.
    """
    listed = folder / "cases.json"
    listed.write_text(json.dumps(cases))
    ended = subprocess.run([sys.executable, __file__, listed], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _run(case: Mapping[str, Any]) -> dict[str, Any]:
    begun = time.monotonic()
    child, errors = _start(case)
    if "after" in case:
        time.sleep(case["after"])
    if "signal" in case:
        os.kill(child, case["signal"])  # it is there until it is waited for
    other = _start({**case, "arguments": case["beside"]}) if "beside" in case else None
    found = _end(child, errors)
    seconds = time.monotonic() - begun
    beside = {} if other is None else {"beside": _end(*other)}
    return {**found, "seconds": seconds, **beside}


def _start(case: Mapping[str, Any]) -> tuple[int, int]:
    """Fork a process that runs a command: its number, and where its stderr can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(writing, 2)
        os.close(writing)
        _become(case)
    os.close(writing)
    return child, reading


def _end(child: int, reading: int) -> dict[str, Any]:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    orphaned = _lives_on(child)
    with open(reading, encoding="utf-8", errors="replace") as errors:
        lines = [each for each in errors.read().strip().splitlines() if not each.startswith("_tiff")]  # libtiff's own
    return {"code": code, "lines": lines, "orphaned": orphaned}


def _become(case: Mapping[str, Any]) -> None:
    """Run a command in place of this process."""
    import resource

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if case.get("limit") is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (case["limit"], case["limit"]))
    from geochange.cli import main

    code = 1
    try:
        main(case["arguments"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def _lives_on(group: int) -> bool:
    """Whether a process of a group is left after a while; it is killed."""
    for _ in range(GRACE * 10):
        try:
            os.killpg(group, 0)
        except OSError:
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True


def main() -> None:
    """Run all cases."""
    for name in IMPORTED:
        import_module(name)
    import_module("torch").set_num_threads(1)
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    print(json.dumps([_run(case) for case in cases]))


if __name__ == "__main__":
    main()
