"""What tests do inside QGIS, run by QGIS's own Python: `python3 session.py PLUGINS ACTION JSON`.

The last line on stdout is the answer, as JSON. Nothing of pytest or geochange is there.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = [sys.argv[1], "/usr/share/qgis/python", "/usr/share/qgis/python/plugins"]

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsLayerTreeRegistryBridge,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsSettings,
    QgsVectorLayer,
)
from qgis.gui import QgsMapCanvas  # noqa: E402
from qgis.PyQt import sip  # noqa: E402
from qgis.PyQt.QtWidgets import QMainWindow  # noqa: E402


class Recorded(QgsProcessingFeedback):
    """Keeps what an algorithm says, and cancels it at the first block of a stage."""

    def __init__(self, cancel_in=None):
        super().__init__(False)
        self.cancel_in, self.stage, self.said, self.shares = cancel_in, "", [], []

    def setProgressText(self, text):
        self.stage = text
        self.said.append(text)

    def pushInfo(self, text):
        self.said.append(text)

    pushConsoleInfo = pushDebugInfo = pushCommandInfo = pushWarning = pushInfo

    def watch(self, share):
        self.shares.append(share)
        if share > 0 and self.stage == self.cancel_in:
            self.cancel()


def algorithm(name):
    return QgsApplication.processingRegistry().createAlgorithmById(f"geochange:{name}")


def run(name, parameters, *, project=None, cancel_in=None):
    """Run an algorithm; its results or its error, and what it said."""
    context, feedback = QgsProcessingContext(), Recorded(cancel_in)
    feedback.progressChanged.connect(feedback.watch)
    if project is not None:
        context.setProject(project)
    found = algorithm(name)
    try:
        results, ok = found.run(parameters, context, feedback, {}, False)
        error = ""
    except QgsProcessingException as raised:
        results, ok, error = {}, False, str(raised)
    answer = {"results": results, "ok": ok, "error": error, "said": feedback.said, "shares": feedback.shares}
    return answer, found, context, feedback


def describe():
    """All algorithms with their parameters, as QGIS has them."""
    provider = QgsApplication.processingRegistry().providerById("geochange")
    return {
        each.name(): {
            "parameters": [
                {
                    "name": parameter.name(),
                    "type": parameter.type(),
                    "optional": bool(parameter.flags() & parameter.FlagOptional),
                    "advanced": bool(parameter.flags() & parameter.FlagAdvanced),
                    "help": parameter.help(),
                }
                for parameter in each.parameterDefinitions()
            ],
            "outputs": [output.name() for output in each.outputDefinitions()],
            "help": each.shortHelpString(),
        }
        for each in provider.algorithms()
    }


def detect(parameters, cancel_in=None):
    return run("detect", parameters, cancel_in=cancel_in)[0]


def load(parameters, inside_group=False):
    """Detect with a project, as the toolbox does; what is in the project then.

    Args:
        parameters: of the algorithm.
        inside_group: have QGIS itself add layers at the top of the group, as where that is the current one.
    """
    from processing.gui.Postprocessing import handleAlgorithmResults

    project = QgsProject.instance()
    if inside_group:
        place = QgsLayerTreeRegistryBridge.InsertionPoint(project.layerTreeRoot().addGroup("geochange"), 0)
        project.layerTreeRegistryBridge().setLayerInsertionPoint(place)
    answer, found, context, feedback = run("detect", parameters, project=project)
    handleAlgorithmResults(found, context, feedback, False, parameters)
    group = project.layerTreeRoot().findGroup("geochange")
    return {
        **answer,
        "layers": [node.name() for node in group.children()] if group else [],
        "all": len(project.mapLayers()),
        "renderers": {layer.name(): layer.renderer().type() for layer in project.mapLayers().values()},
    }


def words(name, parameters, layers=()):
    """The command line of an algorithm, or its error; layers are added to the project, by kind, source and name."""
    for kind, source, title, provider in layers:
        make = QgsRasterLayer if kind == "raster" else QgsVectorLayer
        layer = make(source, title, provider)
        assert layer.isValid(), source
        QgsProject.instance().addMapLayer(layer)
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    found = algorithm(name)
    ok, why = found.checkParameterValues(parameters, context)
    if not ok:
        return {"error": why}
    feedback = Recorded()
    try:
        found.prepareAlgorithm(parameters, context, feedback)
    except QgsProcessingException as raised:
        return {"error": str(raised)}
    return {"words": found.words, "said": feedback.said}


def page(picture=None):
    """The texts of the page of the settings."""
    from geochange_qgis.settings import OptionsFactory

    widget = OptionsFactory().createWidget(None)
    widget.show()
    QgsApplication.processEvents()
    checked = widget.state.text()
    widget.path.setFilePath("/no/such/place")
    widget.check()
    missing = widget.state.text()
    widget.find()
    if picture:
        widget.resize(640, 260)
        widget.grab().save(picture)
    widget.apply()
    found = widget.state.text()
    widget.close()
    sip.delete(widget)  # before QGIS ends
    return {"checked": checked, "missing": missing, "found": found, "kept": QgsSettings().value("geochange/command")}


class Window:
    """What a plugin asks of QGIS's window."""

    def __init__(self):
        self.pages, self.icons, self.entries, self.docks = [], [], [], []
        self.registerOptionsWidgetFactory, self.unregisterOptionsWidgetFactory = self.pages.append, self.pages.remove
        self.addToolBarIcon, self.removeToolBarIcon = self.icons.append, self.icons.remove
        self.window, self.canvas = QMainWindow(), QgsMapCanvas()

    def mainWindow(self):
        return self.window

    def mapCanvas(self):
        return self.canvas

    def addPluginToMenu(self, menu, action):
        self.entries.append((menu, action))

    def removePluginMenu(self, menu, action):
        self.entries.remove((menu, action))

    def addDockWidget(self, area, dock):
        self.docks.append(dock)
        self.window.addDockWidget(area, dock)

    def removeDockWidget(self, dock):
        self.docks.remove(dock)
        self.window.removeDockWidget(dock)

    def counts(self):
        return [len(each) for each in (self.pages, self.icons, self.entries, self.docks)]


def window():
    """What the plugin adds to QGIS with a window, and what is left of it once it is unloaded."""
    from geochange_qgis import classFactory

    iface, registry = Window(), QgsApplication.processingRegistry()
    plugin = classFactory(iface)
    plugin.initGui()
    before = iface.counts()
    plugin.action.setChecked(True)  # as a click on the button does
    there = [registry.providerById("geochange") is not None, *iface.counts()]
    title = iface.docks[0].windowTitle()
    plugin.unload()
    left = [registry.providerById("geochange") is not None, *iface.counts()]
    return {"before": before, "there": there, "title": title, "left": left}


ACTIONS = {each.__name__: each for each in (describe, detect, load, words, page, window)}


def main():
    application = QgsApplication([], True)
    application.initQgis()
    from processing.core.Processing import Processing

    Processing.initialize()
    from geochange_qgis import classFactory

    action, given = sys.argv[2], json.loads(sys.argv[3])
    plugin = classFactory(None)
    if action != "window":
        plugin.initProcessing()
    print(json.dumps(ACTIONS[action](**given)))
    sys.stdout.flush()
    plugin.unload()
    application.exitQgis()


if __name__ == "__main__":
    assert Path(sys.argv[1]).is_dir()
    main()
