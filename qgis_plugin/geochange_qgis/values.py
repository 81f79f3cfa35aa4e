"""What the user has chosen in QGIS, as the values that geochange takes: files for layers, numbers for bands.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsMapLayer,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProviderRegistry,
    QgsRasterLayer,
)

from geochange_qgis.parameters import Field

FILES = {"gdal": "raster", "ogr": "vector"}
"""Providers whose layers are files that geochange opens."""


class Values:
    """Reads the values of an algorithm's parameters."""

    def __init__(
        self, algorithm: QgsProcessingAlgorithm, parameters: Mapping[str, Any], context: QgsProcessingContext
    ) -> None:
        self.algorithm, self.parameters, self.context = algorithm, dict(parameters), context
        self.readers: dict[str, Callable[[Field], Any]] = {
            "flag": self._flag,
            "switch": self._choice,
            "integer": self._integer,
            "number": self._number,
            "choice": self._choice,
            "choices": self._choices,
            "raster": self._layer,
            "layer": self._layer,
            "map": self._layer,
            "rasters": self._layers,
            "layers": self._layers,
            "maps": self._layers,
            "bands": self._bands,
            "extent": self._extent,
            "raster output": self._output_layer,
            "layer output": self._output_layer,
            "file output": self._output_file,
            "folder output": self._output_file,
        }

    def read(self, field: Field) -> Any:
        """Return the value of a parameter; None where nothing is given.

        Raises:
            QgsProcessingException: a layer is not a file.
        """
        if self.parameters.get(field.name) is None and field.kind not in ("flag", "choice", "choices"):
            return None
        return self.readers.get(field.kind, self._text)(field)

    def _text(self, field: Field) -> str:
        return str(self.algorithm.parameterAsString(self.parameters, field.name, self.context)).strip()

    def _flag(self, field: Field) -> bool:
        return bool(self.algorithm.parameterAsBool(self.parameters, field.name, self.context))

    def _integer(self, field: Field) -> int:
        return int(self.algorithm.parameterAsInt(self.parameters, field.name, self.context))

    def _number(self, field: Field) -> float:
        return float(self.algorithm.parameterAsDouble(self.parameters, field.name, self.context))

    def _choice(self, field: Field) -> str:
        return str(self.algorithm.parameterAsEnumString(self.parameters, field.name, self.context))

    def _choices(self, field: Field) -> list[str]:
        return list(self.algorithm.parameterAsEnumStrings(self.parameters, field.name, self.context))

    def _bands(self, field: Field) -> list[int]:
        return list(self.algorithm.parameterAsInts(self.parameters, field.name, self.context))

    def _layer(self, field: Field) -> str:
        layer = self.algorithm.parameterAsLayer(self.parameters, field.name, self.context)
        if layer is None:  # geochange says what is wrong with a name that QGIS cannot open
            return str(self.parameters[field.name])
        return file_of(layer)

    def _layers(self, field: Field) -> list[str]:
        return [
            file_of(each) for each in self.algorithm.parameterAsLayerList(self.parameters, field.name, self.context)
        ]

    def _extent(self, field: Field) -> list[float]:
        """Return left, bottom, right, top in the CRS of the image that the extent belongs to."""
        layer = None
        if field.parent and self.parameters.get(field.parent):
            layer = self.algorithm.parameterAsLayer(self.parameters, field.parent, self.context)
        crs = QgsCoordinateReferenceSystem() if layer is None else layer.crs()
        extent = self.algorithm.parameterAsExtent(self.parameters, field.name, self.context, crs)
        if extent.isNull():
            return []
        return [extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum()]

    def _output_layer(self, field: Field) -> str:
        return str(self.algorithm.parameterAsOutputLayer(self.parameters, field.name, self.context))

    def _output_file(self, field: Field) -> str:
        return str(self.algorithm.parameterAsFileOutput(self.parameters, field.name, self.context))


def file_of(layer: QgsMapLayer) -> str:
    """Return the file of a layer, as geochange takes it: `FILE|layername=NAME` where the file may hold several.

    Raises:
        QgsProcessingException: it is not a file, or shows a part of it only.
    """
    provider = layer.providerType()
    if provider not in FILES:
        raise QgsProcessingException(
            f"the layer {layer.name()} is not a file ({provider}): export it, and choose the file"
        )
    parts = QgsProviderRegistry.instance().decodeUri(provider, layer.source())
    if parts.get("subset"):
        raise QgsProcessingException(f"the layer {layer.name()} has a filter: remove it, or export what it shows")
    if layer.isEditable() and layer.isModified():
        raise QgsProcessingException(f"the layer {layer.name()} has edits that are not saved: save them first")
    if isinstance(layer, QgsRasterLayer):
        return str(layer.source() if parts.get("layerName") else parts.get("path") or layer.source())
    name = parts.get("layerName")
    return f"{parts['path']}|layername={name}" if name else str(parts["path"])
