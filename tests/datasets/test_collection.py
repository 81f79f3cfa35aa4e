"""geochange.datasets.collection, and the listings and labels that it reads."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.features import rasterize

from geochange.datasets.collection import cut, open_collection
from geochange.datasets.labels import translate
from geochange.datasets.listings import find_datasets
from geochange.datasets.options import CollectionOptions
from geochange.errors import BadOption, BandMismatch, GridMismatch, UnreadableInput
from geochange.scenes.layers import VectorLabels
from tests.stand_ins import PLACE, UTM, changed_pair, textured, write_raster
from tests.tiny_network import write_pairs

SHAPE = (50, 70)
TWO = CollectionOptions(classes=("built", "felled"))
SQUARES = [shapely.box(10, 5, 30, 25), shapely.box(40, 20, 65, 45)]  # in pixels: x = column, y = row


@pytest.fixture
def folder(tmp_path):
    return write_pairs(tmp_path / "pairs", ["a", "b", "c"])


@pytest.fixture
def scene(tmp_path):
    """A folder with before.tif, after.tif, and what fits them."""
    for name, values in zip(("before", "after"), changed_pair(SHAPE), strict=True):
        write_raster(tmp_path / f"{name}.tif", values)
    return tmp_path


def names(collection):
    return [item.pair.name for item in collection.items]


def truth(values=(1, 1)):
    """(y, x) labels of the two squares, by pixel centre."""
    return rasterize(zip(SQUARES, values, strict=True), SHAPE, dtype="uint8")


def write_layer(path, crs=UTM, **columns):
    """The two squares as a layer, in any CRS."""
    a = PLACE
    placed = [shapely.affinity.affine_transform(box, [a.a, a.b, a.d, a.e, a.c, a.f]) for box in SQUARES]
    geopandas.GeoDataFrame(columns, geometry=placed, crs=UTM).to_crs(crs).to_file(path)


def write_table(folder, *rows, header="before,after,labels"):
    (folder / "scenes.csv").write_text("\n".join((header, *rows)) + "\n")
    return folder / "scenes.csv"


def whole(collection):
    """All tiles of a collection's only scene put together: dates (time, band, y, x) and labels (y, x)."""
    dates, labels = np.zeros((2, 3, *SHAPE), np.uint8), np.full(SHAPE, 77, np.uint8)
    for k, item in enumerate(collection.items):
        sample = collection.read(k)
        dates[:, :, *item.tile.slices()], labels[item.tile.slices()] = sample.dates, sample.labels
    return dates, labels


def test_a_folder_is_read_as_pillow_reads_it(folder):
    collection = open_collection(folder)
    assert names(collection) == ["a", "b", "c"]
    sample = collection.read(1)
    for letter, date in zip("AB", sample.dates, strict=True):
        assert np.array_equal(date, np.asarray(Image.open(folder / letter / "b.png")).transpose(2, 0, 1))
    assert np.array_equal(sample.labels, np.asarray(Image.open(folder / "label" / "b.png")) > 0)
    assert sample.valid.all()


def test_hidden_files_beside_images_are_skipped(folder):
    before = names(open_collection(folder))
    for path in [*folder.rglob("*.*")]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7")
    assert names(open_collection(folder)) == before


def test_labels_alone_are_those_of_the_sample(folder):
    collection = open_collection(folder)
    assert all(np.array_equal(collection.read_labels(k), collection.read(k).labels) for k in range(3))


def test_a_series_has_as_many_dates_as_folders(folder):
    shutil.copytree(folder / "A", folder / "C")
    sample = open_collection(folder).read(0)
    assert len(sample.dates) == 3
    assert np.array_equal(sample.dates[2], sample.dates[0])


def test_lists_say_what_is_of_which_split(folder):
    (folder / "list").mkdir()
    (folder / "list" / "train.txt").write_text("c.png\n\na\n")
    (folder / "list" / "val.txt").write_text("b.png\n")
    both = open_collection(folder)
    assert [(item.pair.name, item.pair.split) for item in both.items] == [("c", "train"), ("a", "train"), ("b", "val")]
    assert names(open_collection(folder, split="train")) == names(both.of_split("train")) == ["c", "a"]
    with pytest.raises(BadOption, match=r"no pairs of the split test; it has train, val"):
        open_collection(folder, split="test")
    with pytest.raises(BadOption, match="split 'training' is not one of train, val, test"):
        open_collection(folder, split="training")


