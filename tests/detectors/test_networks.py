"""Laws of every network in the registry, and what each of them promises besides.

Where results are compared to a tolerance, it is in double precision: then what remains is the law, not the rounding.
"""

from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import median_abs_deviation, norm
from skimage.filters import threshold_otsu

from geochange.arrays import IGNORE
from geochange.errors import BadOption

torch = pytest.importorskip("torch")

from geochange.detectors.networks.attention_net import place_loss, size_loss  # noqa: E402
from geochange.detectors.networks.change_vae import (  # noqa: E402
    DISTANCES,
    Latents,
    divergence_from_prior,
    even_distance,
)
from geochange.detectors.networks.checkpoint import About, Checkpoint, Normalisation, load_checkpoint  # noqa: E402
from geochange.detectors.networks.contract import Batch, probability  # noqa: E402
from geochange.detectors.networks.efficientnet_lite import EfficientNetLite0  # noqa: E402
from geochange.detectors.networks.encoder import encoder_radius  # noqa: E402
from geochange.detectors.networks.layers import (  # noqa: E402
    ChannelAttention,
    NeighbourhoodAttention,
    PyramidPooling,
    Resample,
    SpatialAttention,
)
from geochange.detectors.networks.registry import NETWORKS, build_network  # noqa: E402
from geochange.detectors.networks.scorer import TileScores  # noqa: E402
from geochange.detectors.networks.siamese_unet import FUSIONS  # noqa: E402
from geochange.detectors.preparation import Preparation  # noqa: E402
from geochange.learning.losses import cross_entropy  # noqa: E402
from tests.small_networks import ENLARGING, SMALL, lively  # noqa: E402

TINY = {
    "attention-net": {"widths": [8, 8, 16, 12]},
    "siamese-unet": {"widths": [4, 6, 8]},
    "conv-gru": {"widths": [4, 6, 8]},
    "change-vae": {"widths": [6, 8, 8], "latent": 6},
    "change-rcnn": {"width": 8},
    "change-ssd": {"width": 8},
    "change-selective": {"width": 8},
}
CLASSES = ["built", "cleared"]
TRUE_FOR_SWAPPED_DATES = {
    "attention-net": {},
    "siamese-unet": {"fusion": "difference"},
    "conv-gru": {},
    "change-rcnn": {},
    "change-ssd": {},
    "change-selective": {},
    **{f"change-vae {name}": {"distance": name} for name in DISTANCES},
}


def awake(network, seed=0):
    """A network whose every part says something, with statistics halfway to those of its own activations."""
    network = lively(network, seed)
    for module in network.modules():
        if isinstance(module, NeighbourhoodAttention):  # fresh ones are the identity
            torch.nn.init.normal_(module.project.weight, std=0.3)
            torch.nn.init.normal_(module.place)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        network.train()(dates_for(network, 32, 32, n=4, bands=network.options.bands, seed=1))
    return network.eval()


def tiny(name, **options):
    torch.manual_seed(0)
    name, *more = name.split()
    more = {key: int(value) for key, value in (each.split("=") for each in more)}
    network = awake(build_network(name, {**TINY[name], **more, **options}))
    if name == "change-vae":
        network.calibrate(network.distance(some_dates(32, 32, bands=network.options.bands, seed=1)))
    return network


def some_dates(*shape, times=2, n=1, bands=3, seed=0):
    return torch.randn(n, times, bands, *shape, generator=torch.Generator().manual_seed(seed))


def dates_for(network, *shape, **settings):
    """Two dates, or three for a network that takes more."""
    return some_dates(*shape, **{"times": network.dates or 3, **settings})


def batch_with_a_change(network, side=32):
    dates, labels = dates_for(network, side, side, n=2), torch.zeros(2, side, side, dtype=torch.long)
    dates = dates[:, :1] + 0.1 * dates  # the dates are alike, but for a square
    dates[:, -1, :, 8:24, 8:24] += 2
    labels[:, 8:24, 8:24] = 1
    labels[:, 0] = IGNORE
    return Batch(dates, labels)


def test_every_network_is_tested():
    assert set(TINY) == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_logits_have_the_size_of_the_dates(name, bands):
    network = tiny(name, bands=bands)
    with torch.no_grad():
        logits = network(dates_for(network, 32, 48, bands=bands, n=2))
    assert logits.shape == (2, 1, 32, 48)
    assert logits.std() > 1e-3


@pytest.mark.parametrize("name", ["attention-net", "siamese-unet"])
def test_several_classes_have_a_channel_each_and_one_for_no_change(name):
    network = tiny(name, classes=CLASSES)
    with torch.no_grad():
        logits = network(some_dates(32, 32))
    assert logits.shape == (1, 3, 32, 32)
    assert probability(logits).shape == (1, 2, 32, 32)


@pytest.mark.parametrize("name", ["conv-gru", "change-vae"])
def test_networks_of_one_class_refuse_several(name):
    with pytest.raises(BadOption, match="one class"):
        build_network(name, {"classes": CLASSES})


