"""Elements of QGIS documents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element, SubElement, fromstring, indent, tostring

DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
VERSION = "3.22.16"
"""The last QGIS 3.22, which documents are written for. Newer ones say for some seconds that a project is older; of one
that is newer they warn until the message is closed."""

_TYPES = {bool: "bool", int: "int", float: "double", str: "QString"}

Value = bool | int | float | str


def element(tag: str, text: str | None = None, **attributes: object) -> Element:
    """Make an element; attributes are named with `_` for `-`, and a trailing `_` where Python takes the word."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    made.text = text
    return made


def add(parent: Element, tag: str, text: str | None = None, **attributes: object) -> Element:
    """Append an element to another one, as `element` makes it."""
    made = element(tag, text, **attributes)
    parent.append(made)
    return made


def option_map(values: Mapping[str, Value]) -> Element:
    """Return a map of options as QGIS writes it."""
    made = element("Option", type="Map")
    for name, value in values.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        SubElement(made, "Option", {"name": name, "type": _TYPES[type(value)], "value": text})
    return made


def document(root: Element) -> str:
    """Return a document as text, the same for the same elements."""
    indent(root, " ")
    return DOCTYPE + tostring(root, encoding="unicode") + "\n"


def parsed(text: str) -> Element:
    """Return the root of a document that was written here."""
    return fromstring(text.removeprefix(DOCTYPE))


def qml(parts: Iterable[Element]) -> str:
    """Return a style document of parts of a layer, without labels."""
    root = element("qgis", version=VERSION, labelsEnabled=0, styleCategories="AllStyleCategories")
    root.extend(parts)
    return document(root)
