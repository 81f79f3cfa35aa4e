"""Runs commands under limits of file size: `python limited_files.py CASES`; prints exit code and stderr of each.

CASES is JSON: a list of [limit in bytes or null, arguments]. Each case is a fork, so that imports are paid for once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


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


def run_limited(limit: int | None, arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of one command."""
    import resource

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        os.close(writing)
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        from geochange.cli import main

        code = 1
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as errors:
        lines = errors.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines


def main() -> None:
    """Run all cases."""
    import geopandas  # noqa: F401
    import rasterio  # noqa: F401
    import torch

    import geochange.cli.program  # noqa: F401

    torch.set_num_threads(1)
    with open(sys.argv[1], encoding="utf-8") as file:
        cases = json.load(file)
    print(json.dumps([run_limited(*case) for case in cases]))


if __name__ == "__main__":
    main()
