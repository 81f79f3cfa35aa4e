"""Names of files: what is not a file of this machine, and the layer that one names in a file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geochange.errors import BadOption

LAYER_MARK = "|layername="
"""Between a file and the layer in it, as QGIS writes it."""


def is_elsewhere(name: str) -> bool:
    """Return whether a name is a URL, or a path of GDAL's virtual file systems."""
    return name.startswith("/vsi") or "://" in name


def is_plain(path: str) -> bool:
    """Return whether pyogrio passes a path of the file system on as it stands: not with `!` in it, say."""
    from pyogrio.util import vsi_path

    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return vsi_path(path) in (path, f"/vsizip/{path}")


@contextmanager
def plainly_named(path: Path) -> Iterator[Path]:
    """Give a path of a single file that pyogrio takes as it stands: through a link where its own is not one."""
    if is_plain(str(path)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="geochange-") as links:
        link = Path(links) / f"file{path.suffix}"
        link.symlink_to(path.absolute())
        yield link


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