def test_pairs_in_no_list_are_not_used(folder):
    (folder / "list").mkdir()
    (folder / "list" / "val.txt").write_text("b\n")
    assert names(open_collection(folder)) == ["b"]


def test_a_name_in_two_lists_or_without_a_file_is_refused(folder):
    (folder / "list").mkdir()
    (folder / "list" / "train.txt").write_text("a\nz.png\n")
    with pytest.raises(UnreadableInput, match=r"A has no image z, which .*train\.txt asks for"):
        open_collection(folder)
    (folder / "list" / "train.txt").write_text("a\n")
    (folder / "list" / "test.txt").write_text("a\n")
    with pytest.raises(BadOption, match=r"test\.txt names a, which list/train\.txt does too"):
        open_collection(folder)


def test_folders_of_splits_are_one_collection(tmp_path):
    write_pairs(tmp_path / "train", ["a", "b"])
    write_pairs(tmp_path / "test", ["a"])
    collection = open_collection(tmp_path)
    assert [(item.pair.name, item.pair.split) for item in collection.items] == [
        ("train/a", "train"),
        ("train/b", "train"),
        ("test/a", "test"),
    ]


def test_the_meaning_of_255_is_that_of_all_splits(tmp_path):
    write_pairs(tmp_path / "train", ["a"], labels=(1, 255))
    write_pairs(tmp_path / "val", ["a"], labels=(255,))
    labels = open_collection(tmp_path, split="val").read(0).labels
    assert {*np.unique(labels)} == {0, 255}


def test_a_collection_s_parts_of_a_folder_are_found(tmp_path, folder):
    (tmp_path / "notes.csv").write_text("a,b\n")
    write_table(tmp_path)
    assert find_datasets(tmp_path) == (folder, tmp_path / "scenes.csv")
    assert find_datasets(folder) == (folder,)
    with pytest.raises(UnreadableInput, match="must hold the folders A, B and label"):
        find_datasets(folder / "A")
    with pytest.raises(UnreadableInput, match="does not exist"):
        find_datasets(tmp_path / "missing")


@pytest.mark.parametrize("part", ["A", "B", "label"])
def test_a_missing_partner_is_named(folder, part):
    (folder / part / "b.png").unlink()
    with pytest.raises(UnreadableInput, match=rf"{part} has no image b"):
        open_collection(folder)
    left_out = {}
    assert names(open_collection(folder, leave_out=lambda name, why: left_out.update({name: str(why)}))) == ["a", "c"]
    assert list(left_out) == ["b"]


def test_two_files_of_one_name_are_refused(folder):
    shutil.copy(folder / "A" / "a.png", folder / "A" / "a.tif")
    with pytest.raises(UnreadableInput, match=r"a\.png and .*a\.tif have one name"):
        open_collection(folder)


