"""Secrets in paths, URLs, connection strings and headers: none is printed or kept."""

import json
import pickle
import string
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import geochange.errors
from geochange.redaction import plain, redact

SECRET = st.text(string.ascii_letters + string.digits + "_~+/@:$-.", min_size=8, max_size=30).map("9{}".format)
WORD = st.text(string.ascii_lowercase, min_size=3, max_size=8)
FORMS = [
    "https://{word}:{secret}@example.org/x.tif",
    "https://{secret}@example.org/x.tif",
    "/vsicurl/http://{word}:{secret}@example.org/{word}.gpkg",
    "https://example.org/{word}.tif?X-Amz-Signature={secret}&X-Amz-Date={word}",
    "https://example.org/{word}.tif?sv=2024&sig={secret}",
    "https://example.org/{word}.tif?{word}={secret}|layername=a",
    "/vsicurl/https://example.org/{word}.tif?token={secret}",
    "/vsicurl?url={quoted}&max_retry=2",
    "/vsicurl?header.Authorization=Bearer%20{secret}&url=https%3A%2F%2Fexample.org%2Fx.tif",
    "/vsis3?access_key={secret}",
    "PG:host=db user={word} password={secret} dbname=changes",
    "PG:host=db password='{secret}' dbname=changes",
    "postgresql://{word}:{secret}@db/changes",
    "tls://{word}:{secret}@scheduler:8786",
    "Authorization: Bearer {secret}",
    "X-Api-Key: {secret}",
    "{word}: HTTP 403 for https://example.org/{word}?{word}={secret}: forbidden",
]


@given(form=st.sampled_from(FORMS), secret=SECRET, word=WORD)
def test_no_secret_is_left_and_the_rest_stays(form, secret, word):
    assume("/" not in secret or "https://{secret}@" not in form)  # there it would end the name of the host
    quoted = quote(f"https://{word}:{secret}@example.org/x.tif?sig={secret}", safe="")
    found = redact(form.format(secret=secret, word=word, quoted=quoted))
    assert secret not in found
    assert redact(found) == found
    for part in ("example.org", "host=db", "scheduler:8786", "|layername=a", "dbname=changes", "forbidden"):
        assert (part in found) == (part in form or (part == "example.org" and "{quoted}" in form))


def test_a_name_and_password_without_a_scheme_are_hidden():
    assert redact("invalid address 'me:hunter22@127.0.0.1:1'") == "invalid address '***@127.0.0.1:1'"


@given(st.text())
def test_redacting_twice_is_redacting_once(text):
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "name",
    [
        "/data/was?/2020/before.tif",
        "C:\\images\\before.tif",
        "/vsis3/bucket/key.tif",
        "/vsizip/pair.zip/before.tif",
        "zip://pair.zip!before.tif",
        "vrt://before.tif?bands=3,2,1",
        "s3://bucket/key.tif",
        "tcp://scheduler:8786",
        "https://example.org/before.tif",
        "changes.gpkg|layername=changes",
        "sigma=0.5, tokens=4, threshold=f1, author=me",
        "write to me@example.org",
        "C:\\images@0.5",
        "images@0.5",
        'NETCDF:"x.nc":ndvi',
    ],
)
def test_names_without_secrets_stay(name):
    assert redact(name) == name


@given(secret=SECRET)
def test_records_hold_no_secret(secret):
    name = f"/vsicurl/https://example.org/x.tif?sig={secret}"
    record = {"inputs": [name, {"aoi": name}], name: 1, "pixels": 4, "gsd": None, "tiles": (1, 2)}
    kept = plain(record)
    assert secret not in json.dumps(kept)
    assert (kept["pixels"], kept["gsd"], kept["tiles"]) == (4, None, [1, 2])
    assert plain(kept) == kept


ERRORS = [each for each in vars(geochange.errors).values() if isinstance(each, type) and issubclass(each, Exception)]


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_print_no_secret_also_after_a_worker_raised_them(kind):
    error = kind("https://me:hunter22@example.org/x.tif does not exist")
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert str(each) == "https://***@example.org/x.tif does not exist"
