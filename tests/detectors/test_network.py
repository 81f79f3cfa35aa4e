"""A checkpoint as a detector: the laws of the engine, foreign imagery, engines and devices."""

import io
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import rasterio
from affine import Affine

import geochange
from geochange.detectors.catalogue import detector
from geochange.detectors.network import NetworkDetector, NetworkFitted
from geochange.detectors.preparation import Preparation, input_stride, simple_ratio, standardising
from geochange.errors import BadOption, BandMismatch, UnreadableInput
from tests.stand_ins import changed_pair, write_pair, write_raster

torch = pytest.importorskip("torch")

from geochange.detectors.machines import choose  # noqa: E402
from geochange.detectors.networks import conversion  # noqa: E402
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint  # noqa: E402
from geochange.detectors.networks.engines import BF16_TRIALS, ENGINES, PRECISIONS, require_bf16  # noqa: E402
from geochange.detectors.networks.folding import fold_normalisation  # noqa: E402
from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.detectors.networks.scorer import (  # noqa: E402
    ScoreOptions,
    Scorer,
    TileScores,
    make_scorer,
)
from tests.memory_blocks import MemoryScene  # noqa: E402
from tests.small_networks import LAWFUL, OBJECTS, SMALL, lively, save_small  # noqa: E402

SHAPE = (150, 190)
PLAIN_VALUES = Preparation(gain=((1.0, 1.0, 1.0),), offset=((0.0, 0.0, 0.0),))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), SHAPE)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    return {name: save_small(folder / f"{name}.pt", name) for name in LAWFUL}


@pytest.fixture
def small(checkpoints):
    return checkpoints["siamese-unet"]


def run(pair, out, checkpoint, options=None, **settings):
    options = {"checkpoint": str(checkpoint), **(options or {})}
    return geochange.detect(*pair, out, detector="network", detector_options=options, **settings)


def scored(pair, out, checkpoint, **settings):
    with rasterio.open(run(pair, out, checkpoint, dtype="float32", **settings).probability) as dataset:
        return dataset.read(1)


@pytest.mark.parametrize("name", LAWFUL)
def test_tiled_is_untiled_with_the_margin_of_the_receptive_radius(pair, checkpoints, tmp_path, name):
    network = load_checkpoint(checkpoints[name]).build()
    margin = -(-network.receptive_radius // network.stride) * network.stride
    whole = scored(pair, tmp_path / "whole", checkpoints[name], tile_size=2048, overlap=2 * margin)
    tiled = scored(pair, tmp_path / "tiled", checkpoints[name], tile_size=2 * margin + 112, overlap=2 * margin)
    assert whole.std() > 0.01
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("name", OBJECTS)
def test_boxes_are_the_same_for_any_tile_size(pair, checkpoints, tmp_path, name):
    found = [
        boxes_found(run(pair, tmp_path / str(size), checkpoints[name], tile_size=size, min_area=0))
        for size in (2048, 400, 312)
    ]
    assert len(found[0]) > 8
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=0.13)  # metres; corners are kept to an eighth of one


def boxes_found(detection):
    """(n, 4) bounds in map units, in order."""
    return detection.changes().bounds.to_numpy()


@pytest.mark.parametrize("name", OBJECTS)
def test_all_that_a_box_depends_on_lies_within_the_receptive_radius(checkpoints, name):
    """Boxes in the middle stay to the last bit when all else is replaced."""
    network = load_checkpoint(checkpoints[name]).build()
    radius = network.receptive_radius
    side = 2 * radius + 16
    rng = torch.Generator().manual_seed(0)
    dates = torch.randn(1, 2, 3, side + 16, side + 16, generator=rng)
    inner = dates[..., 8:-8, 8:-8].contiguous()
    outside = torch.randn(dates.shape, generator=rng)
    outside[..., 8:-8, 8:-8] = inner
    with torch.no_grad():
        both = [network.with_objects(each)[1] for each in (dates, outside)]
    own = [rows[((rows[:, 7:] - 8 - radius) >= 0).all(1) & ((rows[:, 7:] - 8 - radius) < 16).all(1)] for rows in both]
    assert len(own[0]) > 3
    torch.testing.assert_close(own[0], own[1], atol=1e-4, rtol=1e-4)


def test_a_margin_below_the_receptive_radius_is_not_exact(pair, small, tmp_path):
    whole = scored(pair, tmp_path / "whole", small, tile_size=1024, overlap=512)
    tiled = scored(pair, tmp_path / "tiled", small, tile_size=64, overlap=0)
    assert np.abs(tiled - whole).max() > 1e-4


