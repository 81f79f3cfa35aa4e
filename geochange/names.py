"""Names of inputs: what is not a file of this machine, and the layer that one names in a file."""

from __future__ import annotations

import os

from geochange.errors import BadOption

LAYER_MARK = "|layername="
"""Between a file and the layer in it, as QGIS writes it."""


def is_elsewhere(name: str) -> bool:
    """Return whether a name is a URL, or a path of GDAL's virtual file systems."""
    return name.startswith("/vsi") or "://" in name


def split_layer(name: str) -> tuple[str, str | None]:
    """Split `FILE|layername=NAME`, as QGIS writes it, into the file and the layer; None where no layer is named.

    Raises:
        BadOption: more than a layer is named, such as a filter.
    """
    path, mark, layer = name.rpartition(LAYER_MARK)
    if not mark or os.path.exists(name):
        return name, None
    if "|" in layer or not layer:
        raise BadOption(f"{name} must be FILE{LAYER_MARK}NAME; save what it selects as a layer of its own")
    return path, layer


def file_of(name: str) -> str:
    """Return the file in which a layer lies, as `split_layer`."""
    return split_layer(name)[0]
