"""Where memory comes from; what it costs is measured in benchmarks/network_speed.py."""

import os
import re
import subprocess
import sys

import pytest

from geochange.engine.cluster import ClusterOptions, open_crew

CODE = """
import ctypes, sys, threading
from geochange.allocator import use_one_arena

def arenas():
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    return open(sys.argv[1]).read().count("<heap nr=")

if sys.argv[2] == "one":
    use_one_arena()
gate = threading.Barrier(4)
def work():
    kept = bytearray(100_000)
    gate.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(arenas())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_threads_share_one_arena(tmp_path):
    counts = {}
    for how in ("many", "one"):
        command = [sys.executable, "-c", CODE, str(tmp_path / "info.xml"), how]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
        run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        counts[how] = int(re.findall(r"\d+", run.stdout)[0])
    assert counts["one"] == 1 < counts["many"]


def arena_setting(_):
    return os.environ.get("MALLOC_ARENA_MAX")


def test_worker_processes_begin_with_one_arena(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    with open_crew(ClusterOptions(workers=1)) as crew:
        assert list(crew.map_ordered(arena_setting, [0])) == ["1"]
