"""The truth of a review: an append-only file of actions, one writer, answers only after the commit."""

from __future__ import annotations

import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from geochange.errors import DiskFull, GeochangeError, UnreadableInput
from geochange.names import sqlite_name
from geochange.review.actions import Action, Fields, Request
from geochange.review.state import ReviewState, fold

log = logging.getLogger("geochange")

FOLDER, TRUTH = "review", "review.sqlite"
"""Where a run keeps its review, and the name of its file of actions."""

FORMAT = "1"
PROBE_SECONDS = 1.0  # between writes that find out whether a full disk has room again
PROBE_BYTES = 1 << 16
BUSY_SECONDS = 10.0

_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS actions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL, who TEXT NOT NULL, op TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, items TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS actions_stay BEFORE UPDATE ON actions BEGIN SELECT RAISE(ABORT, 'actions stay'); END;
CREATE TRIGGER IF NOT EXISTS actions_last BEFORE DELETE ON actions BEGIN SELECT RAISE(ABORT, 'actions stay'); END;
"""
_ROWS = "SELECT seq, at, who, op, kind, items FROM actions WHERE seq > ? ORDER BY seq"
_INSERT = "INSERT INTO actions (seq, at, who, op, kind, items) VALUES (?, ?, ?, ?, ?, ?)"

Untouched = Callable[[str], Fields | None]


def read_actions(path: Path, after: int = 0) -> list[Action]:
    """Read the actions of a review, beside a live server too.

    Raises:
        UnreadableInput: the file is missing, damaged, or not a review.
    """
    with _readable(path) as database:
        return [Action.from_row(row) for row in database.execute(_ROWS, (after,))]


@contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise UnreadableInput(f"{path} does not exist; `geochange review` begins a review")
    try:
        with closing(
            sqlite3.connect(sqlite_name(path.resolve(), "mode=ro"), uri=True, timeout=BUSY_SECONDS)
        ) as database:
            yield database
    except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
        raise UnreadableInput(f"{path} is damaged, or not a review: {error}") from error


@dataclass(frozen=True, slots=True)
class _Asked:
    request: Request
    answer: Future[Action]


class ReviewStore:
    """All decisions of a review: written by one thread, read from memory.

    An action is answered when it is on the disk. Where a commit fails the store knows no more than the file does, and
    takes no actions until the disk takes them again.
    """

    def __init__(self, path: Path, untouched: Untouched, facts: Mapping[str, str] | None = None, *, top: int) -> None:
        """Open a review, or begin it.

        Args:
            path: the file.
            untouched: fields of a change or cell before anyone touched it; None where there is none.
            facts: what the review is of; it is kept with the first action, and must stay.
            top: the highest id of a change that was found.

        Raises:
            UnreadableInput: the file is damaged, no review, or one of something else.
            DiskFull: it cannot be written.
        """
        self.path = path
        self.id = ""
        """What tells this review from all others."""
        self.read_only: str | None = None
        """Why nothing can be written at the moment."""
        self._untouched, self._top = untouched, top
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._listeners: list[Callable[[Sequence[Action]], None]] = []
        self._make({"format": FORMAT, **(facts or {})})
        self.state = self._state_of_file()
        self._writer = threading.Thread(target=self._write, name="review-writer", daemon=True)
        self._writer.start()

    def act(self, request: Request) -> Future[Action]:
        """Ask for an action; the answer is there when it has been committed.

        The answer fails with StaleAction or BadAction where the action cannot be, and with DiskFull where it cannot be
        written. A request whose `op` has been recorded before has the old answer.
        """
        answer: Future[Action] = Future()
        self._asked.put(_Asked(request, answer))
        return answer

    def listen(self, listener: Callable[[Sequence[Action]], None]) -> None:
        """Have a function called, in the writer's thread, with all actions after each commit."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[Sequence[Action]], None]) -> None:
        """Call a function no more."""
        self._listeners.remove(listener)

    def close(self) -> None:
        """Write what has been asked for, and end."""
        self._asked.put(None)
        self._writer.join()

    def __enter__(self) -> ReviewStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, facts: Mapping[str, str]) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            os.close(descriptor)
            with closing(self._connect()) as database:
                database.executescript(_TABLES)
                (begun,) = database.execute("SELECT count(*) FROM actions").fetchone()
                way = "IGNORE" if begun else "REPLACE"
                database.executemany(f"INSERT OR {way} INTO about VALUES (?, ?)", facts.items())
                database.execute("INSERT OR IGNORE INTO about VALUES ('id', ?)", (uuid4().hex,))
                found = dict(database.execute("SELECT name, value FROM about").fetchall())
        except sqlite3.OperationalError as error:
            raise _full(self.path, error) from error
        except sqlite3.DatabaseError as error:
            raise UnreadableInput(f"{self.path} is damaged, or not a review: {error}; move it away") from error
        self.id = str(found["id"])
        if changed := [f"{name} {found[name]}, now {value}" for name, value in facts.items() if found[name] != value]:
            raise UnreadableInput(f"{self.path} is a review of {changed[0]}; move it away to begin another")

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_SECONDS)
        (mode,) = database.execute("PRAGMA journal_mode = WAL").fetchone()
        database.execute("PRAGMA synchronous = FULL")
        if mode != "wal":
            log.info("%s: the disk has no shared memory for a write-ahead log; a rollback journal is used", self.path)
        return database

    def _state_of_file(self) -> ReviewState:
        return fold(self._untouched, read_actions(self.path), self._top)

    def _write(self) -> None:
        database = self._connect()
        try:
            while (batch := self._next_batch()) is not None:
                if batch:
                    self._treat_or_answer(database, batch)
                else:
                    self._probe(database)
        finally:
            with closing(database), suppress(sqlite3.OperationalError):  # where somebody reads it just now, it stays
                database.execute("PRAGMA journal_mode = DELETE")  # whoever reads the file leaves nothing beside it

    def _next_batch(self) -> list[_Asked] | None:
        """Take all that waits; nothing where it is time to look at a full disk; None at the end."""
        try:
            first = self._asked.get(timeout=PROBE_SECONDS if self.read_only else None)
        except queue.Empty:
            return []
        batch = [] if first is None else [first]
        while first is not None and not self._asked.empty():
            another = self._asked.get()
            if another is None:
                self._asked.put(None)
                break
            batch.append(another)
        return batch or None

    def _treat_or_answer(self, database: sqlite3.Connection, batch: Sequence[_Asked]) -> None:
        """Treat a batch; whatever goes wrong, everyone who waits is answered, and the writer goes on."""
        try:
            self._treat(database, batch)
        except Exception as error:
            log.exception("an action could not be treated")
            for asked in batch:
                if not asked.answer.done():
                    asked.answer.set_exception(error)

    def _treat(self, database: sqlite3.Connection, batch: Sequence[_Asked]) -> None:
        """Plan actions one after another, commit those that can be, and only then answer."""
        draft, planned = self.state.draft(), []
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        answers: list[tuple[Future[Action], Action | GeochangeError]] = []
        for asked in batch:
            if not asked.answer.set_running_or_notify_cancel():
                continue
            try:
                action = self._planned(draft, asked.request, at)
            except GeochangeError as error:
                answers.append((asked.answer, error))
                continue
            if action.seq > draft.seq:
                draft.apply(action)
                planned.append(action)
            answers.append((asked.answer, action))
        try:
            self._commit(database, planned)
        except sqlite3.Error as error:
            self._fail(error, [asked.answer for asked in batch if not asked.answer.cancelled()])
            return
        self.state.take_over(draft)
        for answer, outcome in answers:
            if isinstance(outcome, Action):
                answer.set_result(outcome)
            else:
                answer.set_exception(outcome)
        if planned:
            for listener in [*self._listeners]:
                listener(planned)

    def _planned(self, draft: ReviewState, request: Request, at: str) -> Action:
        if request.op in draft.ops:
            return draft.actions[draft.ops[request.op]]
        return draft.plan(request, at)

    def _commit(self, database: sqlite3.Connection, planned: Sequence[Action]) -> None:
        if not planned:
            return
        try:
            database.execute("BEGIN IMMEDIATE")
            for each in planned:
                row = (each.seq, each.at, each.who, each.op, each.kind, each.items_json())
                database.execute(_INSERT, row)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self.read_only = None

    def _fail(self, error: sqlite3.Error, answers: Sequence[Future[Action]]) -> None:
        """Answer that nothing was written, when the file has said what was."""
        refusal = _full(self.path, error)
        self.read_only = str(refusal)
        log.warning("%s", refusal)
        self.state = self._state_of_file()
        for answer in answers:
            answer.set_exception(refusal)

    def _probe(self, database: sqlite3.Connection) -> None:
        try:
            database.execute("INSERT OR REPLACE INTO about VALUES ('probe', zeroblob(?))", (PROBE_BYTES,))
            database.execute("DELETE FROM about WHERE name = 'probe'")
        except sqlite3.Error:
            return
        self.read_only = None


def _full(path: Path, error: sqlite3.Error) -> DiskFull:
    return DiskFull(f"{path} cannot be written: {error}; free some disk, what was acknowledged is kept")
