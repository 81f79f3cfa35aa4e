"""geochange.learning.losses, against torch, torchvision, torchmetrics and plain formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torchmetrics.functional import f1_score, jaccard_index

from geochange.arrays import IGNORE
from geochange.errors import BadOption
from geochange.learning.losses import (
    LOSSES,
    anchored,
    criterion_of,
    cross_entropy,
    dice,
    focal,
    lovasz,
    mean_squared_error,
    tversky,
)
from geochange.learning.options import TrainOptions

SHAPE = (2, 6, 7)  # n, y, x
CHANNELS = [1, 4]
EVERY = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
KINDS = pytest.mark.parametrize("channels", CHANNELS)


def batch(channels, seed=0, ignored=0.0):
    """Logits and labels, a share of which is ignored."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE[0], channels, *SHAPE[1:], generator=rng)
    labels = torch.randint(0, max(2, channels), SHAPE, generator=rng)
    hidden = torch.rand(SHAPE, generator=rng) < ignored
    return logits, labels.masked_fill(hidden, IGNORE)


def decided(labels, channels):
    """Logits that leave no doubt, of a prediction as other labels."""
    if channels == 1:
        return ((labels > 0).float() * 2 - 1)[:, None] * 200
    return functional.one_hot(labels, channels).movedim(-1, 1).float() * 400


@KINDS
def test_cross_entropy_is_torch_s(channels):
    logits, labels = batch(channels, ignored=0.3)
    if channels == 1:
        kept = labels != IGNORE
        wanted = functional.binary_cross_entropy_with_logits(logits[:, 0][kept], labels[kept].float())
    else:
        wanted = functional.cross_entropy(logits, labels, ignore_index=IGNORE)
    assert cross_entropy(logits, labels) == pytest.approx(float(wanted), rel=1e-6)


@KINDS
def test_dice_is_its_formula(channels):
    logits, labels = batch(channels, ignored=0.3)
    kept = (labels != IGNORE).numpy()
    if channels == 1:
        probabilities = 1 / (1 + np.exp(-logits.numpy()))
    else:
        powers = np.exp(logits.numpy())
        probabilities = (powers / powers.sum(axis=1, keepdims=True))[:, 1:]
    shares = []
    for k in range(probabilities.shape[1]):
        p, t = probabilities[:, k][kept], (labels.numpy() == k + 1)[kept]
        shares.append((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
    assert dice(logits, labels) == pytest.approx(1 - np.mean(shares), rel=1e-5)


def test_dice_of_decided_predictions_is_one_less_f1():
    _, labels = batch(1)
    large = labels.repeat(1, 40, 40)
    other = large.roll(3, dims=2)
    wanted = 1 - float(f1_score(other, large, "binary"))
    assert float(dice(decided(other, 1), large)) == pytest.approx(wanted, abs=1e-3)  # the formula adds 1 to both sums


def test_focal_is_torchvision_s():
    ops = pytest.importorskip("torchvision.ops")
    logits, labels = batch(1)
    wanted = ops.sigmoid_focal_loss(logits[:, 0], labels.float(), alpha=-1, gamma=2, reduction="mean")
    assert focal(logits, labels) == pytest.approx(float(wanted), rel=1e-5)


@KINDS
def test_focal_without_focus_is_cross_entropy(channels):
    logits, labels = batch(channels, ignored=0.3)
    assert focal(logits, labels, gamma=0) == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-6)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(CHANNELS))
def test_lovasz_of_decided_predictions_is_one_less_iou(seed, channels):
    _, labels = batch(channels, seed)
    _, other = batch(channels, seed + 1)
    if channels == 1:
        wanted = 1 - float(jaccard_index(other, labels, "binary"))
    else:
        ious = jaccard_index(other, labels, "multiclass", num_classes=channels, average="none")
        occurs = [k for k in range(1, channels) if (labels == k).any()]
        wanted = 1 - float(ious[occurs].mean())
    assert float(lovasz(decided(other, channels), labels)) == pytest.approx(wanted, abs=1e-6)


