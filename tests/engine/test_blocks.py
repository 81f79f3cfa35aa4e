"""The laws of the engine, on a detector whose scores need context."""

import os
import threading
from functools import partial

import numpy as np
import pytest
import rasterio

from geochange.detectors.boxes import boxes_of
from geochange.engine import blocks as engine_blocks
from geochange.engine import inference
from geochange.engine.blocks import BlockStore, run_blocks
from geochange.engine.cluster import ClusterOptions
from geochange.engine.inference import Inference, batched
from geochange.engine.thumbnails import Thumbnail, assemble, thumbnail_sums
from geochange.engine.work import open_work
from geochange.errors import BadOption, BlockFailed
from geochange.files import load_array
from geochange.probability.raster import encode_probability
from geochange.scenes.grid import Tile
from geochange.scenes.options import TileOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.tiling import Tiling, cut_axis
from tests.engine.test_work import Recorder
from tests.stand_ins import BoxMean, changed_pair, write_pair, write_raster

SHAPE = (150, 211)


def tiling_of(shape, fitted, block=64, **options):
    settings = TileOptions(tile_size=options.pop("size", 48), block_size=block, **options)
    radius, stride, overlap = fitted.receptive_radius, fitted.stride, fitted.default_overlap
    return Tiling(
        *(cut_axis(n, settings, radius=radius, stride=stride, default_tile=512, default_overlap=overlap) for n in shape)
    )


@pytest.fixture
def scene(tmp_path):
    return open_scene(write_pair(tmp_path, SHAPE))


def store_in(folder, layers=()):
    return BlockStore(folder, partial(encode_probability, dtype=np.dtype("float32")), layers)


def run(scene, fitted, tiling, folder, *, threads=2, layers=()):
    """The probability of a whole run, put together from its block files."""
    store = store_in(folder, layers)
    with open_work(ClusterOptions(threads=threads), None) as work:
        run_blocks(work, Inference(scene, fitted, tiling, layers), store)
    return read_blocks(store, tiling, scene.shape)


def read_blocks(store, tiling, shape, raster="probability"):
    whole = np.zeros(shape, np.float32)
    for block in tiling.blocks():
        with rasterio.open(store.file(block, raster)) as dataset:
            whole[block.area.slices()] = dataset.read(1)
    return whole


def untiled(scene, fitted):
    """The reference: one tile over the whole scene, with the scene reflected around it."""
    tile = scene.grid.area.grow(fitted.receptive_radius)
    dates, valid = scene.read(tile)
    scores = fitted.score(inference.as_floats(dates)[None], valid[None])
    inner = scene.grid.area.slices((tile.row, tile.col))
    return np.where(valid.all(axis=0), scores.probability[0, 0], np.nan)[inner]


@pytest.mark.parametrize(("radius", "overlap"), [(3, 6), (3, 12), (3, 30), (0, 0), (0, 16), (7, 14)])
def test_tiled_is_untiled_where_the_margin_covers_the_radius(scene, tmp_path, radius, overlap):
    fitted = BoxMean(radius)
    tiled = run(scene, fitted, tiling_of(SHAPE, fitted, overlap=overlap), tmp_path / "run")
    np.testing.assert_allclose(tiled, untiled(scene, fitted), atol=1e-5)


def test_a_margin_below_the_radius_is_not_exact(scene, tmp_path):
    fitted = BoxMean(9)
    tiled = run(scene, fitted, tiling_of(SHAPE, fitted, overlap=4), tmp_path / "run")
    assert np.abs(tiled - untiled(scene, fitted)).max() > 1e-3


@pytest.mark.parametrize("overlap", [0, 12, 20])
def test_any_block_size_and_number_of_threads_gives_the_same_bytes(scene, tmp_path, overlap):
    fitted = BoxMean(3)
    results = [
        run(
            scene,
            fitted,
            tiling_of(SHAPE, fitted, block, overlap=overlap),
            tmp_path / f"{block}-{threads}",
            threads=threads,
        )
        for block, threads in ((30, 1), (64, 2), (100, 4), (1000, 1))
    ]
    assert len({result.tobytes() for result in results}) == 1


def test_dropping_a_strip_would_be_seen(scene, tmp_path, monkeypatch):
    fitted = BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=20)
    expected = run(scene, fitted, tiling, tmp_path / "whole")
    monkeypatch.setattr(engine_blocks, "_givers", lambda tiling, block: iter(()))
    assert not np.array_equal(run(scene, fitted, tiling, tmp_path / "broken"), expected)