@pytest.mark.parametrize("name", LAWFUL)
def test_workers_threads_and_block_sizes_give_the_same_bytes(pair, checkpoints, tmp_path, name):
    apart = {"workers": 2} if name in ("attention-net", "change-rcnn") else {"threads": 2}  # pixels, and objects
    runs = [
        run(pair, tmp_path / f"{place}", checkpoints[name], tile_size=96, overlap=32, min_area=0, **settings)
        for place, settings in enumerate(
            ({"threads": 1, "block_size": 64}, {"threads": 3, "block_size": 5000}, apart | {"block_size": 128})
        )
    ]
    outputs = {tuple((each.folder / f).read_bytes() for f in ("probability.tif", "changes.geojson")) for each in runs}
    assert len(outputs) == 1
    assert runs[0].record["changes"]["count"] > 1


@pytest.mark.parametrize("name", [name for name in LAWFUL if name != "siamese-unet"])
def test_swapping_the_dates_gives_the_same_change(pair, checkpoints, tmp_path, name):
    there = run(pair, tmp_path / "there", checkpoints[name]).probability.read_bytes()
    assert run(pair[::-1], tmp_path / "back", checkpoints[name]).probability.read_bytes() == there


def test_nodata_of_either_date_is_nodata_out_and_all_else_is_scored(small, tmp_path):
    before, after = (np.clip(date, 1, 255) for date in changed_pair(SHAPE))
    expected = np.zeros(SHAPE, bool)
    expected[:50, :60] = expected[120:, 150:] = True
    before[:, :50, :60] = 0
    after[:, 120:, 150:] = 0
    images = [write_raster(tmp_path / f"{i}.tif", date, nodata=0) for i, date in enumerate((before, after))]
    with rasterio.open(run(images, tmp_path / "out", small, tile_size=64, overlap=32).probability) as dataset:
        np.testing.assert_array_equal(dataset.read(1) == 255, expected)


def test_values_without_data_do_not_reach_the_network(small, tmp_path):
    """What stands where there are no data, NaN too, changes no score."""
    before, after = (date.astype(np.float32) for date in changed_pair(SHAPE))
    results = []
    for place, value in enumerate((np.nan, -9999.0)):
        before[:, :40, :40] = value
        images = [
            write_raster(tmp_path / f"{place}-{i}.tif", date, nodata=value) for i, date in enumerate((before, after))
        ]
        results.append(scored(images, tmp_path / f"{place}", small))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.isfinite(results[0][40:]).all()


def test_the_edge_of_one_dates_data_is_no_change(small, tmp_path):
    """A hole in one date is a hole in both."""
    one = [np.clip(date, 1, 255) for date in changed_pair(SHAPE)]
    both = [date.copy() for date in one]
    one[1][:, 40:90, 60:] = both[0][:, 40:90, 60:] = both[1][:, 40:90, 60:] = 0
    results = []
    for name, dates in (("one", one), ("both", both)):
        images = [write_raster(tmp_path / f"{name}-{i}.tif", date, nodata=0) for i, date in enumerate(dates)]
        results.append(scored(images, tmp_path / name, small))
    np.testing.assert_array_equal(*results)


def test_a_killed_run_goes_on_with_the_weights_it_began_with(pair, small, tmp_path, monkeypatch):
    from geochange.engine import blocks

    expected = run(pair, tmp_path / "whole", small, tile_size=64, overlap=32, block_size=64).probability.read_bytes()
    copy = tmp_path / "copy.pt"
    copy.write_bytes(Path(small).read_bytes())
    score, calls = blocks.score_block, []

    def breaking(work, block):
        calls.append(block)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return score(work, block)

    monkeypatch.setattr(blocks, "score_block", breaking)
    with pytest.raises(KeyboardInterrupt):
        run(pair, tmp_path / "out", copy, tile_size=64, overlap=32, block_size=64, threads=1)
    monkeypatch.undo()
    copy.unlink()
    found = run(pair, tmp_path / "out", copy, tile_size=64, overlap=32, block_size=64, resume=True)
    assert found.probability.read_bytes() == expected


