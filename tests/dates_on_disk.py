"""One date as people have it: in one file, and the same numbers as bands in files of their own, tiles, and products."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform_bounds

from geochange.arrays import Array
from tests.stand_ins import UTM, textured, write_raster

TEN = Affine(10.0, 0, 500_000.0, 0, -10.0, 5_400_000.0)
SHAPE = (96, 132)
BANDS = {"B02": 1, "B03": 1, "B04": 1, "B08": 1, "B11": 2, "B12": 2}
"""Bands of Sentinel-2, and how many pixels of 10 m one of theirs is wide."""
COMMON = {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B11": "swir16", "B12": "swir22"}
SAFE = {"before": ("S2A_MSIL2A_20210705T103031", "20210705"), "after": ("S2B_MSIL2A_20230710T103029", "20230710")}
SCALE, OFFSET = 0.0001, -0.1


def numbers_of(seed: int, shape: tuple[int, int] = SHAPE) -> dict[str, Array]:
    """Numbers of each band at its own pixel size, uint16; a frame of 6 px in the west holds no data in any band."""
    full = textured(shape, len(BANDS), seed, "uint16") // 8 + 1200
    if seed:
        full[:, 40:60, 70:100] += 3000
    full[:, :, :6] = 0
    full[1, 20:26, 30:40] = 0  # in one band alone
    return {name: full[k, ::times, ::times] for k, (name, times) in enumerate(BANDS.items())}


def in_one(numbers: Mapping[str, Array]) -> Array:
    """(band, y, x) all bands at 10 m, each pixel of a coarser one repeated."""
    return np.stack([np.kron(numbers[name], np.ones((times,) * 2, "uint16")) for name, times in BANDS.items()])


def write_one(path: Path, numbers: Mapping[str, Array], *, scaled: bool = False, nodata: float | None = 0) -> str:
    """All bands as one GeoTIFF, with the names of Sentinel-2."""
    written = write_raster(path, in_one(numbers), transform=TEN, nodata=nodata)
    with rasterio.open(written, "r+") as dataset:
        dataset.descriptions = tuple(BANDS)
        if scaled:
            dataset.scales, dataset.offsets = (SCALE,) * len(BANDS), (OFFSET,) * len(BANDS)
    return written


def write_bands(folder: Path, numbers: Mapping[str, Array], stem: str = "T33UUP_20210705T101559") -> str:
    """A GeoTIFF a band, of its own pixel size, in a folder."""
    folder.mkdir(parents=True)
    for name, values in numbers.items():
        write_band(folder / f"{stem}_{name}.tif", values, BANDS[name], nodata=0)
    return str(folder)


def write_band(path: Path, values: Array, times: int, **profile: Any) -> str:
    """One band, whose pixels are so many times as wide as 10 m."""
    return write_raster(path, values[None], transform=TEN @ Affine.scale(times), **profile)


def write_tiles(folder: Path, numbers: Mapping[str, Array], cuts: tuple[int, int] = (40, 60), overlap: int = 5) -> str:
    """Four GeoTIFFs that overlap, in a folder."""
    folder.mkdir(parents=True)
    whole, (height, width) = in_one(numbers), SHAPE
    for r, (top, bottom) in enumerate(((0, cuts[0] + overlap), (cuts[0], height))):
        for c, (left, right) in enumerate(((0, cuts[1] + overlap), (cuts[1], width))):
            part = whole[:, top:bottom, left:right]
            path = write_raster(
                folder / f"tile_{r}{c}.tif", part, transform=TEN @ Affine.translation(left, top), nodata=0
            )
            with rasterio.open(path, "r+") as dataset:
                dataset.descriptions = tuple(BANDS)
    return str(folder)


def write_safe(folder: Path, numbers: Mapping[str, Array], date: str, classes: Array | None = None) -> str:
    """A Sentinel-2 product of Level-2A, baseline 05.00, as it unpacks: JPEG 2000 without a nodata value."""
    product, day = SAFE[date]
    safe = folder / f"{product}_N0500_R108_T33UUP_20230101T000000.SAFE"
    images = safe / "GRANULE" / "L2A_T33UUP_A000001" / "IMG_DATA"
    for name, values in numbers.items():
        metres = 10 * BANDS[name]
        place = images / f"R{metres}m"
        place.mkdir(parents=True, exist_ok=True)
        path = place / f"T33UUP_{day}T103031_{name}_{metres}m.jp2"
        write_band(path, values, BANDS[name], driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    if classes is not None:
        write_band(images / "R20m" / f"T33UUP_{day}T103031_SCL_20m.jp2", classes, 2, driver="JP2OpenJPEG", QUALITY=100)
    offsets = "".join(f'<BOA_ADD_OFFSET band_id="{k}">-1000</BOA_ADD_OFFSET>' for k in range(13))
    (safe / "MTD_MSIL2A.xml").write_text(
        '<n1:Level-2A_User_Product xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/S2_PDI_Level-2A.xsd">'
        f"<PRODUCT_START_TIME>{day[:4]}-{day[4:6]}-{day[6:]}T10:30:31.024Z</PRODUCT_START_TIME>"
        '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
        f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST></n1:Level-2A_User_Product>"
    )
    return str(safe)


def zipped(folder: str) -> str:
    """A folder as a zip file beside it, which holds the folder."""
    place = Path(folder)
    return shutil.make_archive(folder, "zip", place.parent, place.name)


LANDSAT = {"B02": "B2", "B03": "B3", "B04": "B4", "B08": "B5", "B11": "B6", "B12": "B7"}
"""The band of Sentinel-2 -> that of Landsat 8 which shows the same."""


def write_landsat(folder: Path, numbers: Mapping[str, Array], quality: Array | None = None, *, metadata: bool = True):
    """A scene of Landsat 8, Collection 2 Level 2; all bands have one pixel size."""
    folder.mkdir(parents=True)
    scene = "LC08_L2SP_193026_20210705_20210713_02_T1"
    for name, values in zip(LANDSAT.values(), in_one(numbers), strict=True):
        write_band(folder / f"{scene}_SR_{name}.TIF", values, 1, nodata=0)
    write_band(folder / f"{scene}_ST_B10.TIF", in_one(numbers)[0], 1, nodata=0)
    if quality is not None:
        write_band(folder / f"{scene}_QA_PIXEL.TIF", quality, 1, nodata=1)
    if metadata:
        mults = "\n".join(f"    REFLECTANCE_MULT_BAND_{k} = 2.75e-05" for k in range(1, 8))
        adds = "\n".join(f"    REFLECTANCE_ADD_BAND_{k} = -0.2" for k in range(1, 8))
        group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
        (folder / f"{scene}_MTL.txt").write_text(
            f"GROUP = LANDSAT_METADATA_FILE\n  GROUP = {group}\n{mults}\n{adds}\n  END_GROUP = {group}\n"
            "  GROUP = LEVEL1_RADIOMETRIC_RESCALING\n    REFLECTANCE_MULT_BAND_2 = 2.0E-05\n"
            "  END_GROUP = LEVEL1_RADIOMETRIC_RESCALING\nEND_GROUP = LANDSAT_METADATA_FILE\n"
        )
    return str(folder)


def tarred(folder: str) -> str:
    """What a folder holds as a tar file beside it, as the USGS packs scenes."""
    with tarfile.open(f"{folder}.tar", "w") as archive:
        for path in sorted(Path(folder).iterdir()):
            archive.add(path, path.name)
    return f"{folder}.tar"


def write_item(folder: Path, numbers: Mapping[str, Array], day: str, classes: Array | None = None) -> str:
    """A STAC Item beside GeoTIFFs that say nothing of nodata and scale, as on servers: the item says it."""
    folder.mkdir(parents=True)
    assets: dict[str, Any] = {
        "thumbnail": {"href": "./preview.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "visual": {"href": "./TCI.tif", "roles": ["overview"], "eo:bands": [{"name": "B04"}, {"name": "B03"}]},
    }
    for name, values in numbers.items():
        write_band(folder / f"{name}.tif", values, BANDS[name])
        assets[COMMON[name]] = {
            "href": f"./{name}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "eo:bands": [{"name": name, "common_name": COMMON[name]}],
            "raster:bands": [{"nodata": 0, "scale": SCALE, "offset": OFFSET}],
        }
    if classes is not None:
        write_band(folder / "SCL.tif", classes, 2)
        assets["scl"] = {"href": "./SCL.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}
    bbox = transform_bounds(UTM, "EPSG:4326", *rasterio.transform.array_bounds(*SHAPE, TEN))
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"S2_{day}",
        "geometry": shapely.geometry.mapping(shapely.box(*bbox)),
        "bbox": list(bbox),
        "properties": {"datetime": f"{day}T10:30:31Z"},
        "links": [],
        "assets": assets,
    }
    (folder / "item.json").write_text(json.dumps(item))
    return str(folder / "item.json")
