"""How a Dask cluster is reached: one of this machine, one by its address, one of a queue, or a client of the caller."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from multiprocessing import parent_process
from typing import Any
from urllib.parse import urlsplit

from geochange.errors import BadOption

ENCRYPTED = "tls", "wss", "inproc"
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}  # as `allocator.use_one_arena`


@contextmanager
def local_client(workers: int, module: str | None) -> Iterator[Any]:
    """Start worker processes of this machine, which load a module before they take tasks."""
    from distributed import Client, LocalCluster

    with _ignoring_interrupts():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,  # blocks bound the memory; the nanny's limit would kill workers on shared machines
            dashboard_address="127.0.0.1:0",  # any free port: None takes 8787, or warns
            silence_logs=50,
            preload=[] if module is None else [module],
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def client_at(address: str) -> Iterator[Any]:
    """Reach a running cluster; keys for tls:// come from Dask's configuration.

    Raises:
        BadOption: no scheduler answers there.
    """
    from distributed import Client

    client = Client.__new__(Client)
    try:
        Client.__init__(client, address, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:  # of keys for tls:// that are not given, too
        with suppress(AttributeError):  # of one that failed early
            client.close()  # else that is done when it is collected, and waits for ever if another is just being made
        raise BadOption(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def require_client(client: Any) -> Any:
    """Return a caller's client; BadOption where it is none, or cannot be used."""
    from distributed import Client

    if not isinstance(client, Client):
        raise BadOption(f"client {type(client).__name__} must be a distributed.Client, as in Client(cluster)")
    if client.asynchronous or client.status != "running":
        state = "asynchronous" if client.asynchronous else client.status
        raise BadOption(f"the client is {state}; it must be running, and made without asynchronous=True")
    return client


def open_to_others(client: Any) -> str | None:
    """Return the address at which others can reach a scheduler without encryption; None where they cannot."""
    address = str(client.scheduler_info(n_workers=0).get("address", client.scheduler.address))
    parts = urlsplit(address)
    if parts.scheme in ENCRYPTED:
        return None
    try:
        return None if ip_address(parts.hostname or "").is_loopback else address
    except ValueError:  # a name
        return None if parts.hostname == "localhost" else address


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start worker processes that ignore Ctrl-C, which is for this process to answer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def quiet_dask() -> Iterator[None]:
    """Keep Dask from printing tracebacks of what is told as an error of ours."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado.application")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


def take_number() -> None:
    """Give a worker process of this machine its number, as torchrun does, by which it finds its own GPU."""
    from distributed import get_worker

    name = get_worker().name
    if isinstance(name, int) and parent_process() is not None:  # not the process of the caller
        os.environ.setdefault("LOCAL_RANK", str(name))
