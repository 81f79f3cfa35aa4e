import pytest

from geochange.remote import opening_variables


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("s3://bucket/a.tif", ["AWS_PROFILE"]),
        ("/vsis3/bucket/a.tif", ["AWS_PROFILE"]),
        ("/vsis3_streaming/bucket/a.tif", ["AWS_PROFILE"]),
        ("gs://bucket/a.tif", []),
        ("https://host/a.tif", ["GDAL_HTTP_HEADERS"]),
        ("/vsicurl/https://host/a.tif", ["GDAL_HTTP_HEADERS"]),
        ("/vsizip/a.zip/a.tif", []),
        ("s3.tif", []),
    ],
)
def test_only_what_opens_a_name_is_asked_for(monkeypatch, name, expected):
    for variable in ("AWS_PROFILE", "AWS_REGION", "AWS_PAGER", "GDAL_HTTP_HEADERS", "GDAL_HTTP_MAX_RETRY"):
        monkeypatch.setenv(variable, "x")
    assert opening_variables(name) == expected
