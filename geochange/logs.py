"""The log of a run in a file: lines without secrets, warnings of libraries, and what stopped it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geochange.errors import SEE, BlockFailed, GeochangeError
from geochange.redaction import one_line

log, warned = logging.getLogger("geochange"), logging.getLogger("py.warnings")


class _LogLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return one line without secrets."""
        return one_line(super().format(record))


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Ignore a log that cannot be written: on a full disk, say, the run reports that itself."""


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Write what is logged inside, and warnings of libraries where they are not printed, to a file.

    What stops the run is the last entry; a fault of ours has its traceback there, and a note that names the file.
    """
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(_LogLine("%(asctime)s %(levelname)s %(message)s"))
    for each in (log, warned):
        each.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        yield
    except BaseException as error:
        ours = isinstance(error, Exception) and not isinstance(error, GeochangeError | OSError)
        log.error("stopped: %s: %s", type(error).__name__, error, exc_info=ours or isinstance(error, BlockFailed))
        if ours:
            error.add_note(f"{SEE}{path}")
        raise
    finally:
        log.setLevel(level)
        for each in (log, warned):
            each.removeHandler(handler)
        handler.close()
