"""The provider of the toolbox: an algorithm for each command.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Callable

from qgis.core import QgsMessageLog, QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from geochange_qgis.algorithm import ICON, GeochangeAlgorithm
from geochange_qgis.environment import Environment
from geochange_qgis.parameters import ALGORITHMS, FormUnknown, described_version, read_commands


class GeochangeProvider(QgsProcessingProvider):
    """Offers the commands of geochange."""

    def __init__(self, environment: Callable[[], Environment]) -> None:
        super().__init__()
        self.environment = environment

    def id(self) -> str:
        return "geochange"

    def name(self) -> str:
        return "geochange"

    def longName(self) -> str:
        return f"geochange {described_version()}"

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def loadAlgorithms(self) -> None:
        try:
            commands = read_commands()
        except FormUnknown as error:
            QgsMessageLog.logMessage(str(error), "geochange")
            return
        for name in ALGORITHMS:
            if name in commands:
                self.addAlgorithm(GeochangeAlgorithm(commands[name], self.environment))

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif"]

    def supportedOutputVectorLayerExtensions(self) -> list[str]:
        return ["gpkg", "geojson", "fgb", "parquet"]

    def defaultVectorFileExtension(self, hasGeometry: bool = True) -> str:
        return "gpkg"

    def supportsNonFileBasedOutput(self) -> bool:
        return False
