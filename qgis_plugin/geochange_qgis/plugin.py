"""The plugin: the provider of the toolbox, the page of the settings, and the dock of reviews.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

from qgis.core import QgsApplication

from geochange_qgis.environment import Environment
from geochange_qgis.provider import GeochangeProvider

ICON = Path(__file__).with_name("icon.svg")
MENU = "geochange"


class Chosen:
    """The environment that the settings name at the moment: they may change while the dock is there."""

    def __init__(self, environment: Callable[[], Environment]) -> None:
        self._environment = environment

    def command(self) -> list[str]:
        return self._environment().command()

    def variables(self) -> dict[str, str]:
        return self._environment().variables()


class GeochangePlugin:
    """What QGIS loads and unloads.

    Args:
        iface: the window of QGIS; None in qgis_process.
    """

    def __init__(self, iface: Any) -> None:
        self.iface = iface
        self.provider: GeochangeProvider | None = None
        self.page: Any = None
        self.dock: Any = None
        self.action: Any = None

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
        """Add an action that shows the dock, which is made when it is first asked for."""
        from qgis.PyQt.QtGui import QIcon
        from qgis.PyQt.QtWidgets import QAction

        self.action = QAction(QIcon(str(ICON)), "Review changes", self.iface.mainWindow())
        self.action.setCheckable(True)
        self.action.toggled.connect(self._show_dock)
        self.iface.addToolBarIcon(self.action)
        self.iface.addPluginToMenu(MENU, self.action)

    def _show_dock(self, shown: bool) -> None:
        from qgis.PyQt.QtCore import Qt

        from geochange_qgis.review_dock.dock import ReviewDock
        from geochange_qgis.settings import environment

        if self.dock is None and shown:
            self.dock = ReviewDock(self.iface, Chosen(environment))
            self.dock.visibilityChanged.connect(self._follow)
            self.iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        if self.dock is not None:
            self.dock.setUserVisible(shown)

    def _follow(self, _: bool) -> None:
        """Show on the button whether the dock is there, also after it was closed by itself."""
        self.action.blockSignals(True)
        self.action.setChecked(self.dock.isUserVisible())
        self.action.blockSignals(False)

    def unload(self) -> None:
        """Take away what was added; what has been decided is taken in first."""
        if self.dock is not None:
            self.dock.finish()
            self.iface.removeDockWidget(self.dock)
            self.dock.deleteLater()
            self.dock = None
        if self.action is not None:
            self.iface.removeToolBarIcon(self.action)
            self.iface.removePluginMenu(MENU, self.action)
            self.action = None
        if self.page is not None:
            self.iface.unregisterOptionsWidgetFactory(self.page)
            self.page = None
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