def test_no_tile_is_scored_twice(scene, tmp_path, monkeypatch):
    fitted, seen = BoxMean(3), []
    score = BoxMean.score
    monkeypatch.setattr(
        BoxMean, "score", lambda self, dates, valid, layers=(): seen.append(1) or score(self, dates, valid, layers)
    )
    tiling = tiling_of(SHAPE, fitted, overlap=20)
    run(scene, fitted, tiling, tmp_path / "run")
    assert len(seen) == tiling.rows.tiles * tiling.cols.tiles


def test_scratch_ends_with_no_sums_and_no_strips(scene, tmp_path):
    fitted = BoxMean(3)
    run(scene, fitted, tiling_of(SHAPE, fitted, overlap=20), tmp_path / "run")
    assert list((tmp_path / "run" / "sums").iterdir()) == []


def test_nodata_of_any_date_is_nodata_out_and_every_other_pixel_has_a_score(tmp_path):
    before, after = np.full((2, 3, *SHAPE), 100, np.uint8)
    before[:, :40, :30] = 0
    after[:, 100:, 150:] = 0
    after[0, 60, 60] = 0  # one band alone is not nodata
    paths = [write_raster(tmp_path / f"{i}.tif", date, nodata=0) for i, date in enumerate((before, after))]
    scene, fitted = open_scene(paths), BoxMean(3)
    out = run(scene, fitted, tiling_of(SHAPE, fitted), tmp_path / "run")
    expected = np.zeros(SHAPE, bool)
    expected[:40, :30] = expected[100:, 150:] = True
    np.testing.assert_array_equal(np.isnan(out), expected)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (47, 48), (49, 48), (200, 2)])
def test_odd_scenes_are_scored_to_the_edge(tmp_path, shape):
    scene, fitted = open_scene(write_pair(tmp_path, shape)), BoxMean(3)
    out = run(scene, fitted, tiling_of(shape, fitted), tmp_path / "run")
    np.testing.assert_allclose(out, untiled(scene, fitted), atol=1e-5)


def test_tiles_start_at_multiples_of_the_stride():
    fitted = BoxMean(3, stride=8)
    tiling = tiling_of(SHAPE, fitted, overlap=13)
    starts = {start for block in tiling.blocks() for _, t in tiling.tiles(block) for start in (t.row, t.col)}
    assert all(start % 8 == 0 for start in starts)


def test_layers_are_those_of_the_whole_scene(scene, tmp_path):
    fitted = BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=20)
    run(scene, fitted, tiling, tmp_path / "run", layers=("difference",))
    store = store_in(tmp_path / "run", ("difference",))
    (before, after), _ = scene.read(scene.grid.area)
    expected = np.abs(after.astype(float) - before).mean(axis=0) / 255
    np.testing.assert_allclose(read_blocks(store, tiling, SHAPE, "difference"), expected, atol=1e-6)


class Stop(Exception):
    """Stands for kill -9 in the middle."""


@pytest.mark.parametrize("stop_at", [1, 2, 4, 9])
@pytest.mark.parametrize("overlap", [0, 20])
def test_a_run_that_stopped_goes_on_to_the_same_bytes(scene, tmp_path, monkeypatch, stop_at, overlap):
    fitted, layers = BoxMean(3), ("difference",)
    tiling = tiling_of(SHAPE, fitted, overlap=overlap)
    expected = run(scene, fitted, tiling, tmp_path / "whole", layers=layers)
    rename, left = os.replace, [stop_at]

    def failing(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("geochange.files.os.replace", failing)
        with pytest.raises(BlockFailed, match=r"failed 3 times: Stop"):
            run(scene, fitted, tiling, tmp_path / "run", threads=1, layers=layers)
    np.testing.assert_array_equal(run(scene, fitted, tiling, tmp_path / "run", layers=layers), expected)
    of_whole, of_parts = (
        read_blocks(store_in(tmp_path / name, layers), tiling, SHAPE, "difference") for name in ("whole", "run")
    )
    np.testing.assert_array_equal(of_parts, of_whole)


def test_a_resumed_run_scores_only_what_is_missing(scene, tmp_path, monkeypatch):
    fitted = BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=0)
    run(scene, fitted, tiling, tmp_path / "run")
    store = store_in(tmp_path / "run")
    missing = list(tiling.blocks())[1]
    store.file(missing).unlink()
    scored = []
    monkeypatch.setattr(
        engine_blocks, "score_block", lambda work, block: scored.append(block) or inference.score_block(work, block)
    )
    run(scene, fitted, tiling, tmp_path / "run")
    assert scored == [missing]


