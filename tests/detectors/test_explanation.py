"""Where a network looked: of scores whose answer is known."""

import pytest

torch = pytest.importorskip("torch")

from geochange.detectors.networks.contract import outputs_needed  # noqa: E402
from geochange.detectors.networks.explanation import integrated_gradients  # noqa: E402


def generic_dates(*shape):
    return torch.rand(1, 2, 2, *shape, generator=torch.Generator().manual_seed(0)) + 0.1


@pytest.mark.parametrize("classes", [("change",), ("built", "cleared", "flooded")])
def test_what_is_explained_is_the_class_that_is_asked_for(classes):
    """Each band of the second date is the logit of its own class, after the channel of no change."""
    dates = torch.zeros(1, 2, len(classes), 12, 17)
    squares = [(..., slice(2 * k, 2 * k + 2), slice(5 * k, 5 * k + 3)) for k in range(len(classes))]
    for k, square in enumerate(squares):
        dates[:, 1, k][square] = k + 1.0

    def run(at):
        unchanged = outputs_needed(classes) - len(classes)
        return torch.cat([-at[:, 1].sum(dim=1, keepdim=True)] * unchanged + [at[:, 1]], dim=1)

    for k, square in enumerate(squares):
        wanted, expected = torch.zeros(len(classes), 12, 17), torch.zeros(2, 12, 17)
        wanted[k] = 1
        expected[1][square] = 1
        torch.testing.assert_close(integrated_gradients(run, dates, wanted), expected)


def test_a_date_that_says_little_shows_as_little():
    """Both dates' heat is a share of the greatest of either."""
    dates = generic_dates(6, 6)
    strong = dates.clone()
    strong[:, 1] += 5

    def run(at):
        return (at[:, 1] - 0.25 * at[:, 0])[:, :1]

    maps = integrated_gradients(run, strong, torch.ones(1, 6, 6))
    assert maps.amax() == 1
    torch.testing.assert_close(maps[0], 0.25 * maps[1])


def test_what_cancels_out_is_nothing():
    dates = generic_dates(6, 6)
    same = dates[:, :1].repeat(1, 2, 1, 1, 1)
    maps = integrated_gradients(lambda at: (at[:, 1] - at[:, 0])[:, :1], same, torch.ones(1, 6, 6))
    assert maps.abs().max() == 0
