"""What QGIS calls the columns of a layer of changes, and how people look at and edit them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.etree.ElementTree import Element

from geochange.qgis.elements import Value, add, element, option_map

ALIASES = {
    "id": "Number",
    "label": "Class",
    "kind": "Kind of change",
    "score_mean": "Mean score",
    "score_max": "Highest score",
    "confidence": "Confidence",
    "area_m2": "Area (m²)",
    "area_px": "Area (pixels)",
    "perimeter_m": "Perimeter (m)",
    "width_m": "Width (m)",
    "compactness": "Compactness (1 for a square)",
    "contrast": "Contrast to what is around",
    "on_edge": "On the edge of the scene",
    "date_before": "Date before",
    "date_after": "Date after",
    "status": "Status",
    "comment": "Comment",
    "origin": "Origin",
}
"""Words for the columns that a layer may have."""

EDITED = ("label", "kind", "status", "comment")
"""Columns that people change; all others were measured."""

HIDDEN = ("fid", "rev", "digest")
"""Columns that mean something to programs only."""

SHARES = ("score_mean", "score_max", "confidence")
"""Columns from 0 to 1, shown as bars."""

MAP_TIP = """<b>[% coalesce(attribute(@feature, 'kind'), "label") %]</b>
[% coalesce(' · score ' || format_number("score_mean", 2), '') %]<br>
[% if("area_m2" is null, format_number("area_px", 0) || ' px', \
if("area_m2" < 10000, format_number("area_m2", 0) || ' m²', format_number("area_m2" / 10000, 2) || ' ha')) %]<br>
[% concat("date_before", if("date_before" is null and "date_after" is null, '', ' – '), "date_after") %]"""
"""Kind or class, score, area and dates, while the pointer rests on a change."""


def form_parts(statuses: Iterable[str], kinds: Iterable[str] = ()) -> Iterator[Element]:
    """Yield the parts of a style that say how columns are called, shown and edited.

    Args:
        statuses: what `status` may be.
        kinds: what `kind` may be; anything where there are none.
    """
    yield _widgets({"status": tuple(statuses), "kind": tuple(kinds)})
    yield _aliases()
    yield element("editorlayout", "generatedlayout")
    yield _editable()
    yield element("previewExpression", '"id"')
    yield element("mapTip", MAP_TIP, enabled=1)


def _aliases() -> Element:
    made = element("aliases")
    for place, (name, words) in enumerate(ALIASES.items()):
        add(made, "alias", field=name, name=words, index=place)
    return made


def _editable() -> Element:
    made = element("editable")
    for name in ALIASES:
        add(made, "field", name=name, editable=int(name in EDITED))
    return made


def _widgets(choices: dict[str, tuple[str, ...]]) -> Element:
    made = element("fieldConfiguration")
    for name in (*ALIASES, *HIDDEN):
        config = add(add(add(made, "field", name=name, configurationFlags="None"), "editWidget"), "config")
        widget = made[-1][0]
        if name in HIDDEN:
            widget.set("type", "Hidden")
            config.append(option_map({}))
        elif name in SHARES:
            widget.set("type", "Range")
            bar: dict[str, Value] = {"AllowNull": True, "Max": 1.0, "Min": 0.0, "Precision": 2, "Step": 0.01}
            config.append(option_map(bar | {"Style": "Slider"}))
        elif choices.get(name):
            widget.set("type", "ValueMap")
            config.append(_value_map(choices[name]))
        elif name == "comment":
            widget.set("type", "TextEdit")
            config.append(option_map({"IsMultiline": True, "UseHtml": False}))
        else:
            widget.set("type", "")
            config.append(option_map({}))
    return made


def _value_map(values: Iterable[str]) -> Element:
    made = element("Option", type="Map")
    choices = add(made, "Option", name="map", type="List")
    choices.extend(option_map({value: value}) for value in values)
    return made
