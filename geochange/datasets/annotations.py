"""Annotations of image tools, as labelled objects: COCO, YOLO, Pascal VOC, LabelMe, layers of polygons, colours."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio.features
import shapely
import yaml
from shapely.geometry.base import BaseGeometry

from geochange.arrays import IGNORE, Bools
from geochange.datasets.foreign import (
    NOT_LABELLED,
    SPLIT_FOLDERS,
    Colour,
    Coloured,
    ForeignData,
    ForeignPair,
    ImagePair,
    LabelledObjects,
    Mask,
    Outline,
    as_box,
    beside,
    image_pairs,
)
from geochange.errors import BadOption, UnreadableInput
from geochange.parsing import parsing
from geochange.scenes.layer_files import VECTOR_SUFFIXES
from geochange.scenes.layers import in_pixels, open_layer
from geochange.scenes.scene import open_file

CLASS_COLUMNS = ("class", "label", "category", "name")
UNCHANGED = ("unchanged", "background", "no change")
VOID = ("not labelled", "ignore", "unlabelled", "void")
CIRCLE_SEGMENTS = 16  # a quarter


def read_coco(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read COCO files (Lin et al. 2014): polygons, masks by runs, or boxes; within crowds nothing is labelled.

    An image that names its earlier date as `before` is a pair, both as paths from the file; any other one is found by
    its name among the later dates.
    """
    files = [annotations] if annotations else _coco_files(folder)
    names: dict[int, str] = {}
    pairs, crowds = list[ForeignPair](), 0
    by_name = cache(lambda: {each.after.name: each for each in image_pairs(folder)})  # where an image names no `before`
    for file in files:
        content = _read_json(file, "COCO annotations")
        with parsing(file, "COCO annotations"):
            names |= {int(each["id"]): str(each["name"]) for each in content["categories"]}
            by_image: dict[Any, list[Mapping[str, Any]]] = {each["id"]: [] for each in content["images"]}
            for each in content["annotations"]:
                by_image[each["image_id"]].append(each)
            crowds += sum(bool(each.get("iscrowd")) for each in content["annotations"])
            for image in content["images"]:
                objects = tuple(_coco_object(each, image, names) for each in by_image[image["id"]])
                pairs.append(_coco_pair(file, image, LabelledObjects(objects), by_name))
    notes = (f"{crowds} crowds: nothing is labelled within them",) if crowds else ()
    return ForeignData(tuple(names[number] for number in sorted(names)), tuple(pairs), notes)


def _coco_pair(
    file: Path, image: Mapping[str, Any], labels: LabelledObjects, by_name: Callable[[], Mapping[str, ImagePair]]
) -> ForeignPair:
    name, split = Path(image["file_name"]), _split_of(file)
    before, after = file.parent / image.get("before", "."), file.parent / name
    if before.is_file() and after.is_file():
        return ForeignPair(f"{image['id']}_{name.stem}", ((before,), (after,)), labels, image.get("split", split))
    pair = by_name().get(name.name)
    if pair is None:
        raise UnreadableInput(f"{file} names {name}, of which there are not both dates in the folder")
    return _of(pair, labels, pair.split or split)


def _coco_object(annotation: Mapping[str, Any], image: Mapping[str, Any], names: Mapping[int, str]) -> Outline:
    name = NOT_LABELLED if annotation.get("iscrowd") else names[int(annotation["category_id"])]
    return Outline(_coco_shape(annotation, image), name, int(annotation.get("id", 0)))


def _coco_files(folder: Path) -> list[Path]:
    found = [path for place in (folder, folder / "annotations") for path in sorted(place.glob("*.json"))]
    if not found:
        raise UnreadableInput(f"{folder} has no COCO annotations, *.json or annotations/*.json; name a file")
    return found


def _split_of(path: Path) -> str | None:
    words = path.stem.replace("-", "_").split("_")
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), None)


def _coco_shape(annotation: Mapping[str, Any], image: Mapping[str, Any]) -> BaseGeometry:
    """Return the outline of an annotation: its polygons, the edges of its mask, or its box."""
    given = annotation.get("segmentation")
    if isinstance(given, list) and given:
        rings = [np.reshape(np.asarray(ring, float), (-1, 2)) for ring in given]
        parts = [shapely.Polygon(ring) for ring in rings]
        return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    if isinstance(given, dict):
        return outline_of(mask_of_runs(given["counts"], (int(image["height"]), int(image["width"]))))
    left, top, width, height = (float(each) for each in annotation["bbox"])
    return as_box(left, top, left + width, top + height)


