"""Files in a bucket of S3, Google Cloud or Azure, by obstore: what a run leaves there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from geochange.errors import BadOption, OutputInTheWay, UnreadableInput
from geochange.extras import require_packages
from geochange.redaction import redact
from geochange.remote import opening_variables

SCHEMES = ("s3://", "gs://", "az://", "abfs://")


def is_bucket(name: object) -> bool:
    """Return whether a name is a folder of a bucket that can be written."""
    return isinstance(name, str) and name.startswith(SCHEMES)


@dataclass(frozen=True)
class Bucket:
    """A folder in a bucket."""

    url: str
    store: Any

    def __str__(self) -> str:
        return redact(self.url)

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none.

        Raises:
            UnreadableInput: the bucket does not answer.
        """
        import obstore

        try:
            return bytes(obstore.get(self.store, name).bytes())
        except FileNotFoundError:
            return None
        except Exception as error:  # obstore's errors have no class of their own above them
            raise UnreadableInput(f"{self}/{name} cannot be read: {_brief(error)}") from error

    def write(self, name: str, content: Path | bytes) -> None:
        """Write a file, which appears whole; a large one travels in parts.

        Raises:
            OutputInTheWay: it cannot be written.
        """
        import obstore

        try:
            obstore.put(self.store, name, content)
        except Exception as error:  # as above
            raise OutputInTheWay(f"{self}/{name} cannot be written: {_brief(error)}") from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there.

        Raises:
            OutputInTheWay: one cannot be removed.
        """
        import obstore

        for name in names:
            try:
                obstore.delete(self.store, name)
            except FileNotFoundError:
                continue
            except Exception as error:  # as above
                raise OutputInTheWay(f"{self}/{name} cannot be removed: {_brief(error)}") from error

    def names(self) -> set[str]:
        """Return the names of all files, with those of folders in it before them.

        Raises:
            UnreadableInput: the bucket does not answer.
        """
        import obstore

        try:
            return {str(each["path"]) for batch in obstore.list(self.store) for each in batch}
        except Exception as error:  # as above
            raise UnreadableInput(f"{self} cannot be listed: {_brief(error)}") from error

    def require_writable(self) -> None:
        """Refuse, before any work is done, a bucket that cannot be written.

        Raises:
            OutputInTheWay: the message gives the reason.
        """
        probe = f".geochange-{uuid4().hex[:8]}"
        try:
            self.write(probe, b"")
        except OutputInTheWay as error:
            if opening_variables(self.url):
                raise
            raise OutputInTheWay(
                f"{error}; no variable that opens buckets is set, such as AWS_ACCESS_KEY_ID"
            ) from error
        self.remove([probe])


def open_bucket(url: str) -> Bucket:
    """Return a folder in a bucket; what opens it comes from the environment, as for Amazon's and Google's own tools.

    Raises:
        BadOption: obstore is not installed, or the address has no bucket.
    """
    require_packages("a result in a bucket", "bucket", "obstore")
    from obstore.store import from_url

    url = url.rstrip("/")
    try:
        return Bucket(url, from_url(url, client_options={"allow_http": True}, **_endpoint(url)))
    except Exception as error:  # as above
        raise BadOption(f"{redact(url)} is no folder of a bucket: {_brief(error)}") from error


def _endpoint(url: str) -> dict[str, Any]:
    """Return the address of a server of S3's protocol, where it is given in GDAL's form alone."""
    own = os.environ.get("AWS_S3_ENDPOINT")
    if not url.startswith("s3://") or not own or "AWS_ENDPOINT_URL" in os.environ:
        return {}
    scheme = "http" if os.environ.get("AWS_HTTPS", "YES").upper() in ("NO", "FALSE", "OFF") else "https"
    return {"config": {"endpoint": own if "://" in own else f"{scheme}://{own}"}}


def _brief(error: Exception) -> str:
    """Return the first line of an error, without what a server has written."""
    return redact(" ".join(str(error).split("<?xml")[0].split("\n\n")[0].split()))
