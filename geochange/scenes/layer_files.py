"""Files of vector layers as GDAL is given them: which are, the layer that is meant, and names that it cannot take."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

from geochange.errors import UnreadableInput
from geochange.names import LAYER_MARK, file_of, is_elsewhere, is_plain, plainly_named, split_layer
from geochange.remote import patient_layers
from geochange.system import bring, writable_under

ARCHIVE, PARQUET = ".zip", ".parquet"
PACKED_SUFFIXES = (".gpkg.zip", ".shp.zip", ".shz")
"""Archives that GDAL opens as one layer file."""
VECTOR_SUFFIXES = (
    *(".gpkg", ".geojson", ".json", ".geojsonl", ".geojsons", ".ndjson", ".fgb", ".shp", ".kml", ".gml", ".sqlite"),
    *(".gdb", ".tab", ".mif", PARQUET),
    *PACKED_SUFFIXES,
)
ARC_STEP = 0.5  # degrees of a curve between two of its vertices


def is_layer(name: str) -> bool:
    """Return whether a name is that of a vector layer: it ends as one, or is an archive that holds one."""
    if split_layer(name)[1] is not None:
        return True
    text = _last_part(name)
    if not text.endswith(ARCHIVE):
        return text.endswith(VECTOR_SUFFIXES)
    if text.endswith(PACKED_SUFFIXES):
        return True
    with suppress(OSError, zipfile.BadZipFile):  # it is reported where the file is opened as a raster
        return _holds_geometries(name) if is_elsewhere(name) else bool(_layers_in(name))
    return False


def _holds_geometries(archive: str) -> bool:
    import pyogrio
    from pyogrio.errors import DataSourceError

    with suppress(DataSourceError):  # it is reported where the file is opened as a raster
        return any(kind is not None for _, kind in pyogrio.list_layers(archive))
    return False


def _last_part(name: str) -> str:
    """Return a name in lower case, up to the query of a URL."""
    if name.startswith("/vsicurl?"):
        name = unquote(next((each for each in name[9:].split("&") if each.startswith("url=")), ""))
    return (name.partition("?")[0] if "://" in name else name).lower().rstrip("/\\")


def is_parquet(path: str) -> bool:
    """Return whether a file is GeoParquet, which GDAL is not asked for."""
    return _last_part(path).endswith(PARQUET)


def require_layer_file(name: str) -> None:
    """Raise UnreadableInput where the file of a layer is missing, or is GeoParquet that is not a local file."""
    path, layer = split_layer(name)
    if not is_elsewhere(path) and not os.path.exists(path):
        raise UnreadableInput(f"{path} does not exist")
    if is_parquet(path) and (layer is not None or is_elsewhere(path)):
        raise UnreadableInput(f"{name}: GeoParquet is read from local files, which hold one layer; name the file alone")


@contextmanager
def gdal_layer(name: str) -> Iterator[tuple[str, str]]:
    """Give the path and the layer that pyogrio opens for a name; curves are cut finely meanwhile.

    Raises:
        UnreadableInput: there is no layer of that name, or several that could be meant.
    """
    path, wanted = split_layer(name)
    with _fine_curves(), _gdal_path(path, name, wanted) as readable:
        yield readable, _choose_layer(readable, name, wanted)


@contextmanager
def _fine_curves() -> Iterator[None]:
    """Have GDAL put a vertex at every half degree of a curve; at four, a circle of 1000 pixels is half a pixel off."""
    import pyogrio

    before = pyogrio.get_gdal_config_option("OGR_ARC_STEPSIZE")
    pyogrio.set_gdal_config_options({"OGR_ARC_STEPSIZE": ARC_STEP if before is None else before})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_ARC_STEPSIZE": before})


@contextmanager
def _gdal_path(path: str, name: str, wanted: str | None) -> Iterator[str]:
    if is_elsewhere(path):
        with patient_layers():
            yield path
        return
    text = path.lower()
    packed = text.endswith(ARCHIVE) and not text.endswith(PACKED_SUFFIXES) and os.path.isfile(path)
    inside = _layers_in(path) if packed else []
    if len(inside) > 1 and wanted is None:
        raise UnreadableInput(
            f"{name} holds several layers, {', '.join(inside)}; choose one, as in /vsizip/{path}/{inside[0]}"
        )
    with plainly_named(path) as plain:
        yield f"/vsizip/{{{plain}}}/{inside[0] if len(inside) == 1 else ''}" if packed else plain


def _layers_in(archive: str) -> list[str]:
    """List the files and folders in a ZIP archive that are layers."""
    with zipfile.ZipFile(archive) as opened:
        members = [each for each in opened.namelist() if not _is_hidden(each)]
    folders = {each[: each.lower().index(".gdb/") + 4] for each in members if ".gdb/" in each.lower()}
    suffixes = tuple(each for each in VECTOR_SUFFIXES if each not in (".json", ".gdb", PARQUET))
    files = {each for each in members if each.lower().endswith(suffixes)}
    return sorted(folders | {each for each in files if not each.startswith(tuple(f"{one}/" for one in folders))})


def _is_hidden(member: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in member.split("/"))


def _choose_layer(path: str, name: str, wanted: str | None) -> str:
    """Choose the layer that is named, or the only one that may hold polygons; tables without geometry do not count."""
    import pyogrio

    kinds = {str(layer): kind for layer, kind in pyogrio.list_layers(path)}
    drawn = [layer for layer, kind in kinds.items() if kind is not None]
    if wanted is not None and wanted not in kinds:
        raise UnreadableInput(f"{file_of(name)} has no layer {wanted!r}; it has {', '.join(kinds) or 'none'}")
    if wanted is not None:
        drawn = [layer for layer in drawn if layer == wanted]
    if not drawn:
        raise UnreadableInput(f"{name} holds no geometries, only {', '.join(kinds) or 'an empty file'}")
    polygons = [layer for layer in drawn if _may_hold_polygons(kinds[layer])] or drawn[:1]
    if len(polygons) > 1:
        raise UnreadableInput(
            f"{name} holds several layers, {', '.join(polygons)}; choose one, as in '{name}{LAYER_MARK}{polygons[-1]}'"
        )
    return polygons[0]


def _may_hold_polygons(kind: str) -> bool:
    return any(word in kind for word in ("Polygon", "Surface", "Collection", "Unknown"))


@contextmanager
def writable_path(path: Path) -> Iterator[Path]:
    """Give a path that pyogrio writes to as it stands; what lies there at the end is moved to `path`."""
    if is_plain(str(path)):
        yield path
        return
    with writable_under(path.parent) as beside:
        temporary = beside / f".{uuid4().hex}{path.suffix}"
        try:
            yield temporary
            bring(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
