"""The layers that a run leaves in its folder, opened in the project with their style.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsLayerTreeGroup,
    QgsMapLayer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingUtils,
    QgsRasterLayer,
)

GROUP = "geochange"
NAMES = {"CHANGES": "Changes", "PROBABILITY": "Probability of change"}
STYLED = (".gpkg",)
"""Formats that bring their style: a run may have written several."""


def layers_of(answer: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Return the layers of a run by the name of the output, those below first, by the record of what was written."""
    files = answer.get("files", {})
    found: dict[str, Path] = {}
    if files.get("probability"):
        found["PROBABILITY"] = folder / files["probability"]
    changes = sorted(files.get("changes", []), key=lambda name: Path(name).suffix not in STYLED)
    if changes:
        found["CHANGES"] = folder / changes[0]
    return {name: path for name, path in found.items() if path.exists()}


def load_on_completion(layers: Mapping[str, Path], context: QgsProcessingContext) -> None:
    """Have QGIS open layers once the algorithm has ended; qgis_process, which has no project, leaves them."""
    if context.project() is None:
        return
    for output, path in layers.items():
        hint = QgsProcessingUtils.LayerHint.Raster if output == "PROBABILITY" else QgsProcessingUtils.LayerHint.Vector
        details = QgsProcessingContext.LayerDetails(NAMES[output], context.project(), output, hint)
        if hasattr(details, "groupName"):  # QGIS 3.32
            details.groupName = GROUP
        details.setPostProcessor(_kept(Arranged()))
        context.addLayerToLoadOnCompletion(str(path), details)


class Arranged(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer its own style, and puts it into the group."""

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        layer.loadDefaultStyle()  # of the table layer_styles in a GeoPackage, of the .qml beside a raster
        root = context.project().layerTreeRoot()
        node = root.findLayer(layer.id())
        if node is not None:
            _move(node, root.findGroup(GROUP) or root.insertGroup(0, GROUP))


_ARRANGERS: list[Arranged] = []


def _kept(arranged: Arranged) -> Arranged:
    """Keep what Python made and QGIS calls later."""
    _ARRANGERS.append(arranged)
    return arranged


def _move(node: Any, group: QgsLayerTreeGroup) -> None:
    """Move a layer into the group, or within it: rasters below, polygons above them."""
    below = isinstance(node.layer(), QgsRasterLayer)
    group.insertChildNode(-1 if below else 0, node.clone())
    node.parent().removeChildNode(node)