@pytest.mark.parametrize("scored", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("joined", [0.0, 0.5, 1.0])
def test_a_resumed_run_joins_what_was_scored_and_scores_the_rest(scene, tmp_path, monkeypatch, scored, joined):
    rng, fitted = np.random.default_rng(5), BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=20)
    expected = run(scene, fitted, tiling, tmp_path / "whole")
    task, store = Inference(scene, fitted, tiling), store_in(tmp_path / "run")
    store.create()
    done = {block.index: block for block in tiling.blocks() if rng.random() < scored}
    for block in done.values():
        engine_blocks.score_task(task, store, block)
    for block in done.values():
        givers = {giver.index for giver, _ in engine_blocks._givers(tiling, block)}
        if givers <= set(done) and rng.random() < joined:
            engine_blocks.join_task(tiling, store, block)
    left = []
    monkeypatch.setattr(
        engine_blocks, "score_block", lambda work, block: left.append(block.index) or inference.score_block(work, block)
    )
    np.testing.assert_array_equal(run(scene, fitted, tiling, tmp_path / "run"), expected)
    assert sorted(left) == sorted({block.index for block in tiling.blocks()} - set(done))
    assert list((tmp_path / "run" / "sums").iterdir()) == []


def test_a_join_may_be_run_again(scene, tmp_path):
    fitted = BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=20)
    expected = run(scene, fitted, tiling, tmp_path / "run")
    store = store_in(tmp_path / "run")
    for block in tiling.blocks():
        engine_blocks.join_task(tiling, store, block)
    np.testing.assert_array_equal(read_blocks(store, tiling, SHAPE), expected)


def test_a_block_that_a_power_cut_emptied_is_scored_again(scene, tmp_path):
    fitted = BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=0)
    expected = run(scene, fitted, tiling, tmp_path / "run")
    store_in(tmp_path / "run").file(list(tiling.blocks())[1]).write_bytes(b"")
    np.testing.assert_array_equal(run(scene, fitted, tiling, tmp_path / "run"), expected)


def test_layers_are_nan_where_a_date_has_no_data(tmp_path):
    before, after = (np.maximum(date, 1) for date in changed_pair(SHAPE))
    before[:, 30:50, 40:90] = 0
    after[:, 100:120, 10:30] = 0
    scene = open_scene([write_raster(tmp_path / f"{n}.tif", v, nodata=0) for n, v in (("b", before), ("a", after))])
    fitted = BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=20)
    run(scene, fitted, tiling, tmp_path / "run", layers=("difference",))
    layer = read_blocks(store_in(tmp_path / "run", ("difference",)), tiling, SHAPE, "difference")
    np.testing.assert_array_equal(np.isnan(layer), (before[0] == 0) | (after[0] == 0))


@pytest.mark.parametrize(
    ("hole", "beside"),
    [((10, 9), True), ((9, 10), True), ((15, 12), True), ((12, 15), True), ((8, 8), False), ((16, 12), False)],
)
def test_a_box_that_touches_nodata_on_any_side_is_on_an_edge(hole, beside):
    valid = np.ones((40, 40), bool)
    valid[hole] = False
    rows_and_columns_10_to_14 = boxes_of(np.array([[10, 10, 15, 15, 1, 0.9, 12, 12]], float))
    tile = Tile(0, 0, 40, 40)
    (on_edge,) = inference.own_boxes(rows_and_columns_10_to_14, tile, tile, valid, (40, 40)).on_edge
    assert on_edge == beside


@pytest.mark.parametrize(("most", "sizes"), [(1, [1] * 6), (2, [2, 1, 1, 2]), (3, [3, 1, 2]), (8, [3, 1, 2])])
def test_tiles_of_one_batch_have_one_shape_and_keep_their_order(most, sizes):
    shapes = [(64, 64)] * 3 + [(64, 32)] + [(32, 64)] * 2
    tiles = [((0, k), Tile(0, 64 * k, *shape)) for k, shape in enumerate(shapes)]
    batches = list(batched(tiles, most))
    assert [each for batch in batches for each in batch] == tiles
    assert [len(batch) for batch in batches] == sizes
    assert all(len({tile.shape for _, tile in batch}) == 1 for batch in batches)


