"""Where a network looked, of a network whose features are its image."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from geochange.detectors.networks.contract import Network, outputs_needed  # noqa: E402
from geochange.detectors.networks.explanation import activation_maps  # noqa: E402
from tests.tiny_network import ImageEncoder  # noqa: E402


class BandsAsClasses(Network):
    """Each band of the second date is the logit of its own class, after the channel of no change."""

    name, stride, receptive_radius = "bands-as-classes", 1, 0

    def __init__(self, *classes):
        super().__init__(SimpleNamespace(classes=classes))
        self.encoder = ImageEncoder()

    def outputs(self, dates):
        (features,) = self.encoder(dates.transpose(0, 1).flatten(0, 1))
        after = features.chunk(2)[1]
        unchanged = outputs_needed(self.classes) - len(self.classes)
        return [torch.cat([-after.sum(dim=1, keepdim=True)] * unchanged + [after], dim=1)]


@pytest.mark.parametrize("classes", [("change",), ("built", "cleared", "flooded")])
def test_what_is_explained_is_the_class_that_is_asked_for(classes):
    dates = torch.zeros(1, 2, len(classes), 12, 17)
    squares = [(..., slice(2 * k, 2 * k + 2), slice(5 * k, 5 * k + 3)) for k in range(len(classes))]
    for k, square in enumerate(squares):
        dates[:, 1, k][square] = k + 1.0
    for k, square in enumerate(squares):
        wanted, expected = torch.zeros(len(classes), 12, 17), torch.zeros(2, 12, 17)
        wanted[k] = 1
        expected[1][square] = 1
        torch.testing.assert_close(activation_maps(BandsAsClasses(*classes), dates, wanted), expected)


class TwoScales(Network):
    """The logit of a pixel is a weighted sum of both dates' features, the image itself and 2 x 3 means of it."""

    name, stride, receptive_radius = "two-scales", 6, 0

    class Encoder(torch.nn.Module):
        feature_info = "two scales and one that nothing uses"

        def forward(self, x):
            return [x * 1.0, torch.nn.functional.avg_pool2d(x, (2, 3)), x[..., :1, :1] * 1.0]

    def __init__(self, weights):
        super().__init__(SimpleNamespace(classes=("change",)))
        self.encoder, self.weights = self.Encoder(), weights  # (scale, time, band)

    def outputs(self, dates):
        fine, coarse, _ = self.encoder(dates[0])
        enlarged = coarse.repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)
        weighted = self.weights[0, :, :, None, None] * fine + self.weights[1, :, :, None, None] * enlarged
        return [weighted.sum(dim=(0, 1))[None, None]]


def generic_dates(*shape):
    return torch.rand(1, 2, 2, *shape, generator=torch.Generator().manual_seed(0)) + 0.1


def test_a_date_that_says_little_shows_as_little():
    """Both dates' heat is a share of the greatest of either."""
    dates = generic_dates(12, 18)
    dates[:, 1] = dates[:, 0]
    weights = torch.zeros(2, 2, 2)
    weights[0, 0], weights[0, 1] = 0.2, 1.0
    first, second = activation_maps(TwoScales(weights), dates, torch.ones(1, 12, 18))
    assert second.max() == pytest.approx(0.5)  # the coarse scale, which says nothing, counts as none
    torch.testing.assert_close(first, second / 5)


@pytest.mark.parametrize("seed", range(4))
def test_a_map_is_the_mean_of_scales_each_a_share_of_its_greatest_heat(seed):
    dates = generic_dates(12, 18)
    weights = torch.randn(2, 2, 2, generator=torch.Generator().manual_seed(seed))
    weights[:, 1, 0] = weights[:, 1, 0].abs()  # each scale has some heat
    wanted = torch.zeros(1, 12, 18)
    wanted[0, 2:7, 3:11] = 1
    expected = []
    for scale, features in enumerate((dates[0], torch.nn.functional.avg_pool2d(dates[0], (2, 3)))):
        raised = (weights[scale][:, :, None, None] * features).sum(dim=1).clamp(min=0)
        share = (raised / raised.max())[None]
        expected.append(torch.nn.functional.interpolate(share, (12, 18), mode="bilinear", align_corners=False)[0])
    found = activation_maps(TwoScales(weights), dates, wanted)
    torch.testing.assert_close(found, sum(expected) / 2, rtol=1e-5, atol=1e-5)


def test_a_place_that_no_feature_raises_has_no_heat_and_no_division_by_zero():
    found = activation_maps(TwoScales(-torch.ones(2, 2, 2)), generic_dates(12, 18), torch.ones(1, 12, 18))
    torch.testing.assert_close(found, torch.zeros(2, 12, 18), rtol=0, atol=0)
