"""Servers on this machine: of S3's protocol, and one of files that fails now and then."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.clusters import running, wait_until

KEYS = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def s3_server(port, *buckets):
    """A process of moto, with empty buckets; yields the environment that opens them."""
    address = f"http://127.0.0.1:{port}"
    with running("moto.server", "-H", "127.0.0.1", "-p", str(port)) as process:
        wait_until(lambda: answers(f"{address}/moto-api/"))
        for bucket in buckets:
            urllib.request.urlopen(urllib.request.Request(f"{address}/{bucket}", method="PUT"))
        yield process, KEYS | {"AWS_ENDPOINT_URL": address}


@contextmanager
def static_server(folder: Path):
    """A process that serves a folder's files; yields its address. In this one it would wait for GDAL, which holds the
    interpreter while it opens a file."""
    port = str(free_port())
    with running("http.server", port, "--bind", "127.0.0.1", "--directory", str(folder)):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))
        yield f"http://127.0.0.1:{port}"


def answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


class Failing(BaseHTTPRequestHandler):
    """Files of a folder, by ranges. One request in five fails: with an error, or without an answer; of a hundred, one
    answer is cut off."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, *, with_body):
        count = next(self.server.count)
        path = self.server.folder / self.path.lstrip("/").partition("?")[0]
        if not path.is_file():
            return self.send_error(404)
        how = None if count % 5 != 2 else 2 if count % 100 == 52 else count // 5 % 2
        if how == 0:
            return self.send_error(503)
        if how == 1:
            self.close_connection = True
            return None
        content = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(asked[1]) if asked else 0
        last = min(int(asked[2] or len(content)) if asked else len(content), len(content) - 1)
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last + 1 - first))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if with_body:
            part = content[first : last + 1]
            self.wfile.write(part[: len(part) // 2] if how == 2 else part)
            self.close_connection = how == 2
        return None

    def log_message(self, *_):
        pass


@contextmanager
def failing_server(folder: Path):
    """Address of a folder's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    server.folder, server.count = folder, itertools.count()
    server.handle_error = lambda *_: None  # a client that went away
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
