"""A ``name`` in double backticks exists: where the docstring stands, or in ONNX."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from normfold.option_declaration import declared_options
from normfold.options import ExportArguments
from tests.conftest import ROOT

FILES = [path for room in ("normfold", "cli") for path in sorted((ROOT / room).rglob("*.py"))]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
SCHEMAS = onnx.defs.get_all_schemas_with_history()
OF_ONNX = {schema.name for schema in SCHEMAS} | {
    name
    for schema in SCHEMAS
    for name in (*schema.attributes, *(each.name for each in (*schema.inputs, *schema.outputs)))
}
OPTIONS = {entry.name for entry, _ in declared_options(ExportArguments)}
OF_PYTHON = {*dir(builtins), *keyword.kwlist, *sys.stdlib_module_names}
ROOMS = {part for path in FILES for part in path.relative_to(ROOT).with_suffix("").parts}
LIBRARIES = {*sys.stdlib_module_names, "onnx", "onnx_ir", "torch", "ray"}
# A single name, a dotted one, or a call of one; formulas and file names are no names.
NAME = re.compile(r"``([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(\))?``")
FILE = re.compile(r"\.(py|onnx|pb|data|json|npz|npy|pt|pt2|pth)$")


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """The texts that describe something: of modules, classes and functions, and behind constants."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    yield statement.value


def names_of(tree: ast.Module) -> set[str]:
    """Every name that a module defines, takes or uses, and the words of its short texts, such as keys of JSON."""
    documented = {id(each) for each in docstrings(tree)}
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.alias():
                found.update((node.asname or node.name).split("."))
            case ast.ImportFrom(module=str(module)):
                found.update(module.split("."))
            case ast.Constant(value=str(text)) if id(node) not in documented:
                found.update(re.findall(r"[A-Za-z_]\w*", text))
    return found


NAMES = {path: names_of(tree) for path, tree in TREES.items()}
EVERYWHERE = set().union(*NAMES.values())


def is_known(name: str, here: set[str]) -> bool:
    """Say whether ``name`` is of this file, of ONNX or Python, an option, or one or two letters of a formula.

    A dotted name begins with a module or a name of the program and goes on with one, or is of a library.
    """
    first, *more = name.split(".")
    if FILE.search(name) or len(name) < 3 or (more and first in LIBRARIES):
        return True
    known = here | OPTIONS | OF_ONNX | OF_PYTHON | (ROOMS | EVERYWHERE if more else ROOMS)
    return first in known and all(each in EVERYWHERE | ROOMS | OF_PYTHON for each in more)


def unknown_names(path: Path) -> list[str]:
    """Return ``line: name`` for each name that a file's docstrings speak of and that is none."""
    return [
        f"{each.lineno + str(each.value)[: found.start()].count(chr(10))}: {found[1]}"
        for each in docstrings(TREES[path])
        for found in NAME.finditer(str(each.value))
        if not is_known(found[1], NAMES[path])
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_speaks_of_what_exists(path: Path) -> None:
    assert unknown_names(path) == []


def test_a_name_that_is_gone_would_be_found() -> None:
    here = names_of(ast.parse("def fold(chain, *, rescale_addends): ..."))
    assert is_known("chain", here) and is_known("Conv", here) and is_known("rescale_addends", here)
    assert not is_known("generous", here)
    assert not is_known("normfold.fuse.run_away", here)
