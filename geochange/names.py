"""Names of files: what is not a file of this machine, the layer that one names in a file, what systems forbid."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from geochange.errors import BadOption
from geochange.system import stand_in

LAYER_MARK = "|layername="
"""Between a file and the layer in it, as QGIS writes it."""

_PROTOCOLS = re.compile(r"^(vrt|file|zip|tar|gzip)://")
_VIRTUAL = re.compile(r"^(/vsi\w+/)+(\d+_\d+,)?")
_DRIVE_AFTER_SLASH = re.compile(r"^/(?=[A-Za-z]:[\\/])")
"""As in `file:///C:/a.tif`."""
_COLON = re.compile(r":(?![\\/])|(?<=\w\w):|(?<=[\W\d]):")
"""A colon that parts a name of GDAL: not that behind the letter of a drive."""
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])[ .]*(\..*)?", re.IGNORECASE)
"""Names of devices on Windows, with any suffix."""


def text_of(path: str | os.PathLike[str]) -> str:
    """Return a path as text; one of GDAL's virtual file systems with slashes, which `pathlib` turns on Windows."""
    slashed = path.as_posix() if isinstance(path, PurePath) else ""
    return slashed if slashed.startswith("/vsi") else os.fspath(path)


def local_paths_in(name: str) -> list[str]:
    """List the texts of a name of GDAL that may be paths of this machine: the name first, then what lies in it.

    So `vrt:///data/a.tif?bands=1`, `/vsizip/{C:/a.zip}/b.tif` and `NETCDF:"C:/a.nc":ndvi` name a file each.
    """
    inner = _DRIVE_AFTER_SLASH.sub("", _PROTOCOLS.sub("", _VIRTUAL.sub("", name.strip())))
    if re.match(r"[A-Za-z][\w+.-]*://", inner):  # elsewhere
        return []
    unbraced = inner.replace("{", "").replace("}", "")
    parts = [part.strip("\"'") for each in (inner, unbraced) for part in _COLON.split(re.split(r"[?!]", each)[0])]
    return [each for each in dict.fromkeys((name, inner, unbraced, *parts)) if each and "\0" not in each]


def relative_name(path: str, folder: str) -> str:
    """Return a path as files in a folder name it, with slashes; whole where it lies on another drive, as on Windows."""
    try:
        return os.path.relpath(path, folder).replace(os.sep, "/")
    except ValueError:
        return os.path.abspath(path).replace(os.sep, "/")


def sqlite_name(path: PurePath, query: str) -> str:
    """Return the address by which SQLite opens an absolute path, with the server of a share in the path itself."""
    address = path.as_uri()
    return f"{address if address.startswith('file:///') else address.replace('file://', 'file:////', 1)}?{query}"


def fault_of_name(name: str) -> str | None:
    """Return what Windows forbids in the name of a file; None where nothing is."""
    if found := _FORBIDDEN.search(name):
        return f"the character {found[0]!r}"
    if name.endswith((".", " ")):
        return "a dot or a space at its end"
    return "the name of a device" if _DEVICES.fullmatch(name) else None


def file_name(text: str) -> str:
    """Return a text as the name of a file that each system takes; what one forbids becomes `_`.

    Law: the name of a name is the name itself.
    """
    name = _FORBIDDEN.sub("_", text)
    name = re.sub(r"[. ]+$", "_", name) or "_"
    return f"_{name}" if _DEVICES.fullmatch(name) else name


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
                stand_in(Path(folder, each), Path(links, f"layer{each[len(stem) :]}"))
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
