"""The page of the options dialogue where the environment of geochange is named.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
import sys
from typing import Any

from qgis.core import QgsApplication, QgsSettings
from qgis.gui import QgsFileWidget, QgsOptionsPageWidget, QgsOptionsWidgetFactory
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QIcon
from qgis.PyQt.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from geochange_qgis.algorithm import ICON
from geochange_qgis.environment import INSTALL, INSTALL_WINDOWS, OVERRIDE, CommandMissing, Environment, find
from geochange_qgis.parameters import described_version

KEY = "geochange/command"


def environment() -> Environment:
    """Return the environment that the settings name now."""
    return Environment(str(QgsSettings().value(KEY, "") or ""))


class OptionsFactory(QgsOptionsWidgetFactory):
    """Adds the page to Settings, Options."""

    def __init__(self) -> None:
        super().__init__()
        self.setTitle("geochange")

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def createWidget(self, parent: Any) -> QgsOptionsPageWidget:
        return OptionsPage(parent)


class OptionsPage(QgsOptionsPageWidget):
    """Names the command, finds it, shows its version, or says how it is installed."""

    def __init__(self, parent: Any | None = None) -> None:
        super().__init__(parent)
        self.path = QgsFileWidget()
        self.path.setDialogTitle("The command geochange, or the Python of its environment")
        self.path.setFilePath(str(QgsSettings().value(KEY, "") or ""))
        self.path.fileChanged.connect(lambda _: self.state.setText("Not checked yet."))
        self.state = QLabel()
        self.state.setWordWrap(True)
        self.state.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.checked = False
        self._lay_out()

    def showEvent(self, event: Any) -> None:
        """Check what is named once the page is looked at: the dialogue makes all pages, and a check takes a second."""
        super().showEvent(event)
        if not self.checked:
            self.checked = True
            QTimer.singleShot(0, self.check)

    def _lay_out(self) -> None:
        self.find_button, self.check_button = QPushButton("Find"), QPushButton("Check")
        self.find_button.clicked.connect(self.find)
        self.check_button.clicked.connect(self.check)
        row = QHBoxLayout()
        for widget in (self.path, self.find_button, self.check_button):
            row.addWidget(widget)
        layout = QVBoxLayout(self)
        about = QLabel(
            "geochange runs in a Python environment of its own, so that the Python of QGIS stays as it is. Name its "
            "command <i>geochange</i>, its Python, or the folder of the environment."
        )
        about.setWordWrap(True)
        layout.addWidget(about)
        layout.addLayout(row)
        layout.addWidget(self.state)
        layout.addStretch()

    def find(self) -> None:
        """Look where environments usually are."""
        QgsApplication.setOverrideCursor(Qt.CursorShape.WaitCursor)
        try:
            found = find()
        finally:
            QgsApplication.restoreOverrideCursor()
        if found is None:
            self.state.setText(f"geochange was not found. {how_to_install()}")
            return
        self.path.setFilePath(found)
        self.check()

    def check(self) -> None:
        """Show the version of what is named."""
        try:
            version = Environment(self.path.filePath()).version()
        except CommandMissing as error:
            self.state.setText(f"{error}. {how_to_install()}")
            return
        text = f"geochange {version} is ready."
        if version != described_version():
            text += f" This plugin was made for {described_version()}: options that only one of both has do not work."
        if os.environ.get(OVERRIDE):
            text += f" It is the one that {OVERRIDE} names."
        self.state.setText(text)

    def apply(self) -> None:
        QgsSettings().setValue(KEY, self.path.filePath().strip())


def how_to_install() -> str:
    """Return what to do where geochange is not installed, in one line of a terminal."""
    line = INSTALL_WINDOWS if sys.platform == "win32" else INSTALL
    return f"Install it once, in a terminal, with Python 3.11 or newer, then press Find:\n\n{line}"
