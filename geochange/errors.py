"""Errors that a user can fix: each message gives both values and the fix, on one line."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from geochange.redaction import redact

SEE = "see "  # begins the note of an error whose traceback lies in a log


class GeochangeError(Exception):
    """Base of all errors that a user can fix; the command line prints it on one line and exits with 2."""

    def __str__(self) -> str:
        """Return the message, without secrets of the names in it."""
        return redact(super().__str__())


class UnreadableInput(GeochangeError, OSError):
    """A file is missing, is not what it should be, or breaks off in the middle."""


class GridMismatch(GeochangeError, ValueError):
    """Two dates do not lie on one grid."""


class BandMismatch(GeochangeError, ValueError):
    """Bands are out of range, or differ between dates."""


class NothingValid(GeochangeError, ValueError):
    """No pixel holds data at every date, or all of them are alike."""


class BadOption(GeochangeError, ValueError):
    """An option has a value that it cannot have."""


class OutputInTheWay(GeochangeError, OSError):
    """The output cannot be written: it exists, belongs to another run, or may not be written."""


class OutputInUse(OutputInTheWay):
    """Another run works in the folder."""


class DiskFull(GeochangeError, OSError):
    """The disk holds less than the run needs."""


class BlockFailed(GeochangeError, RuntimeError):
    """A block could not be computed, also after retries."""


class ClusterFailed(GeochangeError, RuntimeError):
    """A Dask cluster cannot do the work, or no longer."""


class NoWorkers(ClusterFailed):
    """A cluster has had no worker for as long as was to be waited."""


class SchedulerLost(ClusterFailed):
    """The scheduler does not answer any more."""


class WorkerUnfit(ClusterFailed):
    """A worker lacks geochange, has another version of it, or cannot see a file."""


class WorkerDied(ClusterFailed):
    """A task ended several workers, one after the other."""


class PairsFailed(GeochangeError, RuntimeError):
    """Some pairs of a table could not be done; the others are."""


class NotFinite(GeochangeError, ArithmeticError):
    """The loss, its gradient or the scores of a network are not finite."""


def require_known(name: str, chosen: Iterable[str], known: Collection[str]) -> None:
    """Raise BadOption where one of the values chosen for an option is not a known one."""
    if unknown := sorted(set(chosen) - set(known)):
        raise BadOption(f"{name} {unknown[0]!r} is not one of {', '.join(known)}")
