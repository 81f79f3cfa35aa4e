"""What QGIS makes of a project, run by QGIS's own Python: `python3 open_project.py PROJECT PICTURES`.

The last line on stdout is the answer, as JSON; PICTURES takes a PNG for each map theme.
"""

import json
import os
import sys

sys.path[:0] = ["/usr/share/qgis/python", "/usr/share/qgis/python/plugins"]

from qgis.core import (  # noqa: E402
    QgsApplication,
    QgsExpression,
    QgsExpressionContext,
    QgsExpressionContextUtils,
    QgsLayerNotesUtils,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsProject,
)
from qgis.PyQt.QtCore import QSize  # noqa: E402

SIDE = 200

application = QgsApplication([], False)
application.initQgis()
messages = []
QgsApplication.messageLog().messageReceived.connect(lambda text, tag, level: messages.append(f"{tag}: {text}"))
project = QgsProject.instance()
read = project.read(sys.argv[1])
layers = {}
for layer in project.mapLayers().values():
    layers[layer.name()] = {"valid": layer.isValid(), "crs": layer.crs().authid()}
changes = project.mapLayersByName("Changes")[0]
context = QgsExpressionContext(QgsExpressionContextUtils.globalProjectLayerScopes(changes))
context.setFeature(next(changes.getFeatures()))
fields = changes.fields()
for theme in project.mapThemeCollection().mapThemes():
    settings = QgsMapSettings()
    settings.setLayers(project.mapThemeCollection().mapThemeVisibleLayers(theme))
    settings.setDestinationCrs(project.crs())
    settings.setExtent(project.viewSettings().defaultViewExtent())
    settings.setOutputSize(QSize(SIDE, SIDE))
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(f"{sys.argv[2]}/{theme}.png")
answer = {
    "read": read,
    "messages": messages,
    "crs": project.crs().authid(),
    "layers": layers,
    "features": changes.featureCount(),
    "renderer": changes.renderer().type(),
    "alias": fields[fields.indexFromName("area_m2")].displayName(),
    "widgets": {field.name(): changes.editorWidgetSetup(fields.indexFromName(field.name())).type() for field in fields},
    "tip": QgsExpression.replaceExpressionText(changes.mapTipTemplate(), context),
    "notes": QgsLayerNotesUtils.layerNotes(changes),
}
print(json.dumps(answer), flush=True)
os._exit(0)  # QGIS falls where Python takes its objects apart in another order than it made them
