"""The types of the Python API, written from the functions' signatures and the declarations of their options.

    python -m geochange.cli.stub > geochange/__init__.pyi

Options that the functions take by name stand in it one by one, so that a type checker finds one that is misspelt.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterator
from dataclasses import Field, fields
from importlib import import_module
from types import FunctionType
from typing import Any

import geochange
from geochange.cli.signatures import Signature, signature_of
from geochange.engine.cluster import ClusterOptions

HEAD = (
    '''"""Types of what `geochange` exports. Written by `make stub`; change the functions and options themselves."""'''
)


Imports = dict[str, set[str]]
"""Module -> what is imported from it; nothing for the module itself."""


def stub_text() -> str:
    """Return the text of `__init__.pyi`."""
    imports: Imports = {}
    functions = []
    for name in geochange.__all__:
        found = getattr(geochange, name)
        if isinstance(found, FunctionType):
            functions.append(_function(found, imports))
        else:
            imports.setdefault(found.__module__, set()).add(name)
    sections = [
        _import_lines({module: names for module, names in imports.items() if _section(module) == section})
        for section in range(3)
    ]
    exported = "\n".join(f'    "{name}",' for name in geochange.__all__)
    return "\n".join([HEAD, "", *sections, f"__all__ = [\n{exported}\n]", "", *functions, ""])


def _section(module: str) -> int:
    """Return where the imports of a module stand: 0 for the standard library, 2 for our own, 1 for all others."""
    root = module.split(maxsplit=1)[0].split(".", maxsplit=1)[0]
    return 0 if root in sys.stdlib_module_names else 2 if root == "geochange" else 1


def _import_lines(imports: Imports) -> str:
    """Return the lines of a section."""
    lines = []
    for module in sorted(imports, key=lambda module: (bool(imports[module]), module)):
        names = sorted(imports[module], key=str.lower)
        listed = "".join(f"    {name},\n" for name in names)
        several = f"from {module} import (\n{listed})"
        lines.append(
            f"import {module}" if not names else several if len(names) > 1 else f"from {module} import {names[0]}"
        )
    return "\n".join([*lines, ""])


def _function(function: FunctionType, imports: Imports) -> str:
    """Return the stub of a function, and note the imports that it needs."""
    module, own = function.__module__, inspect.signature(function)
    texts = []
    for each in own.parameters.values():
        if each.kind is not each.VAR_KEYWORD:
            star = each.kind is each.KEYWORD_ONLY and "*" not in texts
            texts += [*["*"] * star, f"{each.name}: {each.annotation}{' = ...' * (each.default is not each.empty)}"]
            _note_imports(each.annotation, module, imports)
    _note_imports(own.return_annotation, module, imports)
    settings = list(_settings(signature_of(module, function.__name__)))
    texts += ["*"] * bool(settings and "*" not in texts)
    for field, home in settings:
        texts.append(f"{field.name}: {field.type} = ...".replace("'", '"'))
        _note_imports(str(field.type), home, imports)
    inside = "".join(f"\n    {text}," for text in texts) + "\n" * bool(texts)
    return f"def {function.__name__}({inside}) -> {own.return_annotation}: ..."


def _settings(signature: Signature) -> Iterator[tuple[Field[Any], str]]:
    """Yield each option that a function takes by name, and the module that declares it."""
    options = [] if signature.options is None else [signature.options]
    for kind in [*options, *([ClusterOptions] if signature.clustered else [])]:
        for field in fields(kind):
            home = next(each for each in kind.__mro__ if field.name in inspect.get_annotations(each))
            yield field, home.__module__


def _note_imports(annotation: str, module: str, imports: Imports) -> None:
    """Add what an annotation's names are imported from: where its module has them from, or that module itself."""
    names = {node.id for node in ast.walk(ast.parse(annotation)) if isinstance(node, ast.Name)}
    for name in names - vars(builtins).keys():
        found = [(node, alias) for node, alias in _imported(module) if name in (alias.asname, alias.name)]
        if not found:
            imports.setdefault(module, set()).add(name)
        for node, alias in found:
            written = alias.name if alias.asname is None else f"{alias.name} as {alias.asname}"
            if isinstance(node, ast.Import):
                imports.setdefault(written, set())
            else:
                imports.setdefault(str(node.module), set()).add(written)


def _imported(module: str) -> list[tuple[ast.Import | ast.ImportFrom, ast.alias]]:
    tree = ast.parse(inspect.getsource(import_module(module)))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return [(node, alias) for node in found for alias in node.names]


if __name__ == "__main__":
    sys.stdout.write(stub_text())