@KINDS
def test_lovasz_is_the_jaccard_loss_integrated_over_the_level_of_the_errors(channels):
    logits, labels = batch(channels, seed=3, ignored=0.3)
    kept = labels != IGNORE
    probabilities = torch.sigmoid(logits) if channels == 1 else logits.softmax(dim=1)[:, 1:]
    losses = []
    for k in range(probabilities.shape[1]):
        truth = (labels == k + 1)[kept].numpy()
        errors = np.abs(truth - probabilities[:, k][kept].numpy())
        steps = np.concatenate([[0], np.sort(errors)])
        wrong = [errors > low for low in steps[:-1]]
        jaccard = [each.sum() / (each | truth).sum() for each in wrong]
        losses.append(np.sum(np.diff(steps) * jaccard))
    assert float(lovasz(logits, labels)) == pytest.approx(np.mean(losses), rel=1e-5)


@KINDS
@pytest.mark.parametrize(("name", "other"), [("bce-dice", dice), ("bce-lovasz", lovasz)])
def test_joint_losses_are_the_sum_of_both(name, other, channels):
    logits, labels = batch(channels, ignored=0.3)
    wanted = cross_entropy(logits, labels) + other(logits, labels)
    assert float(LOSSES[name](logits, labels)) == pytest.approx(float(wanted), rel=1e-6)


@EVERY
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), channels=st.sampled_from(CHANNELS))
def test_ignored_pixels_change_nothing_and_learn_nothing(loss, seed, channels):
    logits, labels = batch(channels, seed, ignored=0.4)
    others = torch.where((labels == IGNORE)[:, None], 50 * torch.randn(logits.shape), logits)
    logits.requires_grad_()
    value = loss(logits, labels)
    assert value.item() == pytest.approx(float(loss(others, labels)), rel=1e-5, abs=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient.movedim(1, -1)[labels == IGNORE] == 0).all()


@EVERY
@KINDS
@pytest.mark.parametrize("label", [0, IGNORE], ids=["no change", "nothing labelled"])
@pytest.mark.parametrize("size", [1, 200])
def test_losses_and_gradients_are_finite_without_change(loss, channels, label, size):
    logits = (size * batch(channels)[0]).requires_grad_()
    value = loss(logits, torch.full(SHAPE, label))
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@EVERY
@KINDS
def test_the_truth_costs_less_than_anything_else(loss, channels):
    _, labels = batch(channels)
    truth, other = (loss(decided(each, channels), labels) for each in (labels, labels.flip(2)))
    assert float(truth) < 1e-3
    assert float(other) > 0.1


