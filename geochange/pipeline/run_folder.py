"""The folder OUT of a run: scratch inside it, finished files by rename, resuming only what is the same run."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from geochange.errors import BadOption, OutputInTheWay, OutputInUse
from geochange.files import (
    HIDDEN,
    discard_folder,
    naming_full_disks,
    remove_leftovers,
    require_on_disk,
    spare_inputs,
    visible_in,
    write_whole,
)
from geochange.open_datasets import release
from geochange.review.store import FOLDER, TRUTH, read_actions
from geochange.system import locked, remove, replace

log = logging.getLogger("geochange")

RECORD = "run.json"
LOG = "run.log"
LOCK = ".geochange.lock"
SCRATCH = ".geochange"
BLOCKS = "blocks"
_BLOCKS = re.compile(rf"{BLOCKS}-[0-9a-f]{{8}}")


def _never(path: Path) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run: where it works, and what it leaves."""

    out: Path
    command: str
    """Whose runs the folder may hold."""
    targets: Sequence[str] = ()
    """Patterns of the files that the run leaves, besides its record."""
    inputs: Sequence[Any] = ()
    """All that is read; see `files_read`."""
    earlier: Sequence[str] = ()
    """Patterns of further files that runs of the command leave under other options; those of one that is replaced go
    where its record lists them."""
    recognise: Callable[[Path], bool] = _never
    """Whether the command has written a file that matches no pattern."""

    @property
    def place(self) -> str:
        """What messages call the folder of the results."""
        return str(self.out)

    @property
    def scratch(self) -> Path:
        """Where the run works."""
        return self.out / SCRATCH

    @property
    def blocks(self) -> Path:
        """Blocks that are done.

        A folder of its own for each run: what another one that was stopped has left to workers, which may still go on
        with it, is not written among the blocks of this one.
        """
        name = (self._content(self.scratch / RECORD) or {}).get("blocks", BLOCKS)
        return self.scratch / (name if isinstance(name, str) and _BLOCKS.fullmatch(name) else BLOCKS)

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
        self._require_plain()
        made = not self.out.exists()
        self._make(self.out)
        try:
            with naming_full_disks(self.out), locked(self.out / LOCK):
                for folder in self._folders():
                    remove_leftovers(folder)
                yield
        except BlockingIOError as error:
            raise OutputInUse(f"{self.place} is in use by another run ({error}); wait for it, or stop it") from error
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
        self._require_access()
        self._require_plain()
        spare_inputs([self.out, *self._existing()], self.inputs)
        self._require_own()
        if overwrite:
            self._require_unreviewed()
            return False
        places = [self.out] if resume is None else [self.scratch, self.out]
        earlier = next((place / RECORD for place in places if (place / RECORD).exists()), None)
        if earlier is None:
            if foreign := self._in_the_way():
                raise OutputInTheWay(f"{foreign[0]} exists, and is not of a finished run; --overwrite replaces it")
            return False
        record = self._content(earlier) or {}
        finished = bool(record.get("finished", True))
        if not resume:
            raise self._occupied(finished=finished, resumable=resume is not None)
        before, now = record.get("identity"), json.loads(json.dumps(identity))
        if differing := _differences(_still_there(before, now), now, may_differ=may_differ):
            raise OutputInTheWay(
                f"{self.place} holds a run that differs in {differing}; "
                "give the same inputs and options, or --overwrite"
            )
        return finished

    def _require_unreviewed(self) -> None:
        """Refuse to replace a run of which people have decided something."""
        truth = self.out / FOLDER / TRUTH
        if truth.exists() and (actions := read_actions(truth)):
            raise OutputInTheWay(
                f"{self.out} holds a review of {len(actions)} actions; use another folder, or move {truth.parent} away"
            )

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
        if done and (missing := self._missing(self.listed())):
            raise OutputInTheWay(
                f"{self.place} holds a finished run that lacks {missing[0]}; --overwrite computes it again"
            )
        if resume and not done and (self.scratch / RECORD).exists():
            return False
        self._clear()
        if not done:
            self._make(self.scratch)
            blocks = f"{BLOCKS}-{uuid4().hex[:8]}"
            self._write(self.scratch, {"finished": False, "identity": identity, "blocks": blocks})
            for folder in (self.blocks, self.ready):
                self._make(folder)
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
        """Write the record of the run.

        Raises:
            OutputInTheWay: it is finished, and a file that it lists is not there.
        """
        if record.get("finished", True) and (missing := self._missing(_names_in(record))):
            raise OutputInTheWay(f"{self.out / missing[0]} was removed while the run was writing; run it again")
        self._write(self.out, record)

    def _existing(self) -> list[Path]:
        """Files in OUT that the run would replace or remove."""
        named = {path for pattern in self.targets for path in self.out.glob(pattern)}
        return sorted(path for path in {*named, *map(self.out.joinpath, self._published())} if not path.is_dir())

    def _in_the_way(self) -> list[str]:
        """Names of files that are not of a run, and that it would replace."""
        return list(map(str, self._existing()))

    def _folders(self) -> list[Path]:
        """OUT, and the folders in it that hold files of the run, or such folders; what is hidden is scratch."""
        above = (parent for each in (*self.targets, *self.earlier) for parent in PurePosixPath(each).parents)
        found = {path for pattern in {*map(str, above)} - {"."} for path in self.out.glob(pattern) if path.is_dir()}
        inside = {path for path in found if not path.name.startswith(HIDDEN)}
        return [self.out, *sorted(each for each in inside if self._holds(each))]

    def _holds(self, path: Path) -> bool:
        """Whether a path lies in OUT, and no link leads out of it."""
        return path.parent.resolve().is_relative_to(self.out.resolve())

    def _missing(self, names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if not (self.out / name).exists())

    def _require_plain(self) -> None:
        """Refuse links and folders in the place of files of ours: what a link leads to is somebody else's."""
        for name in (RECORD, LOG, LOCK, SCRATCH):
            path = self.out / name
            if path.is_symlink() or (path.exists() and not (path.is_dir() if name == SCRATCH else path.is_file())):
                what = "link" if path.is_symlink() else "file" if name == SCRATCH else "folder, or no plain file"
                raise OutputInTheWay(f"{path} is a {what}; remove it, or choose another folder")
        if folders := [path for pattern in self.targets for path in self.out.glob(pattern) if path.is_dir()]:
            raise OutputInTheWay(f"{folders[0]} is a folder; remove it, or choose another one for the run")

    def _require_own(self) -> None:
        """Refuse a folder with a run of another command, or with a record or a scratch that is not of geochange."""
        for place in (self.scratch, self.out):
            if not (place / RECORD).exists():
                continue
            command = _command_of(self._content(place / RECORD))
            if command is None:
                raise OutputInTheWay(
                    f"{place / RECORD} is damaged, or not of geochange; remove it, or choose another folder"
                )
            if command != self.command:
                raise OutputInTheWay(f"{self.place} holds a run of `geochange {command}`; choose another folder")
        if not (self.scratch / RECORD).exists() and self.scratch.exists() and visible_in(self.scratch):
            raise OutputInTheWay(f"{self.scratch} is not of geochange; remove it, or choose another folder")

    def _occupied(self, *, finished: bool, resumable: bool) -> OutputInTheWay:
        keep = f"--resume {'keeps' if finished else 'continues'} it, " if resumable else ""
        what, replace = ("a finished", "replaces it") if finished else ("an unfinished", "begins again")
        return OutputInTheWay(f"{self.place} holds {what} run; {keep}--overwrite {replace}")

    def _write(self, folder: Path, record: Mapping[str, Any]) -> None:
        write_whole(folder / RECORD, json.dumps({"command": self.command, **record}, indent=2).encode())

    def _require_access(self) -> None:
        require_on_disk(self.out)
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
            release(path)
            remove(path)
            for folder in path.parents[: len(path.relative_to(self.out).parts) - 1]:
                if any(folder.iterdir()):
                    break
                folder.rmdir()

    def _content(self, path: Path) -> dict[str, Any] | None:
        """Return a record; None where there is none, or a damaged one."""
        try:
            record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        except (ValueError, RecursionError):
            return None
        return record if isinstance(record, dict) else None

    def bytes_done(self) -> int:
        """Return what an earlier part of the same run has written already."""
        return sum(path.stat().st_size for path in self.blocks.rglob("*") if path.is_file())

    def publish(self, record: Mapping[str, Any]) -> None:
        """Move the ready files into OUT by rename, the record last; clear the scratch, and what a replaced run left.

        Raises:
            OutputInTheWay: a file that the record lists is not there.
        """
        ready = self._make_ready(record)
        stale = self._published() - {path.as_posix() for path in ready}
        remove(self.out / RECORD)
        for name in stale:
            self._remove(self.out / name)
        release(self.out)
        for path in ready:
            self._make((self.out / path).parent)
            replace(self.ready / path, self.out / path)
        if missing := self._missing(_names_in(record)):
            raise OutputInTheWay(f"{self.out / missing[0]} was removed while the run was writing; run it again")
        replace(self.ready / RECORD, self.out / RECORD)
        self._leave_scratch()

    def _make_ready(self, record: Mapping[str, Any]) -> list[Path]:
        """Put the record beside the ready files; return their names in OUT.

        Raises:
            OutputInTheWay: a file that the record lists is not there.
        """
        ready = sorted(path.relative_to(self.ready) for path in self.ready.rglob("*") if path.is_file())
        if lost := sorted(_names_in(record) - {path.as_posix() for path in ready}):
            raise OutputInTheWay(f"{self.ready / lost[0]} was removed while the run was writing; run it again")
        self._write(self.ready, record)  # before anything is moved: a full disk must not leave files without it
        return ready

    def _clear(self) -> None:
        """Remove the scratch, under another name, so that a half-removed one is not taken for an unfinished run."""
        if self.scratch.exists():
            discard_folder(self.scratch)

    def _leave_scratch(self) -> None:
        """Remove the scratch at the end of a run, whose outcome does not depend on it."""
        try:
            self._clear()
        except OutputInTheWay as error:
            log.warning("%s", error)

    def _published(self) -> set[str]:
        """Names of files in OUT that a finished run lists, and that the command can have written.

        What a damaged record listed is not known, and stays.
        """
        found = (self.out / name for name in self.listed() if self._may_remove(name))
        return {path.relative_to(self.out).as_posix() for path in found}

    def listed(self) -> set[str]:
        """Return the names of files that the record in OUT lists."""
        return _names_in(self._content(self.out / RECORD) or {})

    def _may_remove(self, name: str) -> bool:
        path = self.out / name
        if not (path.is_file() or path.is_symlink()) or not self._holds(path):
            return False
        return self._matches(name) or self.recognise(path)

    def _matches(self, name: str) -> bool:
        """Whether the command may have written a file of this name."""
        return any(_matches(name, pattern) for pattern in (*self.targets, *self.earlier))

    def abandon(self, *, with_blocks: bool = False) -> None:
        """Remove all traces of a run that failed, whose folder is then free again; but not where blocks are done.

        Args:
            with_blocks: these, too, for the same run would fail again.
        """
        if not with_blocks and any(self.blocks.rglob("*.tif")):
            return
        self._leave_scratch()
        if LOG in self.targets and not (self.out / RECORD).exists():
            (self.out / LOG).unlink(missing_ok=True)


