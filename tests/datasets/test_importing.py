"""Labels of other tools, and published data sets as they unpack, on small copies of each layout."""

import csv
import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

import geochange
from geochange.arrays import IGNORE
from geochange.datasets.annotations import mask_of_runs
from geochange.datasets.coco import runs_of
from geochange.datasets.collection import open_collection
from geochange.datasets.layouts import SECOND_CLASSES
from geochange.datasets.options import CollectionOptions
from tests.commands import refused
from tests.stand_ins import SHARED, textured, write_raster

SIZE = (30, 40)  # rows, columns
BOXES = {  # pair -> (class, left, top, right, bottom)
    "one": (("house", 2, 3, 12, 9), ("road", 20, 0, 24, 30)),
    "two": (("house", 30, 20, 40, 30),),
    "three": (),
}
CLASSES = ("house", "road")
SPLITS = {"one": "train", "two": "val", "three": "train"}


def labels_of(name, classes=CLASSES):
    labels = np.zeros(SIZE, np.uint8)
    for kind, left, top, right, bottom in BOXES[name]:
        labels[top:bottom, left:right] = classes.index(kind) + 1
    return labels


def put_image(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def put_dates(folder, names=("A", "B"), splits=False, suffix=".png"):
    for k, date in enumerate(names):
        for seed, name in enumerate(BOXES):
            image = np.moveaxis(textured(SIZE, seed=2 * seed + k), 0, -1)
            put_image(folder / (SPLITS[name] if splits else "") / date / f"{name}{suffix}", image)
    return folder


def put_masks(folder, part, values=(0, 255), splits=False, suffix=".png"):
    for name in BOXES:
        mask = np.array(values, np.uint8)[(labels_of(name) > 0).astype(int)]
        put_image(folder / (SPLITS[name] if splits else "") / part / f"{name}{suffix}", mask)


def truth(classes=CLASSES):
    """Shares of pixels: unchanged, and of each class."""
    labels = np.stack([labels_of(name) for name in BOXES])
    if len(classes) == 1:
        labels = np.minimum(labels, 1)
    return np.bincount(labels.ravel(), minlength=len(classes) + 1) / labels.size


def imported(form, folder, tmp_path, **options):
    found = geochange.import_dataset(form, folder, tmp_path / "out", **options)
    reading = CollectionOptions(
        classes=tuple(found.record["classes"]), label_column=found.record["options"].get("label_column")
    )
    collection = open_collection(found.table, reading)
    return found.record, {
        item.pair.dates[1].rpartition("/")[2].rpartition(".")[0]: collection.read_labels(k)
        for k, item in enumerate(collection.items)
    }


def require_true(record, labels, classes=CLASSES):
    assert sum(record["pairs"].values()) == len(BOXES) == len(labels)
    assert tuple(record["classes"]) == classes
    assert [*record["shares"].values()] == pytest.approx(truth(classes))
    assert record["not_labelled"] == 0
    for name, found in labels.items():
        wanted = labels_of(name) if len(classes) > 1 else labels_of(name) > 0
        np.testing.assert_array_equal(found, wanted, name)


def coco_content(with_before=False, segmentation="polygon"):
    images, annotations = [], []
    for number, (name, boxes) in enumerate(BOXES.items(), start=1):
        before = {"before": f"A/{name}.png"} if with_before else {}
        file = f"{'B/' if with_before else ''}{name}.png"
        images.append({"id": number, "file_name": file, "height": SIZE[0], "width": SIZE[1], **before})
        for kind, left, top, right, bottom in boxes:
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": CLASSES.index(kind) + 1}
            annotation |= {"bbox": [left, top, right - left, bottom - top], "iscrowd": 0}
            annotation["area"] = (right - left) * (bottom - top)
            if segmentation == "polygon":
                annotation["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
            elif segmentation == "runs":
                mask = np.zeros(SIZE, bool)
                mask[top:bottom, left:right] = True
                annotation["segmentation"] = {"size": SIZE, "counts": runs_of(mask, (0, 0), SIZE)}
            annotations.append(annotation)
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("with_before", [True, False])
@pytest.mark.parametrize("segmentation", ["polygon", "runs", "box"])
def test_coco(tmp_path, with_before, segmentation):
    folder = put_dates(tmp_path / "data")
    content = coco_content(with_before=with_before, segmentation=segmentation)
    (folder / "annotations.json").write_text(json.dumps(content))
    record, labels = imported("coco", folder, tmp_path)
    require_true(record, labels)
    assert record["objects"] == {"house": 2, "road": 1}


def test_a_crowd_of_coco_is_not_labelled(tmp_path):
    folder, content = put_dates(tmp_path / "data"), coco_content()
    content["annotations"][0]["iscrowd"] = 1
    (folder / "annotations").mkdir()
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    record, labels = imported("coco", folder, tmp_path)
    assert (labels["one"][3:9, 2:12] == IGNORE).all()
    assert record["not_labelled"] == pytest.approx(60 / (3 * SIZE[0] * SIZE[1]))
    assert record["pairs"] == {"train": 3}


def test_packed_runs_are_those_of_pycocotools():
    api = pytest.importorskip("pycocotools.mask")
    for seed in range(20):
        mask = np.random.default_rng(seed).random((37, 53)) < seed / 20
        packed = api.encode(np.asfortranarray(mask.astype(np.uint8)))
        np.testing.assert_array_equal(mask_of_runs(packed["counts"], mask.shape), mask)


def test_coco_comes_back_as_it_was(tmp_path):
    """Corners, boxes, areas, classes and numbers of images and objects."""
    folder, content = put_dates(tmp_path / "data"), coco_content(with_before=True)
    content["annotations"][2]["segmentation"] = [[30.25, 20.5, 39.75, 20.5, 35.125, 29.0], [1, 25, 4, 25, 4, 28, 1, 28]]
    (folder / "a.json").write_text(json.dumps(content))
    geochange.import_dataset("coco", folder, tmp_path / "out")
    out = folder / "back" / "coco.json"
    out.parent.mkdir()
    given = {"classes": CLASSES, "label_column": "class"}
    exported = geochange.export_labels(tmp_path / "out" / "pairs.csv", out, **given)
    assert exported.objects == {"house": 2, "road": 1}
    back = json.loads(out.read_text())
    assert back["categories"] == content["categories"]
    for first, second in zip(content["images"], back["images"], strict=True):
        assert first | {"file_name": 0, "before": 0} == second | {"file_name": 0, "before": 0}
        for name in ("file_name", "before"):
            assert (out.parent / second[name]).resolve() == (folder / first[name]).resolve()
    for first, second in zip(content["annotations"], back["annotations"], strict=True):
        wanted, found = (
            shapely.union_all([shapely.Polygon(np.reshape(ring, (-1, 2))) for ring in each["segmentation"]])
            for each in (first, second)
        )
        assert wanted.equals(found)
        assert {name: first[name] for name in ("id", "image_id", "category_id", "iscrowd")} == {
            name: second[name] for name in ("id", "image_id", "category_id", "iscrowd")
        }
        assert second["area"] == pytest.approx(wanted.area)
    api = pytest.importorskip("pycocotools.coco").COCO(str(out))
    assert len(api.getAnnIds()) == 3
    second_out = tmp_path / "again"
    geochange.import_dataset("coco", folder, second_out, annotations=str(out))
    geochange.export_labels(second_out / "pairs.csv", folder / "back" / "again.json", **given)
    assert (folder / "back" / "again.json").read_text() == out.read_text()


def test_regions_of_rasters_are_objects_and_holes_masks(tmp_path):
    folder = put_dates(tmp_path / "data")
    put_masks(folder, "label")
    ring = np.zeros(SIZE, np.uint8)
    ring[5:20, 5:20] = 255
    ring[10:12, 10:12] = 0
    put_image(folder / "label" / "three.png", ring)
    geochange.export_labels(folder, tmp_path / "coco.json")
    content = json.loads((tmp_path / "coco.json").read_text())
    assert len(content["annotations"]) == 4
    masks = [each for each in content["annotations"] if isinstance(each["segmentation"], dict)]
    (mask,) = [mask_of_runs(each["segmentation"]["counts"], SIZE) for each in masks]
    np.testing.assert_array_equal(mask, ring > 0)


@pytest.mark.parametrize("corners", [False, True])
def test_yolo(tmp_path, corners):
    folder = put_dates(tmp_path / "data", splits=True)
    for name, boxes in BOXES.items():
        lines = []
        for kind, left, top, right, bottom in boxes:
            if corners:
                values = [left, top, right, top, right, bottom, left, bottom]
            else:
                values = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
            shares = np.reshape(values, (-1, 2)) / (SIZE[1], SIZE[0])
            lines.append(" ".join([str(CLASSES.index(kind)), *map(repr, map(float, shares.ravel()))]))
        place = folder / "labels" / SPLITS[name] / f"{name}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        if lines:
            place.write_text("\n".join(lines))
    (folder / "data.yaml").write_text("names: {0: house, 1: road}\n")
    record, labels = imported("yolo", folder, tmp_path)
    require_true(record, labels)
    assert record["pairs"] == {"train": 2, "val": 1}


def test_pascal_voc(tmp_path):
    folder = put_dates(tmp_path / "data")
    (folder / "Annotations").mkdir()
    for name, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
            f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
            for kind, left, top, right, bottom in boxes
        )
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    require_true(*imported("voc", folder, tmp_path))


def test_labelme(tmp_path):
    folder = put_dates(tmp_path / "data")
    for name, boxes in BOXES.items():
        shapes = []
        for k, (kind, left, top, right, bottom) in enumerate(boxes):
            corners = [[left, top], [right, bottom]]
            if k:
                corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
            shapes.append({"label": kind, "points": corners, "shape_type": "polygon" if k else "rectangle"})
        (folder / "B" / f"{name}.json").write_text(json.dumps({"shapes": shapes}))
    require_true(*imported("labelme", folder, tmp_path))


def test_layers_in_the_crs_of_the_images(tmp_path):
    folder = tmp_path / "data"
    for part in ("A", "B", "label"):
        (folder / part).mkdir(parents=True)
    for seed, (name, boxes) in enumerate(BOXES.items()):
        for part in "AB":
            path = write_raster(folder / part / f"{name}.tif", textured(SIZE, seed=seed))
        with rasterio.open(path) as image:
            shapes = [
                shapely.box(*(image.transform @ (left, bottom)), *(image.transform @ (right, top)))
                for _, left, top, right, bottom in boxes
            ]
            frame = geopandas.GeoDataFrame({"class": [kind for kind, *_ in boxes]}, geometry=shapes, crs=image.crs)
        frame.to_crs(4326 if name == "two" else image.crs).to_file(folder / "label" / f"{name}.gpkg")
    require_true(*imported("layers", folder, tmp_path))


def test_masks_in_colours(tmp_path):
    folder = put_dates(tmp_path / "data")
    colours = {0: (0, 0, 0), 1: (255, 0, 0), 2: (10, 20, 30)}
    for name in BOXES:
        painted = np.array([colours[k] for k in range(3)], np.uint8)[labels_of(name)]
        put_image(folder / "masks" / f"{name}.png", painted)
    rows = [("red", "green", "blue", "name"), (0, 0, 0, "unchanged"), (255, 0, 0, "house"), (10, 20, 30, "road")]
    with (tmp_path / "colours.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    require_true(*imported("colours", folder, tmp_path, colours=str(tmp_path / "colours.csv")))
    (tmp_path / "colours.csv").write_text("red,green,blue,name\n0,0,0,unchanged\n255,0,0,house\n")
    with pytest.raises(geochange.UnreadableInput, match="colour 10,20,30"):
        geochange.import_dataset("colours", folder, tmp_path / "o2", colours=tmp_path / "colours.csv")


BINARY = {
    "levir-cd": (("A", "B"), "label", ".png", (0, 255)),
    "s2looking": (("Image1", "Image2"), "label", ".png", (0, 255)),
    "dsifn": (("t1", "t2"), "mask", ".png", (0, 255)),
    "sysu-cd": (("time1", "time2"), "label", ".png", (0, 255)),
    "whu-cd": (("A", "B"), "label", ".tif", (0, 1)),
    "masks": (("A", "B"), "OUT", ".png", (0, 255)),
}


@pytest.mark.parametrize("form", BINARY)
def test_masks_of_published_sets(tmp_path, form):
    names, part, suffix, values = BINARY[form]
    folder = put_dates(tmp_path / "data", names, splits=True)
    put_masks(folder, part, values, splits=True, suffix=suffix)
    record, labels = imported(form, folder, tmp_path)
    require_true(record, labels, ("change",))
    assert record["pairs"] == {"train": 2, "val": 1}


def test_whu_cd_as_it_was_published(tmp_path):
    folder, names = tmp_path / "data", ("one", "two")
    for name, split in zip(names, ("train", "test"), strict=True):
        for k, year in enumerate(("2012", "2016")):
            image = textured(SIZE, seed=k)
            (folder / year / "whole_image" / split / "image").mkdir(parents=True)
            write_raster(folder / year / "whole_image" / split / "image" / f"{year}_{split}.tif", image)
        (folder / "change_label" / split).mkdir(parents=True)
        mask = (labels_of(name)[None] > 0).astype(np.uint8) * 255
        write_raster(folder / "change_label" / split / "change_label.tif", mask)
    record, labels = imported("whu-cd", folder, tmp_path)
    assert record["pairs"] == {"train": 1, "test": 1}
    for name, split in zip(names, ("train", "test"), strict=True):
        np.testing.assert_array_equal(labels[f"2016_{split}"], labels_of(name) > 0)


def test_oscd_stacks_its_bands(tmp_path):
    folder = tmp_path / "data"
    bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
    for city in ("paris", "rome"):
        for date in ("imgs_1_rect", "imgs_2_rect"):
            (folder / "images" / city / date).mkdir(parents=True)
            for number, band in enumerate(bands):
                write_raster(folder / "images" / city / date / f"{band}.tif", np.full((1, *SIZE), number, np.uint16))
    (folder / "labels" / "paris" / "cm").mkdir(parents=True)
    write_raster(folder / "labels" / "paris" / "cm" / "paris-cm.tif", (labels_of("one")[None] > 0).astype("uint8") + 1)
    (folder / "images" / "train.txt").write_text("paris,rome")
    record, labels = imported("oscd", folder, tmp_path)
    assert record["pairs"] == {"train": 1}
    assert record["notes"] == ["1 cities without labels are left out"]
    np.testing.assert_array_equal(labels["1_paris_2"], labels_of("one") > 0)
    with rasterio.open(tmp_path / "out" / "images" / "1_paris_1.tif") as stack:
        assert (stack.count, stack.descriptions[8]) == (13, "B8A")
        assert [stack.read(k).max() for k in range(1, 14)] == [*range(13)]


def test_oscd_as_it_lies_in_the_shared_folder(tmp_path):
    if not (SHARED / "sentinel2_oscd").is_dir():
        pytest.skip("the shared images are not here")
    record = geochange.import_dataset("oscd", SHARED / "sentinel2_oscd", tmp_path / "out").record
    assert record["pairs"] == {"all": 3}
    assert record["shares"]["change"] == pytest.approx(0.01005, abs=1e-5)


def test_xbd(tmp_path):
    folder = tmp_path / "data"
    kinds = {"house": "destroyed", "road": "minor-damage"}
    for seed, (name, boxes) in enumerate(BOXES.items()):
        place = folder / ("train" if SPLITS[name] == "train" else "hold")
        for when in ("pre", "post"):
            put_image(place / "images" / f"{name}_{when}_disaster.png", np.moveaxis(textured(SIZE, seed=seed), 0, -1))
        xy = [{"wkt": shapely.box(*box).wkt, "properties": {"subtype": kinds[kind]}} for kind, *box in boxes]
        xy.append({"wkt": shapely.box(0, 0, 2, 2).wkt, "properties": {"subtype": "un-classified"}})
        xy.append({"wkt": shapely.box(14, 14, 16, 16).wkt, "properties": {"subtype": "no-damage"}})
        (place / "labels").mkdir(parents=True, exist_ok=True)
        (place / "labels" / f"{name}_post_disaster.json").write_text(json.dumps({"features": {"xy": xy}}))
    record, labels = imported("xbd", folder, tmp_path)
    assert record["classes"] == ["minor-damage", "major-damage", "destroyed"]
    assert record["pairs"] == {"train": 2, "val": 1}
    assert record["objects"] == {"255": 3, "destroyed": 2, "minor-damage": 1}
    wanted = np.array([0, 3, 1], np.uint8)[labels_of("one")]
    wanted[:2, :2] = IGNORE
    np.testing.assert_array_equal(labels["one_post_disaster"], wanted)


@pytest.mark.parametrize("of", ["change", "before", "after"])
def test_second(tmp_path, of):
    folder = put_dates(tmp_path / "data", ("im1", "im2"))
    cover = {"label1": {"house": "tree", "road": "water"}, "label2": {"house": "building", "road": "ground"}}
    for name, boxes in BOXES.items():
        for part, kinds in cover.items():
            painted = np.full((*SIZE, 3), 255, np.uint8)
            for kind, left, top, right, bottom in boxes:
                painted[top:bottom, left:right] = SECOND_CLASSES[kinds[kind]]
            put_image(folder / part / f"{name}.png", painted)
    record, labels = imported("second", folder, tmp_path, of=of)
    if of == "change":
        require_true(record, labels, ("change",))
        return
    names, kinds = [*SECOND_CLASSES], cover["label1" if of == "before" else "label2"]
    for name, found in labels.items():
        codes = np.array([0, names.index(kinds["house"]) + 1, names.index(kinds["road"]) + 1])
        np.testing.assert_array_equal(found, codes[labels_of(name)])


@pytest.mark.parametrize("of", ["change", "before", "after"])
def test_hrscd(tmp_path, of):
    folder = tmp_path / "data"
    cover = {"2006": (2, 3), "2012": (1, 5)}
    for number, name in enumerate(BOXES):
        for year in ("2006", "2012"):
            stem = f"14-{year}-04{number}5-6890-LA93"
            for part, values in (
                (f"images_{year}/{year}/D14", textured(SIZE)),
                (f"labels_land_cover_{year}/{year}/D14", np.array([4, *cover[year]], np.uint8)[labels_of(name)][None]),
            ):
                (folder / part).mkdir(parents=True, exist_ok=True)
                write_raster(folder / part / f"{stem}.tif", values)
        (folder / "labels_change" / "change" / "D14").mkdir(parents=True, exist_ok=True)
        changed = (labels_of(name)[None] > 0).astype(np.uint8)
        write_raster(folder / "labels_change" / "change" / "D14" / f"14-2012-04{number}5-6890-LA93.tif", changed)
    record, labels = imported("hrscd", folder, tmp_path, of=of)
    assert sum(record["pairs"].values()) == 3
    codes = {"change": (0, 1, 1), "before": (0, 2, 3), "after": (0, 1, 5)}[of]
    for number, name in enumerate(BOXES):
        np.testing.assert_array_equal(labels[f"14-2012-04{number}5-6890-LA93"], np.array(codes)[labels_of(name)])


def test_a_table_that_was_imported_can_be_trained_on(run, tmp_path):
    folder = put_dates(tmp_path / "data")
    (folder / "annotations.json").write_text(json.dumps(coco_content()))
    code, printed, errors = run("datasets", "import", "coco", folder, "-o", tmp_path / "out")
    assert code == 0, errors
    command = printed.splitlines()[-1].replace("'", "").split()[1:]
    short = ["--steps", 1, "--size", 32, "--batch", 1, "--loaders", 0, "--network", "siamese-unet", "--every", 1]
    command[command.index("RUN")] = str(tmp_path / "run")
    widths = ("--network-option", "widths=4,8,8,8", "--no-pretrained", "--val-share", 0)
    code, _, errors = run(*command, *short, *widths)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("form", "spoil", "said"),
    [
        ("coco", lambda folder: (folder / "a.json").write_text("{"), "a.json"),
        ("coco", lambda folder: (folder / "a.json").write_text('{"images": [], "categories": []}'), "a.json"),
        ("coco", lambda folder: None, "no COCO annotations"),
        ("yolo", lambda folder: None, "no data.yaml or classes.txt"),
        ("voc", lambda folder: put_text(folder / "Annotations" / "one.xml", "<a"), "one.xml"),
        ("voc", lambda folder: None, "no labelled object"),
        ("labelme", lambda folder: put_text(folder / "B" / "one.json", '{"shapes": 3}'), "one.json"),
        ("colours", lambda folder: None, "--colours"),
        ("masks", lambda folder: None, "no labels of its name"),
        ("levir-cd", lambda folder: (folder / "A" / "one.png").unlink(), "needs both dates"),
        ("hrscd", lambda folder: None, "images_2006"),
        ("xbd", lambda folder: None, "no labelled pair"),
        ("oscd", lambda folder: None, "no labelled pair"),
        ("nothing", lambda folder: None, "there is no form 'nothing'"),
    ],
)
def test_what_is_not_in_a_layout_is_one_line(run, tmp_path, form, spoil, said):
    folder = put_dates(tmp_path / "data")
    spoil(folder)
    refused(run("datasets", "import", form, folder, "-o", tmp_path / "out"), said)
    assert not (tmp_path / "out").exists() or not [*(tmp_path / "out").iterdir()]


def put_text(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
