"""geochange in QGIS: its commands as Processing algorithms, run by the `geochange` of an environment of its own.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """Return the plugin, as QGIS asks for it; `iface` is None in qgis_process."""
    from geochange_qgis.plugin import GeochangePlugin

    return GeochangePlugin(iface)
