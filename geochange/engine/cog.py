"""Block files → a VRT over them → one Cloud Optimized GeoTIFF."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from geochange.arrays import Array
from geochange.files import appearing
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.scene import rasterio_crs

BLOCK_FILE_TILE = 512  # pixels per side of the tiles in a block file
_GDAL_TYPES = {"uint8": "Byte", "float32": "Float32"}


@dataclass(frozen=True, kw_only=True)
class RasterSpec:
    """What a raster of a run says of itself."""

    grid: Grid
    dtype: np.dtype[Any]
    nodata: float
    band_names: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    scale: float | None = None  # value = stored * scale

    @property
    def bytes_per_pixel(self) -> int:
        """What a pixel takes, all bands together."""
        return len(self.band_names) * self.dtype.itemsize


def encode_block(values: Array, nodata: float) -> bytes:
    """Return (band, y, x) values as a tiled GeoTIFF, packed fast; in memory, as GDAL reports not every failed write."""
    height, width = values.shape[1:]
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": values.shape[0],
        "height": height,
        "width": width,
        "dtype": values.dtype,
        "tiled": True,
        "blockxsize": BLOCK_FILE_TILE,
        "blockysize": BLOCK_FILE_TILE,
        "compress": "ZSTD",
        "zstd_level": 1,
        "predictor": 1 if values.dtype == np.uint8 else 3,
        "nodata": nodata,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            dataset.write(values)
        return bytes(memory.getbuffer())


def build_vrt(parts: Iterable[tuple[Path, Tile]], spec: RasterSpec, path: Path) -> None:
    """Write a VRT over files that each hold one rectangle of the grid; they lie below the VRT's own folder."""
    height, width = spec.grid.shape
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if (crs := rasterio_crs(spec.grid.crs)) is not None:
        ET.SubElement(root, "SRS").text = crs.to_wkt()
    t = spec.grid.transform
    ET.SubElement(root, "GeoTransform").text = ", ".join(repr(float(v)) for v in (t.c, t.a, t.b, t.f, t.d, t.e))
    metadata = ET.SubElement(root, "Metadata")
    for key, value in spec.tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    placed = list(parts)
    for number, name in enumerate(spec.band_names, 1):
        _add_band(root, number, name, spec, [(file.relative_to(path.parent), tile) for file, tile in placed])
    with appearing(path) as temporary:
        ET.ElementTree(root).write(temporary, encoding="utf-8")


def _add_band(root: ET.Element, number: int, name: str, spec: RasterSpec, parts: list[tuple[Path, Tile]]) -> None:
    kind = _GDAL_TYPES[spec.dtype.name]
    band = ET.SubElement(root, "VRTRasterBand", dataType=kind, band=str(number))
    ET.SubElement(band, "Description").text = name
    ET.SubElement(band, "NoDataValue").text = repr(spec.nodata)
    if spec.scale is not None:
        ET.SubElement(band, "Offset").text = "0"
        ET.SubElement(band, "Scale").text = repr(spec.scale)
    for file, tile in parts:
        source = ET.SubElement(band, "SimpleSource")
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = file.as_posix()
        ET.SubElement(source, "SourceBand").text = str(number)
        block = {"BlockXSize": str(BLOCK_FILE_TILE), "BlockYSize": str(BLOCK_FILE_TILE)}
        size = {"RasterXSize": str(tile.width), "RasterYSize": str(tile.height)}
        ET.SubElement(source, "SourceProperties", {"DataType": kind, **size, **block})
        extent = {"xSize": str(tile.width), "ySize": str(tile.height)}
        ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **extent})
        ET.SubElement(source, "DstRect", {"xOff": str(tile.col), "yOff": str(tile.row), **extent})


def copy_to_cog(source: Path, target: Path, threads: int) -> None:
    """Copy a raster to a COG with overviews, in bounded memory. Its bytes do not depend on the number of threads.

    Raises:
        RasterioError: the file could not be written.
    """
    with rasterio.open(source) as dataset:
        of_bytes = dataset.dtypes[0] == "uint8"
    options = {
        "COMPRESS": "DEFLATE",
        "LEVEL": "6",
        "PREDICTOR": "NO" if of_bytes else "YES",
        "BLOCKSIZE": "512",
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(threads),
        "STATISTICS": "NO",
    }
    rasterio.shutil.copy(str(source), str(target), driver="COG", **options)
