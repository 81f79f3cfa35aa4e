"""Layers of many regions: workers encode the features, band by band, while all files are written at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from queue import Queue
from tempfile import TemporaryDirectory

import pyarrow as pa

from geochange.engine.work import Work
from geochange.errors import BlockFailed
from geochange.files import naming_full_disks, replacing
from geochange.polygons.export import FeatureLayer, naming_layer, write_features, writer_of
from geochange.polygons.features import ChangeLayer
from geochange.polygons.geojson import SEPARATOR, beginning, ending, feature_lines
from geochange.polygons.layer_means import LayerMeans
from geochange.polygons.store import Band, RegionStore
from geochange.qgis.style import change_style
from geochange.system import replace

TEXT = ".geojson"


@dataclass(frozen=True, slots=True)
class Encoding:
    """All that a worker needs to make features of regions."""

    layer: ChangeLayer
    means: LayerMeans
    folder: Path
    texts: bool
    """Whether they are wanted as GeoJSON."""
    tables: bool
    """Whether they are wanted as Arrow's record batches."""


@dataclass(frozen=True, slots=True)
class NumberedBand:
    """A band, and the number of its first region."""

    band: Band
    first: int

    @property
    def name(self) -> str:
        """Of its files; they sort as the bands do."""
        return f"{self.first:012d}"


def write_layers(paths: Sequence[Path], store: RegionStore, layer: ChangeLayer, means: LayerMeans, work: Work) -> None:
    """Write regions as layers, in the formats that the suffixes name, in place of files that are there.

    GeoJSON is WGS 84; the other formats keep the scene's CRS. Without a CRS all of them hold x = column and y = -row.

    Args:
        paths: .gpkg, .geojson, .fgb or .parquet files, on a disk that all workers see.
        store: the regions, on another or the same.
        layer: attributes and grid.
        means: further columns, measured in rasters.
        work: where it is done.

    Raises:
        BadOption: no format has a suffix.
        OutputInTheWay: a file cannot be written.
    """
    for path in paths:
        writer_of(path)
    if not paths:
        return
    bands = store.bands()
    firsts = accumulate([band.count for band in bands], initial=1)
    numbered = [NumberedBand(*each) for each in zip(bands, firsts, strict=False)]
    written = described(layer, means)
    with TemporaryDirectory(prefix="features-", dir=store.folder) as name, ThreadPoolExecutor(len(paths)) as pool:
        folder, suffixes = Path(name), {path.suffix.lower() for path in paths}
        encoding = Encoding(layer, means, folder, texts=TEXT in suffixes, tables=bool(suffixes - {TEXT}))
        feeds = [_Feed() for _ in paths]
        writing = [pool.submit(join_bands, feed, written, path) for feed, path in zip(feeds, paths, strict=True)]
        try:
            encoded = work.crew.map_ordered(partial(encode_band, encoding), numbered, lambda _: "a part of the layer")
            for each, _ in zip(numbered, encoded, strict=True):
                for future in writing:
                    if future.done():
                        future.result()  # it has failed: the others are not to end as if this were all
                for feed in feeds:
                    feed.put(folder / each.name)
        except BaseException:
            for feed in feeds:
                feed.fail()
            raise
        for feed in feeds:
            feed.end()
        for future in writing:
            future.result()


class _Feed:
    """Files for one writer, which are there one after the other."""

    def __init__(self) -> None:
        self._queue: Queue[Path | bool] = Queue()

    def put(self, path: Path) -> None:
        """Hand on a file that is ready."""
        self._queue.put(path)

    def end(self) -> None:
        """Say that there are no more."""
        self._queue.put(True)

    def fail(self) -> None:
        """Say that there should have been more."""
        self._queue.put(False)

    def __iter__(self) -> Iterator[Path]:
        while isinstance(found := self._queue.get(), Path):
            yield found
        if not found:
            raise BlockFailed("the features of a layer are not complete")


def described(layer: ChangeLayer, means: LayerMeans) -> FeatureLayer:
    """Return what a file of a layer of changes holds besides the features."""
    style = change_style(layer.labels)
    return FeatureLayer(schema=means.schema, crs=layer.grid.crs, geometry_type=layer.geometry_type, style=style)


def encode_band(encoding: Encoding, numbered: NumberedBand) -> None:
    """Leave the features of a band as files."""
    place, crs = encoding.folder / numbered.name, encoding.layer.grid.crs
    temporary = place.with_suffix(".new")
    batches = encoding.means.batches(numbered.band.chunks(), encoding.layer, numbered.first)
    with naming_full_disks(place):
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, encoding.means.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        if encoding.texts:
            texts = place.with_suffix(".text")
            with texts.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(feature_lines(_batches([temporary]), crs))
        if encoding.tables:
            replace(temporary, place)
        else:
            temporary.unlink()


def join_bands(parts: Iterable[Path], layer: FeatureLayer, path: Path) -> None:
    """Write one file of what `encode_band` has left of all bands, in their order."""
    if path.suffix.lower() != TEXT:
        write_features(path, _batches(parts), layer)
        return
    with naming_layer(path), replacing(path) as whole, whole.open("wb") as file:
        file.write(beginning(layer.name).encode())
        number = 0
        for number, place in enumerate(parts, 1):
            file.write(SEPARATOR.encode() if number > 1 else b"")
            with place.with_suffix(".text").open("rb") as part:
                shutil.copyfileobj(part, file, 1 << 20)
        file.write(ending(features=number > 0).encode())


def _batches(paths: Iterable[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pa.OSFile(str(path)) as source:  # mapped, all of it would count as memory
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
