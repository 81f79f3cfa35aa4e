"""Images and layers in buckets and on web servers: how GDAL asks for them, and what in the environment opens them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from geochange.errors import UnreadableInput
from geochange.names import is_elsewhere

R = TypeVar("R")

FETCH_PAUSES = (0.3, 1.0)  # seconds before a text is asked for again
FETCH_SECONDS = 20.0
MOST_FETCHED = 64 << 20  # bytes

PATIENT = {
    "GDAL_HTTP_MAX_RETRY": "6",
    "GDAL_HTTP_RETRY_DELAY": "0.3",  # seconds, longer each time
    "GDAL_HTTP_CONNECTTIMEOUT": "20",  # seconds
    "GDAL_HTTP_LOW_SPEED_TIME": "60",  # seconds under the speed below, after which a request has failed
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",  # bytes a second
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{name}/" for name in ("curl", "s3", "gs", "az", "adls", "oss", "swift")),
}
"""GDAL's own defaults never ask again, wait for ever, and keep an answer that was cut off for the next reader."""

OPENING = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_NO_SIGN_REQUEST",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_S3",
        "AWS_S3_ENDPOINT",
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS", "GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY", "GS_NO_SIGN_REQUEST"),
    "az": (
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_NO_SIGN_REQUEST",
    ),
    "http": ("GDAL_HTTP_USERPWD", "GDAL_HTTP_HEADERS", "GDAL_HTTP_HEADER_FILE", "GDAL_HTTP_BEARER"),
}
"""Environment variables that open buckets and servers, by what their names have in them."""
_KIND = re.compile(r"(?:/vsi)?(s3|gs|az|http|curl)")


def remote_options() -> dict[str, str]:
    """Return GDAL's options for what is not on a disk, but for those that the environment sets."""
    return {name: value for name, value in (PATIENT | _own_endpoint()).items() if name not in os.environ}


def _own_endpoint() -> dict[str, str]:
    """Return GDAL's form of the address of a server of S3's protocol, which all others take from one variable."""
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not address:
        return {}
    parts = urlsplit(address)
    secure = "NO" if parts.scheme == "http" else "YES"
    return {"AWS_S3_ENDPOINT": parts.netloc, "AWS_HTTPS": secure, "AWS_VIRTUAL_HOSTING": "FALSE"}


def opening_variables(name: str) -> list[str]:
    """Return the environment variables that are set here and open what a name stands for; none for a file."""
    found = _KIND.match(name) if is_elsewhere(name) else None
    kind = "" if found is None else found[1].replace("curl", "http")
    return [each for each in OPENING.get(kind, ()) if each in os.environ]


def again(path: str, call: Callable[[], R], pauses: Sequence[float]) -> R:
    """Call, and where a file elsewhere could not be read call again: GDAL takes an answer that was cut off for whole.

    Args:
        path: of the file.
        call: reads it.
        pauses: seconds before each further call.

    Raises:
        UnreadableInput: the last call failed, too.
    """
    for pause in pauses if is_elsewhere(path) else ():
        try:
            return call()
        except UnreadableInput:
            time.sleep(pause)
    return call()


def fetched(address: str) -> bytes:
    """Return what a web server answers at an address; again, where it does not, as for images.

    Raises:
        OSError: it does not answer, or says that there is nothing.
        ValueError: the answer is too large to be a text.
    """
    for pause in (*FETCH_PAUSES, None):
        try:
            with urlopen(Request(address, headers={"Accept": "application/json"}), timeout=FETCH_SECONDS) as answer:
                content: bytes = answer.read(MOST_FETCHED + 1)
            break
        except HTTPError as error:
            if error.code < 500 or pause is None:
                raise OSError(f"the server answers {error.code} {error.reason}") from error
            time.sleep(pause)
        except URLError:
            if pause is None:
                raise
            time.sleep(pause)
    if len(content) > MOST_FETCHED:
        raise ValueError(f"it holds more than {MOST_FETCHED >> 20} MB")
    return content


@contextmanager
def patient_layers() -> Iterator[None]:
    """Give pyogrio's GDAL the options, too: it is not the one of rasterio."""
    from pyogrio import get_gdal_config_option, set_gdal_config_options

    options = {name: value for name, value in remote_options().items() if get_gdal_config_option(name) is None}
    set_gdal_config_options(options)
    try:
        yield
    finally:
        set_gdal_config_options(dict.fromkeys(options))
