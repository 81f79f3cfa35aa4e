"""Tables of pairs: what `detect-many` reads, and what it answers."""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pyarrow as pa
from pyproj import CRS
from shapely import to_wkb

from geochange.declarations import parse_named, parse_option
from geochange.errors import BadOption, GridMismatch, UnreadableInput
from geochange.files import write_whole
from geochange.names import file_name, is_elsewhere
from geochange.parsing import parsing
from geochange.pipeline.options import DetectOptions
from geochange.redaction import redact
from geochange.scenes.options import NO_MASK

if TYPE_CHECKING:
    from geochange.scenes.feature_files import FeatureFile

DATES = "before", "after"
OUT = "out"
PATHS = "aoi", "mask_before", "mask_after", "labels"
HINTS = get_type_hints(DetectOptions)
PAIR = pa.field("pair", pa.string()), pa.field("pair_id", pa.int64())
"""Columns of a merged layer: the pair, and the number of the change in it."""
WORLD = CRS.from_epsg(4326)


@dataclass(frozen=True, slots=True)
class ListedPair:
    """A line of a table, not yet understood."""

    name: str
    """What the table calls its results; else its number."""
    line: str
    """Where it stands, for messages."""
    folder: Path
    """Where its relative paths start."""
    cells: Mapping[str, str]
    """Text of each column that is not empty."""
    fault: str = ""
    """Why it cannot be understood."""

    def place(self, path: str) -> str:
        """Return a path of the line; addresses, and what is not a path, stay as they are."""
        return path if is_elsewhere(path) or path == NO_MASK else str(self.folder / path)

    def call(self, common: DetectOptions, out: Path) -> PairCall:
        """Return what is to be done.

        Args:
            common: options of all pairs; what the line says goes before.
            out: where results lie whose place the line does not say.

        Raises:
            BadOption: the line says too little, or something that no option takes.
        """
        if self.fault:
            raise BadOption(self.fault)
        if missing := [name for name in DATES if name not in self.cells]:
            raise BadOption(f"{missing[0]} must not be empty")
        given = {name: self._value(name, text) for name, text in self.cells.items() if name not in (*DATES, OUT)}
        before, after = (self.place(self.cells[name]) for name in DATES)
        return PairCall(before, after, self.results(out), replace(common, **given))

    def results(self, out: Path) -> str:
        """Return where its results lie, as in `call`."""
        return self.place(self.cells[OUT]) if OUT in self.cells else str(out / self.name)

    def reads(self) -> list[str]:
        """Return all files that the line names, but for its results."""
        return [self.place(self.cells[name]) for name in (*DATES, *PATHS) if name in self.cells]

    def _value(self, name: str, text: str) -> Any:
        if name == "detector_options":
            return parse_named(name, text.split())
        value = parse_option(name, text, HINTS[name])
        return self.place(value) if name in PATHS and isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class PairCall:
    """A call of `detect`."""

    before: str
    after: str
    out: str
    options: DetectOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOutcome:
    """What became of a pair: a line of pairs.csv."""

    pair: str
    state: str
    """done, failed, or waiting."""
    seconds: float | None = None
    changes: int | None = None
    area_px: int | None = None
    area_m2: float | None = None
    threshold: float | None = None
    out: str = ""
    layer: str = ""
    """The layer of its changes, where it has one."""
    error: str = ""


def read_pairs(table: Path) -> list[ListedPair]:
    """Read the pairs of a table, whose relative paths start at its folder.

    Args:
        table: CSV, or (Geo)Parquet, with the columns before and after, and optionally out and others with the names of
            fields of `DetectOptions`; or a STAC ItemCollection whose items have the assets before and after. An empty
            cell means the default.

    Raises:
        UnreadableInput: it is missing, or none of these.
        BadOption: columns are missing, or unknown; two pairs have one name.
    """
    suffix = table.suffix.lower()
    read = _read_items if suffix in (".json", ".geojson") else _read_parquet if suffix == ".parquet" else _read_csv
    with parsing(str(table), "a table of pairs"):
        pairs = list(read(table))
    if twice := [name for name, count in Counter(pair.name for pair in pairs).items() if count > 1]:
        raise BadOption(
            f"{table}: two pairs have the name {twice[0]}; give each a place of its own in the column {OUT}"
        )
    return pairs


def require_own_places(pairs: Iterable[ListedPair], out: Path) -> None:
    """Refuse pairs whose results would lie in one folder, or in that of the answers.

    Raises:
        BadOption: the message names both.
    """
    taken = {_normal(str(out)): "the answers"}
    for pair in pairs:
        place = _normal(pair.results(out))
        if place in taken:
            raise BadOption(f"{pair.line} and {taken[place]} have one place, {redact(pair.results(out))}")
        taken[place] = pair.line


def _normal(place: str) -> str:
    return place.rstrip("/") if is_elsewhere(place) else os.path.normcase(os.path.abspath(place))


def _read_csv(table: Path) -> Iterator[ListedPair]:
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        _require_columns(table, lines.fieldnames or ())
        for number, cells in enumerate(lines, start=1):
            odd = None in cells or None in cells.values()
            texts = {name: text.strip() for name, text in cells.items() if name and text and not odd and text.strip()}
            fault = "the line has more or fewer cells than the table has columns" if odd else ""
            yield ListedPair(_name(texts.get(OUT), number), f"line {lines.line_num}", table.parent, texts, fault)