def test_saved_and_loaded_it_scores_the_same(pair, small, tmp_path):
    from geochange.engine.lattice import SceneBlocks
    from geochange.engine.work import open_work
    from geochange.scenes.pairing import open_scene

    scene = open_scene(pair)
    with open_work(None, None) as work:
        fitted = NetworkDetector(checkpoint=small).fit(scene, SceneBlocks(scene, work))
    fitted.save(tmp_path)
    loaded = NetworkFitted.load(tmp_path)
    dates = np.random.default_rng(0).uniform(0, 255, (1, 2, 3, 64, 64)).astype(np.float32)
    valid = np.ones((1, 2, 64, 64), bool)
    np.testing.assert_array_equal(loaded.score(dates, valid).probability, fitted.score(dates, valid).probability)
    assert loaded.thresholds == fitted.thresholds


def sixteen_bit(tmp_path, factor=30, dtype=np.uint16, add=200):
    images = [(date.astype(np.float64) * factor + add).astype(dtype) for date in changed_pair(SHAPE)]
    return [write_raster(tmp_path / f"{i}-16.tif", image) for i, image in enumerate(images)]


def test_scale_brings_sixteen_bits_to_what_was_trained(pair, small, tmp_path):
    high = 255 * 30 + 200
    mapped = scored(sixteen_bit(tmp_path), tmp_path / "16", small, options={"scale": f"200:{high}"})
    np.testing.assert_allclose(mapped, scored(pair, tmp_path / "8", small), atol=1e-4)


def test_automatic_scale_does_not_see_gain_and_offset(pair, small, tmp_path):
    mapped = scored(sixteen_bit(tmp_path), tmp_path / "16", small, options={"scale": "auto"})
    np.testing.assert_allclose(mapped, scored(pair, tmp_path / "8", small, options={"scale": "auto"}), atol=1e-4)


def test_matched_dates_do_not_see_the_gain_and_offset_of_either(pair, tmp_path):
    trained = save_small(tmp_path / "matched.pt", "siamese-unet", matched=True)
    before, after = changed_pair(SHAPE)
    other = after.astype(np.float64) * 0.6 + 20
    images = [write_raster(tmp_path / "0.tif", before), write_raster(tmp_path / "1.tif", other.astype(np.float32))]
    for scale in (None, "auto"):
        options = {} if scale is None else {"scale": scale}
        found = [
            scored(each, tmp_path / f"{place} {scale}", trained, options=options)
            for place, each in enumerate((pair, images))
        ]
        np.testing.assert_allclose(found[0], found[1], atol=1e-4)
        assert found[0].std() > 0.01


def test_values_outside_the_trained_range_are_refused_with_both_numbers(small, tmp_path):
    with pytest.raises(BadOption, match=r"values reach \d+, network was trained with 0 to 255; add --scale"):
        run(sixteen_bit(tmp_path), tmp_path / "out", small)
    assert not (tmp_path / "out").exists()
    reflectance = sixteen_bit(tmp_path, factor=1 / 255, dtype=np.float32, add=0)
    with pytest.raises(BadOption, match=r"values reach 0\.\d+, network was trained with 0 to 255"):
        run(reflectance, tmp_path / "out", small)


def test_sixteen_bit_files_with_eight_bit_values_need_no_scale(pair, small, tmp_path):
    same = scored(sixteen_bit(tmp_path, factor=1, add=0), tmp_path / "16", small)
    np.testing.assert_array_equal(same, scored(pair, tmp_path / "8", small))


@pytest.mark.parametrize("scale", ["1", "a:b", "5:5", "9:1", "1:2:3", "0:inf", "nan:5"])
def test_scales_that_are_none_are_refused(pair, small, tmp_path, scale):
    with pytest.raises(BadOption, match="scale"):
        run(pair, tmp_path / "out", small, options={"scale": scale})


def test_another_pixel_size_is_refused_with_both_numbers_or_resampled(pair, tmp_path):
    fine = save_small(tmp_path / "fine.pt", "siamese-unet", gsd=(0.4, 0.6))
    with pytest.raises(BadOption, match=r"pixels of 2 m, network was trained with 0.4 to 0.6 m; add --match-gsd"):
        run(pair, tmp_path / "out", fine)
    found = run(pair, tmp_path / "out", fine, options={"match_gsd": "true"})
    assert found.record["detector"]["zoom"] == "10/3"  # to the nearer end
    far = save_small(tmp_path / "far.pt", "siamese-unet", gsd=(0.05, 0.06))
    with pytest.raises(BadOption, match="too far to resample"):
        run(pair, tmp_path / "far", far, options={"match_gsd": "true"})


