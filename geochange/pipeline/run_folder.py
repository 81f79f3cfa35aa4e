"""The folder OUT of a run: scratch inside it, finished files by rename, resuming only what is the same run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geochange.errors import OutputInTheWay
from geochange.files import write_whole

RECORD = "run.json"
LOG = "run.log"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run works and what it leaves."""

    out: Path

    @property
    def scratch(self) -> Path:
        return self.out / ".geochange"

    @property
    def blocks(self) -> Path:
        return self.scratch / "blocks"

    @property
    def fitted(self) -> Path:
        return self.scratch / "fitted"

    @property
    def ready(self) -> Path:
        """Files that are whole, waiting to be published together."""
        return self.scratch / "ready"

    def begin(self, identity: Mapping[str, Any], *, resume: bool, overwrite: bool, targets: Sequence[str] = ()) -> bool:
        """Make the folder ready for a run; True where the very same run has already been finished.

        Args:
            identity: inputs and options that make this run what it is, as plain JSON values.
            targets: names of the files that the run will leave.

        Raises:
            OutputInTheWay: the folder cannot be written, or holds another run's files.
        """
        identity = json.loads(json.dumps(identity))
        self._make()
        finished = (self.out / RECORD).exists()
        started = (self.scratch / RECORD).exists()
        if resume and (started or finished):
            done = self._resume(identity, started=started)
            if done:
                self._clear()
            return done
        if (started or finished) and not overwrite:
            raise OutputInTheWay(
                f"{self.out} holds a finished run; --overwrite replaces it"
                if finished and not started
                else f"{self.out} holds an unfinished run; --resume continues it, --overwrite begins anew"
            )
        foreign = [name for name in targets if (self.out / name).exists()] if not (started or finished) else []
        if foreign and not overwrite:
            raise OutputInTheWay(
                f"{self.out / foreign[0]} exists, and is not of a finished run; --overwrite replaces it"
            )
        self._clear()
        for folder in (self.scratch, self.blocks, self.ready):
            folder.mkdir()
        write_whole(self.scratch / RECORD, json.dumps(identity, indent=2).encode())
        return False

    def _make(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputInTheWay(f"{self.out} cannot be made: {error.strerror}") from error
        if not os.access(self.out, os.W_OK | os.X_OK):
            raise OutputInTheWay(f"{self.out} cannot be written to")

    def _resume(self, identity: dict[str, Any], *, started: bool) -> bool:
        record = self._read(self.scratch if started else self.out)
        before = record if started else record.get("identity")
        if before != identity:
            before = before if isinstance(before, dict) else {}
            raise OutputInTheWay(
                f"{self.out} holds a run that differs in {_differences(before, identity)}; "
                "give the same inputs and options, or --overwrite"
            )
        missing = [] if started else sorted(name for name in self._published() if not (self.out / name).exists())
        if missing:
            raise OutputInTheWay(f"{self.out} holds a finished run that lacks {missing[0]}; --overwrite makes it anew")
        return not started

    def _read(self, folder: Path) -> dict[str, Any]:
        try:
            record = json.loads((folder / RECORD).read_text())
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise OutputInTheWay(f"{folder / RECORD} is damaged, or not of geochange; --overwrite begins anew")
        return record

    def bytes_done(self) -> int:
        """What an earlier part of the same run has written already."""
        return sum(path.stat().st_size for path in self.blocks.rglob("*") if path.is_file())

    def publish(self, record: Mapping[str, Any]) -> None:
        """Move the ready files into OUT by rename, the record last; clear the scratch, and what a replaced run left."""
        ready = sorted(self.ready.iterdir())
        stale = self._published() - {file.name for file in ready}
        (self.out / RECORD).unlink(missing_ok=True)
        for name in stale:
            (self.out / name).unlink(missing_ok=True)
        for file in ready:
            os.replace(file, self.out / file.name)
        write_whole(self.out / RECORD, json.dumps(record, indent=2).encode())
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
            listed = self._read(self.out).get("files", {}).values()
        except OutputInTheWay:  # what a damaged record listed is not known, and stays
            return set()
        names = {name for names in listed for name in ([names] if isinstance(names, str) else names)}
        return {name for name in names if Path(name).name == name}

    def abandon(self, *, keep_folder: bool = False) -> None:
        """Leave no trace of a run that failed before any of its blocks was done, so that it need not be overwritten."""
        if any(self.blocks.rglob("*.tif")):
            return
        self._clear()
        if {path.name for path in self.out.iterdir()} <= {LOG}:
            (self.out / LOG).unlink(missing_ok=True)
            if not keep_folder:
                self.out.rmdir()


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            found.append(_differences(old, new, f"{prefix}{key}."))
        elif old != new:
            found.append(f"{prefix}{key} ({_short(old)} then, {_short(new)} now)")
    return ", ".join(found)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
