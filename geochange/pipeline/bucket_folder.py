"""The folder OUT of a run in a bucket: the run works on a disk, and what it leaves is published at the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from geochange.buckets import Bucket, is_bucket, open_bucket
from geochange.errors import OutputInTheWay
from geochange.files import write_whole
from geochange.pipeline.run_folder import LOG, RECORD, RunFolder
from geochange.redaction import redact
from geochange.system import cache_folder


@dataclass(frozen=True, kw_only=True)
class BucketFolder(RunFolder):
    """A folder in a bucket, and the one on a disk in which the run works; from there it is gone on with."""

    bucket: Bucket = field(repr=False)

    @property
    def place(self) -> str:
        """What messages call the folder of the results."""
        return str(self.bucket)

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep all other runs of this machine out; see `RunFolder.owned`.

        Raises:
            OutputInTheWay: another run of this machine works for it, or the bucket cannot be written.
            UnreadableInput: the bucket cannot be read.
        """
        self.bucket.require_writable()
        with RunFolder.owned(self):
            record = self.bucket.read(RECORD)
            if record is not None:
                write_whole(self.out / RECORD, record)
            elif not self.scratch.exists():  # else it lists what the run that waits is to replace
                (self.out / RECORD).unlink(missing_ok=True)
            try:
                yield
            finally:
                if not self.scratch.exists():
                    (self.out / RECORD).unlink(missing_ok=True)
                    (self.out / LOG).unlink(missing_ok=True)

    def publish(self, record: Mapping[str, Any]) -> None:
        """Write the ready files to the bucket, the record last; clear the disk, and what a replaced run left.

        Raises:
            OutputInTheWay: the bucket cannot be written; the run can be gone on with.
        """
        ready = self._make_ready(record)
        stale = self._published() - {path.as_posix() for path in ready}
        try:
            self.bucket.remove([RECORD, *sorted(stale)])
            for path in ready:
                if path.as_posix() != RECORD:
                    self.bucket.write(path.as_posix(), self.ready / path)
            if (self.out / LOG).exists():
                self.bucket.write(LOG, (self.out / LOG).read_bytes())
            self.bucket.write(RECORD, self.ready / RECORD)
        except OutputInTheWay as error:
            raise OutputInTheWay(f"{error}; what is done waits in {self.out}, add --resume") from error
        self._leave_scratch()

    def _in_the_way(self) -> list[str]:
        return [f"{self.bucket}/{name}" for name in sorted(filter(self._matches, self.bucket.names()))]

    def _missing(self, names: Iterable[str]) -> list[str]:
        return sorted(set(names) - self.bucket.names())

    def _published(self) -> set[str]:
        return set(filter(self._matches, self.listed()))


def run_folder(out: str | os.PathLike[str], scratch: str | None, command: str, *more: Any) -> RunFolder:
    """Return the folder of a run, on a disk or in a bucket.

    Args:
        out: a path, or the address of a folder in a bucket.
        scratch: where runs work whose results go to a bucket; None: in the user's cache folder.
        command: as of `RunFolder`, and so are all others.
        more: as of `RunFolder`.

    Raises:
        BadOption: the address cannot be used.
    """
    place = working_folder(out, scratch)
    if not is_bucket(out):
        return RunFolder(place, command, *more)
    place.parent.mkdir(parents=True, exist_ok=True)
    return BucketFolder(place, command, *more, bucket=open_bucket(str(out)))


def working_folder(out: str | os.PathLike[str], scratch: str | None) -> Path:
    """Return where on a disk a run works: OUT itself where that is on one."""
    if not is_bucket(out):
        return Path(out).absolute()
    name = blake2b(redact(str(out)).rstrip("/").encode(), digest_size=12).hexdigest()
    return (cache_folder() / "runs" if scratch is None else Path(scratch).absolute()) / name
