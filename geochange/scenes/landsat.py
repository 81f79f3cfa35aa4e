"""Landsat as it is downloaded: the files of a scene of Collection 2 in a folder or tar file, Level-1 or Level-2.

Names and units are those of the USGS (LSDS-1618, LSDS-1619: Landsat Collection 2 Level 2 Data Format Control Book).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from geochange.parsing import parsing
from geochange.scenes.containers import Container
from geochange.scenes.product import BandFile, Product, ProductMask

THEMATIC_MAPPER: Mapping[str, str] = {
    "B1": "blue",
    "B2": "green",
    "B3": "red",
    "B4": "nir08",
    "B5": "swir16",
    "B6": "lwir",
    "B7": "swir22",
    "B8": "pan",
}
LAND_IMAGER: Mapping[str, str] = {
    "B1": "coastal",
    "B2": "blue",
    "B3": "green",
    "B4": "red",
    "B5": "nir08",
    "B6": "swir16",
    "B7": "swir22",
    "B8": "pan",
    "B9": "cirrus",
    "B10": "lwir11",
    "B11": "lwir12",
}
COMMON = {"4": THEMATIC_MAPPER, "5": THEMATIC_MAPPER, "7": THEMATIC_MAPPER, "8": LAND_IMAGER, "9": LAND_IMAGER}
"""Number of the satellite -> the product's name of a band -> its common name."""
GROUND = ("blue", "green", "red", "nir08", "swir16", "swir22")
"""Bands that show the ground, at 30 m, and that all of them have."""
SURFACE_REFLECTANCE = (0.0000275, -0.2)
"""(scale, offset) of Collection 2 Level 2, where no metadata lie beside the bands."""
NO_DATA = 0.0

_SCENE = r"L[COTE]0([45789])_[A-Z0-9]{4}_\d{6}_(\d{8})_\d{8}_\d\d_[A-Z0-9]{2}"
_BAND = re.compile(rf"(?:^|/)(?P<scene>{_SCENE})_(?P<kind>SR_|ST_)?(?P<band>B\d+)\.TIF$", re.IGNORECASE)


def landsat_products(container: Container) -> list[Product]:
    """Return the scenes in a folder or tar file of Landsat; nothing where it holds none.

    Raises:
        UnreadableInput: its metadata cannot be read.
    """
    scenes: dict[str, list[tuple[re.Match[str], str]]] = {}
    for member in container.members:
        if match := _BAND.search(member):
            scenes.setdefault(match["scene"], []).append((match, member))
    return [_product(container, scene, found, several=len(scenes) > 1) for scene, found in scenes.items()]


def _product(container: Container, scene: str, found: list[tuple[re.Match[str], str]], *, several: bool) -> Product:
    satellite, day = found[0][0].groups()[1:3]
    scaling = _scaling_of(container, scene)
    common = COMMON[satellite]
    bands = [
        BandFile(
            names=(band, common[band]) if band in common else (band,),
            path=container.path_of(member),
            scaling=scaling.get(band, SURFACE_REFLECTANCE if match["kind"] else None),
            nodata=NO_DATA,
            usual=common.get(band) in GROUND,
        )
        for match, member in found
        if (band := match["band"].upper()) and (match["kind"] or "").upper() != "ST_"
    ]
    masks = [each for each in container.members if each.endswith(f"{scene}_QA_PIXEL.TIF")]
    return Product(
        name=f"{container.name}/{scene}" if several else container.name,
        bands=tuple(sorted(bands, key=lambda each: int(each.names[0][1:]))),
        date=f"{day[:4]}-{day[4:6]}-{day[6:]}",
        mask=ProductMask(path=container.path_of(masks[0]), rule="qa-pixel") if masks else None,
    )


def _scaling_of(container: Container, scene: str) -> dict[str, tuple[float, float]]:
    """Return (scale, offset) of reflectance by band, of the product's own level, as its metadata have them."""
    members = [each for each in container.members if each.endswith(f"{scene}_MTL.txt")]
    if not members:
        return {}
    path = container.path_of(members[0])
    with parsing(path, "the metadata of a Landsat scene"):
        text = container.read(members[0]).decode()
        level = re.search(r"GROUP = (LEVEL2_SURFACE_REFLECTANCE_PARAMETERS|LEVEL1_RADIOMETRIC_RESCALING)\b", text)
        if level is None:
            return {}
        group = text[level.end() : text.index(f"END_GROUP = {level[1]}")]
        kinds = {kind: dict(re.findall(rf"REFLECTANCE_{kind}_BAND_(\d+) = (\S+)", group)) for kind in ("MULT", "ADD")}
        return {f"B{k}": (float(scale), float(kinds["ADD"][k])) for k, scale in kinds["MULT"].items()}