@pytest.mark.parametrize(("gsd", "overlap"), [((1.0, 1.0), 128), ((3.8, 4.2), 512), ((5.6, 5.8), 704)])
def test_tiled_is_untiled_where_pixels_are_resampled(tmp_path, gsd, overlap):
    pair = write_pair(tmp_path, (70, 100))
    checkpoint = save_small(tmp_path / "n.pt", "siamese-unet", gsd=gsd)
    options = {"match_gsd": "true"}
    whole = scored(pair, tmp_path / "whole", checkpoint, options=options, tile_size=1024, overlap=overlap)
    tiled = scored(pair, tmp_path / "tiled", checkpoint, options=options, tile_size=overlap + 64, overlap=overlap)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("ratio", [1.0, 1.3, 2.0, 2.6, 7.9, 0.77, 0.5, 0.13])
def test_ratios_of_pixels_keep_the_networks_stride(ratio):
    zoom = simple_ratio(ratio)
    assert abs(float(zoom) / ratio - 1) < 0.13
    assert (input_stride(16, zoom) * zoom) % 16 == 0


def test_other_band_counts_are_refused_with_the_bands_by_name(small, tmp_path):
    images = [write_raster(tmp_path / f"{i}.tif", np.repeat(d, 2, axis=0)) for i, d in enumerate(changed_pair(SHAPE))]
    with pytest.raises(BandMismatch, match=r"needs 3 bands \(red, green, blue\), the images have 6; .*--bands"):
        run(images, tmp_path / "out", small)
    run(images, tmp_path / "out", small, bands=(1, 3, 5))


def test_what_the_options_do_not_offer_is_refused(pair, small, tmp_path):
    for options, words in (
        ({"device": "cuda:7"}, "device 'cuda:7' cannot be used here"),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
        ({"precision": "fp8"}, "option precision of network must be one of auto, fp32, bf16, fp16, not 'fp8'"),
        ({"precision": "fp16", "device": "cpu"}, "fp16 needs a GPU"),
        ({"engine": "magic"}, "option engine of network must be one of torch, openvino, not 'magic'"),
        ({"batch": "0"}, "batch 0 must be at least 1"),
        ({"engine": "openvino", "augment": "true"}, "augment needs the engine torch"),
    ):
        with pytest.raises(BadOption, match=words):
            run(pair, tmp_path / "out", small, options=options)
        assert not (tmp_path / "out").exists()


