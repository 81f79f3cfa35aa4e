"""The dock: the change that is looked at, keys to decide, and how far one is.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from qgis.core import NULL, Qgis, QgsFeature, QgsMapLayer, QgsProject, QgsRasterLayer, QgsVectorLayer, QgsWkbTypes
from qgis.gui import QgsDockWidget, QgsMapTool, QgsRubberBand
from qgis.PyQt.QtCore import QCoreApplication, Qt, QTimer
from qgis.PyQt.QtGui import QCloseEvent, QColor
from qgis.PyQt.QtWidgets import QFileDialog, QLabel, QMenu, QSizePolicy

from . import layers
from .command import Command
from .keys import Keys
from .panel import Panel
from .results import NoResults, Results, open_results
from .swipe import SwipeTool
from .take_ins import BUSY, TAKEN_IN, Outcome, TakeIns, outcome_of
from .walk import Row, Walk

AGAIN = 30_000  # ms after which edits are taken in again that could not be
RETRIED = 2_000  # ms after which decisions are saved again that could not be, as another program had the file
SECONDS_SHOWN = 8  # of a line that says what came of something
OUTLINE = QColor(255, 255, 255)
FLASHES, FLASH_MS = 2, 250


class ReviewDock(QgsDockWidget):
    """Goes through the changes of a run in QGIS, and records what is decided in its review."""

    def __init__(self, iface: Any, environment: Any) -> None:
        """Show no run yet.

        Args:
            iface: QGIS, of which the canvas and the main window are used.
            environment: has `command()`, the words that call `geochange`, and `variables()` for its process.
        """
        super().__init__("Review of changes", iface.mainWindow())
        self.setObjectName("GeochangeReviewDock")
        self.canvas = iface.mapCanvas()
        self.project = QgsProject.instance()
        self.results: Results | None = None
        self.layer: QgsVectorLayer | None = None
        self.dates: Sequence[QgsRasterLayer | None] = (None, None)
        self.walk = Walk()
        self.take_ins = TakeIns(self._take_in)
        self.panel = Panel()
        self.setWidget(self.panel)
        self._command = Command(environment, self)
        self._unsaved: dict[int, str] = {}
        self._writing = False
        self._told: set[str] = set()
        self._band: QgsRubberBand | None = None
        self._tool: SwipeTool | None = None
        self._tool_before: QgsMapTool | None = None
        self._again = QTimer(self, interval=AGAIN, singleShot=True)
        self._again.timeout.connect(self.take_ins.go_on)
        self._retry = QTimer(self, interval=RETRIED, singleShot=True)
        self._retry.timeout.connect(self._save)
        self._connect_panel()
        self.project.layersWillBeRemoved["QStringList"].connect(self._removed)
        QCoreApplication.instance().aboutToQuit.connect(self.finish)

    def _connect_panel(self) -> None:
        panel, key = self.panel, Qt.Key
        does: dict[str, tuple[Callable[[], Any], Sequence[int]]] = {
            "next": (self.next, [key.Key_N]),
            "previous": (self.previous, [key.Key_P]),
            "kept": (lambda: self.decide("kept"), [key.Key_K]),
            "rejected": (lambda: self.decide("rejected"), [key.Key_X, key.Key_R]),
            "unsure": (lambda: self.decide("unsure"), [key.Key_U]),
            "undo": (self.undo, [key.Key_Z]),
            "swipe": (self.swipe, [key.Key_S]),
            "blink": (self.blink, [key.Key_B]),
            "outlines": (self.toggle_outlines, [key.Key_O]),
        }
        for name, (action, _) in does.items():
            panel.buttons[name].clicked.connect(lambda _, action=action: action())
        panel.order.currentIndexChanged.connect(lambda _: self.arrange(panel.order.currentData()))
        panel.shown.currentIndexChanged.connect(lambda _: self._choose_shown())
        menu = QMenu(panel.open)
        menu.aboutToShow.connect(lambda: self._fill(menu))
        panel.open.setMenu(menu)
        actions = {int(each): action for action, used in does.values() for each in used}
        self._keys = Keys(actions, lambda: self.layer is not None and self.isVisible(), self)
        self._keys.take_from(self, self.canvas)

    # Opening a folder of results

    def _fill(self, menu: QMenu) -> None:
        """Offer the runs of which the project shows changes, and any other."""
        menu.clear()
        for folder in layers.folders_in(self.project):
            menu.addAction(f"{folder.name} (in this project)", lambda folder=folder: self.open(folder))
        menu.addAction("Folder…", self._choose)

    def _choose(self) -> None:
        start = "" if self.results is None else str(self.results.folder.parent)
        chosen = QFileDialog.getExistingDirectory(self, "Folder of results of geochange", start)
        if chosen:
            self.open(Path(chosen))

    def open(self, folder: Path) -> None:
        """Review the results in a folder; where no review has begun, one begins first, beside QGIS."""
        if self._command.busy:
            self._say("the last decisions are being taken in; open the folder in a moment", Qgis.MessageLevel.Warning)
            return
        try:
            results = open_results(folder)
        except NoResults as error:
            self._say(str(error), Qgis.MessageLevel.Critical)
            return
        self._forget()
        self.results = results
        if results.view.exists():
            self._show()
            self.take_ins.add()  # what was edited before, and what others have decided since
            return
        self.panel.tell("The review is being prepared …")
        self._command.run(["review", str(folder), "--view", "--json"], self._prepared)

    def _prepared(self, code: int, printed: str, errors: str) -> None:
        outcome = outcome_of(code, printed, errors)
        self.panel.tell("")
        if outcome.kind == TAKEN_IN:
            self._show()
        else:
            self._say(outcome.line, Qgis.MessageLevel.Critical)

    def _show(self) -> None:
        """Show the layers of the run, and its first undecided change."""
        assert self.results is not None
        try:
            layer = layers.show_changes(self.project, self.results)
        except NoResults as error:
            self._say(str(error), Qgis.MessageLevel.Critical)
            return
        self.layer = layer
        self.dates = layers.show_dates(self.project, self.results, layer)
        for date, name, which in zip(self.dates, self.results[1:], layers.DATES):
            if date is None:
                self._say(f"{which} ({name}) is no image on this machine; add it as a layer", Qgis.MessageLevel.Warning)
        before, after = self.dates
        if before is not None and after is not None:
            layers.show(self.project, before, visible=False)
            layers.show(self.project, after, visible=True)
        layer.afterCommitChanges.connect(self._saved)
        layer.afterRollBack.connect(self._reload)
        self.walk = Walk(layers.rows_of(layer))
        self.arrange(self.panel.order.currentData())
        self.panel.begin(self.results.folder.name)
        self.panel.setFocus()
        self._choose_shown()
        if self.walk.next_undecided() is None:
            self.walk.undecided_only = False
            self.walk.step(1)
            self._choose_shown()
        QTimer.singleShot(0, self._show_change)  # QGIS shows the whole of a project's first layers once they are there

    def _forget(self) -> None:
        """Let go of the run that is reviewed, when its decisions are saved."""
        self._leave_map()
        if self._unsaved:
            self._command.wait()
            self._save()
        if self._unsaved:
            self._say(f"{len(self._unsaved)} decisions could not be saved", Qgis.MessageLevel.Critical)
            self._unsaved.clear()
        layer, self.layer = self.layer, None
        if layer is not None:
            layer.afterCommitChanges.disconnect(self._saved)
            layer.afterRollBack.disconnect(self._reload)
        self.dates, self.walk = (None, None), Walk()
        self._told.clear()
        self.panel.end()

    def _removed(self, names: Sequence[str]) -> None:
        """Let go of layers that are removed from the project."""
        if self.layer is not None and self.layer.id() in names:
            self._forget()
        elif any(date is not None and date.id() in names for date in self.dates):
            self._leave_map()
            self.dates = [None if date is None or date.id() in names else date for date in self.dates]

    # Going through the changes

    def arrange(self, order: str) -> None:
        """Choose the order."""
        places = layers.places_of(self.layer) if order == "place" and self.layer is not None else None
        self.walk.arrange(order, places)

    def _choose_shown(self) -> None:
        self.walk.undecided_only = self.panel.shown.currentData()
        self._show_progress()

    def next(self) -> None:
        """Show the next change."""
        self._go(1, "this is the last one in this order")

    def previous(self) -> None:
        """Show the change before."""
        self._go(-1, "this is the first one in this order")

    def _go(self, by: int, otherwise: str) -> None:
        if self.walk.step(by) is None:
            self.panel.tell(otherwise.capitalize())
        else:
            self._show_change()

    def decide(self, status: str) -> None:
        """Save what is decided of the change that is shown, and go on to the next undecided one."""
        fid = self.walk.current
        if fid is None or not self._write(fid, status):
            return
        self.walk.decide(fid, status)
        self.walk.next_undecided()
        self._show_change()

    def undo(self) -> None:
        """Take the last decision back, and go to its change."""
        last = self.walk.last_decision()
        if last is None:
            self.panel.tell("Nothing is left to take back")
        elif self._write(*last):
            self.walk.take_back()
            self._show_change()

    def _write(self, fid: int, status: str) -> bool:
        """Write a status into the layer: into the edits of a user who edits it just now, or in a session of its own."""
        if self.layer is None:
            return False
        if self.layer.isEditable() and not self._unsaved:
            self.panel.tell("You edit the layer: it is saved with your edits")
            return self._change(fid, status)
        self._unsaved.pop(fid, None)
        self._unsaved[fid] = status
        self._save()
        return True

    def _save(self) -> None:
        """Save what is decided in one edit session, unless a take-in has the file: then at its end."""
        layer = self.layer
        if layer is None or not self._unsaved or self._command.busy:
            return
        own = not layer.isEditable()
        self._writing = True
        written = (not own or layer.startEditing()) and all(self._change(*each) for each in self._unsaved.items())
        saved = written and (not own or layer.commitChanges())
        if not saved:
            self._tell_once(" ".join(layer.commitErrors()) or "the layer of changes cannot be edited")
            if own:
                layer.rollBack()
            self._retry.start()
        else:
            self._unsaved.clear()
        self._writing = False
        self._show_progress()

    def _change(self, fid: int, status: str) -> bool:
        assert self.layer is not None
        return bool(self.layer.changeAttributeValue(fid, self.layer.fields().indexOf("status"), status))

    # What was saved is taken in

    def _saved(self) -> None:
        """Have what was saved taken in, by the dock or by the user."""
        if not self._writing:
            self._reload()
        self.take_ins.add(len(self._unsaved) if self._writing else 1)
        self._show_progress()

    def _take_in(self) -> None:
        assert self.results is not None
        self._show_progress()
        self._command.run(["review", str(self.results.folder), "--take-in", "--json"], self._taken_in)

    def _taken_in(self, code: int, printed: str, errors: str) -> None:
        outcome = outcome_of(code, printed, errors)
        self._save()  # before the next take-in has the file
        if outcome.kind == TAKEN_IN:
            self._refresh()
        self.take_ins.ended(outcome)
        self._tell_outcome(outcome)
        self._show_progress()

    def _tell_outcome(self, outcome: Outcome) -> None:
        """Say what was not taken in, once."""
        if outcome.kind == TAKEN_IN:
            self._told &= {*outcome.conflicts}
            for line in outcome.conflicts:
                self._tell_once(line, Qgis.MessageLevel.Warning)
            return
        if outcome.kind == BUSY:
            self._again.start()
        self._tell_once(outcome.line, Qgis.MessageLevel.Warning if outcome.kind == BUSY else Qgis.MessageLevel.Critical)

    def _tell_once(self, line: str, level: Any = Qgis.MessageLevel.Critical) -> None:
        if line not in self._told:
            self._told.add(line)
            self._say(line, level)

    def _refresh(self) -> None:
        """Show what others have decided meanwhile."""
        if self.layer is None:
            return
        other = self.walk.refresh(self._rows(touched=True), self.layer.featureCount())
        if other is None:
            self._reload()
        elif other:
            self.layer.triggerRepaint()
            self._describe()

    def _reload(self) -> None:
        """Read all changes again: of what was edited on the map, or taken in as new."""
        if self.layer is None or self._writing:
            return
        shown = self.walk.current
        self.walk.reload(self._rows())
        if self.walk.order == "place":
            self.arrange("place")
        if self.walk.current is None and shown is not None:
            self.walk.next_undecided()
        self.layer.triggerRepaint()
        self._describe()
        self._show_progress()

    def _rows(self, *, touched: bool = False) -> Iterator[Row]:
        """Read changes, with what is decided of them and not saved yet."""
        for row in layers.rows_of(self.layer, touched=touched):
            yield row._replace(status=self._unsaved.get(row.fid, row.status))

    # What is shown

    def _show_change(self) -> None:
        """Describe the change, and show it on the map."""
        self.panel.tell("" if self.walk.decided < len(self.walk) else "All changes are decided")
        feature = self._describe()
        self._show_progress()
        if feature is None or self.layer is None:
            return
        geometry = feature.geometry()
        self._outline(feature)
        self.canvas.setExtent(layers.view_of(geometry, self.layer, self.dates[0], self.canvas.mapSettings()))
        self.canvas.refresh()
        self.canvas.flashGeometries([geometry], self.layer.crs(), flashes=FLASHES, duration=FLASH_MS)

    def _describe(self) -> QgsFeature | None:
        if self.layer is None or self.walk.current is None:
            self.panel.describe({})
            return None
        feature = self.layer.getFeature(self.walk.current)
        if not feature.isValid():  # another program began or ended writing just now
            feature = self.layer.getFeature(self.walk.current)
        if not feature.isValid():  # it was removed
            self.panel.describe({})
            return None
        named = zip(self.layer.fields().names(), feature.attributes())
        self.panel.describe({name: None if value == NULL else value for name, value in named})
        return feature

    def _outline(self, feature: QgsFeature) -> None:
        if self._band is None:
            self._band = QgsRubberBand(self.canvas, QgsWkbTypes.GeometryType.PolygonGeometry)
            self._band.setFillColor(QColor(0, 0, 0, 0))
            self._band.setStrokeColor(OUTLINE)
            self._band.setSecondaryStrokeColor(QColor(0, 0, 0))
            self._band.setWidth(2)
        self._band.setToGeometry(feature.geometry(), self.layer)

    def _show_progress(self) -> None:
        saved = self.take_ins.waiting + self.take_ins.under_way
        self.panel.count(self.walk.decided, len(self.walk))
        self.panel.count_waiting(len(self._unsaved), saved, running=self.take_ins.running)

    def _say(self, line: str, level: Any) -> None:
        """Say something in one line."""
        label = QLabel(line, wordWrap=True)
        label.setTextFormat(Qt.TextFormat.PlainText)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)  # the dock keeps its width
        policy.setHorizontalStretch(1)
        label.setSizePolicy(policy)
        seconds = 0 if level == Qgis.MessageLevel.Critical else SECONDS_SHOWN
        self.panel.messages.pushWidget(label, level, seconds)

    # Both dates

    def _both_dates(self) -> bool:
        if None in self.dates:
            self.panel.tell("Both dates are needed as layers")
        return None not in self.dates

    def blink(self) -> None:
        """Show the other date."""
        if self._both_dates():
            shown = layers.is_shown(self.project, self.dates[0])
            layers.show(self.project, self.dates[0], visible=not shown)
            layers.show(self.project, self.dates[1], visible=shown)

    def toggle_outlines(self) -> None:
        """Hide the outlines of all changes, or show them."""
        if self.layer is not None:
            shown = not layers.is_shown(self.project, self.layer)
            layers.show(self.project, self.layer, visible=shown)
            if self._band is not None:
                self._band.setVisible(shown)

    def swipe(self) -> None:
        """Lay BEFORE over AFTER, left of the mouse; or end that."""
        if self._tool is not None and self.canvas.mapTool() is self._tool:
            self.canvas.setMapTool(self._tool_before) if self._tool_before else self.canvas.unsetMapTool(self._tool)
            return
        self.panel.buttons["swipe"].setChecked(False)
        if not self._both_dates():
            return
        layers.show(self.project, self.dates[0], visible=False)
        layers.show(self.project, self.dates[1], visible=True)
        self._tool_before = self.canvas.mapTool()
        self._tool = SwipeTool(self.canvas, self._layers_before, self.panel.date_labels)
        self._tool.deactivated.connect(lambda: self.panel.buttons["swipe"].setChecked(False))
        self.canvas.setMapTool(self._tool)
        self.panel.buttons["swipe"].setChecked(True)

    def _layers_before(self) -> list[QgsMapLayer]:
        """List the layers of the map, with BEFORE in AFTER's place."""
        before, after = self.dates
        return [before if layer == after else layer for layer in self.canvas.mapSettings().layers()]

    # Closing

    def _leave_map(self) -> None:
        if self._tool is not None and self.canvas.mapTool() is self._tool:
            self.swipe()
        if self._band is not None:
            self.canvas.scene().removeItem(self._band)
            self._band = None

    def closeEvent(self, event: QCloseEvent) -> None:
        """Leave the map, and take in what is left to be taken in; the run stays open in the dock."""
        self._leave_map()
        self._save()
        self.take_ins.go_on()
        super().closeEvent(event)

    def finish(self) -> None:
        """Take in what is left, wait for it, and let go of QGIS; for the end of a plugin."""
        self._keys.release()
        for timer in (self._again, self._retry):
            timer.stop()
        self._wait()
        self._save()
        self.take_ins.go_on()  # once more what could not be taken in before
        self._wait()
        self._forget()
        self.results = None

    def _wait(self) -> None:
        """Wait until no process runs, nor one that follows it."""
        while self._command.wait():
            pass