@pytest.mark.parametrize("part", ["A", "B", "label"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_file_that_breaks_off_is_named_in_one_line(tmp_path, part, suffix):
    rng = np.random.default_rng(0)
    for letter in ("A", "B", "label"):
        (tmp_path / letter).mkdir()
        image = rng.integers(0, 2, (64, 64)) if letter == "label" else rng.integers(0, 255, (64, 64))
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / letter / f"a{suffix}")
    file = tmp_path / part / f"a{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UnreadableInput, match=re.escape(str(file))) as raised:
        open_collection(tmp_path).read(0)
    assert "\n" not in str(raised.value)


def test_labels_of_another_size_are_refused_with_both_sizes(folder):
    Image.fromarray(np.zeros((24, 25), np.uint8)).save(folder / "label" / "a.png")
    with pytest.raises(GridMismatch, match=r"label/a\.png has 24 x 25 pixels, .*A/a\.png has 24 x 24"):
        open_collection(folder).read(0)


def test_dates_of_other_sizes_or_bands_are_refused(folder):
    Image.fromarray(np.zeros((24, 25, 3), np.uint8)).save(folder / "B" / "a.png")
    Image.fromarray(np.zeros((24, 24), np.uint8)).save(folder / "B" / "b.png")
    with pytest.raises(GridMismatch, match=r"A/a\.png and .*B/a\.png"):
        open_collection(folder).read(0)
    with pytest.raises(BandMismatch, match=r"A/b\.png has 3 bands, .*B/b\.png has 1"):
        open_collection(folder).read(1)


def test_pixels_that_are_not_finite_are_not_valid_and_not_labelled(tmp_path):
    values = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    holed = values.copy()
    holed[0, 3, 4], holed[1, 5, 6], holed[1, 7, 8] = np.nan, np.inf, -np.inf
    for letter, date in (("A", values), ("B", holed), ("label", truth()[None])):
        (tmp_path / letter).mkdir()
        write_raster(tmp_path / letter / "a.tif", date)
    sample = open_collection(tmp_path).read(0)
    where = [[3, 5, 7], [4, 6, 8]]
    assert np.argwhere(~sample.valid[1]).T.tolist() == where
    assert sample.valid[0].all()
    assert (sample.dates[1][:, *where] == 0).all()
    assert (sample.labels[*where] == 255).all()
    assert np.isfinite(sample.dates[1]).all()


def test_nodata_of_a_label_is_not_labelled(folder):
    stored = np.zeros((1, 24, 24), np.int16)
    stored[0, 0], stored[0, 1] = -9999, 1
    (folder / "label" / "a.png").unlink()
    write_raster(folder / "label" / "a.tif", stored, nodata=-9999, crs=None)
    labels = open_collection(folder, CollectionOptions(values=(1,), ignore=(255,))).read(0).labels
    assert [labels[row, 0] for row in range(3)] == [255, 1, 0]


@pytest.mark.parametrize(
    ("stored", "options", "wanted"),
    [
        ([0, 1, 255], CollectionOptions(), [0, 1, 255]),
        ([0, 1, 2, 255], TWO, [0, 1, 2, 255]),
        ([0, 255], CollectionOptions(values=(255,)), [0, 1]),
        ([0, 7, 3, 255], CollectionOptions(classes=("a", "b"), values=(3, 7)), [0, 2, 1, 255]),
        ([0, 1, 9], CollectionOptions(ignore=(9,)), [0, 1, 255]),
        ([0, 1, 9], CollectionOptions(ignore=(0, 9)), [255, 1, 255]),
    ],
)
def test_stored_values_become_labels(stored, options, wanted):
    assert translate(np.array([stored]), options, "a.png").tolist() == [wanted]


def test_an_unknown_label_is_refused_with_what_is_known():
    with pytest.raises(BadOption, match=r"a\.png holds the value 4; known are 0, 1, 2 for built, felled, and 255"):
        translate(np.array([[0, 4]]), TWO, "a.png")
    with pytest.raises(BadOption, match="a raster and holds numbers; the value 'gone' is not one"):
        translate(np.array([[0]]), CollectionOptions(values=("gone",)), "a.png")


def test_a_label_stored_as_jpeg_is_cut_at_half():
    assert translate(np.array([[0, 3, 127, 128, 250]]), CollectionOptions(), "a.jpg").tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"classes": ()},
        {"classes": ("a", "a")},
        {"classes": ("a", "b"), "values": (1,)},
        {"classes": ("a", "b"), "values": (1, 1)},
        {"values": (0,)},
    ],
)
def test_label_options_that_contradict_themselves_are_refused(wrong):
    with pytest.raises(BadOption, match=r"^(classes|values) .*(different|no change|differ)"):
        CollectionOptions(**wrong)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_tiles_partition_a_scene_without_slivers(rows, cols, tile):
    hits, sides = np.zeros((rows, cols), int), set()
    for each in cut((rows, cols), tile):
        hits[each.slices()] += 1
        sides |= {("rows", each.height), ("cols", each.width)}
    assert (hits == 1).all()
    for axis in ("rows", "cols"):
        lengths = [side for name, side in sides if name == axis]
        assert max(lengths) <= tile
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("tile", [512, 32])
def test_scenes_of_a_table_are_cut_on_the_fly(scene, tile):
    write_raster(scene / "truth.tif", truth()[None])
    collection = open_collection(
        write_table(scene, "before.tif,after.tif,truth.tif"), CollectionOptions(tile_size=tile)
    )
    assert len(collection) == {512: 1, 32: 6}[tile]
    assert collection.gsd == pytest.approx(2.0)
    dates, labels = whole(collection)
    assert np.array_equal(labels, truth())
    assert np.array_equal(dates, np.stack(changed_pair(SHAPE)))


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
@pytest.mark.parametrize("name", ["truth.gpkg", "truth.geojson", "truth.shp"])
def test_a_layer_is_burnt_where_it_lies(scene, crs, name):
    write_layer(scene / name, "EPSG:4326" if name == "truth.geojson" else crs)
    collection = open_collection(write_table(scene, f"before.tif,after.tif,{name}"), CollectionOptions(tile_size=32))
    assert np.array_equal(whole(collection)[1], truth())


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (["built", "felled"], {}),
        ([3, 4], {"values": (3, 4)}),
        ([3.0, 4.0], {"values": (3, 4)}),
        (["new", "gone"], {"values": ("new", "gone")}),
    ],
)
def test_a_column_of_a_layer_tells_classes_apart(scene, column, options):
    write_layer(scene / "truth.gpkg", kind=column)
    labels = CollectionOptions(classes=("built", "felled"), label_column="kind", **options)
    table = write_table(scene, "before.tif,after.tif,truth.gpkg")
    assert np.array_equal(whole(open_collection(table, labels))[1], truth((1, 2)))
    one = CollectionOptions(classes=("built",), label_column="kind", values=labels.values and labels.values[:1])
    with pytest.raises(BadOption, match=rf"truth\.gpkg holds the value {str(column[1]).removesuffix('.0')}; known are"):
        open_collection(table, one).read(0)
    ignored = replace(one, ignore=(column[1],))
    assert np.array_equal(whole(open_collection(table, ignored))[1], truth((1, 255)))


