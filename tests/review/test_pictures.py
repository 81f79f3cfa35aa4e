"""Tiles show what the detector saw, to the pixel, wherever the pixels come from."""

import io

import numpy as np
import pytest
from affine import Affine
from PIL import Image

import geochange
from geochange.polygons.preview import stretch
from geochange.review.pictures import NotYet, Pictures, read_thinned
from geochange.review.run import open_run
from geochange.review.tiles import TILE, Lattice, draw_probability
from geochange.scenes.grid import Tile
from geochange.scenes.scene import FileSource
from tests.stand_ins import textured, write_raster

SHAPE = (600, 540)
KINDS = {
    "plain": {},
    "without CRS": {"crs": None, "transform": Affine.identity()},
    "16 bits": {"dtype": "uint16"},
    "nodata": {"nodata": 0},
    "rotated": {"transform": Affine(1.6, 1.2, 500_000, 1.2, -1.6, 5_400_000)},
    "aligned": {"place": Affine(2, 0, 500_001, 0, -2, 5_400_000.6)},
}


@pytest.fixture(scope="module", params=KINDS)
def run(request, tmp_path_factory):
    kind, folder = dict(KINDS[request.param]), tmp_path_factory.mktemp("run")
    dtype, place = kind.pop("dtype", "uint8"), kind.pop("place", None)
    before = textured(SHAPE, bands=4, dtype=dtype)
    after = before.copy()
    after[:, 100:130, 200:260] = before[:, 400:430, 100:160]
    if "nodata" in kind:
        before[:, :, :50] = after[:, 500:, :] = 0
    earlier = write_raster(folder / "a.tif", before, **kind)
    later = write_raster(folder / "b.tif", after, **(kind | ({"transform": place} if place else {})))
    geochange.detect(earlier, later, folder / "out", detector="change-vector", formats=("gpkg",), align=bool(place))
    return open_run(folder / "out")


def decoded(content):
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)
    return picture[..., :3], picture[..., 3] == 255


def as_jpeg(colours):
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize(("row", "col"), [(0, 0), (1, 1), (2, 2), (0, 2)])
@pytest.mark.parametrize("date", ["before", "after"])
@pytest.mark.parametrize("bands", [None, (4, 3, 2), (4,)])
def test_a_tile_at_full_scale_is_the_scene(run, bands, date, row, col):
    pictures = Pictures(run)
    look = pictures.look if bands is None else pictures.look_of(bands, 5)
    content = pictures.tile(date, look, pictures.lattice.deepest, col, row)
    part = Tile(row * TILE, col * TILE, TILE, TILE).intersect(run.scene.grid.area)
    values, valid = run.scene.read(part)
    place = 0 if date == "before" else -1
    shown = np.where(valid[place], values[place][[each - 1 for each in bands or (1, 2, 3)]], np.nan).astype(float)
    wanted = stretch(shown, look.limits[place])
    colours, opaque = decoded(content)
    rows, cols = part.shape
    np.testing.assert_array_equal(opaque[:rows, :cols], valid[place])
    assert not opaque[rows:].any()
    assert not opaque[:, cols:].any()
    if content[:2] == b"\xff\xd8":
        wanted = decoded(as_jpeg(wanted))[0]
    np.testing.assert_array_equal(colours[:rows, :cols][valid[place]], wanted[valid[place]])


def test_the_stretch_is_that_of_both_dates_and_wider_where_less_is_cut(run):
    pictures = Pictures(run)
    widths = []
    for cut in (0, 2, 10):
        before, after = pictures.look_of((4,), cut).limits
        np.testing.assert_array_equal(before, after)
        widths.append(float(before[0, 1] - before[0, 0]))
    assert widths[0] > widths[1] > widths[2] > 0
    assert pictures.look_of((4,), 2) is pictures.look_of((4,), 2)
    assert len({pictures.look_of(bands, 2).name for bands in ((1,), (4,), (1, 2, 3), (3, 2, 1))}) == 4


def test_copies_for_display_show_the_same(run, tmp_path):
    pictures, plain = Pictures(run), Pictures(run)
    pictures.prepare(tmp_path / "cache")
    assert not pictures.preparing
    assert all(isinstance(source, FileSource) for source in pictures.ends)
    for date in ("before", "after"):
        for zoom in range(pictures.lattice.deepest + 1):
            try:
                wanted = plain.tile(date, plain.look, zoom, 0, 0)
            except NotYet:
                continue
            np.testing.assert_array_equal(decoded(pictures.tile(date, plain.look, zoom, 0, 0))[1], decoded(wanted)[1])
        deepest = pictures.lattice.deepest
        assert pictures.tile(date, plain.look, deepest, 1, 1) == plain.tile(date, plain.look, deepest, 1, 1)


def test_probabilities_are_seen_through_where_they_are_low(run):
    pictures = Pictures(run)
    colours, _ = decoded(pictures.tile("probability", pictures.look, pictures.lattice.deepest, 0, 0))
    assert colours.shape == (TILE, TILE, 3)
    drawn = np.asarray(
        Image.open(io.BytesIO(draw_probability(np.array([[0, 0.5, 1.0, 1.0]]), np.array([[1, 1, 1, 0]], bool))))
    )
    assert drawn[0, 0, 3] == drawn[0, 3, 3] == 0
    assert 0 < drawn[0, 1, 3] < drawn[0, 2, 3] == 255
    assert drawn[0, 2, :3].tolist() == [177, 0, 60]


@pytest.mark.parametrize("shape", [(1, 1), (256, 256), (257, 100), (1000, 3000), (50_000, 50_000)])
def test_tiles_of_a_zoom_cover_the_scene_once(shape):
    lattice = Lattice(shape)
    side = TILE << lattice.deepest
    assert lattice.tile(0, 0, 0)[0] == Tile(0, 0, *shape)
    assert side >= max(shape)
    assert lattice.deepest == 0 or side / 2 < max(shape)
    for zoom in range(min(lattice.deepest, 3) + 1):
        tiles = [lattice.tile(zoom, col, row) for row in range(1 << zoom) for col in range(1 << zoom)]
        assert sum(part.size for part, _ in filter(None, tiles)) == shape[0] * shape[1]
        assert all(max(thin) <= TILE for _, thin in filter(None, tiles))
    for wrong in ((-1, 0, 0), (lattice.deepest + 1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 1, 0)):
        assert lattice.tile(*wrong) is None


def test_a_thinned_read_has_pixels_of_the_scene(run):
    source = run.scene.sources[-1]
    tile = Tile(16, 32, 512, 256)
    whole, there = source.read(tile)
    thin, valid = read_thinned(source, tile, (128, 64))
    assert thin.shape == (len(source.bands), 128, 64)
    seen = {*map(tuple, whole[:, there].T.tolist())}
    assert {*map(tuple, thin[:, valid].T.tolist())} <= seen