def test_foreign_and_damaged_files_are_refused(pair, small, tmp_path):
    whole = Path(small).read_bytes()
    bad = {
        "missing.pt": None,
        "empty.pt": b"",
        "text.pt": b"not a checkpoint",
        "cut.pt": whole[: len(whole) // 2],
        "flipped.pt": whole[: len(whole) // 2]
        + bytes(255 - each for each in whole[len(whole) // 2 :][:64])
        + whole[len(whole) // 2 + 64 :],
        "foreign.pt": _saved({"weights": torch.zeros(3)}),
        "list.pt": _saved([1, 2]),
        "other.pt": _saved(torch.load(small, weights_only=True) | {"weights": {"x": torch.zeros(1)}}),
    }
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableInput) as caught:
            run(pair, tmp_path / "out", tmp_path / name)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


class Evil:
    def __reduce__(self):
        return os.mkdir, (os.environ["GEOCHANGE_EVIL"],)


def test_a_pickle_in_a_checkpoint_is_refused_and_not_run(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("GEOCHANGE_EVIL", str(tmp_path / "evil"))
    torch.save({"format": "geochange network 1", "about": Evil(), "weights": {}}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(UnreadableInput, match=r"was not loaded|cannot be read"):
            run(pair, tmp_path / "out", tmp_path / name)
    assert not (tmp_path / "evil").exists()


def _saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", SMALL)
def test_folding_normalisation_changes_no_score(checkpoints, name):
    network = load_checkpoint(checkpoints[name]).build().double()
    dates = torch.randn(1, 2, 3, 64, 64, dtype=torch.double)
    with torch.no_grad():
        before = network(dates)
        assert fold_normalisation(network, (dates,)) > 5
        after = network(dates)
        fold_normalisation(network, (dates,))
        again = network(dates)
    for found in (after, again):
        torch.testing.assert_close(found, before, atol=1e-9, rtol=1e-9)


class Branches(torch.nn.Module):
    """A convolution whose output is dropped, and normalisations of all kinds of input."""

    def __init__(self):
        super().__init__()
        self.dropped, self.fed, self.active, self.twice = (torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(4))
        self.of_sum, self.of_fed, self.of_active, self.of_twice = (torch.nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, x):
        self.dropped(x)
        x = self.of_sum(x + 1)  # may lie where the dropped output lay
        x = self.of_fed(self.fed(x))
        x = self.of_active(torch.relu_(self.active(x)))
        return self.of_twice(x) + self.of_twice(self.twice(x))


def test_normalisation_is_folded_into_the_convolution_that_feeds_it_and_no_other():
    module, x = lively(Branches()).double(), torch.randn(2, 3, 8, 9, dtype=torch.double)
    with torch.no_grad():
        before = module(x)
        assert fold_normalisation(module, (x,)) == 1
        torch.testing.assert_close(module(x), before, atol=1e-12, rtol=1e-12)
    assert isinstance(module.of_fed, torch.nn.Identity)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())


def test_what_makes_one_thread_fast_changes_no_score(checkpoints):
    network = load_checkpoint(checkpoints["attention-net"]).build()
    whole = Preparation(gain=((1.0, 1.0, 1.0),), offset=((0.0, 0.0, 0.0),))
    dates, valid = np.random.default_rng(0).normal(size=(1, 2, 3, 64, 64)), np.ones((1, 2, 64, 64), bool)
    with torch.no_grad():
        expected = torch.sigmoid(network.double()(torch.from_numpy(dates))).numpy()
    module = TileScores(network.float(), whole, temperature=1.0, augment=False)
    scores = make_scorer(module, 3, ScoreOptions(device="cpu"))(dates.astype(np.float32), valid)
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_where_a_network_runs_is_chosen_once_and_recorded(pair, small, tmp_path):
    found = run(pair, tmp_path / "out", small, precision="auto").record
    machine = NetworkDetector(checkpoint=small).machine()
    expected = choose("auto", "auto", [machine])
    assert (found["detector"]["device"], found["detector"]["precision"]) == expected


@pytest.mark.xdist_group("clusters")
def test_a_worker_says_what_it_cannot_run(pair, small, tmp_path):
    with pytest.raises(BadOption, match="device 'cuda:7' cannot be used here"):
        run(pair, tmp_path / "out", small, device="cuda:7", workers=1)
    assert not (tmp_path / "out").exists()


def test_openvino_says_the_same_as_torch(pair, checkpoints, tmp_path):
    pytest.importorskip("openvino")
    both = [
        scored(pair, tmp_path / engine, checkpoints["attention-net"], options={"engine": engine}, tile_size=96)
        for engine in ("torch", "openvino")
    ]
    np.testing.assert_allclose(both[0], both[1], atol=1e-4)


def test_what_was_converted_for_openvino_is_kept_and_made_anew_where_it_is_broken(monkeypatch, tmp_path, caplog):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    converted, convert = [], conversion.convert
    monkeypatch.setattr(conversion, "convert", lambda *given: converted.append(given) or convert(*given))
    tile = torch.rand(1, 2, 3, 32, 32), torch.ones(1, 2, 32, 32)

    def scores(seed=0, temperature=1.0, given=tile):
        torch.manual_seed(seed)
        network = lively(build_network("siamese-unet", {"widths": [4, 6]}), seed)
        module = TileScores(network, PLAIN_VALUES, temperature=temperature, augment=False).eval()
        model = openvino.Core().compile_model(conversion.openvino_model(module, *given), "CPU")
        return next(iter(model([each.numpy() for each in given]).values())).copy()

    first = scores()
    np.testing.assert_array_equal(scores(), first)
    assert len(converted) == 1
    larger = torch.rand(1, 2, 3, 48, 32), torch.ones(1, 2, 48, 32)
    for other in ({"seed": 1}, {"temperature": 2.0}, {"given": larger}):
        scores(**other)
    assert len(converted) == 4
    for path in tmp_path.rglob("*.xml"):
        path.write_text(path.read_text()[:100])
    np.testing.assert_array_equal(scores(), first)
    assert len(converted) == 5
    assert "could not be read" in caplog.text
    np.testing.assert_array_equal(scores(), first)
    assert len(converted) == 5


def test_a_cache_that_cannot_be_written_keeps_nobody_from_working(monkeypatch, tmp_path, caplog):
    pytest.importorskip("openvino")
    (tmp_path / "geochange").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = TileScores(
        lively(build_network("siamese-unet", {"widths": [4]})), PLAIN_VALUES, temperature=1.0, augment=False
    )
    conversion.openvino_model(module.eval(), torch.rand(1, 2, 3, 32, 32), torch.ones(1, 2, 32, 32))
    assert "the next run converts it again" in caplog.text


def test_a_cpu_on_which_bfloat16_ends_the_process_is_refused(monkeypatch, capfd):
    for engine, trial in (
        ("able", "print('fine')"),
        ("dying", "import os; os.kill(os.getpid(), 9)"),
        ("failing", "1 / 0"),
    ):
        monkeypatch.setitem(BF16_TRIALS, engine, trial)
    require_bf16("able")
    for engine in ("dying", "failing"):
        with pytest.raises(BadOption, match=f"the engine {engine} cannot compute in bf16 .* use fp32"):
            require_bf16(engine)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_begins_with_bfloat16_on_a_cpu_that_cannot(engine, monkeypatch):
    if engine == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setitem(BF16_TRIALS, engine, "1 / 0")
    require_bf16.cache_clear()
    try:
        with pytest.raises(BadOption, match=f"the engine {engine} cannot compute in bf16"):
            ENGINES[engine](torch.nn.Identity(), torch.device("cpu"), "bf16")
    finally:
        require_bf16.cache_clear()


@pytest.mark.parametrize(
    ("engine", "device", "precision", "words"),
    [
        ("torch", "cpu", "fp16", "fp16 needs a GPU; a CPU takes fp32 or bf16"),
        ("openvino", "cpu", "fp16", "on the CPU in fp32 or bf16, not on cpu in fp16"),
        ("openvino", "cuda:1", "fp16", "on the CPU in fp32 or bf16, not on cuda:1 in fp16"),
        ("openvino", "cuda", "fp32", "on the CPU in fp32 or bf16, not on cuda in fp32"),
        ("openvino", "cuda", "bf16", "on the CPU in fp32 or bf16, not on cuda in bf16"),
    ],
)
def test_an_engine_refuses_devices_and_precisions_that_it_cannot_run(engine, device, precision, words):
    if engine == "openvino":
        pytest.importorskip("openvino")
    with pytest.raises(BadOption, match=words):
        ENGINES[engine](torch.nn.Identity(), torch.device(device), precision)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_the_engine_torch_takes_short_numbers_on_a_gpu(precision):
    assert ENGINES["torch"](torch.nn.Identity(), torch.device("cuda"), precision)


def test_bfloat16_is_near(pair, small, tmp_path):
    try:
        require_bf16("torch")
    except BadOption as error:
        pytest.skip(str(error))
    near = scored(pair, tmp_path / "bf16", small, options={"precision": "bf16"})
    assert 0 < np.abs(near - scored(pair, tmp_path / "fp32", small)).max() < 0.05


def test_augmented_scores_are_alike_for_turned_images(small):
    """The mean over the symmetries of the square has them itself."""
    network = load_checkpoint(small).build()
    preparation = Preparation(gain=((1.0, 1.0, 1.0),), offset=((0.0, 0.0, 0.0),))
    module = TileScores(network, preparation, temperature=1.0, augment=True).eval()
    dates, valid = torch.randn(1, 2, 3, 64, 64), torch.ones(1, 2, 64, 64)
    with torch.no_grad():
        straight, turned = module(dates, valid), module(torch.rot90(dates, 1, (-2, -1)), valid)
    torch.testing.assert_close(torch.rot90(straight, 1, (-2, -1)), turned, atol=1e-5, rtol=1e-4)


class Pointing(torch.nn.Module):
    """Finds one box in every sample, in its own pixels."""

    stride = 4
    box = 4.0, 6.0, 12.0, 16.0, 2.0, 0.75, 10.0, 8.0

    def with_objects(self, dates):
        rows = torch.tensor([[k, *self.box] for k in range(len(dates))])
        return torch.zeros(len(dates), 1, *dates.shape[-2:]), rows


def test_boxes_and_their_cells_come_back_in_the_pixels_of_the_tile():
    values = Preparation(gain=((1.0,),), offset=((0.0,),), zoom=Fraction(2))
    module = TileScores(Pointing(), values, temperature=1.0, augment=False)
    scores, boxes = module.find(torch.zeros(2, 2, 1, 16, 16), torch.ones(2, 2, 16, 16))
    assert scores.shape == (2, 1, 16, 16)
    assert boxes.tolist() == [[k, 2, 3, 6, 8, 2, 0.75, 5, 4] for k in range(2)]


def triangle_weights(length, zoom):
    """(new, old) weights of a triangle filter as wide as the coarser of both pixels, at the centres of new pixels."""
    centres = (np.arange(round(length * zoom)) + 0.5) / zoom
    weights = np.maximum(1 - abs(np.arange(length) + 0.5 - centres[:, None]) * min(zoom, 1), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "zoom", [Fraction(1, 3), Fraction(1, 2), Fraction(3, 4), Fraction(1), Fraction(4, 3), Fraction(2)]
)
def test_stored_values_are_scaled_blanked_padded_and_resampled_without_aliasing(zoom):
    rng = np.random.default_rng(0)
    gain, offset = rng.uniform(0.5, 2, (2, 3)), rng.normal(size=(2, 3))
    values = Preparation(gain=tuple(map(tuple, gain)), offset=tuple(map(tuple, offset)), zoom=zoom)
    module = TileScores(Pointing(), values, temperature=1.0, augment=False)
    dates, valid = rng.normal(size=(1, 2, 3, 26, 37)), rng.random((1, 2, 26, 37)) > 0.05
    step = input_stride(Pointing.stride, zoom)
    expected = (dates * gain[..., None, None] + offset[..., None, None]) * valid.all(axis=1)[:, None, None]
    expected = np.pad(expected[0], [(0, 0), (0, 0), (0, -26 % step), (0, -37 % step)], mode="edge")
    down, across = (triangle_weights(length, float(zoom)) for length in expected.shape[-2:])
    found = module.prepared(torch.from_numpy(dates).float(), torch.from_numpy(valid).float())
    np.testing.assert_allclose(found[0], down @ expected @ across.T, atol=1e-5)
    assert not any(side % Pointing.stride for side in found.shape[-2:])


NO_ROOM = (torch.OutOfMemoryError("no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"))


def limited(most, seen, error=NO_ROOM[0]):
    """Stands for a device with room for so many tiles."""

    def score(dates, valid):
        seen.append(len(dates))
        if len(dates) > most:
            raise error
        return dates[:, 0, :1]

    return score


def test_errors_other_than_of_memory_are_passed_on():
    seen = []
    scorer = Scorer(limited(2, seen, RuntimeError("sizes differ")), torch.device("cpu"), batch=8)
    with pytest.raises(RuntimeError, match=r"^sizes differ$"):
        scorer(np.zeros((8, 2, 1, 4, 4), np.float32), np.ones((8, 2, 4, 4), bool))
    assert seen == [8]


@pytest.mark.parametrize("error", NO_ROOM)
def test_when_memory_runs_out_the_batch_is_halved_and_stays_so(error):
    seen = []
    scorer = Scorer(limited(2, seen, error), torch.device("cpu"), batch=8)
    dates = np.random.default_rng(0).normal(size=(8, 2, 1, 4, 4)).astype(np.float32)
    valid = np.ones((8, 2, 4, 4), bool)
    np.testing.assert_array_equal(scorer(dates, valid), dates[:, 0, :1])
    np.testing.assert_array_equal(scorer(dates[:3], valid[:3]), dates[:3, 0, :1])
    assert seen == [8, 4, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_every_batch_has_the_same_size_and_what_fills_it_is_not_given_out(count):
    seen = []
    scorer = Scorer(limited(5, seen), torch.device("cpu"), batch=5)
    dates = np.random.default_rng(0).normal(size=(count, 2, 1, 4, 6)).astype(np.float32)
    np.testing.assert_array_equal(scorer(dates, np.ones((count, 2, 4, 6), bool)), dates[:, 0, :1])
    assert seen == [5] * -(-count // 5)


def test_when_one_tile_is_too_much_it_says_so():
    scorer = Scorer(limited(0, []), torch.device("cpu"), batch=2)
    with pytest.raises(BadOption, match=r"one tile of 4 x 4 pixels .* --tile-size"):
        scorer(np.zeros((1, 2, 1, 4, 4), np.float32), np.ones((1, 2, 4, 4), bool))


def test_any_number_of_tiles_at_once_gives_the_same_scores(pair, checkpoints, tmp_path):
    one = scored(pair, tmp_path / "1", checkpoints["attention-net"], tile_size=96, options={"batch": "1"})
    many = scored(pair, tmp_path / "5", checkpoints["attention-net"], tile_size=96, options={"batch": "5"})
    np.testing.assert_allclose(many, one, atol=1e-5)


def test_without_torch_it_says_what_to_install(pair, small, tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    with pytest.raises(BadOption, match=r"network needs torch: pip install 'geochange\[torch\]'"):
        run(pair, tmp_path / "out", small)


@pytest.mark.gpu
def test_the_gpu_says_the_same_as_the_cpu(pair, checkpoints, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    both = [
        scored(pair, tmp_path / device, checkpoints["attention-net"], options={"device": device}, tile_size=96)
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(both[0], both[1], atol=2e-3)


def test_the_options_offer_every_engine_and_precision():
    hints = get_type_hints(NetworkDetector)
    assert get_args(hints["engine"]) == (*ENGINES,)
    assert get_args(hints["precision"]) == ("auto", *PRECISIONS)


def scored_with_scale(folder, name, dates, *, scale=None, checkpoint=None):
    """Probabilities of two dates by a network, which their files scale."""
    metre, paths = Affine(1, 0, 500_000, 0, -1, 5_400_000), []
    for part, date in zip(("before", "after"), dates, strict=True):
        paths.append(write_raster(folder / f"{name}_{part}.tif", date, transform=metre))
        if scale is not None:
            with rasterio.open(paths[-1], "r+") as dataset:
                dataset.scales, dataset.offsets = [scale[0]] * 3, [scale[1]] * 3
    weights = {"detector": "landscape"} if checkpoint is None else {"checkpoint": str(checkpoint)}
    found = geochange.detect(*paths, folder / name, dtype="float32", formats=(), **weights)
    with rasterio.open(found.probability) as dataset:
        return dataset.read(1)


def test_a_checkpoint_is_fed_the_values_that_it_was_trained_on(tmp_path):
    stored = load_checkpoint(detector("landscape").weights())
    assert stored.about.values == "stored"
    physical = tmp_path / "physical.pt"
    Checkpoint(replace(stored.about, values="physical"), stored.weights).save(physical)
    assert load_checkpoint(physical).about.values == "physical"
    dates = changed_pair((96, 96))
    plain = scored_with_scale(tmp_path, "plain", dates)
    np.testing.assert_array_equal(scored_with_scale(tmp_path, "scaled", dates, scale=(0.5, 3)), plain)
    quantities = [date * np.float32(0.5) + np.float32(3) for date in dates]
    np.testing.assert_array_equal(
        scored_with_scale(tmp_path, "physical", dates, scale=(0.5, 3), checkpoint=physical),
        scored_with_scale(tmp_path, "quantities", quantities, checkpoint=physical),
    )


def test_a_checkpoint_of_values_that_are_not_known_is_refused(tmp_path):
    stored = load_checkpoint(detector("landscape").weights())
    Checkpoint(replace(stored.about, values="ranks"), stored.weights).save(tmp_path / "ranks.pt")
    with pytest.raises(UnreadableInput, match="values must be stored or physical"):
        load_checkpoint(tmp_path / "ranks.pt")


def test_the_automatic_scale_makes_both_dates_together_standard():
    rng = np.random.default_rng(0)
    means, deviations = np.array([[100, 50], [180, 20]]), np.array([[10, 5], [20, 5]])
    dates = rng.normal(means[..., None, None], deviations[..., None, None], (2, 2, 60, 70)).astype(np.float32)
    scene = MemoryScene(dates, np.ones((2, 60, 70), bool))
    gain, offset = standardising(scene.map_blocks, scene, matched=False)
    scaled = dates * gain[:, None, None] + offset[:, None, None]
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), 1, atol=1e-3)


def test_values_below_a_trained_range_that_begins_above_0_are_refused(tmp_path):
    trained = save_small(tmp_path / "high.pt", "siamese-unet", value_range=(1000.0, 1500.0))
    images = [
        write_raster(tmp_path / f"{k}.tif", date.astype(np.uint16)) for k, date in enumerate(changed_pair((96, 96)))
    ]
    with pytest.raises(BadOption, match=r"values reach \d+, network was trained with 1000 to 1500"):
        geochange.detect(*images, tmp_path / "out", detector="network", detector_options={"checkpoint": trained})


def test_scoring_loads_no_more_of_torch_than_it_needs(pair, checkpoints, tmp_path):
    heavy = ("timm", "torchvision", "torch._dynamo", "torch._inductor", "torch.onnx", "sympy")
    code = (
        "import sys; from geochange.cli import main\n"
        "try: main(sys.argv[1:])\n"
        f"finally: print([name for name in {heavy} if name in sys.modules])"
    )
    out = ["-o", str(tmp_path / "run"), "-q", "-d", "network", "--option", f"checkpoint={checkpoints['attention-net']}"]
    command = [sys.executable, "-c", code, "detect", *map(str, pair), *out]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
