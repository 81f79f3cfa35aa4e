"""Small disks, which tests fill."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def disk(folder, size):
    """A disk of so many bytes."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("disks can be mounted by root alone")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # one that was killed may hold it still