def _names_in(record: Mapping[str, Any]) -> set[str]:
    """Return the names of files that a record lists, which may come from anywhere: those that stay in its folder."""
    files = record.get("files")
    listed = [each for each in files.values() if isinstance(each, str | list)] if isinstance(files, dict) else []
    names = {name for each in listed for name in ([each] if isinstance(each, str) else each) if isinstance(name, str)}
    return {name for name in names if name and "\0" not in name and _stays_inside(Path(name))}


def _stays_inside(name: Path) -> bool:
    return not name.is_absolute() and ".." not in name.parts and name.parts[:1] != (SCRATCH,)


def _matches(name: str, pattern: str) -> bool:
    """Whether a path matches a pattern, part by part."""
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _command_of(record: Mapping[str, Any] | None) -> str | None:
    """Return the command that left a record; `train` for one without, as training runs wrote them once."""
    if record is None:
        return None
    identity = record.get("identity")
    command = record.get("command", identity.get("command") if isinstance(identity, dict) else None)
    if isinstance(command, str):
        return command
    return "train" if isinstance(identity, dict) and "scene" not in identity else None


def _still_there(before: Any, now: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without the contents of files that are gone: what a run needs of them, it has kept."""
    known = dict(before) if isinstance(before, dict) else {}
    if isinstance(known.get("contents"), dict) and isinstance(now.get("contents"), dict):
        known["contents"] = {name: each for name, each in known["contents"].items() if name in now["contents"]}
    return known


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "", may_differ: Sequence[str] = ()
) -> str:
    found = []
    for key in sorted({*before, *now} - {*may_differ}):
        old, new = _by_place(before.get(key)), _by_place(now.get(key))
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            found.append(_differences(old, new, f"{prefix}{key}."))
        elif old != new:
            found.append(f"{prefix}{key} ({_short(old)} then, {_short(new)} now)")
    return ", ".join(found)


def _by_place(value: Any) -> Any:
    """Return a list of mappings as one by their places, from 1."""
    listed = isinstance(value, list) and value and all(isinstance(each, dict) for each in value)
    return {str(place): each for place, each in enumerate(value, start=1)} if listed else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
