"""`geochange` as a process beside QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qgis.PyQt.QtCore import QObject, QProcess, QProcessEnvironment

NOT_STARTED = 127
PATIENCE = 120_000  # ms that the end of a process is waited for

Done = Callable[[int, str, str], None]


class Command(QObject):
    """One process at a time, whose end is told."""

    def __init__(self, environment: Any, parent: QObject | None = None) -> None:
        """Begin with no process.

        Args:
            environment: has `command()`, the words that call `geochange`, and `variables()` for the process.
            parent: owner in Qt.
        """
        super().__init__(parent)
        self._environment = environment
        self._process: QProcess | None = None

    def run(self, arguments: Sequence[str], done: Done) -> None:
        """Start `geochange` with arguments; `done` is called with exit code, stdout and stderr at its end."""
        try:
            program, *words = [*self._environment.command(), *arguments]
            variables = self._environment.variables()
        except (OSError, RuntimeError, ValueError) as error:
            done(NOT_STARTED, "", str(error))
            return
        process = self._process = QProcess(self)
        clean = QProcessEnvironment()
        for name, value in variables.items():
            clean.insert(name, value)
        process.setProcessEnvironment(clean)
        process.finished.connect(lambda code, how: self._end(process, done, code, how))
        process.errorOccurred.connect(lambda error: self._fail(process, done, error))
        process.start(program, words)

    @property
    def busy(self) -> bool:
        """Whether a process runs."""
        return self._process is not None

    def wait(self) -> bool:
        """Wait for the process that runs; return whether there was one, and it has ended."""
        return self._process is not None and self._process.waitForFinished(PATIENCE)

    def _end(self, process: QProcess, done: Done, code: int, how: Any) -> None:
        printed, errors = (
            bytes(each).decode("utf-8", "replace")
            for each in (process.readAllStandardOutput(), process.readAllStandardError())
        )
        self._forget(process)
        crashed = how == QProcess.ExitStatus.CrashExit
        done(code or NOT_STARTED if crashed else code, printed, errors or ("geochange was ended" if crashed else ""))

    def _fail(self, process: QProcess, done: Done, error: Any) -> None:
        if error == QProcess.ProcessError.FailedToStart:  # the only one after which it does not finish
            self._forget(process)
            done(NOT_STARTED, "", f"{process.program()} cannot be started: {process.errorString()}")

    def _forget(self, process: QProcess) -> None:
        self._process = None
        process.deleteLater()
