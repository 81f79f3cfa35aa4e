"""Sentinel-2 as it is downloaded: a SAFE folder or its zip file, Level-1C or Level-2A.

Names and units are those of ESA's Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

from geochange.errors import UnreadableInput
from geochange.parsing import parsing
from geochange.scenes.containers import Container
from geochange.scenes.product import BandFile, Product, ProductMask

COMMON: Mapping[str, str] = {
    "B01": "coastal",
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge071",
    "B06": "rededge075",
    "B07": "rededge078",
    "B08": "nir",
    "B8A": "nir08",
    "B09": "nir09",
    "B10": "cirrus",
    "B11": "swir16",
    "B12": "swir22",
}
"""The product's name of a band -> its common name; in the order of the product's band numbers."""
ATMOSPHERE = ("B01", "B09", "B10")
"""Bands of 60 m that show haze, water vapour and cirrus."""
NO_DATA = 0.0

_METADATA = re.compile(r"(^|/)MTD_MSIL(1C|2A)\.xml$")
_BAND = re.compile(r"/IMG_DATA/(?:R\d\dm/)?[^/]*_(B\d[\dA])(?:_(\d\d)m)?\.(?:jp2|tiff?)$", re.IGNORECASE)
_CLASSES = re.compile(r"_SCL(?:_(\d\d)m)?\.(?:jp2|tiff?)$", re.IGNORECASE)


def sentinel2_products(container: Container) -> list[Product]:
    """Return the product in a SAFE folder or zip file; nothing where it is no such one.

    Raises:
        UnreadableInput: its metadata cannot be read, or it holds no bands.
    """
    metadata = [member for member in container.members if _METADATA.search(member)]
    if not metadata:
        return []
    with parsing(container.path_of(metadata[0]), "the metadata of a Sentinel-2 product"):
        about = _texts(ET.fromstring(container.read(metadata[0])))
        scaling = _scaling_of(about)
    found = _finest(container, _BAND)
    if not found:
        raise UnreadableInput(f"{container.name} holds no bands in IMG_DATA; unpack or download it again")
    bands = tuple(
        BandFile(
            names=(name, common),
            path=container.path_of(found[name]),
            scaling=scaling.get(str(number)),
            nodata=NO_DATA,
            usual=name not in ATMOSPHERE,
        )
        for number, (name, common) in enumerate(COMMON.items())
        if name in found
    )
    classes = [container.path_of(member) for member in _finest(container, _CLASSES).values()]
    masks = [ProductMask(path=path, rule="scl") for path in classes]
    start = about.get("PRODUCT_START_TIME", {}).get("", "")
    return [
        Product(name=container.name, bands=bands, date=start[:19] or None, mask=masks[0] if masks else None),
    ]


def _finest(container: Container, form: re.Pattern[str]) -> dict[str, str]:
    """Return the member of the finest resolution for each band, or for what else a form finds."""
    found: dict[str, tuple[int, str]] = {}
    for member in container.members:
        if match := form.search(member):
            *names, metres = match.groups()
            name, size = (names[0].upper() if names else ""), int(metres or 0)
            found[name] = min(found.get(name, (size, member)), (size, member))
    return {name: member for name, (_, member) in found.items()}


def _texts(root: ET.Element) -> dict[str, dict[str, str]]:
    """Return the texts of all elements: by name, then by the band that they are of, if any."""
    texts: dict[str, dict[str, str]] = {}
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        texts.setdefault(name, {})[element.get("band_id", "")] = (element.text or "").strip()
    return texts


def _scaling_of(about: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[float, float]]:
    """Return (scale, offset) of reflectance by the number of the band: (number + offset) / quantification.

    Products before processing baseline 04.00 have no offsets.
    """
    units = about.get("BOA_QUANTIFICATION_VALUE") or about.get("QUANTIFICATION_VALUE") or {"": "10000"}
    unit = float(units[""])
    offsets = about.get("BOA_ADD_OFFSET") or about.get("RADIO_ADD_OFFSET") or {}
    return {str(k): (1 / unit, float(offsets.get(str(k), 0)) / unit) for k in range(len(COMMON))}
