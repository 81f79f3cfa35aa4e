"""What a reviewer waits for in QGIS: the dock of the plugin on a run of any size, without a screen.

    QT_QPA_PLATFORM=offscreen python3 benchmarks/qgis_dock.py FOLDER --geochange COMMAND

by QGIS's own Python. FOLDER is a finished run of `detect`; its review is written: take a copy. COMMAND calls
`geochange`, as in "/opt/geochange/bin/python -m geochange". Prints JSON: seconds, median and worst of fifty.

- `opened`: from the folder until the first change's map is shown, with a view that is there already;
- `next`: from the key until the next change's map is shown, both layers drawn;
- `decided`: from the key until the decision is saved and the next change's map is shown, while decisions are taken in;
- `taken_in`: from the last decision until all are in the review.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[1] / "qgis_plugin"))

from geochange_qgis.review_dock.dock import ReviewDock
from qgis.core import QgsApplication, QgsProject
from qgis.gui import QgsLayerTreeMapCanvasBridge, QgsMapCanvas
from qgis.PyQt.QtCore import QEventLoop, Qt
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QApplication, QMainWindow

COUNT = 50
WINDOW = (1440, 900)
PATIENCE = 300  # s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--geochange", default="geochange", help="words that call it (default: geochange)")
    asked = parser.parse_args()
    words = shlex.split(asked.geochange)
    subprocess.run([*words, "review", asked.folder, "--view", "--quiet"], check=True)
    application = QgsApplication([], True)
    application.initQgis()
    print(json.dumps(measured(asked.folder, words), indent=2), flush=True)
    os._exit(0)  # QGIS's own end is not measured


def measured(folder: Path, words: list[str]) -> dict[str, object]:
    canvas, window = QgsMapCanvas(), QMainWindow()
    window.setCentralWidget(canvas)
    bridge = QgsLayerTreeMapCanvasBridge(QgsProject.instance().layerTreeRoot(), canvas)
    iface = SimpleNamespace(mapCanvas=lambda: canvas, mainWindow=lambda: window)
    environment = SimpleNamespace(command=lambda: words, variables=lambda: dict(os.environ))
    dock = ReviewDock(iface, environment)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    window.resize(*WINDOW)
    window.show()
    shown: list[float] = []
    canvas.mapCanvasRefreshed.connect(lambda: shown.append(time.perf_counter()))

    def until_shown(act: Callable[[], object]) -> float:
        shown.clear()
        begun = time.perf_counter()
        act()
        wait(lambda: shown and not canvas.isDrawing())
        return shown[-1] - begun

    opened = until_shown(lambda: dock.open(folder))
    wait(lambda: not dock.take_ins.running)  # with which opening begins
    following = [until_shown(lambda: QTest.keyClick(canvas, Qt.Key.Key_N)) for _ in range(COUNT)]
    decided = [until_shown(lambda: QTest.keyClick(canvas, Qt.Key.Key_K)) for _ in range(COUNT)]
    begun = time.perf_counter()
    wait(lambda: not dock.take_ins.running and not dock.take_ins.waiting)
    assert dock.walk.decided >= COUNT
    del bridge
    return {
        "changes": len(dock.walk),
        "opened": round(opened, 2),
        "next": told(following),
        "decided": told(decided),
        "taken_in": round(time.perf_counter() - begun, 1),
    }


def wait(there: Callable[[], object]) -> None:
    ends = time.monotonic() + PATIENCE
    while not there():
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 10)
        if time.monotonic() > ends:
            raise TimeoutError("it does not come")


def told(seconds: list[float]) -> dict[str, float]:
    return {"median": round(median(seconds), 3), "worst": round(max(seconds), 3)}


if __name__ == "__main__":
    main()