def test_where_polygons_overlap_the_last_one_counts():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 40, (60, 2))
    polygons = np.array([shapely.box(col, row, col + 15, row + 10) for col, row in corners])
    labels = rng.integers(1, 4, 60)
    wanted = rasterize(zip(polygons, labels.tolist(), strict=True), SHAPE, dtype="uint8")
    for tile in cut(SHAPE, 32):
        assert np.array_equal(VectorLabels(polygons, labels).read(tile)[0], wanted[tile.slices()])


def test_a_layer_of_several_classes_needs_a_column(scene):
    write_layer(scene / "truth.gpkg", kind=["built", "felled"])
    table = write_table(scene, "before.tif,after.tif,truth.gpkg")
    with pytest.raises(BadOption, match=r"truth\.gpkg holds the classes built, felled in some column"):
        open_collection(table, TWO).read(0)
    with pytest.raises(BadOption, match=r"truth\.gpkg has no column 'sort'; it has kind"):
        open_collection(table, replace(TWO, label_column="sort")).read(0)


def test_a_layer_that_was_edited_is_read_again(scene):
    write_layer(scene / "truth.geojson", "EPSG:4326")
    collection = open_collection(write_table(scene, "before.tif,after.tif,truth.geojson"))
    assert collection.read(0).labels.any()
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326").to_file(scene / "truth.geojson")
    assert not collection.read(0).labels.any()


def test_raster_labels_must_lie_where_the_scene_lies(scene):
    write_raster(scene / "truth.tif", truth()[None], transform=PLACE @ Affine.translation(3, 0))
    table = write_table(scene, "before.tif,after.tif,truth.tif")
    with pytest.raises(GridMismatch, match=r"truth\.tif and .*before\.tif are not on one grid: origin"):
        open_collection(table).read(0)


def test_dates_of_a_table_must_lie_on_one_grid(scene):
    write_raster(scene / "moved.tif", textured(SHAPE), transform=PLACE @ Affine.translation(3, 0))
    write_raster(scene / "truth.tif", truth()[None])
    with pytest.raises(GridMismatch, match=r"before\.tif and .*moved\.tif"):
        open_collection(write_table(scene, "before.tif,moved.tif,truth.tif"))