@pytest.mark.parametrize("case", TRUE_FOR_SWAPPED_DATES)
def test_swapping_the_dates_changes_nothing(case):
    network = tiny(case.split()[0], **TRUE_FOR_SWAPPED_DATES[case])
    dates = dates_for(network, 64, 64, n=2)
    with torch.no_grad():
        torch.testing.assert_close(network(dates.flip(1)), network(dates), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attention-net", {"classes": CLASSES}),
        ("siamese-unet", {"fusion": "early"}),
        ("siamese-unet", {"fusion": "concatenation"}),
        ("siamese-unet", {"fusion": "difference", "classes": CLASSES}),
    ],
)
def test_where_no_symmetry_is_promised_the_order_of_the_dates_is_seen(name, options):
    network, dates = tiny(name, **options), some_dates(32, 32)
    with torch.no_grad():
        assert (network(dates.flip(1)) - network(dates)).abs().max() > 1e-3


@pytest.mark.parametrize("name", [*NETWORKS, ENLARGING])
@pytest.mark.parametrize("axis", [-1, -2])
def test_shifting_the_dates_by_the_stride_shifts_the_logits(name, axis):
    network = tiny(name).double()
    stride, radius = network.stride, network.receptive_radius
    long = strip(network, 2 * radius + 4 * stride, axis).double()
    length = long.shape[axis]
    with torch.no_grad():
        still = network(long.narrow(axis, 0, length - stride)).narrow(axis, radius + stride, stride)
        moved = network(long.narrow(axis, stride, length - stride)).narrow(axis, radius, stride)
    assert still.std() > 1e-3
    torch.testing.assert_close(moved, still, rtol=0, atol=1e-9)


