"""Where a network looked, of a network whose features are its image."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from geochange.detectors.networks.contract import Network, outputs_needed  # noqa: E402
from geochange.detectors.networks.explanation import activation_maps  # noqa: E402


class BandsAsClasses(Network):
    """Each band of the second date is the logit of its own class, after the channel of no change."""

    name, stride, receptive_radius = "bands-as-classes", 1, 0

    class Encoder(torch.nn.Module):
        feature_info = "one scale"

        def forward(self, x):
            return [x * 1.0]

    def __init__(self, *classes):
        super().__init__(SimpleNamespace(classes=classes))
        self.encoder = self.Encoder()

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
