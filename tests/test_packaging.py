"""What the project says of itself: dependencies, imports, the command."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARY = sorted((ROOT / "geochange").rglob("*.py"))

# Folders in the order of the design: a module imports from folders above its own, or from its own.
ORDER = ["arrays", "errors", "scenes", "detectors", "engine", "products", "pipeline", "cli"]
# Modules that open no files and compute on arrays alone.
PURE = [
    "scenes/grid",
    "scenes/tiling",
    "scenes/differences",
    "scenes/registration",
    "scenes/radiometry",
    "scenes/preflight",
    "engine/blend",
    "engine/thumbnails",
    "products/thresholds",
    "products/polygons",
    "products/rings",
    "products/seams",
    "products/features",
    "products/preview",
    "products/evaluation",
    "products/object_scores",
]


def imports_of(path, *, top_level_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def folder_of(module):
    return module.split(".")[1] if module.startswith("geochange.") else None


def test_environment_yml_says_the_same_as_pyproject():
    lines = re.findall(r"^  - (\S+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    conda = sorted(set(lines) - {"conda-forge", "pip", f"python{PROJECT['requires-python']}"})
    assert conda == sorted(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"])


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path):
    parts = path.relative_to(ROOT / "geochange").with_suffix("").parts
    own = parts[0]
    if own in {"__init__", "__main__"}:
        return
    above = ORDER[: ORDER.index(own) + 1]
    assert [name for name in imports_of(path) if (folder := folder_of(name)) and folder not in above] == []


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_read_and_write_nothing(module):
    openers = {"rasterio", "pyogrio", "geopandas", "os", "shutil", "tempfile", "dask", "distributed", "pathlib", "io"}
    found = {
        name.split(".")[0] for name in imports_of(ROOT / "geochange" / f"{module}.py") if name != "rasterio.windows"
    }
    assert found & openers == set()


def test_dependencies_are_what_the_library_imports():
    known_as = {"pillow": "PIL"}
    declared = {re.match(r"[a-z0-9-]+", name)[0] for name in PROJECT["dependencies"]}
    imported = {name.split(".")[0] for path in LIBRARY for name in imports_of(path)}
    foreign = imported - set(sys.stdlib_module_names) - {"geochange"}
    assert foreign == {known_as.get(name, name) for name in declared}


def test_help_needs_nothing_heavy():
    heavy = ("dask", "rasterio", "torch", "numpy")
    code = f"import sys; from geochange.cli.program import app; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "[]"


def test_the_package_loads_nothing_before_it_is_asked():
    code = (
        "import sys, geochange; print('numpy' in sys.modules); geochange.DetectOptions; print('numpy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.split() == ["False", "True"]
