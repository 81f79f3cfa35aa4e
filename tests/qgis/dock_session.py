"""A session of somebody who reviews in QGIS: run by QGIS's own Python, it prints as JSON what was seen.

    QT_QPA_PLATFORM=offscreen python dock_session.py FOLDER COMMAND...

FOLDER holds a finished run, COMMAND are the words that call `geochange`; the plugin's package is on the path.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from geochange_qgis.review_dock import layers
from geochange_qgis.review_dock.dock import ReviewDock
from qgis.core import QgsApplication, QgsMapRendererSequentialJob, QgsMapSettings, QgsProject, QgsVectorLayer
from qgis.gui import QgsLayerTreeMapCanvasBridge, QgsMapCanvas
from qgis.PyQt.QtCore import QEventLoop, QPoint, QRect, Qt
from qgis.PyQt.QtGui import QImage
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QLineEdit, QMainWindow

FOLDER, *COMMAND = sys.argv[1:]
SECONDS = 120  # after which something will not come any more
LOOKED_EVERY = 0.2  # s
WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
IN_USE = "geochange: OUT is in use by another run; wait for it, or stop it"


class Iface:
    """What the dock uses of QGIS's window."""

    def __init__(self):
        self.window, self.canvas = QMainWindow(), QgsMapCanvas()
        self.canvas.setFixedSize(600, 600)  # whatever the dock's size is: pictures are compared
        self.window.setCentralWidget(self.canvas)

    def mapCanvas(self):  # noqa: N802, a name of QGIS
        return self.canvas

    def mainWindow(self):  # noqa: N802, a name of QGIS
        return self.window


class Environment:
    """Where `geochange` is; it counts how often it is called."""

    def __init__(self):
        self.words, self.calls = COMMAND, 0

    def command(self):
        self.calls += 1
        return self.words

    def variables(self):
        return dict(os.environ)


def wait_until(there):
    """Let QGIS work until something is there."""
    ends = time.monotonic() + SECONDS
    while not there():
        looked = time.monotonic()
        while time.monotonic() < looked + LOOKED_EVERY:
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
        if looked > ends:
            raise TimeoutError("it does not come")


