import numpy as np
import pytest

import geochange
from tests.stand_ins import changed_pair, write_raster


@pytest.mark.parametrize("side", [100, 300])
def test_the_share_of_nodata_counts_each_pixel_once(tmp_path, side):
    before, after = np.clip(changed_pair((600, 600)), 1, 255)
    before[:, :, :side] = 0
    paths = [write_raster(tmp_path / f"{i}.tif", date, nodata=0) for i, date in enumerate((before, after))]
    assert geochange.check(*paths).nodata == pytest.approx(side / 600, abs=1e-9)
