import sys

import numpy as np
import pytest

from geochange.errors import BadOption, BandMismatch
from geochange.kinds.indices import ROLES, brightness, compute_index, parse_roles, require_index, roles_in

RED, NIR, BLUE = np.array([0.1, 0.3, 0.0]), np.array([0.5, 0.3, 0.0]), np.array([0.05, 0.1, 0.0])


def test_roles_are_parsed():
    assert parse_roles("red=3, NIR=4,swir1=5") == {"red": 3, "nir": 4, "swir1": 5}


@pytest.mark.parametrize("text", ["", "red", "red=0", "red=x", "pink=1", "red=1,red=2", "red=-1", "=1"])
def test_bad_roles_are_refused(text):
    with pytest.raises(BadOption, match=r"must be as in nir=4|give them as in red=1"):
        parse_roles(text)


def test_roles_are_read_from_what_a_file_calls_its_bands():
    names = [("Blue", "gray"), (None, "green"), ("B04", "red"), ("Near Infrared", "undefined"), ("nir", "undefined")]
    assert roles_in(names) == {"blue": 1, "green": 2, "red": 3, "nir": 4}
    assert roles_in([(None, "gray"), (None, "undefined")]) == {}


def test_ndvi_is_the_normalised_difference_and_undefined_in_the_dark():
    values = compute_index("NDVI", {"red": RED, "nir": NIR})
    np.testing.assert_allclose(values, [(0.5 - 0.1) / (0.5 + 0.1), 0, np.nan])


def test_integers_do_not_wrap_around():
    bands = {"red": np.array([200], np.uint8), "nir": np.array([100], np.uint8)}
    assert compute_index("NDVI", bands)[0] == pytest.approx(-1 / 3)


def test_constants_of_a_formula_are_those_of_the_list():
    found = compute_index("EVI", {"red": RED, "nir": NIR, "blue": BLUE})
    np.testing.assert_allclose(found[0], 2.5 * (0.5 - 0.1) / (0.5 + 6 * 0.1 - 7.5 * 0.05 + 1))


def test_indices_are_found_whatever_their_case():
    assert require_index("ndvi", {"red": 1, "nir": 2}) == "NDVI"


def test_what_an_index_lacks_is_named():
    with pytest.raises(BandMismatch, match="NDBI needs the band swir1"):
        require_index("NDBI", {"red": 1, "nir": 2})
    with pytest.raises(BadOption, match="'NDXX' is not in the list"):
        require_index("NDXX", {"red": 1})
    with pytest.raises(BadOption, match="kNDVI needs kNN"):
        require_index("kNDVI", dict.fromkeys(ROLES, 1))


def test_without_spyndex_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "spyndex", None)
    with pytest.raises(BadOption, match="pip install"):
        require_index("NDVI", {"red": 1, "nir": 2})


def test_brightness_is_the_mean_of_the_visible_bands():
    bands = {"red": np.array([30]), "green": np.array([60]), "blue": np.array([90]), "nir": np.array([250])}
    assert brightness(bands)[0] == 60
    assert brightness({"nir": np.array([250])})[0] == 250
