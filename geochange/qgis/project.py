"""A project of QGIS: layers in groups, their styles, a theme for each date. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree.ElementTree import Element

from pyproj import CRS
from pyproj.enums import WktVersion

from geochange.qgis.elements import VERSION, add, document, element, option_map, parsed

Bounds = tuple[float, float, float, float]

PROVIDERS = {"vector": "ogr", "raster": "gdal"}
ROOM = 0.05  # of the extent, left free around it
UNITS = {"metre": "meters", "degree": "degrees", "foot": "feet", "US survey foot": "feet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLayer:
    """A layer of a project."""

    id: str
    name: str
    kind: Literal["vector", "raster"]
    source: str
    """As QGIS takes it, relative to the project."""
    crs: CRS | None
    style: Sequence[Element]
    """Parts of the layer: what a QML file holds."""
    group: str | None = None
    shown: bool = True
    """Whether it is drawn when the project is opened."""
    notes: str = ""
    """What QGIS shows as the layer's notes: HTML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What a project shows."""

    title: str
    crs: CRS | None
    extent: Bounds
    """Left, bottom, right, top of what is shown first."""
    layers: Sequence[MapLayer]
    """The one on top first."""
    themes: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """Ids of the layers that each map theme shows."""


def style_parts(qml: str) -> list[Element]:
    """Return the parts of a layer that a QML document holds."""
    return list(parsed(qml))


def project_document(project: Project) -> str:
    """Return a project as QGIS reads it from a .qgs file."""
    root = element("qgis", version=VERSION, projectname=project.title)
    add(root, "homePath", path="")
    add(root, "title", project.title)
    root.append(_crs_element("projectCrs", project.crs))
    root.append(_tree(project.layers))
    root.append(_canvas(project))
    layers = add(root, "projectlayers")
    layers.extend(_layer(each) for each in project.layers)
    order = add(root, "layerorder")
    for each in project.layers:
        add(order, "layer", id=each.id)
    root.append(_properties(project.crs))
    root.append(_themes(project))
    root.append(_view(project))
    return document(root)


def _tree(layers: Sequence[MapLayer]) -> Element:
    root = element("layer-tree-group")
    groups: dict[str, Element] = {}
    for each in layers:
        parent = root
        if each.group is not None:
            if each.group not in groups:
                groups[each.group] = add(root, "layer-tree-group", name=each.group, expanded=1, checked="Qt::Checked")
            parent = groups[each.group]
        add(
            parent,
            "layer-tree-layer",
            id=each.id,
            name=each.name,
            source=each.source,
            providerKey=PROVIDERS[each.kind],
            expanded=0,
            checked="Qt::Checked" if each.shown else "Qt::Unchecked",
        )
    return root


def _canvas(project: Project) -> Element:
    canvas = element("mapcanvas", name="theMapCanvas", annotationsVisible=1)
    add(canvas, "units", _units(project.crs))
    extent = add(canvas, "extent")
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), _with_room(project.extent), strict=True):
        add(extent, name, repr(value))
    add(canvas, "rotation", "0")
    canvas.append(_crs_element("destinationsrs", project.crs))
    return canvas


def _with_room(bounds: Bounds) -> Bounds:
    left, bottom, right, top = bounds
    room = ROOM * max(right - left, top - bottom)
    return left - room, bottom - room, right + room, top + room


def _layer(layer: MapLayer) -> Element:
    made = element("maplayer", type=layer.kind)
    if layer.kind == "vector":
        for name, value in {"geometry": "Polygon", "labelsEnabled": "0", "simplifyDrawingHints": "1"}.items():
            made.set(name, value)
    add(made, "id", layer.id)
    add(made, "datasource", layer.source)
    add(made, "layername", layer.name)
    made.append(_crs_element("srs", layer.crs))
    provider = add(made, "provider", PROVIDERS[layer.kind])
    if layer.kind == "vector":
        provider.set("encoding", "UTF-8")
    if layer.notes:
        add(made, "userNotes", value=layer.notes)
        add(made, "customproperties").append(option_map({"userNotes": layer.notes}))
    made.extend(layer.style)
    return made


def _crs_element(tag: str, crs: CRS | None) -> Element:
    made = element(tag)
    system = add(made, "spatialrefsys", nativeFormat="Wkt")
    add(system, "wkt", "" if crs is None else crs.to_wkt(WktVersion.WKT2_2019))
    authority = None if crs is None else crs.to_authority()
    add(system, "authid", ":".join(authority) if authority else "")
    add(system, "description", "" if crs is None else crs.name)
    add(system, "geographicflag", str(crs is not None and crs.is_geographic).lower())
    return made


def _units(crs: CRS | None) -> str:
    return "unknown" if crs is None else UNITS.get(crs.axis_info[0].unit_name, "unknown")


def _properties(crs: CRS | None) -> Element:
    made = element("properties")
    add(add(made, "Paths"), "Absolute", "false", type="bool")
    add(add(made, "SpatialRefSys"), "ProjectionsEnabled", str(int(crs is not None)), type="int")
    return made


def _themes(project: Project) -> Element:
    made = element("visibility-presets")
    for name, shown in project.themes.items():
        theme = add(made, "visibility-preset", name=name, has_expanded_info=1, has_checked_group_info=1)
        wanted = set(shown)
        for each in project.layers:
            add(theme, "layer", id=each.id, visible=int(each.id in wanted), style="default", expanded=0)
        groups = add(theme, "checked-group-nodes")
        for group in dict.fromkeys(_groups(project.layers)):
            add(groups, "checked-group-node", id=group)
    return made


def _groups(layers: Iterable[MapLayer]) -> Iterator[str]:
    yield from (each.group for each in layers if each.group is not None)


def _view(project: Project) -> Element:
    made = element("ProjectViewSettings", UseProjectScales=0)
    sides = zip(("xmin", "ymin", "xmax", "ymax"), map(repr, _with_room(project.extent)), strict=True)
    view = add(made, "DefaultViewExtent", None, **dict(sides))
    view.append(_crs_element("x", project.crs)[0])
    return made
