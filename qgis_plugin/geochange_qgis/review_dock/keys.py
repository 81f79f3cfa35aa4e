"""Keys of the review, while the dock or the map has the focus and nobody types.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qgis.gui import QgsMapCanvas, QgsMapTool
from qgis.PyQt.QtCore import QEvent, QObject, Qt
from qgis.PyQt.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLineEdit, QPlainTextEdit, QTextEdit, QWidget

TYPED_INTO = (QLineEdit, QTextEdit, QPlainTextEdit, QAbstractSpinBox)
WITH_OTHERS = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier


class Keys(QObject):
    """Takes keys from widgets before QGIS's shortcuts do."""

    def __init__(self, actions: Mapping[int, Callable[[], Any]], active: Callable[[], bool], parent: QObject) -> None:
        """Take no keys yet.

        Args:
            actions: what a key does.
            active: whether keys are taken at the moment.
            parent: owner in Qt.
        """
        super().__init__(parent)
        self._actions, self._active = actions, active
        self._widgets: list[QWidget] = []

    def take_from(self, *widgets: QWidget) -> None:
        """Take keys from widgets, and from the lists to choose from in them."""
        for widget in [each for top in widgets for each in (top, *top.findChildren(QComboBox))]:
            widget.installEventFilter(self)
            self._widgets.append(widget)

    def release(self) -> None:
        """Take no more keys."""
        for widget in self._widgets:
            widget.removeEventFilter(self)
        self._widgets.clear()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Do what a key asks for; others go on to the widget."""
        if event.type() not in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress):
            return False
        action = self._actions.get(event.key())
        if action is None or event.modifiers() & WITH_OTHERS or self._occupied(watched) or not self._active():
            return False
        event.accept()  # of a ShortcutOverride: the key comes as a key, not as a shortcut of QGIS
        if event.type() == QEvent.Type.KeyPress and not (event.isAutoRepeat() and event.key() in NOT_REPEATED):
            action()
        return True

    @staticmethod
    def _occupied(watched: QObject) -> bool:
        """Whether somebody types, or draws on the map."""
        if isinstance(QApplication.focusWidget(), TYPED_INTO):
            return True
        tool = watched.mapTool() if isinstance(watched, QgsMapCanvas) else None
        return tool is not None and bool(tool.flags() & QgsMapTool.Flag.EditTool)


NOT_REPEATED = frozenset(map(int, (Qt.Key.Key_K, Qt.Key.Key_X, Qt.Key.Key_R, Qt.Key.Key_U, Qt.Key.Key_Z)))
"""Keys that decide: one that is held down decides one change."""
