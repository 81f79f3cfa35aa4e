"""The plugin: the provider of the toolbox, and the page of the settings.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication

from geochange_qgis.provider import GeochangeProvider


class GeochangePlugin:
    """What QGIS loads and unloads.

    Args:
        iface: the window of QGIS; None in qgis_process.
    """

    def __init__(self, iface: Any) -> None:
        self.iface = iface
        self.provider: GeochangeProvider | None = None
        self.page: Any = None

    def initProcessing(self) -> None:
        """Add the algorithms; qgis_process calls this alone."""
        from geochange_qgis.settings import environment

        self.provider = GeochangeProvider(environment)
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        """Add the algorithms and what has a window."""
        from geochange_qgis.settings import OptionsFactory

        self.initProcessing()
        self.page = OptionsFactory()
        self.iface.registerOptionsWidgetFactory(self.page)
        self._add_review_dock()

    def _add_review_dock(self) -> None:
        """Add the dock `review_dock.ReviewDock(iface, environment)` and its action: this is the one place for it."""

    def unload(self) -> None:
        """Take away what was added."""
        if self.page is not None:
            self.iface.unregisterOptionsWidgetFactory(self.page)
            self.page = None
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