class Session:
    def __init__(self):
        self.seen = {}
        self.iface, self.environment = Iface(), Environment()
        self.project = QgsProject.instance()
        self.bridge = QgsLayerTreeMapCanvasBridge(self.project.layerTreeRoot(), self.iface.canvas)
        self.found = QgsVectorLayer(f"{FOLDER}/changes.gpkg|layername=changes", "found", "ogr")
        self.project.addMapLayer(self.found)
        self.dock = ReviewDock(self.iface, self.environment)
        self.canvas, self.window = self.iface.canvas, self.iface.window
        self.window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.window.resize(1100, 700)
        self.window.show()
        QApplication.setActiveWindow(self.window)

    def press(self, key, widget=None):
        QTest.keyClick(widget or self.canvas, key)

    def settle(self):
        """Wait until the map is drawn."""
        drawn = []
        self.canvas.mapCanvasRefreshed.connect(lambda: drawn.append(True))
        self.canvas.refresh()
        wait_until(lambda: drawn and not self.canvas.isDrawing())

    def number(self):
        return self.dock.layer.getFeature(self.dock.walk.current)["id"]

    def status(self, number):
        return next(each["status"] for each in self.dock.layer.getFeatures() if each["id"] == number)

    def all_taken_in(self):
        wait_until(lambda: not self.dock.take_ins.waiting and not self.dock.take_ins.running)

    def last_message(self):
        """Take the last message away, and return it."""
        bar = self.dock.panel.messages
        text = bar.currentItem().widget().text()
        bar.popWidget()
        return text

    def open(self):
        self.seen["offered"] = [folder.name for folder in layers.folders_in(self.project)]
        self.dock.open(Path(FOLDER) / "nothing")
        self.seen["refused"] = self.last_message()
        self.dock.open(Path(FOLDER))
        wait_until(lambda: self.dock.layer is not None)
        self.settle()
        tree = self.project.layerTreeRoot()
        self.seen["layers"] = [[each.name(), each.isVisible()] for each in tree.findLayers()]
        self.seen["drawn by"] = self.dock.layer.renderer().classAttribute()
        box = self.dock.layer.getFeature(self.dock.walk.current).geometry().boundingBox()
        shown = self.canvas.extent()
        self.seen["fits"] = shown.contains(box) and shown.width() < 12 * box.width()
        self.seen["first"] = self.number()
        self.seen["described"] = {name: label.text() for name, label in self.dock.panel.values.items()}

    def decide(self):
        """Keep one, reject one, undo that, go on; all before the first is taken in."""
        calls = self.environment.calls
        self.press(Qt.Key.Key_K)
        self.seen["second"] = self.number()
        self.press(Qt.Key.Key_X, self.dock.panel.buttons["kept"])
        self.seen["undone"] = self.number()
        self.press(Qt.Key.Key_U, self.dock.panel.order)
        self.press(Qt.Key.Key_Z)
        self.seen["after undo"] = [self.number(), self.status(self.seen["undone"])]
        self.press(Qt.Key.Key_N)
        self.seen["third"] = self.number()
        self.press(Qt.Key.Key_P)
        self.seen["before third"] = self.number()
        self.seen["counted"] = self.dock.panel.counted.text()
        self.seen["edited"] = self.dock.layer.isEditable()
        self.all_taken_in()
        self.seen["take-ins of four"] = self.environment.calls - calls
        self.seen["saved"] = self.dock.panel.saved.text()

    def type(self):
        """Keys belong to whoever types, and to shortcuts with Ctrl."""
        before = self.dock.walk.current
        field = QLineEdit(self.dock.panel)
        field.show()
        field.setFocus()
        self.press(Qt.Key.Key_K, field)
        self.press(Qt.Key.Key_N, self.canvas)
        self.seen["typed"] = [field.text(), self.dock.walk.current == before]
        self.canvas.setFocus()
        field.deleteLater()
        QTest.keyClick(self.canvas, Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
        self.seen["with Ctrl"] = self.dock.walk.current == before

    def edit(self):
        """Decide while somebody edits the layer: it is saved with their edits, and not before."""
        number = self.number()
        self.dock.layer.startEditing()
        self.press(Qt.Key.Key_X)
        self.seen["in an edit session"] = [self.dock.layer.isEditable(), self.dock.take_ins.waiting]
        self.dock.layer.commitChanges()
        self.all_taken_in()
        self.seen["saved by the user"] = [number, self.status(number)]

    def wait_for_others(self):
        """Decide while another one has the run: it is taken in later."""
        self.environment.words = [sys.executable, "-c", f"import sys; print({IN_USE!r}, file=sys.stderr); sys.exit(2)"]
        self.seen["while busy"] = self.number()
        self.press(Qt.Key.Key_K)
        wait_until(lambda: not self.dock.take_ins.running)
        self.seen["busy"] = [self.last_message(), self.dock.panel.saved.text()]
        self.environment.words = ["/nowhere/geochange"]
        self.seen["without geochange"] = self.number()
        self.press(Qt.Key.Key_K)
        wait_until(lambda: not self.dock.take_ins.running)
        self.seen["not started"] = self.last_message()
        self.environment.words = COMMAND

    def wait_for_a_lock(self):
        """Decide while another program writes the file: it is saved when that has ended."""
        words = [sys.executable, "-c", WRITER, f"{FOLDER}/review.gpkg"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            number = self.number()
            self.press(Qt.Key.Key_U)
            self.seen["locked"] = [self.last_message(), self.dock.panel.saved.text(), self.dock.layer.isEditable()]
            writer.communicate(b"")
        wait_until(lambda: not self.dock._unsaved)
        self.all_taken_in()
        self.seen["after the lock"] = [number, self.status(number)]

    def picture(self, *shown):
        settings = QgsMapSettings(self.canvas.mapSettings())
        settings.setLayers(list(shown))
        job = QgsMapRendererSequentialJob(settings)
        job.start()
        job.waitForFinished()
        return job.renderedImage()

    def shown(self):
        return self.canvas.viewport().grab().toImage()

    def swipe(self):
        """Look at both dates: beside a line, one after the other, and with outlines again."""
        before, after = self.dock.dates
        self.press(Qt.Key.Key_O)
        self.settle()
        whole, wanted = self.shown().rect(), [self.picture(before), self.picture(after)]
        wait_until(lambda: equal(self.shown(), wanted[1], whole))
        self.press(Qt.Key.Key_S)
        for line in (200, 400):
            QTest.mouseMove(self.canvas.viewport(), QPoint(line, 300))
            left, right = QRect(0, 60, line - 4, 400), QRect(line + 4, 60, whole.width() - line - 4, 400)
            wait_until(lambda left=left: equal(self.shown(), wanted[0], left))  # below the dates, beside the line
            now = self.shown()
            self.seen[f"swipe {line}"] = [[equal(now, each, side) for each in wanted] for side in (left, right)]
        self.press(Qt.Key.Key_S)
        self.seen["after the swipe"] = equal(self.shown(), wanted[1], whole)
        self.press(Qt.Key.Key_B)
        wait_until(lambda: equal(self.shown(), wanted[0], whole))
        self.press(Qt.Key.Key_B)
        self.press(Qt.Key.Key_O)
        wait_until(lambda: not equal(self.shown(), wanted[1], whole))
        self.seen["back"] = [layers.is_shown(self.project, each) for each in (self.dock.layer, before, after)]

    def order(self):
        """Orders and filters change what comes next, not what is shown."""
        shown, panel = self.number(), self.dock.panel
        panel.shown.setCurrentIndex(1)
        for place in range(panel.order.count()):
            panel.order.setCurrentIndex(place)
            self.dock.walk.current = None
            self.press(Qt.Key.Key_N)
            self.seen[f"order {panel.order.itemData(place)}"] = self.number()
        self.seen["shown"] = shown

    def close(self):
        self.press(Qt.Key.Key_S)
        last = self.number()
        self.press(Qt.Key.Key_U)
        self.dock.close()
        self.seen["closed"] = [self.canvas.mapTool() is self.dock._tool, self.dock.layer.isEditable()]
        self.press(Qt.Key.Key_N)
        self.dock.finish()
        self.seen["left"] = [self.dock.take_ins.waiting, self.dock._command.busy, sorted(os.listdir(FOLDER))]
        self.seen["last"] = last


def equal(one, other, rect):
    """Whether two pictures show the same in a rectangle."""
    a, b = (each.copy(rect).convertToFormat(QImage.Format.Format_RGBA8888) for each in (one, other))
    return bytes(a.constBits().asarray(a.sizeInBytes())) == bytes(b.constBits().asarray(b.sizeInBytes()))


def main():
    application = QgsApplication([], True)
    application.initQgis()
    session = Session()
    session.open()
    session.decide()
    session.type()
    session.edit()
    session.wait_for_a_lock()
    session.wait_for_others()
    session.swipe()
    session.order()
    session.close()
    session.seen["imported"] = [name for name in sys.modules if name.split(".")[0] == "geochange"]
    print(json.dumps(session.seen))
    sys.stdout.flush()
    os._exit(0)  # what QGIS does at its end is not what is tested


if __name__ == "__main__":
    main()