@EVERY
@KINDS
def test_a_step_down_the_gradient_lowers_the_loss(loss, channels):
    logits, labels = batch(channels, ignored=0.2)
    logits.requires_grad_()
    value = loss(logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    assert loss(logits - 0.1 * gradient, labels).item() < value.item()


@KINDS
def test_what_is_not_labelled_is_held_to_earlier_scores(channels):
    """The sum of the loss of labelled pixels and the mean cross-entropy with earlier probabilities of the others."""
    logits, labels = batch(channels, seed=3, ignored=0.3)
    before, _ = batch(channels, seed=4)
    free = labels == IGNORE
    assert free.any()
    if channels == 1:
        earlier, now = torch.sigmoid(before), torch.sigmoid(logits)
        away = -(earlier * now.log() + (1 - earlier) * (1 - now).log())[:, 0]
    else:
        away = -(torch.softmax(before, dim=1) * torch.log_softmax(logits, dim=1)).sum(dim=1)
    expected = cross_entropy(logits, labels) + 0.7 * away[free].mean()
    torch.testing.assert_close(anchored(cross_entropy, before, 0.7)(logits, labels), expected)
    known = labels.masked_fill(free, 0)
    torch.testing.assert_close(anchored(dice, before, 0.7)(logits, known), dice(logits, known))


def test_earlier_scores_are_not_moved_where_nothing_is_labelled():
    logits, labels = batch(1, seed=5)
    logits = logits.detach().requires_grad_()
    nothing = torch.full_like(labels, IGNORE)
    anchored(cross_entropy, logits.detach(), 1.0)(logits, nothing).backward()
    assert logits.grad.abs().max() < 1e-7


@KINDS
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_weights_and_smoothing_are_torch_s(channels, smoothing):
    logits, labels = batch(channels, ignored=0.3)
    weights = (0.5, 4.0, 2.0, 1.0)[: max(2, channels)]
    two = torch.cat([torch.zeros_like(logits), logits], dim=1) if channels == 1 else logits
    wanted = functional.cross_entropy(
        two, labels, torch.tensor(weights), ignore_index=IGNORE, label_smoothing=smoothing
    )
    assert float(cross_entropy(logits, labels, weights, smoothing)) == pytest.approx(float(wanted), rel=1e-5)
    options = TrainOptions(loss="bce", class_weights=weights, label_smoothing=smoothing)
    criterion = criterion_of(options, len(weights) - 1)
    assert float(criterion(logits, labels)) == pytest.approx(float(wanted), rel=1e-5)


@KINDS
def test_mean_squared_error_is_torch_s(channels):
    logits, labels = batch(channels)
    if channels == 1:
        wanted = functional.mse_loss(torch.sigmoid(logits[:, 0]), labels.float())
    else:
        truth = functional.one_hot(labels, channels).movedim(-1, 1).float()
        wanted = functional.mse_loss(torch.softmax(logits, 1), truth)
    assert float(mean_squared_error(logits, labels)) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("loss", [mean_squared_error, focal])
def test_a_label_that_weighs_twice_counts_twice(loss):
    logits, labels = batch(1)
    parts = [loss(logits, labels.masked_fill(labels != kept, IGNORE)) for kept in (0, 1)]
    sizes = [(labels == kept).sum() for kept in (0, 1)]
    wanted = (parts[0] * sizes[0] + 2 * parts[1] * sizes[1]) / (sizes[0] + 2 * sizes[1])
    assert float(loss(logits, labels, (1.0, 2.0))) == pytest.approx(float(wanted), rel=1e-5)


def test_tversky_is_dice_where_both_errors_weigh_half_and_else_missed_change_costs_more():
    logits, labels = batch(1, ignored=0.3)
    p = torch.sigmoid(logits[:, 0])[labels != IGNORE]
    t = labels[labels != IGNORE].float()
    for false, missed in ((0.5, 0.5), (0.3, 0.7)):
        index = ((p * t).sum() + 1) / ((p * t).sum() + false * (p * (1 - t)).sum() + missed * ((1 - p) * t).sum() + 1)
        assert float(tversky(logits, labels, false, missed)) == pytest.approx(1 - float(index), rel=1e-5)
    truth = torch.zeros(1, 8, 8, dtype=torch.int64)
    truth[:, :4, :4] = 1
    wider, smaller = truth.clone(), truth.clone()
    wider[:, :4, 4] = 1
    smaller[:, :4, 3] = 0
    assert tversky(decided(smaller, 1), truth) > tversky(decided(wider, 1), truth)


def test_weights_must_be_as_many_as_labels():
    with pytest.raises(BadOption, match="class_weights must be 2 numbers, of no change and of each class, not 3"):
        criterion_of(TrainOptions(class_weights=(1, 2, 3)), 1)
    with pytest.raises(BadOption, match=r"class_weights are for the losses bce-dice, .*, not for lovasz"):
        TrainOptions(class_weights=(1, 2), loss="lovasz")
    with pytest.raises(BadOption, match=r"label_smoothing is for the losses .*, not for dice"):
        TrainOptions(label_smoothing=0.1, loss="dice")
