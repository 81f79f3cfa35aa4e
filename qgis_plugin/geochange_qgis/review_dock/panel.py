"""What the dock shows: the change, progress, buttons.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qgis.gui import QgsMessageBar
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QComboBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from .walk import ORDERS, UNDECIDED

COLOURS = {UNDECIDED: "#ff0090", "kept": "#2fd06a", "rejected": "#ff6a5c", "unsure": "#ffc400"}
"""Of statuses, as the layer has them."""
NAMES = {UNDECIDED: "undecided"}
HECTARE = 10_000
NOTHING = "–"

BUTTONS = {
    "previous": ("Previous", "P", "Shows the change before"),
    "next": ("Next", "N", "Shows the next change"),
    "kept": ("Keep", "K", "It is a change; then shows the next undecided one"),
    "rejected": ("Reject", "X", "It is no change; then shows the next undecided one. R does the same"),
    "unsure": ("Unsure", "U", "Leaves it to others; then shows the next undecided one"),
    "undo": ("Undo", "Z", "Takes your last decision back, and shows its change"),
    "swipe": ("Swipe", "S", "BEFORE left of the mouse, AFTER right of it"),
    "blink": ("Blink", "B", "Shows the other date"),
    "outlines": ("Outlines", "O", "Hides the outlines of all changes, or shows them"),
}
"""What a button says, its key, and what it does."""

ROWS = (("previous", "next"), ("kept", "rejected", "unsure"), ("undo", "swipe", "blink", "outlines"))
FIELDS = {"score": "Mean score", "confidence": "Confidence", "area": "Area", "kind": "Kind", "dates": "Dates"}


class Panel(QWidget):
    """The widgets of the dock, without what they do."""

    def __init__(self) -> None:
        super().__init__()
        self.date_labels = ("before", "after")
        """What stands left and right of the line between the dates."""
        self.messages = QgsMessageBar(self)
        self.messages.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        self.open = QToolButton(text="Open results", popupMode=QToolButton.ToolButtonPopupMode.InstantPopup)
        self.run_name = QLabel()
        self.progress = QProgressBar(textVisible=False, maximumHeight=8)
        self.counted, self.saved, self.line = QLabel(), QLabel(), QLabel(wordWrap=True)
        self.number, self.status = QLabel(), QLabel()
        self.values = {name: QLabel(NOTHING) for name in FIELDS}
        self.order, self.shown = QComboBox(), QComboBox()
        self.buttons = {name: _button(*words) for name, words in BUTTONS.items()}
        self.buttons["swipe"].setCheckable(True)
        for name, words in ORDERS.items():
            self.order.addItem(words, name)
        self.shown.addItem("Undecided only", True)
        self.shown.addItem("All changes", False)
        self.saved.setAlignment(Qt.AlignmentFlag.AlignRight)
        font = self.number.font()
        font.setPointSizeF(font.pointSizeF() * 1.4)
        font.setBold(True)
        self.number.setFont(font)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)  # a click makes the keys work
        self._arrange()
        self.end()

    def _arrange(self) -> None:
        whole = QVBoxLayout(self)
        whole.addWidget(self.messages)
        whole.addLayout(_row(self.open, self.run_name, stretched=1))
        whole.addWidget(self.progress)
        whole.addLayout(_row(self.counted, self.saved, stretched=1))
        whole.addSpacing(8)
        whole.addLayout(_row(self.number, self.status, stretched=0))
        form = QFormLayout()
        for name, words in FIELDS.items():
            form.addRow(f"{words}:", self.values[name])
        whole.addLayout(form)
        whole.addSpacing(8)
        for names in ROWS:
            grid = QGridLayout()
            for column, name in enumerate(names):
                grid.addWidget(self.buttons[name], 0, column)
                grid.setColumnStretch(column, 1)
            whole.addLayout(grid)
        choices = QFormLayout()
        choices.addRow("Order:", self.order)
        choices.addRow("Show:", self.shown)
        whole.addLayout(choices)
        whole.addWidget(self.line)
        whole.addStretch(1)

    def begin(self, name: str) -> None:
        """Show that a run is reviewed."""
        self.run_name.setText(name)
        self._enable(True)

    def end(self) -> None:
        """Show that no run is reviewed."""
        self.run_name.setText("")
        self.describe({})
        self.count(0, 0)
        self.count_waiting(0, 0, running=False)
        self.tell("Open a folder of results that geochange detect has left")
        self._enable(False)

    def _enable(self, enabled: bool) -> None:
        for widget in (*self.buttons.values(), self.order, self.shown):
            widget.setEnabled(enabled)

    def describe(self, values: Mapping[str, Any]) -> None:
        """Show the attributes of a change, by name; none where there is no change."""
        number, status = values.get("id"), values.get("status") or UNDECIDED
        self.number.setText(f"Change {number}" if values else "No change")
        self.status.setText(f"  {NAMES.get(status, status)}  " if values else "")
        colour = COLOURS.get(status, "#999999")
        self.status.setStyleSheet(f"background: {colour}; color: black; border-radius: 4px;" if values else "")
        before, after = (values.get(f"date_{each}") for each in ("before", "after"))
        self.date_labels = (_day(before) or "before", _day(after) or "after")
        shown = {
            "score": _number(values.get("score_mean")),
            "confidence": _number(values.get("confidence")),
            "area": _area(values),
            "kind": values.get("kind") or values.get("label"),
            "dates": f"{_day(before)} → {_day(after)}" if before and after else None,
        }
        for name, text in shown.items():
            self.values[name].setText(text or NOTHING)

    def count(self, decided: int, changes: int) -> None:
        """Show how far one is."""
        self.progress.setMaximum(max(changes, 1))
        self.progress.setValue(decided)
        self.counted.setText(f"{decided:,} of {changes:,} decided" if changes else "")

    def count_waiting(self, unsaved: int, saved: int, *, running: bool) -> None:
        """Show how many decisions are not saved in the layer yet, and how many are, and not taken in."""
        if running:
            self.saved.setText(f"{unsaved + saved:,} being taken in …")
        elif unsaved:
            self.saved.setText(f"{unsaved:,} not saved yet")
        elif saved:
            self.saved.setText(f"{saved:,} saved, not taken in")
        else:
            self.saved.setText("all taken in" if self.run_name.text() else "")

    def tell(self, text: str) -> None:
        """Show a line below the buttons, until the next one."""
        self.line.setText(text)


def _button(words: str, key: str, does: str) -> QPushButton:
    button = QPushButton(f"{words} ({key})", toolTip=f"{does}.")
    button.setMinimumWidth(button.fontMetrics().horizontalAdvance(button.text()) + 12)
    return button


def _row(*widgets: QWidget, stretched: int) -> QLayout:
    row = QHBoxLayout()
    for place, widget in enumerate(widgets):
        row.addWidget(widget, int(place == stretched))
    if stretched == 0:
        row.setStretch(0, 0)
        row.addStretch(1)
    return row


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}"


def _area(values: Mapping[str, Any]) -> str | None:
    metres, pixels = values.get("area_m2"), values.get("area_px")
    if metres is None:
        return None if pixels is None else f"{pixels:,} pixels"
    return f"{metres / HECTARE:,.2f} ha" if metres >= HECTARE else f"{metres:,.0f} m²"


def _day(date: str | None) -> str:
    """Return a date without its time."""
    return (date or "").split("T")[0]
