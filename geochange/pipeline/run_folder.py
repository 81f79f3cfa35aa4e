"""The folder OUT of a run: scratch inside it, finished files by rename, resuming only what is the same run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from geochange.errors import BadOption, OutputInTheWay
from geochange.files import spare_inputs, write_whole
from geochange.system import locked

RECORD = "run.json"
LOG = "run.log"
LOCK = ".geochange.lock"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run: where it works, and what it leaves."""

    out: Path
    targets: Sequence[str] = ()
    """Patterns of the files that the run leaves, besides its record and log."""
    inputs: Sequence[Any] = ()
    """All that is read; only paths count."""

    @property
    def scratch(self) -> Path:
        """Where the run works."""
        return self.out / ".geochange"

    @property
    def blocks(self) -> Path:
        """Blocks that are done."""
        return self.scratch / "blocks"

    @property
    def fitted(self) -> Path:
        """The fitted detector."""
        return self.scratch / "fitted"

    @property
    def ready(self) -> Path:
        """Files that are whole, waiting to be published together."""
        return self.scratch / "ready"

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep all other runs out of the folder; one that was made for it, and stays empty, is removed at the end.

        Raises:
            OutputInTheWay: another run works in it, or it cannot be written.
        """
        self._require_access()
        made = not self.out.exists()
        self._make(self.out)
        try:
            with locked(self.out / LOCK):
                yield
        except BlockingIOError as error:
            raise OutputInTheWay(f"{self.out} is in use by another run ({error}); wait for it, or stop it") from error
        finally:
            if made and self.out.exists() and not any(self.out.iterdir()):
                self.out.rmdir()

    def require(
        self, identity: Mapping[str, Any], *, resume: bool | None, overwrite: bool, may_differ: Sequence[str] = ()
    ) -> bool:
        """Refuse a folder that may not be written; return whether the very same run has already been finished.

        Args:
            identity: inputs and options that identify this run.
            resume: whether to go on with the same run; None where a run cannot be gone on with.
            overwrite: whether to replace another run, or files with its names.
            may_differ: names in `identity` that may differ between the parts of a run.

        Raises:
            OutputInTheWay: the folder cannot be written, holds another run's files, or an input would be replaced.
            BadOption: resume and overwrite are both set.
        """
        if resume and overwrite:
            raise BadOption("resume and overwrite exclude each other: continue the run, or begin again")
        spare_inputs([self.out, *self._existing()], self.inputs)
        self._require_access()
        if overwrite:
            return False
        places = [self.out] if resume is None else [self.scratch, self.out]
        earlier = next((place / RECORD for place in places if (place / RECORD).exists()), None)
        if earlier is None:
            if foreign := self._existing():
                raise OutputInTheWay(f"{foreign[0]} exists, and is not of a finished run; --overwrite replaces it")
            return False
        record = self._read(earlier)
        finished = bool(record.get("finished", True))
        if not resume:
            raise self._occupied(finished=finished, resumable=resume is not None)
        before, now = record.get("identity"), json.loads(json.dumps(identity))
        if differing := _differences(before if isinstance(before, dict) else {}, now, may_differ=may_differ):
            raise OutputInTheWay(
                f"{self.out} holds a run that differs in {differing}; give the same inputs and options, or --overwrite"
            )
        return finished

    def begin(self, identity: Mapping[str, Any], *, resume: bool | None, overwrite: bool) -> bool:
        """Make the folder and its scratch ready for a run; return whether the very same run is already finished.

        Args:
            identity: as for `require`.
            resume: as for `require`.
            overwrite: as for `require`.

        Raises:
            OutputInTheWay, BadOption: as `require`; or a finished run lacks a file.
        """
        done = self.require(identity, resume=resume, overwrite=overwrite)
        if done and (missing := sorted(name for name in self._published() if not (self.out / name).exists())):
            raise OutputInTheWay(
                f"{self.out} holds a finished run that lacks {missing[0]}; --overwrite computes it again"
            )
        if resume and not done and (self.scratch / RECORD).exists():
            return False
        self._clear()
        if not done:
            for folder in (self.out, self.scratch, self.blocks, self.ready):
                self._make(folder)
            self._write(self.scratch, {"finished": False, "identity": identity})
        return done

    def start(self, record: Mapping[str, Any], *, overwrite: bool) -> None:
        """Make the folder ready for a run that works in it without a scratch, and write its record.

        Args:
            record: what is known before the run.
            overwrite: whether to remove what an earlier run left.
        """
        self._make(self.out)
        if overwrite:
            self._clear()
            for path in self._existing():
                self._remove(path)
        self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Write the record of the run."""
        self._write(self.out, record)

    def _existing(self) -> list[Path]:
        """Files in OUT that the run would replace or remove."""
        patterns = sorted({*self.targets, *map(escape, self._published())})
        return [path for pattern in patterns for path in self.out.glob(pattern) if not path.is_dir()]

    def _occupied(self, *, finished: bool, resumable: bool) -> OutputInTheWay:
        keep = f"--resume {'keeps' if finished else 'continues'} it, " if resumable else ""
        what, replace = ("a finished", "replaces it") if finished else ("an unfinished", "begins again")
        return OutputInTheWay(f"{self.out} holds {what} run; {keep}--overwrite {replace}")

    def _write(self, folder: Path, record: Mapping[str, Any]) -> None:
        write_whole(folder / RECORD, json.dumps(record, indent=2).encode())

    def _require_access(self) -> None:
        place = next(each for each in (self.out, *self.out.absolute().parents) if each.exists())
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            raise OutputInTheWay(f"{self.out} cannot be written to")

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputInTheWay(f"{folder} cannot be created: {error.strerror}") from error

    def _remove(self, path: Path) -> None:
        """Remove a file, and the folders within OUT that it leaves empty."""
        if path.is_file() or path.is_symlink():
            path.unlink()
            for folder in path.parents[: len(path.relative_to(self.out).parts) - 1]:
                if any(folder.iterdir()):
                    break
                folder.rmdir()

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            record = json.loads(path.read_text())
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise OutputInTheWay(f"{path} is damaged, or not of geochange; --overwrite begins again")
        return record

    def bytes_done(self) -> int:
        """Return what an earlier part of the same run has written already."""
        return sum(path.stat().st_size for path in self.blocks.rglob("*") if path.is_file())

    def publish(self, record: Mapping[str, Any]) -> None:
        """Move the ready files into OUT by rename, the record last; clear the scratch, and what a replaced run left."""
        ready = sorted(path.relative_to(self.ready) for path in self.ready.rglob("*") if path.is_file())
        stale = self._published() - {path.as_posix() for path in ready}
        (self.out / RECORD).unlink(missing_ok=True)
        for name in stale:
            self._remove(self.out / name)
        for path in ready:
            self._make((self.out / path).parent)
            os.replace(self.ready / path, self.out / path)
        self.write(record)
        self._clear()

    def _clear(self) -> None:
        """Remove the scratch; its record first, so that a half-removed one is not taken for an unfinished run."""
        (self.scratch / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _published(self) -> set[str]:
        """Names of the files that a finished run in OUT lists."""
        if not (self.out / RECORD).exists():
            return set()
        try:
            listed = self._read(self.out / RECORD).get("files", {}).values()
        except OutputInTheWay:  # what a damaged record listed is not known, and stays
            return set()
        names = {name for names in listed for name in ([names] if isinstance(names, str) else names)}
        return {name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts}

    def abandon(self) -> None:
        """Remove all traces of a run that failed before any of its blocks was done, whose folder is then free again."""
        if any(self.blocks.rglob("*.tif")):
            return
        self._clear()
        if {path.name for path in self.out.iterdir()} <= {LOG, LOCK}:
            (self.out / LOG).unlink(missing_ok=True)


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "", may_differ: Sequence[str] = ()
) -> str:
    found = []
    for key in sorted({*before, *now} - {*may_differ}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            found.append(_differences(old, new, f"{prefix}{key}."))
        elif old != new:
            found.append(f"{prefix}{key} ({_short(old)} then, {_short(new)} now)")
    return ", ".join(found)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
