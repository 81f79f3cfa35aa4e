"""Layers against plain computations in numpy and scipy."""

import numpy as np
import pytest
from scipy.ndimage import correlate, uniform_filter
from scipy.special import expit

torch = pytest.importorskip("torch")

from geochange.detectors.networks.layers import (  # noqa: E402
    ChannelAttention,
    NeighbourhoodAttention,
    PyramidPooling,
    SpatialAttention,
    conv_block,
    conv_blocks,
    upsample,
    upsampled_radius,
    window_mean,
)

LAYERS = {
    "conv_block": lambda: conv_block(8, 8),
    "conv_blocks": lambda: conv_blocks(8, 8, 3),
    "ChannelAttention": lambda: ChannelAttention(8, 5),
    "SpatialAttention": SpatialAttention,
    "NeighbourhoodAttention": lambda: NeighbourhoodAttention(8, 5, heads=2),
    "PyramidPooling": lambda: PyramidPooling(8, (3, 5)),
}


def some_map(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window", [1, 3, 7, 13])
def test_window_mean_is_the_mean_of_what_lies_inside(window):
    x = some_map(2, 3, 9, 11).double()
    size = (1, 1, window, window)
    inside = uniform_filter(np.ones(x.shape), size, mode="constant")
    expected = uniform_filter(x.numpy(), size, mode="constant") / inside
    np.testing.assert_allclose(window_mean(x, window), expected, atol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_keep_the_shape_and_move_with_their_input(name):
    torch.manual_seed(0)
    layer, x = LAYERS[name]().eval(), some_map(1, 8, 12, 40)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.3)
        still, moved = layer(x[..., :-1]), layer(x[..., 1:])
    assert still.shape == (1, 8, 12, 39)
    torch.testing.assert_close(moved[..., 10:28], still[..., 11:29], rtol=0, atol=1e-5)
    assert (moved[..., :-1] - still[..., 1:]).abs().max() > 1e-4  # the borders do differ


def test_a_block_with_a_stride_divides_the_size():
    assert conv_block(3, 5, stride=2)(some_map(1, 3, 12, 8)).shape == (1, 5, 6, 4)


def sigmoid_of(weight, bias, x):
    """Sigmoid of a convolution."""
    return expit(plain_convolution(weight, bias, x))


def plain_convolution(weight, bias, x):
    """(k, c, rows, cols), (k,) and (c, y, x) -> (k, y, x), zeros around."""
    each = [
        sum(correlate(plane, kernel, mode="constant") for plane, kernel in zip(x, own, strict=True)) for own in weight
    ]
    return np.stack(each) + bias[:, None, None]


def numbers_of(convolution):
    return convolution.weight.detach().numpy(), convolution.bias.detach().numpy()


def test_channel_attention_gates_channels_by_what_lies_around():
    torch.manual_seed(0)
    layer, x = ChannelAttention(8, 3, reduction=2).double(), some_map(1, 8, 7, 9).double()
    inside = uniform_filter(np.ones((8, 7, 9)), (1, 3, 3), mode="constant")
    means = uniform_filter(x[0].numpy(), (1, 3, 3), mode="constant") / inside
    first, _, second = layer.gate
    hidden = np.maximum(plain_convolution(*numbers_of(first), means), 0)
    assert hidden.shape == (4, 7, 9)
    expected = x[0].numpy() * sigmoid_of(*numbers_of(second), hidden)
    np.testing.assert_allclose(layer(x)[0].detach(), expected, atol=1e-12)


def test_spatial_attention_gates_pixels_by_the_mean_and_maximum_of_channels_around():
    torch.manual_seed(0)
    layer, x = SpatialAttention(3).double(), some_map(1, 8, 7, 9).double()
    seen = np.stack([x[0].numpy().mean(axis=0), x[0].numpy().max(axis=0)])
    expected = x[0].numpy() * sigmoid_of(*numbers_of(layer.gate), seen)
    np.testing.assert_allclose(layer(x)[0].detach(), expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 5), (2, 3)])
def test_neighbourhood_attention_is_attention_to_the_cells_around(shape):
    torch.manual_seed(0)
    layer = NeighbourhoodAttention(6, window=3, heads=2).double().eval()
    for parameter in (layer.place, layer.project.weight, layer.project.bias):
        torch.nn.init.normal_(parameter)
    x = some_map(1, 6, *shape).double()
    with torch.no_grad():
        found = layer(x)
        query, key, value = layer.qkv(layer.norm(x))[0].chunk(3)
        mixed = attend(query.numpy(), key.numpy(), value.numpy(), layer.place.numpy(), window=3)
        expected = x + layer.project(torch.from_numpy(mixed)[None])
    torch.testing.assert_close(found, expected)


def attend(query, key, value, place, window):
    """(c, y, x) each -> (c, y, x), cell by cell and head by head; `place` is (heads, 1, window * window, 1)."""
    channels, rows, cols = query.shape
    heads, reach = len(place), window // 2
    depth, mixed = channels // heads, np.zeros_like(query)
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        bias = place[head].reshape(window, window)
        for row, col in np.ndindex(rows, cols):
            around = [
                (r, c)
                for r in range(max(row - reach, 0), min(row + reach + 1, rows))
                for c in range(max(col - reach, 0), min(col + reach + 1, cols))
            ]
            scores = [
                query[part, row, col] @ key[part, r, c] / np.sqrt(depth) + bias[r - row + reach, c - col + reach]
                for r, c in around
            ]
            weights = np.exp(scores) / np.exp(scores).sum()
            mixed[part, row, col] = sum(w * value[part, r, c] for w, (r, c) in zip(weights, around, strict=True))
    return mixed


def test_fresh_neighbourhood_attention_is_the_identity():
    x = some_map(1, 8, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(NeighbourhoodAttention(8, 3)(x), x, rtol=0, atol=0)


@pytest.mark.parametrize(("stride", "times"), [(2, 2), (4, 2), (8, 4), (16, 16), (8, 8)])
def test_an_enlarged_map_depends_on_pixels_up_to_its_radius_and_no_farther(stride, times):
    """A cell of radius 0 depends on its own pixels alone."""
    fine, reached = stride // times, 0
    weights = upsample(torch.eye(9)[None, :, None].repeat(1, 1, 2, 1), times)[0, :, 0]  # (old cell, new cell)
    for old, new in torch.nonzero(weights[:, 2 * times : -2 * times]).tolist():
        first, last = (new + 2 * times) * fine, (new + 2 * times + 1) * fine - 1
        reached = max(reached, first - old * stride, (old + 1) * stride - 1 - last)
    assert reached == upsampled_radius(0, stride, times)