def mask_of_runs(counts: str | bytes | Sequence[int], shape: tuple[int, int]) -> Bools:
    """Return (y, x) the mask that COCO's runs stand for: by columns, of 0 and 1 in turn; packed where they are text."""
    runs = np.asarray(_unpacked(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    values = np.arange(len(runs)) % 2 == 1
    mask: Bools = np.repeat(values, runs).reshape(shape[1], shape[0]).T
    return mask


def _unpacked(text: str | bytes) -> list[int]:
    """Return runs from COCO's packed form: five bits a byte, lowest first; from the third on, less the last but one."""
    codes = [each - 48 for each in (text.encode() if isinstance(text, str) else text)]
    runs: list[int] = []
    value, shift = 0, 0
    for code in codes:
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs


def outline_of(mask: Bools) -> BaseGeometry:
    """Return the edges of a mask as a polygon, or several."""
    shapes = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, connectivity=4)
    parts = [shapely.geometry.shape(each) for each, _ in shapes]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def read_yolo(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read YOLO text files: a line an object, class and box, or class and corners, as shares of the image."""
    names = _yolo_names(folder, annotations)
    pairs = []
    for pair in image_pairs(folder):
        path = beside(pair, ("labels",), (".txt",))
        rows = [] if path is None else path.read_text(encoding="utf-8").split("\n")
        height, width = open_file(str(pair.after)).grid.shape
        with parsing(path or pair.after, "YOLO labels"):
            objects = tuple(_yolo_object(row.split(), (width, height), names) for row in rows if row.strip())
        pairs.append(_of(pair, LabelledObjects(objects)))
    return ForeignData(names, tuple(pairs))


def _yolo_names(folder: Path, annotations: Path | None) -> tuple[str, ...]:
    named = [annotations] if annotations else [folder / name for name in ("data.yaml", "classes.txt", "obj.names")]
    path = next((each for each in named if each.is_file()), None)
    if path is None:
        raise UnreadableInput(f"{folder} has no data.yaml or classes.txt with the names of its classes; name one")
    with parsing(path, "names of classes"):
        text = path.read_text(encoding="utf-8")
        if path.suffix not in (".yaml", ".yml"):
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        names = yaml.safe_load(text)["names"]
        return tuple(str(names[key]) for key in sorted(names)) if isinstance(names, dict) else tuple(map(str, names))


def _yolo_object(words: Sequence[str], size: tuple[int, int], names: Sequence[str]) -> Outline:
    number, values = int(words[0]), np.reshape([float(word) for word in words[1:]], (-1, 2)) * size
    if not 0 <= number < len(names):
        raise UnreadableInput(f"class {number} has no name; there are {len(names)}")
    if len(values) > 2:
        return Outline(shapely.Polygon(values), names[number])
    middle, half = values[0], values[1] / 2
    return Outline(as_box(*(middle - half), *(middle + half)), names[number])


def read_voc(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read Pascal VOC's XML (Everingham et al. 2010): boxes, whose corners are pixels counted from 1."""
    return _by_file(folder, ("Annotations", "annotations", "labels"), (".xml",), _voc_objects)


def _voc_objects(path: Path) -> list[Outline]:
    found = []
    for each in ElementTree.parse(path).getroot().iter("object"):
        corners = (each.findtext(f"bndbox/{name}", "") for name in ("xmin", "ymin", "xmax", "ymax"))
        left, top, right, bottom = map(float, corners)
        found.append(Outline(as_box(left - 1, top - 1, right, bottom), each.findtext("name", "").strip()))
    return found


def read_labelme(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read LabelMe's JSON: polygons, rectangles and circles; lines and points are no areas, and are refused."""
    return _by_file(folder, ("labels", "label", "annotations", "B", "after", "."), (".json",), _labelme_objects)


def _labelme_objects(path: Path) -> list[Outline]:
    found = []
    for each in _read_json(path, "LabelMe annotations")["shapes"]:
        points, kind = np.reshape(np.asarray(each["points"], float), (-1, 2)), each.get("shape_type", "polygon")
        if kind == "polygon":
            shape: BaseGeometry = shapely.Polygon(points)
        elif kind == "rectangle":
            shape = as_box(*points[0], *points[1])
        elif kind == "circle":
            shape = shapely.Point(points[0]).buffer(float(np.hypot(*(points[1] - points[0]))), CIRCLE_SEGMENTS)
        else:
            raise UnreadableInput(f"{path} holds a {kind} of {each['label']!r}, which is no area")
        found.append(Outline(shape, str(each["label"])))
    return found


def read_layers(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read a layer of polygons a pair, in the CRS of its images."""
    pairs, classes = [], list[str]()
    for pair in image_pairs(folder):
        path = _required(pair, ("label", "labels"), VECTOR_SUFFIXES)
        layer, grid = open_layer(str(path)), open_file(str(pair.before)).grid
        column = next((each for each in CLASS_COLUMNS if each in layer.frame.columns), None)
        names = ["change"] * len(layer.frame) if column is None else [str(each) for each in layer.frame[column]]
        classes += names
        shapes = in_pixels(layer.polygons(grid), grid)
        objects = tuple(Outline(shape, name) for shape, name in zip(shapes, names, strict=True))
        pairs.append(_of(pair, LabelledObjects(objects)))
    return ForeignData(tuple(sorted(set(classes))), tuple(pairs))


def read_colours(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read masks in colours by a table of them."""
    if table is None:
        raise BadOption("colours need a table of them: a CSV with red, green, blue and name; give it with --colours")
    colours, classes = read_colour_table(table)
    suffixes = (".png", ".tif", ".tiff", ".bmp")
    pairs = [
        _of(pair, Coloured((_required(pair, ("label", "labels", "mask", "masks"), suffixes),), colours))
        for pair in image_pairs(folder)
    ]
    return ForeignData(classes, tuple(pairs))


def read_colour_table(path: Path) -> tuple[dict[Colour, int], tuple[str, ...]]:
    """Read a CSV with red, green, blue and name: a class each, but for unchanged, and not labelled.

    Returns:
        Colour -> label, and the names of the labels 1, 2, ...
    """
    with parsing(path, "a table of colours: a CSV with red, green, blue and name"):
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        named = {(int(row["red"]), int(row["green"]), int(row["blue"])): row["name"].strip() for row in rows}
    special = dict.fromkeys(UNCHANGED, 0) | dict.fromkeys(VOID, IGNORE)
    classes = tuple(dict.fromkeys(name for name in named.values() if name.lower() not in special))
    numbers = {name: k for k, name in enumerate(classes, start=1)}
    return {colour: special.get(name.lower(), numbers.get(name, 0)) for colour, name in named.items()}, classes


def read_masks(folder: Path, annotations: Path | None, table: Path | None) -> ForeignData:
    """Read masks of change: 0, and 1 or 255."""
    suffixes = (".png", ".tif", ".tiff", ".jpg", ".bmp")
    pairs = [
        _of(pair, Mask(_required(pair, ("label", "labels", "mask", "OUT", "gt"), suffixes)))
        for pair in image_pairs(folder)
    ]
    return ForeignData(("change",), tuple(pairs))


def _by_file(
    folder: Path, places: Sequence[str], suffixes: Sequence[str], read: Callable[[Path], list[Outline]]
) -> ForeignData:
    """Read a file of objects for each pair; a pair without one has none."""
    pairs, classes = [], set[str]()
    for pair in image_pairs(folder):
        objects: list[Outline] = []
        if path := beside(pair, places, suffixes):
            with parsing(path, "annotations"):
                objects = read(path)
        classes |= {each.name for each in objects}
        pairs.append(_of(pair, LabelledObjects(tuple(objects))))
    return ForeignData(tuple(sorted(classes)), tuple(pairs))


def _required(pair: ImagePair, folders: Sequence[str], suffixes: Iterable[str]) -> Path:
    path = beside(pair, folders, tuple(suffixes))
    if path is None:
        raise UnreadableInput(f"{pair.after} has no labels of its name in {', '.join(folders)} beside it")
    return path


def _of(pair: ImagePair, labels: Any, split: str | None = None) -> ForeignPair:
    return ForeignPair(pair.relative, ((pair.before,), (pair.after,)), labels, split or pair.split)


def _read_json(path: Path, form: str) -> Any:
    with parsing(path, form):
        return json.loads(path.read_text(encoding="utf-8"))


FORMS: Mapping[str, Callable[[Path, Path | None, Path | None], ForeignData]] = {
    "coco": read_coco,
    "yolo": read_yolo,
    "voc": read_voc,
    "labelme": read_labelme,
    "layers": read_layers,
    "colours": read_colours,
    "masks": read_masks,
}
"""Forms of labels: folder, file of annotations or names, table of colours -> what is there."""