def test_a_scene_of_tiles_of_several_shapes_is_scored_the_same_in_batches(tmp_path):
    pytest.importorskip("torch")
    import numpy as np
    import rasterio

    import geochange
    from tests.small_networks import save_small
    from tests.stand_ins import write_pair

    pair, network, found = write_pair(tmp_path, (150, 190)), save_small(tmp_path / "n.pt", "siamese-unet"), []
    for batch in ("1", "8"):
        run = geochange.detect(
            *pair,
            tmp_path / batch,
            detector="network",
            detector_options={"checkpoint": network, "batch": batch},
            tile_size=96,
            block_size=512,
            dtype="float32",
        )
        with rasterio.open(run.probability) as dataset:
            found.append(dataset.read(1))
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("overlap", [0, 20])
def test_progress_adds_up_to_the_scene_whether_resumed_or_not(tmp_path, overlap):
    scene, fitted = open_scene(write_pair(tmp_path, SHAPE)), BoxMean(3)
    tiling = tiling_of(SHAPE, fitted, overlap=overlap)
    store = BlockStore(tmp_path / "run", partial(encode_probability, dtype=np.dtype("float32")))
    for _ in range(2):
        recorder = Recorder()
        with open_work(ClusterOptions(threads=2), recorder) as work:
            run_blocks(work, Inference(scene, fitted, tiling, ()), store)
        assert sum(call[1] for call in recorder.calls if call[0] == "advance") == scene.grid.area.size


class FailsFirst(BoxMean):
    """Fails at its first tile, and waits at all others."""

    def __init__(self):
        super().__init__(3)
        self.__dict__.update(begun=[], gate=threading.Event())

    def score(self, dates, valid, layers=()):
        self.begun.append(1)
        if len(self.begun) == 1:
            raise BadOption("no such thing")
        self.gate.wait(5)
        raise BadOption("begun though one had failed")


@pytest.mark.parametrize("overlap", [0, 20])
def test_blocks_that_wait_behind_one_that_fails_are_not_begun(scene, tmp_path, overlap):
    fitted = FailsFirst()
    task = Inference(scene, fitted, tiling_of(SHAPE, fitted, overlap=overlap))
    with open_work(ClusterOptions(threads=1), None) as work:
        with pytest.raises(BadOption, match="no such thing"):
            run_blocks(work, task, store_in(tmp_path / "run"))
        fitted.gate.set()
        assert work.crew.submit(len, "later").result() == 5
    assert len(fitted.begun) <= 2


class FailsWhereWhite(BoxMean):
    """Fails where a pixel is 255."""

    def score(self, dates, valid, layers=()):
        if dates.max() == 255:
            raise ZeroDivisionError
        return super().score(dates, valid, layers)


def test_a_block_that_fails_is_named_by_its_rows_and_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("geochange.engine.cluster.time.sleep", lambda seconds: None)
    dates = changed_pair(SHAPE)
    dates[1][:, -1, -1] = 255
    scene = open_scene([write_raster(tmp_path / f"{k}.tif", date) for k, date in enumerate(dates)])
    tiling = tiling_of(SHAPE, BoxMean(0), overlap=0)
    *_, last = tiling.blocks()
    rows, cols = f"{last.area.row}..149", f"{last.area.col}..210"
    with pytest.raises(BlockFailed, match=rf"rows {rows} and columns {cols} failed 3 times: ZeroDivisionError"):
        run(scene, FailsWhereWhite(0), tiling, tmp_path / "run", threads=1)


@pytest.mark.parametrize(("step", "bands"), [(1, (2, 0, 1)), (5, (1,))])
@pytest.mark.parametrize(("radius", "overlap"), [(0, 0), (3, 6), (7, 30)])
def test_thumbnails_of_blocks_are_those_of_the_whole_scene(tmp_path, radius, overlap, step, bands):
    dates = [np.maximum(date, 1) for date in changed_pair(SHAPE)]
    dates[0][:, 30:80, 50:90] = 0
    dates[1][:, :20, 170:] = 0
    scene = open_scene([write_raster(tmp_path / f"{k}.tif", date, nodata=0) for k, date in enumerate(dates)])
    fitted, spec = BoxMean(radius), Thumbnail(SHAPE, step, bands)
    tiling, store = tiling_of(SHAPE, fitted, overlap=overlap), store_in(tmp_path / "run")
    with open_work(ClusterOptions(threads=1), None) as work:
        run_blocks(work, Inference(scene, fitted, tiling, thumbnail=spec), store)
    found = assemble([(block.area, load_array(store.thumbnail(block))) for block in tiling.blocks()], 2, spec)
    valid = np.stack([date[0] > 0 for date in dates])
    whole = Tile(0, 0, *SHAPE)
    np.testing.assert_array_equal(found, assemble([(whole, thumbnail_sums(dates, valid, whole, spec))], 2, spec))
    if step == 1:
        expected = np.where(valid[:, None], np.stack(dates)[:, bands].astype(float), np.nan)
        np.testing.assert_array_equal(found, expected)


def test_a_run_without_a_thumbnail_leaves_none(scene, tmp_path):
    fitted = BoxMean(3)
    run(scene, fitted, tiling_of(SHAPE, fitted), tmp_path / "run")
    assert list((tmp_path / "run" / "thumbnails").iterdir()) == []
