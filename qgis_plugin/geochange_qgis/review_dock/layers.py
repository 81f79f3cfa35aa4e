"""The layers of a review in a project of QGIS: the changes, and both dates below them.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qgis.core import (
    NULL,
    QgsCoordinateTransform,
    QgsFeatureRequest,
    QgsGeometry,
    QgsLayerTreeLayer,
    QgsMapLayer,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsRectangle,
    QgsVectorLayer,
)

from .results import FOUND, NoResults, Results, folder_of
from .walk import UNDECIDED, Place, Row, neighbourhoods

LAYER = "changes"
MARGIN = 3.0  # times the larger side of a change
LEAST_PIXELS = 60  # of BEFORE's, that are shown of it
SQUARES = 16  # of a scene's larger side, looked at one after another in the order of place
DATES = ("before", "after")
TOUCHED = '"rev" > 0'  # of rows: an action is the latest that changed them


def folders_in(project: QgsProject) -> list[Path]:
    """List folders of results of which a project shows a layer of changes."""
    found = (folder_of(layer.source()) for layer in project.mapLayers().values())
    return sorted({folder for folder in found if folder is not None})


def show_changes(project: QgsProject, results: Results) -> QgsVectorLayer:
    """Show the changes that are reviewed, on top; what the run itself left of them is hidden.

    Raises:
        NoResults: the view of the review cannot be read.
    """
    for layer in project.mapLayers().values():
        if folder_of(layer.source()) == results.folder and Path(_path_of(layer)).name in FOUND:
            show(project, layer, visible=False)
    there = _find(project, results.view, QgsVectorLayer, f"layername={LAYER}")
    if there is not None:
        return there
    layer = QgsVectorLayer(f"{results.view}|layername={LAYER}", f"changes of {results.folder.name}", "ogr")
    if not layer.isValid() or layer.fields().indexOf("status") < 0:
        raise NoResults(f"{results.view} cannot be read as the view of a review")
    project.addMapLayer(layer, False)
    project.layerTreeRoot().insertLayer(0, layer)
    return layer


def show_dates(project: QgsProject, results: Results, changes: QgsVectorLayer) -> list[QgsRasterLayer | None]:
    """Show both dates below the changes, in one stretch; None for one that is no file of this machine."""
    named = list(zip((results.before, results.after), DATES))
    found = [_find(project, Path(name), QgsRasterLayer) for name, _ in named]
    dates = [there or _open_date(*each) for there, each in zip(found, named)]
    new = [date for date, there in zip(dates, found) if date is not None and there is None]
    before, after = dates
    if len(new) == 2 and _alike(before, after):
        after.setRenderer(before.renderer().clone())
    parent, row = _place_of(project, changes)
    for layer in new:
        project.addMapLayer(layer, False)
        parent.insertLayer(row + 1, layer)
    return dates


def _open_date(name: str, date: str) -> QgsRasterLayer | None:
    """Open the image of a date; nothing is fetched over a network."""
    if not os.path.exists(name):
        return None
    layer = QgsRasterLayer(name, f"{date} ({Path(name).stem})")
    return layer if layer.isValid() else None


def _alike(one: QgsRasterLayer, other: QgsRasterLayer) -> bool:
    """Whether two images can be drawn with the same stretch."""
    kinds = [[each.dataProvider().dataType(band + 1) for band in range(each.bandCount())] for each in (one, other)]
    return kinds[0] == kinds[1]


def _find(project: QgsProject, path: Path, kind: type, ending: str = "") -> Any:
    """Return a layer of the project that shows a file; None where there is none."""
    for layer in project.mapLayers().values():
        fits = isinstance(layer, kind) and layer.isValid() and layer.source().endswith(ending)
        if fits and os.path.realpath(_path_of(layer)) == os.path.realpath(path):
            return layer
    return None


def _path_of(layer: QgsMapLayer) -> str:
    return layer.source().split("|")[0]


def _place_of(project: QgsProject, layer: QgsMapLayer) -> tuple[Any, int]:
    """Return the group of the layer tree that holds a layer, and its row there."""
    node = project.layerTreeRoot().findLayer(layer.id())
    if node is None:
        return project.layerTreeRoot(), -1
    return node.parent(), node.parent().children().index(node)


def show(project: QgsProject, layer: QgsMapLayer, *, visible: bool) -> None:
    """Show a layer, or hide it."""
    node = project.layerTreeRoot().findLayer(layer.id())
    if isinstance(node, QgsLayerTreeLayer):
        node.setItemVisibilityChecked(visible)


def is_shown(project: QgsProject, layer: QgsMapLayer) -> bool:
    """Whether a layer is visible."""
    node = project.layerTreeRoot().findLayer(layer.id())
    return node is not None and node.isVisible()


def rows_of(layer: QgsVectorLayer, *, touched: bool = False) -> Iterator[Row]:
    """Read what the order needs of all changes, or of those that a review has touched; no outlines."""
    names = [name for name in ("id", "status", "confidence", "score_mean", "area_m2", "area_px") if _has(layer, name)]
    fields = layer.fields()
    places = {name: fields.indexOf(name) for name in names}
    request = QgsFeatureRequest().setFlags(QgsFeatureRequest.Flag.NoGeometry).setSubsetOfAttributes([*places.values()])
    if touched:
        request.setFilterExpression(TOUCHED)
    for feature in layer.getFeatures(request):
        values = feature.attributes()
        told = {name: None if values[place] == NULL else values[place] for name, place in places.items()}
        area = told.get("area_m2")
        yield Row(
            feature.id(),
            told.get("id") or 0,
            told.get("status") or UNDECIDED,
            told.get("confidence"),
            told.get("score_mean"),
            told.get("area_px") if area is None else area,
        )


def _has(layer: QgsVectorLayer, name: str) -> bool:
    return layer.fields().indexOf(name) >= 0


def places_of(layer: QgsVectorLayer) -> dict[int, Place]:
    """Read where all changes lie; their outlines are read once for it."""
    request = QgsFeatureRequest().setSubsetOfAttributes([])
    centers = {each.id(): each.geometry().boundingBox().center() for each in layer.getFeatures(request)}
    extent = layer.extent()
    side = max(extent.width(), extent.height()) / SQUARES or 1.0
    return neighbourhoods({fid: (center.x(), center.y()) for fid, center in centers.items()}, side)


def view_of(
    geometry: QgsGeometry, layer: QgsVectorLayer, date: QgsRasterLayer | None, settings: QgsMapSettings
) -> QgsRectangle:
    """Return what of the map is shown of a change: it with a margin, in the map's CRS.

    Args:
        geometry: of the change, in the layer's CRS.
        layer: of the changes.
        date: in the layer's CRS; at least so many of its pixels are shown.
        settings: of the map.
    """
    box = geometry.boundingBox()
    pixel = 0.0 if date is None else date.rasterUnitsPerPixelX()
    side = max(MARGIN * max(box.width(), box.height()), LEAST_PIXELS * pixel)
    center = box.center()
    wanted = QgsRectangle(center.x() - side / 2, center.y() - side / 2, center.x() + side / 2, center.y() + side / 2)
    if not layer.crs().isValid() or not settings.destinationCrs().isValid():
        return wanted
    to_map = QgsCoordinateTransform(layer.crs(), settings.destinationCrs(), settings.transformContext())
    return to_map.transformBoundingBox(wanted)
