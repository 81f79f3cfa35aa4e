"""Files that inputs are made of: by any name that GDAL takes, behind links, in folders, and the sources of VRTs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from geochange.names import file_of, is_elsewhere, local_paths_in, text_of

_VRT_HEADS = (b"<VRTDataset", b"<OGRVRTDataSource")
_SOURCE_TAGS = {"SourceFilename", "SourceDataset", "SrcDataSource"}
_HEAD_BYTES = 512


def files_read(inputs: Iterable[Any]) -> list[Path]:
    """List the files and folders that inputs name, each once: of folders what lies in them, of VRTs their sources.

    Args:
        inputs: paths, names as GDAL takes them, and arrays that rioxarray has opened; None and others name nothing.

    Returns:
        Resolved paths of what exists, in the order in which it was found.
    """
    found: dict[Path, None] = {}
    waiting = [path for each in inputs for path in _named(each)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found[path] = None
        if path.is_dir():
            inside = [each.resolve() for each in _children(path) if not each.is_dir()]
            waiting += [each for each in inside if each.suffix.lower() == ".vrt"]
            found |= dict.fromkeys(each for each in inside if each.suffix.lower() != ".vrt")
        elif path.is_file():
            waiting += _vrt_sources(path)
    return list(found)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # who cannot list it reads nothing in it
        return []


def _named(each: Any) -> Iterator[Path]:
    """Yield the files and folders that one input names."""
    if not isinstance(each, str | os.PathLike):
        each = getattr(each, "encoding", {}).get("source")
    if isinstance(each, str | os.PathLike):
        yield from _existing(file_of(text_of(each)), Path())


def _existing(name: str, folder: Path) -> Iterator[Path]:
    """Yield what exists of the paths that a name of GDAL may hold, such as `vrt://a.tif?bands=1`."""
    for candidate in local_paths_in(name):
        path = folder / candidate
        yield from [each.resolve() for each in (path, *_files_above(path)) if _exists(each)][:1]


def _files_above(path: Path) -> Iterator[Path]:
    """Yield the archive that a path leads into."""
    yield from (each for each in path.parents if _is_file(each))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no name of a file: too long, say
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def sources_elsewhere(name: str) -> list[str]:
    """List what of an input, and of the VRTs that it is made of, is a URL or lies in a virtual file system."""
    inside = [element.text or "" for path in files_read([name]) for element in _vrt_elements(path)]
    return [each for each in (name, *inside) if is_elsewhere(each)]


def _vrt_sources(path: Path) -> list[Path]:
    return [each for source in _vrt_elements(path) for each in _sources_of(source, path.parent)]


def _vrt_elements(path: Path) -> list[ET.Element]:
    """Return the elements of a VRT that name its sources; none where it is no VRT."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as file:
            if not file.read(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", *_VRT_HEADS)):
                return []
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError):  # whoever opens it reports that
        return []
    if f"<{root.tag}".encode() not in _VRT_HEADS:
        return []
    return [element for element in root.iter() if element.tag in _SOURCE_TAGS]


def _sources_of(element: ET.Element, folder: Path) -> Iterator[Path]:
    relative = any(key.lower() == "relativetovrt" and value == "1" for key, value in element.items())
    yield from _existing(element.text or "", folder if relative else Path())