def strip(network, length, axis, **settings):
    """Dates that are long along an axis and two strides wide; the length is rounded up to whole strides."""
    shape = [2 * network.stride, 2 * network.stride]
    shape[axis] = -(-length // network.stride) * network.stride
    return dates_for(network, *shape, **settings)


@pytest.mark.parametrize("name", [*NETWORKS, ENLARGING])
@pytest.mark.parametrize("axis", [-1, -2])
def test_scores_depend_on_pixels_up_to_the_receptive_radius(name, axis):
    """Never on farther ones; and the radius is not much wider than need be."""
    reached = measured_radius(tiny(name), axis)
    assert reached <= tiny(name).receptive_radius <= 2 * reached


def measured_radius(network, axis):
    """How far the change of a row or column of pixels is seen in the scores."""
    network = network.double()
    dates = strip(network, 2 * network.receptive_radius + 6 * network.stride, axis).double()
    middle = dates.shape[axis] // (2 * network.stride) * network.stride
    with torch.no_grad():
        before, reached = network(dates), []
        for place in (middle, middle + network.stride - 1):  # the first and last of a cell
            altered = dates.clone()
            altered.select(axis, place).add_(3 * torch.randn_like(altered.select(axis, place)))
            differs = (network(altered) != before).transpose(axis, -1).flatten(0, -2).any(dim=0)
            reached.append(int((torch.nonzero(differs) - place).abs().max()))
    return max(reached)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_each_gives_alone(name):
    network = tiny(name).double()
    dates = dates_for(network, 32, 32, n=3).double()
    with torch.no_grad():
        alone = torch.cat([network(each[None]) for each in dates])
        torch.testing.assert_close(network(dates), alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluated_twice_it_says_the_same(name):
    network = tiny(name)
    dates = dates_for(network, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network(dates), network(dates), rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_brings_the_same_network_back(name, tmp_path):
    network = tiny(name)
    save(network, name, tmp_path / "network.pt")
    loaded = load_checkpoint(tmp_path / "network.pt").build()
    dates = dates_for(network, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(dates), network(dates), rtol=0, atol=0)


def save(network, name, path):
    options = {each.name: getattr(network.options, each.name) for each in fields(network.options)}
    normalisation = Normalisation(mean=(0.0,) * 3, spread=(1.0,) * 3)
    about = About(
        network=name, options=options, bands=("r", "g", "b"), normalisation=normalisation, value_range=(0.0, 1.0)
    )
    Checkpoint(about, network.state_dict()).save(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_batch_can_be_learned(name):
    torch.manual_seed(0)
    losses = losses_while_learning(build_network(name, TINY[name]), steps=30)
    assert losses[-1] < 0.8 * losses[0]


def losses_while_learning(network, steps, batch=None, rate=0.01):
    torch.manual_seed(0)
    batch = batch or batch_with_a_change(network)
    optimizer, losses = torch.optim.AdamW(network.train().parameters(), lr=rate), []
    for _ in range(steps):
        loss = network.loss(batch, cross_entropy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_is_trained(name):
    network = tiny(name).train()
    network.loss(batch_with_a_change(network), cross_entropy).backward()
    assert [key for key, each in network.named_parameters() if each.grad is None or not each.grad.any()] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_ignored_pixels_do_not_count(name):
    """Their labels, at least; the autoencoder has no use for labels at all."""
    network = tiny(name)
    batch = batch_with_a_change(network)
    with torch.no_grad():
        loss = network.loss(batch, cross_entropy)
        ignored = network.loss(Batch(batch.dates, torch.full_like(batch.labels, IGNORE)), cross_entropy)
    assert ignored == (loss if name == "change-vae" else 0)


PARTS = ("channel_attention", "spatial_attention", "self_attention", "pyramid_pooling", "multi_scale")


@pytest.mark.parametrize(("before", "after"), [(13, 16), (8, 13), (8, 16), (5, 4)])
def test_resampling_is_that_of_half_pixel_centres(before, after):
    image = torch.randn(2, 3, 3 * before, 5 * before, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(
        image, (3 * after, 5 * after), mode="bilinear", align_corners=False, antialias=False
    )
    torch.testing.assert_close(Resample(before, after).double()(image), expected, rtol=0, atol=1e-6)


def test_resampling_does_not_see_where_an_image_was_cut():
    """To the last bit, in single precision: coordinates would be rounded the more the farther they lie."""
    image = torch.randn(1, 1, 13, 13 * 200)
    resample = Resample(13, 16)
    there = resample(image)[..., 160 * 16 : 180 * 16]
    torch.testing.assert_close(resample(image[..., 150 * 13 : 190 * 13])[..., 160:480], there, rtol=0, atol=0)


@pytest.mark.parametrize("cell", [7, 17])
def test_cells_that_the_encoder_does_not_allow_are_refused(cell):
    with pytest.raises(BadOption, match="cell"):
        build_network("attention-net", {"cell": cell})


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_attention_net_can_be_switched_off(part):
    whole, less = tiny("attention-net"), tiny("attention-net", **{part: False})
    assert size(less) < size(whole)
    assert less.receptive_radius <= whole.receptive_radius
    with torch.no_grad():
        assert less(some_dates(32, 32)).std() > 1e-3


KINDS = {
    "channel_attention": ChannelAttention,
    "spatial_attention": SpatialAttention,
    "self_attention": NeighbourhoodAttention,
    "pyramid_pooling": PyramidPooling,
}


@pytest.mark.parametrize("part", KINDS)
def test_a_part_that_is_switched_off_is_gone_everywhere_and_all_others_stay(part):
    def layers(**options):
        modules = [*build_network("attention-net", TINY["attention-net"] | options).modules()]
        return {name: sum(isinstance(each, kind) for each in modules) for name, kind in KINDS.items()}

    whole = layers()
    assert min(whole.values()) > 0
    assert layers(**{part: False}) == whole | {part: 0}


def test_without_any_part_attention_net_still_learns():
    network = build_network("attention-net", TINY["attention-net"] | dict.fromkeys(PARTS, False))
    losses = losses_while_learning(network, steps=15)
    assert losses[-1] < 0.8 * losses[0]


def size(network):
    return sum(each.numel() for each in network.parameters())


def test_attention_net_without_parts_keeps_to_its_receptive_radius():
    network = tiny("attention-net", **dict.fromkeys(PARTS, False))
    reached = measured_radius(network, -1)
    assert reached <= network.receptive_radius <= 2 * reached


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_the_siamese_unet_takes_any_number_of_scales(fusion, levels):
    network = tiny("siamese-unet", fusion=fusion, widths=[4] * levels)
    assert network.stride == 2**levels
    reached = measured_radius(network, -1)
    assert reached <= network.receptive_radius <= 2 * reached


FUSED = {
    "early": lambda before, after: (np.hstack([before, after]), [before, after], [before, after]),
    "concatenation": lambda before, after: (
        np.vstack([before, after]),
        np.hstack([before, after]),
        np.hstack([before, after]),
    ),
    "difference": lambda before, after: (np.vstack([before, after]), abs(after - before), after - before),
}
"""Two dates' images or features -> what enters the encoder, and what is joined for one class, and for several."""


@pytest.mark.parametrize("name", FUSIONS)
def test_dates_are_fused_as_daudt_has_it(name):
    fusion, dates = FUSIONS[name], some_dates(5, 7, n=2)
    entering, joined, directed = FUSED[name](*dates.numpy().swapaxes(0, 1))
    np.testing.assert_array_equal(fusion.enter(dates), entering)
    assert entering.shape[1] == 3 * fusion.images
    if name == "early":
        assert fusion.maps == 1
        joined = directed = entering
    np.testing.assert_array_equal(fusion.join(torch.from_numpy(entering)), joined)
    np.testing.assert_array_equal(fusion.join_directed(torch.from_numpy(entering)), directed)
    assert joined.shape[1] == entering.shape[1] * fusion.maps


def test_unknown_fusions_and_distances_are_named():
    with pytest.raises(BadOption, match=r"late.* early, concatenation, difference"):
        build_network("siamese-unet", {"fusion": "late"})
    with pytest.raises(BadOption, match=r"taxi.* cosine"):
        build_network("change-vae", {"distance": "taxi"})


@pytest.mark.parametrize("name", ["siamese-unet", "conv-gru", "change-vae"])
def test_a_network_without_scales_is_refused(name):
    with pytest.raises(BadOption, match="widths"):
        build_network(name, {"widths": []})


@pytest.mark.parametrize("times", [2, 3, 6])
def test_intervals_are_one_fewer_than_dates_and_sum_to_one(times):
    network, dates = tiny("conv-gru"), some_dates(16, 16, times=times)
    with torch.no_grad():
        intervals = network.intervals(dates)
        assert network(dates).shape == (1, 1, 16, 16)
    assert intervals.shape == (1, times - 1, 16, 16)
    torch.testing.assert_close(intervals.sum(dim=1), torch.ones(1, 16, 16))


def test_change_and_its_interval_are_parts_of_one_distribution():
    network, dates = tiny("conv-gru"), some_dates(16, 16, times=4)
    with torch.no_grad():
        weights = torch.exp(network.interval_logits(dates))
        joint = probability(network(dates)) * network.intervals(dates)
    torch.testing.assert_close(joint, weights / (1 + weights.sum(dim=1, keepdim=True)))


def test_a_series_played_backwards_has_its_intervals_in_backward_order():
    network, dates = tiny("conv-gru"), some_dates(16, 16, times=4)
    with torch.no_grad():
        backwards, forwards = network.interval_logits(dates.flip(1)), network.interval_logits(dates)
        torch.testing.assert_close(network(dates.flip(1)), network(dates))
    torch.testing.assert_close(backwards, forwards.flip(1), rtol=0, atol=0)


def test_each_interval_is_judged_by_all_dates():
    network, dates = tiny("conv-gru"), some_dates(16, 16, times=5)
    with torch.no_grad():
        before = network.interval_logits(dates)
        for k in range(5):
            other = dates.clone()
            other[:, k] += 1
            assert ((network.interval_logits(other) - before).abs().amax(dim=(0, 2, 3)) > 1e-6).all()


def test_the_receptive_radius_does_not_grow_with_the_series():
    network = tiny("conv-gru").double()
    dates = strip(network, 4 * network.receptive_radius, -1, times=7).double()
    altered = dates.clone()
    altered[:, 0, ..., 0] += 3
    with torch.no_grad():
        differs = (network.interval_logits(altered) != network.interval_logits(dates)).any(dim=-2)
    assert torch.nonzero(differs)[:, -1].max() <= network.receptive_radius


def dated_batch():
    """Four dates; one half changes for good in interval 1, a part of the other in interval 3."""
    dates = 0.1 * some_dates(16, 16, times=4, n=2)
    labels = torch.zeros(2, 16, 16, dtype=torch.long)
    dates[:, 1:, :, :, :8] += 2
    dates[:, 3:, :, 8:, 8:] += 2
    labels[:, :, :8], labels[:, 8:, 8:] = 1, 3
    return Batch(dates, labels)


def test_dated_labels_train_the_interval():
    torch.manual_seed(0)
    network, batch = build_network("conv-gru", TINY["conv-gru"] | {"dated": True}), dated_batch()
    losses_while_learning(network, 100, batch)
    with torch.no_grad():
        found = network.intervals(batch.dates).argmax(dim=1) + 1
        changed = network(batch.dates)[:, 0] > 0
    truth = batch.labels > 0
    assert (changed == truth).float().mean() > 0.9
    assert (found == batch.labels)[truth].float().mean() > 0.9


def test_the_loss_of_dated_labels_is_the_mean_of_those_of_change_and_of_its_interval():
    network, batch = tiny("conv-gru", dated=True), dated_batch()
    batch.labels[:, :3] = IGNORE
    with torch.no_grad():
        logits = network.interval_logits(batch.dates)
        found = network.loss(batch, cross_entropy).item()
    weights = torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)  # of never, and of each interval
    log_likely = torch.log_softmax(weights, dim=1)[:, :, 3:]
    labels = batch.labels[:, 3:]
    dated = -log_likely.gather(1, labels[:, None]).mean()
    change = torch.logsumexp(log_likely[:, 1:], dim=1)
    changed = -torch.where(labels > 0, change, log_likely[:, 0]).mean()
    assert abs(changed - dated) > 0.01
    assert found == pytest.approx(((changed + dated) / 2).item(), rel=1e-5)


def test_undated_labels_are_all_change():
    network, batch = tiny("conv-gru"), dated_batch()
    with torch.no_grad():
        once = network.loss(Batch(batch.dates, batch.labels.clamp(max=1)), cross_entropy)
        assert network.loss(batch, cross_entropy) == once


def test_dated_labels_beyond_the_series_are_named():
    network = tiny("conv-gru", dated=True)
    batch = dated_batch()
    with pytest.raises(BadOption, match="interval 3, but 3 dates have 2"):
        network.loss(Batch(batch.dates[:, :3], batch.labels), cross_entropy)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances_are_0_for_the_same_and_grow_along_a_line(name):
    def posterior(step):
        mean = torch.tensor([1.0, 0.0]) + step * torch.tensor([0.0, 0.5])
        return Latents(mean.view(1, 2, 1, 1), torch.full((1, 2, 1, 1), -1.0))

    found = [DISTANCES[name](posterior(0), posterior(step)).item() for step in range(4)]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert np.all(np.diff(found) > 1e-3)


def test_distances_of_distributions_are_those_of_torch_and_of_matrices():
    rng = np.random.default_rng(0)
    a, b = (Latents(*(torch.from_numpy(rng.normal(size=(1, 5, 1, 1))) for _ in range(2))) for _ in range(2))
    normal = [torch.distributions.Normal(each.mean, torch.exp(each.log_variance / 2)) for each in (a, b)]
    both = sum(torch.distributions.kl_divergence(*order).sum() for order in (normal, normal[::-1])) / 2
    assert DISTANCES["jeffreys"](a, b).item() == pytest.approx(both.sqrt().item())
    means, roots = ([getattr(each, part).flatten().numpy() for each in normal] for part in ("mean", "stddev"))
    gaps = np.linalg.norm(means[0] - means[1]), np.linalg.norm(np.diag(roots[0]) - np.diag(roots[1]))
    assert DISTANCES["wasserstein"](a, b).item() == pytest.approx(np.hypot(*gaps))


def test_equal_dates_have_no_distance_and_a_changed_corner_has_one():
    network, dates = tiny("change-vae"), some_dates(64, 64, times=1).repeat(1, 2, 1, 1, 1)
    with torch.no_grad():
        assert network.distance(dates).abs().max() < 1e-5
        dates[:, 1, :, :16, :16] += 2
        distance = network.distance(dates)[0]
    assert distance.shape == (64, 64)
    assert distance[:16, :16].mean() > 100 * distance[48:, 48:].mean()


def test_calibrated_a_distance_between_unchanged_and_changed_is_as_likely_the_one_as_the_other():
    network, rng = tiny("change-vae"), np.random.default_rng(0)
    unchanged, changed = (torch.from_numpy(rng.normal(*each)) for each in ((5, 1, 100_000), (14, 2, 10_000)))
    network.calibrate(torch.cat([unchanged, changed, torch.full((10,), float("nan"))]))
    assert 8 < network.offset.item() < 11
    assert network.scale.item() == pytest.approx(1, rel=0.2)
    dates = some_dates(32, 32)
    with torch.no_grad():
        expected = (network.distance(dates) - network.offset) / network.scale
        torch.testing.assert_close(network(dates)[:, 0], expected)


def test_calibrated_where_nothing_changed_few_distances_count_as_change():
    network, distances = tiny("change-vae"), torch.from_numpy(np.random.default_rng(0).normal(5, 1, 100_000))
    network.calibrate(distances)
    assert (distances > network.offset).float().mean() < 0.08
    network.calibrate(torch.full((50,), 2.0))
    assert network.offset.item() > 2


def roots_of(share, unchanged, changed, seed=0):
    """Distances whose square roots are two normal classes: (mean, deviation) of each."""
    rng, size = np.random.default_rng(seed), 200_000
    moved = int(size * share)
    roots = np.concatenate([rng.normal(*unchanged, size - moved), rng.normal(*changed, moved)])
    return torch.from_numpy(roots**2).float()


def test_the_even_distance_lies_midway_between_the_mixtures_and_otsus():
    share, unchanged, changed = 0.1, (2.0, 0.25), (4.0, 0.4)
    distances = roots_of(share, unchanged, changed)
    even = brentq(lambda root: share * norm.pdf(root, *changed) - (1 - share) * norm.pdf(root, *unchanged), 2, 4)
    expected = ((even + threshold_otsu(distances.numpy(), nbins=2000) ** 0.5) / 2) ** 2
    assert even_distance(distances).item() == pytest.approx(expected, rel=0.01)
    network = tiny("change-vae")
    network.calibrate(torch.cat([distances, torch.tensor([float("nan"), float("inf")])]).view(2, -1))
    assert network.offset.item() == pytest.approx(expected, rel=0.01)
    assert network.scale.item() == pytest.approx(median_abs_deviation(distances, scale="normal"), rel=1e-3)


def test_where_most_changed_the_offset_lies_above_the_median():
    """By 1.5 deviations at the least: of more change than that, distances tell nothing."""
    network, distances = tiny("change-vae"), roots_of(0.6, (2.0, 0.25), (4.0, 0.4))
    assert even_distance(distances) < distances.median()
    network.calibrate(distances)
    deviation = median_abs_deviation(distances, scale="normal")
    assert network.offset.item() == pytest.approx(np.median(distances) + 1.5 * deviation, rel=1e-3)


def test_where_no_change_is_found_the_offset_lies_three_deviations_above_the_median():
    network, distances = tiny("change-vae"), torch.tensor([3.0]).repeat(1000)
    assert even_distance(distances) is None
    network.calibrate(distances)
    assert network.scale.item() == pytest.approx(1e-6)
    assert network.offset.item() == pytest.approx(3 + 3e-6, abs=1e-6)


def test_calibrating_needs_distances():
    with pytest.raises(ValueError, match="no distances"):
        tiny("change-vae").calibrate(torch.full((3,), float("nan")))


def test_latents_are_means_of_any_size_and_variances_within_limits():
    network, given = tiny("change-vae"), torch.tensor([-40.0, -10, 3, 10, 40, 0])
    with torch.no_grad():
        for head in (network.mean, network.log_variance):
            head.weight.zero_()
        network.mean.bias.copy_(given.flip(0))
        network.log_variance.bias.copy_(given)
        latents = network.encode(some_dates(16, 24, n=2).flatten(0, 1))
    assert latents.mean.shape == latents.log_variance.shape == (4, 6, 2, 3)
    for found, expected in ((latents.mean, given.flip(0)), (latents.log_variance, given.clamp(-10, 10))):
        torch.testing.assert_close(found, expected.view(1, 6, 1, 1).expand(4, 6, 2, 3), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["change-vae", "conv-gru"])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_networks_of_series_take_any_number_of_scales(name, levels):
    network = tiny(name, widths=[4] * levels)
    assert network.stride == 2 ** (levels if name == "change-vae" else levels - 1)
    reached = measured_radius(network, -1)
    assert reached <= network.receptive_radius <= 1.25 * reached


def test_the_divergence_from_the_prior_is_that_of_torch():
    rng = np.random.default_rng(0)
    posterior = Latents(*(torch.from_numpy(rng.normal(0, spread, (2, 5, 3, 4))) for spread in (2, 1.5)))
    normal = torch.distributions.Normal(posterior.mean, torch.exp(posterior.log_variance / 2))
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(divergence_from_prior(posterior).double(), expected, rtol=1e-4, atol=1e-4)
    prior = Latents(torch.zeros(1, 2, 3, 5), torch.zeros(1, 2, 3, 5))
    assert not divergence_from_prior(prior).any()


@pytest.mark.parametrize("beta", [0.0, 0.05, 3.0])
def test_the_loss_of_the_autoencoder_is_error_plus_beta_times_divergence_of_a_pixel_with_data(beta):
    """Of a cell that is half without data, half the divergence counts."""
    network, dates = tiny("change-vae", beta=beta), some_dates(16, 40, n=2, times=3)
    dates[0, 1, :, :5] = dates[1, 2, :, :, 20:] = 0
    dates[1, 0, 1] = 0  # one band alone is data
    images = dates.flatten(0, 1)
    there = (images.abs().sum(dim=1) > 0).double()
    with torch.no_grad():
        loss = network.loss(Batch(dates, torch.zeros(2, 16, 40, dtype=torch.long)), cross_entropy)
        latents = network.encode(images)
        error = ((network.decode(latents.mean) - images) ** 2).sum(dim=1)
    normal = torch.distributions.Normal(latents.mean, torch.exp(latents.log_variance / 2))
    divergence = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    shares = there.unflatten(2, (5, 8)).unflatten(1, (2, 8)).mean(dim=(2, 4))
    expected = (error * there).sum() / 2 + beta * (divergence * shares).sum()
    assert loss.item() == pytest.approx(expected.item() / there.sum().item(), rel=1e-4)


def test_latents_are_drawn_with_the_deviations_of_their_posterior():
    network, drawn = tiny("change-vae", latent=3), []
    network.widen.register_forward_pre_hook(lambda module, inputs: drawn.append(inputs[0]))
    mean, log_variance = torch.tensor([-2.0, 0.0, 3.0]), torch.tensor([-4.0, 0.0, 2.0])
    batch = Batch(some_dates(160, 240, n=4), torch.zeros(4, 160, 240, dtype=torch.long))
    with torch.no_grad():
        for head, bias in ((network.mean, mean), (network.log_variance, log_variance)):
            head.weight.zero_()
            head.bias.copy_(bias)
        torch.manual_seed(0)
        network.train().loss(batch, cross_entropy)
        network.eval().loss(batch, cross_entropy)
    trained, plain = (each.transpose(0, 1).flatten(1) for each in drawn)
    deviation = torch.exp(log_variance / 2)
    torch.testing.assert_close((trained.mean(dim=1) - mean) / deviation, torch.zeros(3), rtol=0, atol=0.06)
    torch.testing.assert_close(trained.std(dim=1) / deviation, torch.ones(3), rtol=0, atol=0.06)
    torch.testing.assert_close(plain, mean[:, None].expand_as(plain), rtol=0, atol=0)


def test_pixels_without_data_are_not_reconstructed():
    """What the network paints there does not count, and a batch without any data has no loss."""
    network, dates = tiny("change-vae"), some_dates(32, 32)
    dates[:, :, :, :, 16:] = 0
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    with torch.no_grad():
        network.back[-1][1].weight.zero_()  # paints one colour everywhere
        network.back[-1][1].bias.zero_()
        network.paint.bias.zero_()
        network.mean.weight.zero_(), network.log_variance.weight.zero_()
        network.mean.bias.zero_(), network.log_variance.bias.zero_()
        loss = network.loss(Batch(dates, labels), cross_entropy)
        assert network.loss(Batch(dates * 0, labels), cross_entropy) == 0
        network.paint.bias.fill_(1.0)
        assert network.loss(Batch(dates * 0, labels), cross_entropy) == 0
    assert loss.item() == pytest.approx(dates[..., :16].square().sum(dim=2).mean().item() / 2)


def test_the_autoencoder_is_drawn_from_while_trained_alone():
    network, batch = tiny("change-vae"), batch_with_a_change(tiny("change-vae"))
    with torch.no_grad():
        assert network.eval().loss(batch, cross_entropy) == network.loss(batch, cross_entropy)
        assert network.train().loss(batch, cross_entropy) != network.loss(batch, cross_entropy)


@pytest.mark.parametrize("shape", [(5, 9), (8, 8), (17, 3)])
def test_neighbourhood_attention_is_that_of_each_cell_to_its_window(shape):
    """Against the definition, cell by cell."""
    torch.manual_seed(0)
    attention = NeighbourhoodAttention(8, window=5, heads=2).eval()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 8, *shape)
    with torch.no_grad():
        found = attention(x)
        query, key, value = (part.unflatten(1, (2, 4)) for part in attention.qkv(attention.norm(x)).chunk(3, dim=1))
        mixed = torch.zeros_like(query)  # (n, head, depth, y, x)
        for row, col in np.ndindex(*shape):
            rows, cols = range(max(row - 2, 0), min(row + 3, shape[0])), range(max(col - 2, 0), min(col + 3, shape[1]))
            window = (..., slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
            bias = torch.stack([attention.place[:, (r - row + 2) * 5 + c - col + 2] for r in rows for c in cols], dim=1)
            scores = (query[..., row, col, None] * key[window].flatten(-2)).sum(dim=2) / 4**0.5 + bias
            mixed[..., row, col] = (scores.softmax(dim=-1)[:, :, None] * value[window].flatten(-2)).sum(dim=-1)
        torch.testing.assert_close(found, x + attention.project(mixed.flatten(1, 2)), atol=1e-5, rtol=1e-5)


def test_sizes_of_whole_changes_are_trained():
    """Labels of a square of 16 pixels, and of one that the border cuts."""
    labels = torch.zeros(1, 12, 12, dtype=torch.long)
    labels[0, 2:6, 3:7] = labels[0, 9:, 9:] = 1
    wrong = torch.full((1, 12, 12), 4.0, requires_grad=True)  # log2(16)
    assert size_loss(wrong.detach(), labels) == 0
    size_loss(wrong + 2, labels).backward()
    assert ((wrong.grad != 0) == (labels == 1))[0, :8, :8].all()
    assert not wrong.grad[0, 8:].any()


def test_sizes_of_changes_that_may_go_on_elsewhere_are_not_known():
    """Beyond a border, or where nothing is labelled; those a pixel away from the border count."""
    labels = torch.zeros(1, 20, 24, dtype=torch.long)
    labels[0, 0, 2:5] = labels[0, -1, 2:5] = labels[0, 8:11, 0] = labels[0, 8:11, -1] = 1
    labels[0, 4:6, 4:7], labels[0, 5, 7] = 1, IGNORE
    labels[0, 1:3, 10:13] = labels[0, 17:19, 10:13] = labels[0, 12:16, 1:3] = labels[0, 12:16, 21:23] = 2
    areas = torch.ones(1, 20, 24)
    areas[0, 1:3, 10:13] = areas[0, 17:19, 10:13] = 6
    areas[0, 12:16, 1:3] = areas[0, 12:16, 21:23] = 8
    estimated = (torch.log2(areas) + 2.5).requires_grad_()
    loss = size_loss(estimated, labels)
    assert loss.item() == pytest.approx(2)  # 2.5 - 1/2
    loss.backward()
    torch.testing.assert_close(estimated.grad, (labels == 2) / 28)
    assert size_loss(estimated.detach(), labels.masked_fill(labels == 2, 0)) == 0


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in NETWORKS), ("attention-net", {"size": True, "place": True})]
)
def test_layers_come_beside_the_logits_as_they_were_named(name, options):
    network = tiny(name, **options)
    dates = dates_for(network, 32, 48, n=2)
    with torch.no_grad():
        logits, layers = network.with_layers(dates)
        torch.testing.assert_close(logits, network(dates))
    assert {key: layer.shape for key, layer in layers.items()} == {
        key: (2, bands, 32, 48) for key, bands in network.layers(dates.shape[1]).items()
    }
    assert {"size", "place"} & set(layers) == set(options)


def test_the_size_of_a_change_is_a_layer():
    network = build_network("attention-net", {**SMALL["attention-net"], "size": True}).eval()
    dates = torch.randn(1, 2, 3, 32, 48)
    with torch.no_grad():
        logits, layers = network.with_layers(dates)
        torch.testing.assert_close(logits, network(dates))
    assert network.layers(2) == {"size": 1}
    assert layers["size"].shape == (1, 1, 32, 48)
    assert layers["size"].min() >= 1


def test_where_sizes_are_estimated_their_error_is_a_tenth_of_the_loss_more():
    torch.manual_seed(4)
    network = build_network("attention-net", {**SMALL["attention-net"], "size": True}).eval()
    batch = batch_with_a_change(network)
    with torch.no_grad():
        logits, layers = network.with_layers(batch.dates)
        with_size = network.loss(batch, cross_entropy)
        assert layers["size"].min() > 1  # else the layer would not say what was estimated
    further = 0.1 * size_loss(torch.log2(layers["size"][:, 0]), batch.labels)
    assert further > 0.01
    torch.testing.assert_close(with_size, cross_entropy(logits, batch.labels) + further)


def test_middles_of_whole_changes_are_trained():
    """Labels of a rectangle and an L, whose centroid lies between pixels, and of what the border cuts."""
    labels = torch.zeros(1, 20, 24, dtype=torch.long)
    labels[0, 2:6, 3:9] = labels[0, 10:14, 5] = labels[0, 13, 5:9] = labels[0, 9:12, -1] = 1
    place = torch.zeros(1, 2, 20, 24)
    rows, cols = np.indices((20, 24))
    for part in ((slice(2, 6), slice(3, 9)), (slice(10, 14), slice(5, 9))):
        own = np.zeros((20, 24), bool)
        own[part] = labels[0].numpy()[part] > 0
        for channel, at in enumerate((cols, rows)):
            place[0, channel][own] = torch.from_numpy(at[own].mean() - at[own]).float()
    assert place_loss(place, labels) == pytest.approx(0, abs=1e-7)
    estimated = (place + 16).requires_grad_()
    loss = place_loss(estimated, labels)
    assert loss.item() == pytest.approx(1.5)  # 16 pixels are 2 units
    loss.backward()
    counted = (labels == 1).clone()
    counted[..., -1] = False
    assert torch.equal((estimated.grad != 0)[0, 0], counted[0])
    assert place_loss(place, torch.zeros_like(labels)) == 0


def test_where_places_are_estimated_their_error_is_a_tenth_of_the_loss_more():
    torch.manual_seed(4)
    network = build_network("attention-net", {**SMALL["attention-net"], "place": True}).eval()
    batch = batch_with_a_change(network)
    batch.labels[:, 0] = 0
    with torch.no_grad():
        logits, layers = network.with_layers(batch.dates)
        further = 0.1 * place_loss(layers["place"], batch.labels)
        assert further > 0.01
        torch.testing.assert_close(network.loss(batch, cross_entropy), cross_entropy(logits, batch.labels) + further)


def test_sizes_and_places_are_in_pixels_of_the_tile_whatever_the_network_sees():
    torch.manual_seed(0)
    network = lively(build_network("attention-net", {**SMALL["attention-net"], "size": True, "place": True}))
    dates, valid = torch.randn(1, 2, 3, 64, 64), torch.ones(1, 2, 64, 64)
    twice = torch.nn.functional.interpolate(dates[0], scale_factor=2, mode="bilinear")[None]
    by_zoom = {}
    for zoom in (1, 2):
        values = Preparation(gain=((1.0,) * 3,) * 2, offset=((0.0,) * 3,) * 2, zoom=Fraction(zoom))
        with torch.no_grad():
            by_zoom[zoom] = TileScores(network, values, temperature=1.0, augment=False).with_layers(dates, valid)
    with torch.no_grad():
        _, layers = network.with_layers(twice)
    size, place = (torch.nn.functional.avg_pool2d(layers[name], 2) for name in ("size", "place"))
    assert list(network.layers(2)) == ["size", "place"]
    torch.testing.assert_close(by_zoom[2][:, 1:2], size / 4, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(by_zoom[2][:, 2:], place / 2, rtol=1e-4, atol=1e-4)
    assert by_zoom[1].shape == by_zoom[2].shape == (1, 4, 64, 64)


@pytest.mark.parametrize("scales", [1, 3, 4, 5])
def test_the_default_encoder_is_that_of_timm(scales):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model(
        "tf_efficientnet_lite0", features_only=True, in_chans=5, out_indices=tuple(range(scales)), pad_type=""
    )
    own, info = EfficientNetLite0(5, scales), theirs.feature_info
    for name in ("module_name", "channels", "reduction"):
        assert getattr(own.feature_info, name)() == getattr(info, name)()
    stages = max(each["stage"] for each in info.get_dicts(keys=["stage"]))
    theirs.blocks = theirs.blocks[:stages]
    assert list(own.state_dict()) == list(theirs.state_dict())
    assert (own.bn1.eps, own.bn1.momentum) == (theirs.bn1.eps, theirs.bn1.momentum)
    fresh = [[each.std() for name, each in net.state_dict().items() if "conv" in name] for net in (own, theirs)]
    np.testing.assert_allclose(*fresh, rtol=0.35)  # of a few hundred random weights, at the least
    assert encoder_radius(own, 5, stride=1) == encoder_radius(theirs, 5, stride=1)
    lively(theirs)
    own.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 5, 64, 96)
    for training in (True, False):  # the first changes the statistics, of both alike
        for mine, given in zip(own.train(training)(images), theirs.train(training)(images), strict=True):
            assert torch.equal(mine, given)


class Means(torch.nn.Module):
    """Stands for an encoder: means of cells, which depend on the pixels of their own cell alone."""

    def __init__(self, encoder):
        super().__init__()
        self.strides, self.channels = encoder.feature_info.reduction(), encoder.feature_info.channels()

    def forward(self, x):
        means = [torch.nn.functional.avg_pool2d(x, stride).mean(dim=1, keepdim=True) for stride in self.strides]
        return [mean.expand(-1, channels, -1, -1) for mean, channels in zip(means, self.channels, strict=True)]


@pytest.mark.parametrize("part", [None, "channel_attention", "self_attention", "pyramid_pooling"])
def test_what_follows_the_encoder_sees_its_share_of_the_receptive_radius(part):
    network = tiny("attention-net", **({part: False} if part else {}))
    share = network.receptive_radius - encoder_radius(network.encoder, 3)
    network.encoder = Means(network.encoder)
    assert measured_radius(network, -1) <= share <= measured_radius(network, -1) + 1


@pytest.mark.parametrize("off", [(), ("channel_attention",), ("spatial_attention",)])
def test_the_pyramid_of_objects_sees_its_share_of_the_receptive_radius(off):
    network = tiny("change-ssd", **dict.fromkeys(off, False))
    share = network.pyramid.receptive_radius - network.pyramid.encoder_radius
    network.pyramid.encoder = Means(network.encoder)
    assert measured_radius(network, -1) == share + 2 + 2  # the mask's convolution, and its way to full size


def test_what_an_encoder_sees_is_the_sum_of_its_convolutions_and_poolings():
    encoder = torch.nn.Sequential(
        torch.nn.Conv2d(5, 4, 3, padding=2, dilation=2),  # 2 pixels on each side
        torch.nn.Conv2d(4, 4, (1, 5), stride=2, padding=(0, 2)),  # 2
        torch.nn.AvgPool2d(3, stride=2, padding=1),  # 1 of 2 pixels
        torch.nn.Conv2d(4, 4, 1),
        torch.nn.MaxPool2d(3, stride=1, padding=1, dilation=2),  # 2 of 4 pixels
    ).train()
    assert encoder_radius(encoder, 5, stride=1) == 14
    assert encoder_radius(encoder, 5, stride=4) == 16
    assert encoder_radius(encoder, 5, stride=7) == 14
    assert encoder_radius(encoder, 5, stride=1, side=32) == 14
    assert encoder.training
    assert not any(each._forward_hooks for each in encoder.modules())


@pytest.mark.parametrize("encoder", ["mobilenetv3_small_100", "vit_tiny_patch16_224", "no_such_model"])
def test_encoders_that_would_break_a_law_or_do_not_exist_are_refused(encoder):
    with pytest.raises(BadOption, match=encoder):
        build_network("attention-net", {"encoder": encoder})


from geochange.detectors.networks.conv_gru import running_means  # noqa: E402


def test_running_means_are_those_of_the_dates_before_and_after():
    series = torch.randn(2, 4, 3, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    before, after = running_means(series)
    for k in range(4):
        torch.testing.assert_close(before[:, k], series[:, : k + 1].mean(dim=1))
        torch.testing.assert_close(after[:, k], series[:, k:].mean(dim=1))
