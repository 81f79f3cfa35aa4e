"""The mean over flips and quarter turns."""

import numpy as np
import pytest
import torch

from geochange.detectors.networks.symmetry import symmetric_mean


def symmetries(dates):
    """The eight, as numpy knows them: quarter turns, of the image and of its mirror image."""
    for mirrored in (False, True):
        for turns in range(4):
            seen = np.flip(dates, -1) if mirrored else dates
            yield mirrored, turns, np.rot90(seen, turns, axes=(-2, -1))


def turn_back(output, mirrored, turns):
    output = np.rot90(output, -turns, axes=(-2, -1))
    return np.flip(output, -1) if mirrored else output


def slanted(dates):
    """(n, 2, y, x): what lies above and to the left counts, and where a pixel lies."""
    rows = torch.cumsum(dates[:, 1] - 2 * dates[:, 0], dim=-2)
    cols = torch.cumsum(dates[:, 0] * dates[:, 1], dim=-1)
    place = torch.arange(dates.shape[-1]) + 10 * torch.arange(dates.shape[-2])[:, None]
    return torch.cat([(rows * place).sum(1, keepdim=True), (rows - cols**2).sum(1, keepdim=True)], dim=1)


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (4, 4), (1, 7)])
def test_the_mean_is_taken_over_all_eight_symmetries_each_turned_back(size):
    dates = torch.randn(3, 2, 3, *size, dtype=torch.float64)
    expected = np.mean(
        [
            turn_back(slanted(torch.from_numpy(seen.copy())).numpy(), mirrored, turns)
            for mirrored, turns, seen in symmetries(dates.numpy())
        ],
        axis=0,
    )
    found = symmetric_mean(slanted, dates, torch.flip)
    assert found.shape == (3, 2, *size)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("mirrored", "turns"), [(False, 1), (False, 2), (True, 0), (True, 3)])
def test_what_is_turned_is_scored_as_before_and_turned(mirrored, turns):
    dates = torch.randn(2, 2, 3, 4, 6, dtype=torch.float64).numpy()
    seen = next(each for m, t, each in symmetries(dates) if (m, t) == (mirrored, turns))
    found = symmetric_mean(slanted, torch.from_numpy(seen.copy()), torch.flip).numpy()
    expected = symmetric_mean(slanted, torch.from_numpy(dates), torch.flip).numpy()
    np.testing.assert_allclose(turn_back(found, mirrored, turns), expected, rtol=1e-10, atol=1e-10)


def test_the_network_sees_each_symmetry_once():
    seen = []

    def network(dates):
        seen.append(dates.numpy().copy())
        return dates[:, 0]

    dates = torch.arange(12.0).reshape(1, 1, 1, 3, 4)
    symmetric_mean(network, dates, torch.flip)
    expected = [each.tobytes() for _, _, each in symmetries(dates.numpy())]
    assert sorted(each.tobytes() for each in seen) == sorted(expected)
    assert {each.shape[-2:] for each in seen} == {(3, 4), (4, 3)}


def test_a_network_that_sees_single_pixels_gives_the_same_as_without():
    dates = torch.randint(-8, 8, (2, 2, 3, 4, 6)).float()
    before = dates.clone()
    assert torch.equal(
        symmetric_mean(lambda seen: seen[:, 1] - seen[:, 0], dates, torch.flip), dates[:, 1] - dates[:, 0]
    )
    assert torch.equal(dates, before)


def test_the_order_of_dates_bands_and_scenes_stays():
    dates = torch.randn(3, 2, 3, 4, 4)
    single = torch.cat([symmetric_mean(slanted, each[None], torch.flip) for each in dates])
    torch.testing.assert_close(symmetric_mean(slanted, dates, torch.flip), single)


def test_what_points_to_a_mark_points_to_it_in_every_symmetry():
    """The mean of eight equal answers is the answer: each is turned back with its direction."""
    image = torch.zeros(2, 1, 1, 7, 5)
    image[0, 0, 0, 1, 3] = image[1, 0, 0, 6, 0] = 1

    def pointing(dates):
        rows, cols = torch.meshgrid(*map(torch.arange, dates.shape[-2:]), indexing="ij")
        found = [torch.nonzero(each[0, 0])[0] for each in dates]
        return torch.stack([torch.stack([torch.ones_like(cols), at[1] - cols, at[0] - rows]) for at in found]).float()

    torch.testing.assert_close(symmetric_mean(pointing, image, torch.flip, 1), pointing(image))
    assert not torch.equal(symmetric_mean(pointing, image, torch.flip), pointing(image))