def test_a_table_knows_splits(scene):
    write_raster(scene / "truth.tif", truth()[None])
    header = "before,after,labels,split"
    table = write_table(scene, "before.tif,after.tif,truth.tif,val", "after.tif,before.tif,truth.tif,", header=header)
    assert [item.pair.split for item in open_collection(table).items] == ["val", None]
    assert len(open_collection(table, split="val")) == 1
    table = write_table(scene, "before.tif,after.tif,truth.tif,dev", header=header)
    with pytest.raises(BadOption, match=r"scenes\.csv, line 2: split 'dev' is not one of train, val, test"):
        open_collection(table)


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("before,after", "before.tif,after.tif", "has no column labels; it has before, after"),
        ("before,after,labels", "before.tif,after.tif,", "line 2: labels is empty"),
        ("before,after,labels", "before.tif", "line 2: after is empty"),
        (
            "before,after,labels",
            "before.tif,after.tif,no.tif",
            r"no\.tif, which .*scenes\.csv names in line 2, does not",
        ),
    ],
)
def test_a_table_that_lacks_something_is_refused(scene, header, row, words):
    with pytest.raises(UnreadableInput, match=words):
        open_collection(write_table(scene, row, header=header))


def test_scenes_of_unlike_pixels_have_no_common_size(scene):
    coarse = PLACE @ Affine.scale(2)
    for name in ("b", "a"):
        write_raster(scene / f"{name}.tif", textured(SHAPE), transform=coarse)
    write_raster(scene / "truth.tif", truth()[None])
    write_raster(scene / "t.tif", truth()[None], transform=coarse)
    table = write_table(scene, "before.tif,after.tif,truth.tif", "b.tif,a.tif,t.tif")
    assert open_collection(table).gsd is None
    assert open_collection(table, CollectionOptions(gsd=3.0)).gsd == 3.0


def test_paths_are_those_of_the_table_s_folder(scene, monkeypatch):
    write_raster(scene / "truth.tif", truth()[None])
    write_table(scene, "before.tif,after.tif,truth.tif")
    monkeypatch.chdir(scene.parent)
    assert np.array_equal(open_collection(Path(scene.name) / "scenes.csv").read(0).labels, truth())


@pytest.fixture
def shifted(scene):
    """A table of before.tif and of an after date that begins 8 rows and 12 columns later, on a grid of its own."""
    before, after = changed_pair(SHAPE)
    moved = PLACE @ Affine.translation(12.3, 8.3)
    write_raster(scene / "moved.tif", after[:, 8:, 12:], transform=moved)
    write_raster(scene / "truth.tif", truth()[None])
    write_layer(scene / "truth.gpkg")
    return scene, before


@pytest.mark.parametrize("labels", ["truth.tif", "truth.gpkg"])
@pytest.mark.parametrize("tile_size", [512, 20])
def test_dates_on_other_grids_are_aligned_and_labels_follow(shifted, labels, tile_size):
    folder, before = shifted
    table = write_table(folder, f"before.tif,moved.tif,{labels}")
    with pytest.raises(GridMismatch):
        open_collection(table)
    collection = open_collection(table, CollectionOptions(align=True, tile_size=tile_size))
    seen = 0
    for index, item in enumerate(collection.items):
        sample, place = collection.read(index), collection.label_tile(item)
        assert (place.row - item.tile.row, place.col - item.tile.col) == (8, 12)
        assert np.array_equal(sample.dates[0], before[:, *place.slices()])
        known = sample.valid.all(axis=0)
        assert np.array_equal(sample.labels[known], truth()[place.slices()][known])
        assert np.array_equal(collection.read_labels(index), truth()[place.slices()])
        seen += int((sample.labels == 1).sum())
    assert seen > 200


def test_objects_of_aligned_dates_lie_where_their_labels_lie(shifted):
    folder, _ = shifted
    options = CollectionOptions(align=True, objects=True)
    sample = open_collection(write_table(folder, "before.tif,moved.tif,truth.gpkg"), options).read(0)
    assert np.array_equal(sample.objects > 0, truth()[8:, 12:] > 0)