def _read_parquet(table: Path) -> Iterator[ListedPair]:
    import pyarrow.parquet as pq

    found = pq.read_table(table)
    about = json.loads((found.schema.metadata or {}).get(b"geo", b"{}"))
    columns = [name for name in found.column_names if name not in about.get("columns", {})]
    _require_columns(table, columns)
    for number, cells in enumerate(found.select(columns).to_pylist(), start=1):
        texts = {name: str(value).strip() for name, value in cells.items() if value is not None and str(value).strip()}
        yield ListedPair(_name(texts.get(OUT), number), f"row {number}", table.parent, texts)


def _read_items(table: Path) -> Iterator[ListedPair]:
    found = json.loads(table.read_text(encoding="utf-8"))
    items = found.get("features") if isinstance(found, dict) else None
    if not isinstance(items, list):
        raise UnreadableInput(f"{table} is not a STAC ItemCollection: it has no features")
    for number, item in enumerate(items, start=1):
        assets = item.get("assets") or {}
        hrefs = {name: str(assets[name]["href"]) for name in DATES if name in assets}
        fault = "" if len(hrefs) == len(DATES) else "the item must have the assets before and after"
        name = file_name(_name(item.get("id"), number))
        yield ListedPair(name, f"item {name}", table.parent, hrefs, fault)


def _name(text: Any, number: int) -> str:
    return redact(str(text)) if text else f"{number:04d}"


def _require_columns(table: Path, columns: Sequence[str]) -> None:
    missing = [name for name in DATES if name not in columns]
    unknown = sorted(set(columns) - {*DATES, OUT} - set(HINTS))
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if missing or unknown or twice:
        faults = {"missing": missing, "unknown": unknown, "twice": twice}
        told = ", ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in faults.items())
        raise BadOption(f"{table}: columns {told}")


def write_outcomes(path: Path, outcomes: Iterable[PairOutcome]) -> None:
    """Write the table of what became of the pairs."""
    text = io.StringIO()
    lines = csv.DictWriter(text, [each.name for each in fields(PairOutcome)], lineterminator="\n")
    lines.writeheader()
    lines.writerows(asdict(each) for each in outcomes)
    write_whole(path, text.getvalue().encode())


def require_layer_name(name: str) -> None:
    """Raise BadOption where no format of layers has the suffix of a name."""
    from geochange.polygons.export import writer_of

    writer_of(Path(name))


def merge_layers(path: Path, layers: Mapping[str, str]) -> int:
    """Write the changes of many pairs as one layer, with the name of the pair of each; return how many there are.

    They are numbered anew. Columns are those of the first layer, which all others have, too; the CRS is theirs, or
    WGS 84 where they differ.

    Args:
        path: a .gpkg, .geojson, .fgb or .parquet file.
        layers: the pair's name -> its layer.

    Raises:
        UnreadableInput: a layer is missing, or has other columns.
        GridMismatch: one has a CRS, and another none.
    """
    from geochange.polygons.export import FeatureLayer, write_features
    from geochange.qgis.style import change_style
    from geochange.scenes.feature_files import GEOMETRY, open_features
    from geochange.scenes.layers import reproject_polygons

    opened = {name: open_features(layer) for name, layer in layers.items()}
    first = next(iter(opened.values()))
    if lost := next((each for each in opened.values() if (each.crs is None) != (first.crs is None)), None):
        without, other = (lost, first) if lost.crs is None else (first, lost)
        raise GridMismatch(f"{without.path} has no CRS, {other.path} has one; they cannot be merged")
    crs = first.crs if all(each.crs == first.crs for each in opened.values()) else WORLD
    schema = pa.schema([*PAIR, *first.schema, pa.field(GEOMETRY, pa.binary())])
    if any(each.multipart for each in opened.values()):
        opened = {name: replace(each, multipart=True) for name, each in opened.items()}
    kind = next(iter(opened.values())).geometry_type
    count = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for name, layer in opened.items():
            for batch, polygons in layer.batches():
                placed = reproject_polygons(polygons, layer.crs, crs, layer.path)
                numbers = range(count + 1, count + 1 + batch.num_rows)
                own = {"pair": [name] * len(numbers), "pair_id": batch["id"], "id": numbers, GEOMETRY: to_wkb(placed)}
                count += len(numbers)
                yield _of_pair(layer, batch, own, schema)

    write_features(path, batches(), FeatureLayer(schema=schema, crs=crs, geometry_type=kind, style=change_style(())))
    return count


def _of_pair(layer: FeatureFile, batch: pa.RecordBatch, own: Mapping[str, Any], schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch of a pair's layer with columns of its own in the merged one."""
    if lost := [name for name in schema.names if name not in own and name not in batch.schema.names]:
        raise UnreadableInput(f"{layer.path} has no column {lost[0]}, which the first layer has")
    arrays = [
        pa.array(own[each.name], each.type) if each.name in own else batch.column(each.name).cast(each.type)
        for each in schema
    ]
    return pa.record_batch(arrays, schema=schema)
