"""Names of files: what is not a file of this machine, and the layer that one names in a file."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from geochange.errors import BadOption

LAYER_MARK = "|layername="
"""Between a file and the layer in it, as QGIS writes it."""


def is_elsewhere(name: str) -> bool:
    """Return whether a name is a URL, or a path of GDAL's virtual file systems."""
    return name.startswith("/vsi") or "://" in name


def outside_of_archives(name: str) -> str:
    """Return a name without the virtual file systems of archives, so that a member of a local one is a local path."""
    return re.sub(r"^(/vsi(zip|tar|gzip)/)+", "", name)


def is_plain(path: str) -> bool:
    """Return whether pyogrio passes a path of the file system on as it stands: not with `!` in it, say."""
    from pyogrio.util import vsi_path

    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return vsi_path(path) in (path, f"/vsizip/{path}")


@contextmanager
def plainly_named(path: str) -> Iterator[str]:
    """Give a path that pyogrio takes as it stands: where its own is not one, through links to it and what lies beside.

    Args:
        path: of a layer that exists, in one file or in several of one stem.
    """
    if is_plain(path):
        yield path
        return
    folder, file = os.path.split(os.path.abspath(path))
    stem, suffix = _split_suffix(file)
    with tempfile.TemporaryDirectory(prefix="geochange-") as links:
        for each in os.listdir(folder):
            if each.startswith(f"{stem}."):
                os.symlink(os.path.join(folder, each), os.path.join(links, f"layer{each[len(stem) :]}"))
        yield os.path.join(links, f"layer{suffix}")


def _split_suffix(file: str) -> tuple[str, str]:
    """Split a name into its stem and its suffix, which has two parts where it is that of an archive."""
    stem, suffix = os.path.splitext(file)
    if suffix.lower() == ".zip":
        stem, inner = os.path.splitext(stem)
        return stem, inner + suffix
    return stem, suffix


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
