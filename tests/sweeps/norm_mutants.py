"""Wrong rules for norms, one at a time: python -m tests.sweeps.norm_mutants [part of a name ...]

Each rule of the recognition table is replaced by a wrong one (it refuses, it passes its input on, it has another factor
or another epsilon), and each guard of the files that recognize norms (an ``if`` that only returns) is passed over. The
rows of ``tests/fuse`` must notice. Prints each mutant that stays green; exit code 1 where one does.
"""

from __future__ import annotations

import ast
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx_ir as ir

from normfold.findings.rules import Selection
from normfold.fuse.engine import fuse_norms
from normfold.fuse.recognize import arithmetic, candidates, conditions, layout, norm_operators, published, reductions
from normfold.fuse.recognize.polynomial import ONE, Poly
from normfold.fuse.recognize.region import Tracked
from normfold.fuse.recognize.table import RULES
from tests.fuse.forms import test_table
from tests.fuse.recognize import edges, test_candidates, test_conditions, test_published
from tests.onnx_text import feeds_of, parse, run_in_ort

MODULES = (arithmetic, candidates, conditions, layout, norm_operators, published, reductions)
_SILENT = (*test_candidates.SILENT.values(), *test_published.NOT_NAMED.values())
CLOSE = 1e-3  # of the largest value


def rows() -> list[tuple[str, int, Selection]]:
    """The text, operator set and options of every row about norms."""
    found = [(row.text, row.opset, row.wanted) for row in test_table.ROWS.values()]
    misses = test_candidates.MISSES.values()
    found += [(miss.text, miss.opset, Selection(target=miss.target, opset=miss.policy)) for miss in misses]
    found += [(edge.text, edge.opset, Selection(new_batchnorm=True)) for edge in edges.EDGES.values()]
    texts = [row.text for row in test_published.ROWS.values()]
    texts += [row.text for row in test_conditions.ROWS.values()]
    return [*found, *((text, 17, Selection()) for text in (*texts, *_SILENT))]


def outcome(text: str, opset: int, options: Selection) -> object:
    """What is said of a row and what it becomes; "wrong" where that computes something else, or an error."""
    original = parse(text, opset=opset, ir_version=10)
    model = ir.from_proto(original)
    try:
        verdicts = fuse_norms(model, options)
        said = [(v.finding.operator, v.outcome.value, [o.reason.code for o in v.obstacles], v.form) for v in verdicts]
        left = [node.op_type for node in model.graph]
        if options.target != "onnxruntime" or not any(verdict.is_changed for verdict in verdicts):
            return said, left
        feeds, names = feeds_of(original), [value.name for value in original.graph.output]
        wanted, got = (run_in_ort(each, feeds, names) for each in (original, ir.to_proto(model)))
        close = all(np.allclose(got[n], wanted[n], atol=CLOSE * np.abs(wanted[n]).max(), rtol=CLOSE) for n in names)
    except Exception as fault:  # noqa: BLE001  # a mutant may fail in any way, and a row that fails has noticed it
        return type(fault).__name__
    return (said, left) if close else "wrong"


# -- wrong rules -----------------------------------------------------------------------------------------------------
def refuses(right: Any, operand: Any) -> Any:
    return None


def passes_on(right: Any, operand: Any) -> Any:
    return operand if isinstance(operand, Tracked) else right


def doubles(right: Any, operand: Any) -> Any:
    return replace(right, poly=right.poly.scaled(2.0)) if isinstance(right, Tracked) else right


def adds(right: Any, operand: Any) -> Any:
    if not isinstance(right, Tracked):
        return right
    poly = right.poly.plus(Poly.of({ONE: 0.1}, right.poly.rank))
    return right if poly is None else replace(right, poly=poly)


@contextmanager
def wrong_rule(name: str, way: Callable[[Any, Any], Any]) -> Iterator[list[str]]:
    """Yield what differed: nothing where no row asks the rule, or where the wrong answer is the right one."""
    differed: list[str] = []

    def wrong(region: Any, node: Any) -> Any:
        right = RULES[name](region, node)
        answer = right if right is None or isinstance(right, tuple) else way(right, region.operand(node, 0))
        differed.extend([name] if answer is not right and answer != right else [])
        return answer

    with patch.object(candidates, "RULES", {**RULES, name: wrong}):
        yield differed


# -- lost guards -----------------------------------------------------------------------------------------------------
def guards(module: types.ModuleType) -> list[int]:
    """The lines of the conditions under which a function only returns."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and len(node.body) == 1 and isinstance(node.body[0], (ast.Return, ast.Continue))
    ]


@contextmanager
def lost_guard(module: types.ModuleType, line: int) -> Iterator[list[str]]:
    """The functions of a module as they would be without one guard; what is made of them keeps them."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and node.lineno == line:
            node.test = ast.copy_location(ast.Constant(False), node.test)
    codes = {(code.co_name, code.co_firstlineno): code for code in nested(compile(tree, str(module.__file__), "exec"))}
    live = [each for each in (*vars(module).values(), *RULES.values()) if isinstance(each, types.FunctionType)]
    live = [inspect.unwrap(each) for each in live]
    before = {each: each.__code__ for each in live if each.__module__ == module.__name__}
    for function, code in before.items():
        mutated = codes[code.co_name, code.co_firstlineno]
        if mutated.co_freevars == code.co_freevars:
            function.__code__ = mutated
    try:
        yield [module.__name__]
    finally:
        for function, code in before.items():
            function.__code__ = code


def nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from nested(each)


def mutants() -> Iterator[tuple[str, str, Any]]:
    """Yield the name of each mutant, what the text of a row must hold to ask it, and the mutant."""
    for name in RULES:
        for way in (refuses, passes_on, doubles, adds):
            yield f"{name} {way.__name__}", name, wrong_rule(name, way)
    for module in MODULES:
        for line in guards(module):
            yield f"{module.__name__.rpartition('.')[2]}.py:{line} without its guard", "", lost_guard(module, line)


def main() -> int:
    every = [(row, outcome(*row)) for row in rows()]
    wanted = sys.argv[1:]
    green, count = 0, 0
    for name, part, wrong in mutants():
        if wanted and not any(each in name for each in wanted):
            continue
        with wrong as differed:
            noticed = any(outcome(*row) != expected for row, expected in every if part in row[0])
        count += bool(differed)
        if differed and not noticed:
            green += 1
            print(f"green: {name}", flush=True)  # noqa: T201  # a sweep's result is what it prints
    print(f"{count - green} of {count} wrong rules for norms are noticed")  # noqa: T201  # as above
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main())
