"""Wrong rules, one at a time: python -m tests.sweeps.mutants [part of a name ...]

Each carrier and absorber of the tables is replaced by a wrong one, and the rows of its own test file must notice: one
that refuses, one that passes the affine on unchanged, one with another scale, one without the shift, one along another
axis. Then each ``require`` in their rooms is passed over, one at a time. Prints each that stays green; exit code
1 where one does, 2 where nothing has such a name. ``windows`` and ``windows.py`` are the same name.
"""

from __future__ import annotations

import ast
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason, Refusal
from normfold.fold.rule import Labels, Propagation
from normfold.graph.editor import Rewrite
from normfold.graph.reader import GraphReader
from tests.fold.rows import Folds, assert_folds, assert_refuses
from tests.fold.tables import Entry, Row, Rule, entries, rows_for


@dataclass
class Trace:
    """What rows have shown of a mutant: whether the rule was asked, and whether the mutant answered otherwise."""

    asked: bool = False
    differed: bool = False


# -- ways to be wrong --------------------------------------------------------------------------------------------------
def refuses(answer: Callable[[], Any], node: ir.Node, labels: Labels) -> Any:
    """No answer at all."""
    answer()
    raise Refusal(Reason.OPERATOR_STOPS, str(node.name))


def passes_on(answer: Callable[[], Any], node: ir.Node, labels: Labels) -> Any:
    """The affine itself, as if the operator were none; an absorber leaves its weights as they are."""
    given = answer()
    return Rewrite(given.node) if isinstance(given, Rewrite) else [Propagation(dict(labels))]


def changed(answer: Any, affine: Callable[[Affine], Affine], array: Callable[[Any], Any]) -> Any:
    """The answer with every affine that it passes on, or the first array that it writes, changed."""
    if isinstance(answer, Rewrite):
        inputs = dict(answer.inputs)
        inputs.update({index: array(inputs[index]) for index in list(inputs)[:1]})
        after = answer.shift_after
        return replace(answer, inputs=inputs, shift_after=after if inputs or after is None else array(after))
    return [replace(way, labels={i: affine(one) for i, one in way.labels.items()}) for way in answer]


def changes_the_scale(answer: Callable[[], Any], node: ir.Node, labels: Labels) -> Any:
    """The scale times -2."""
    return changed(answer(), lambda one: Affine(-2 * one.scale, one.shift), lambda array: array * np.array(-2.0))


def loses_the_shift(answer: Callable[[], Any], node: ir.Node, labels: Labels) -> Any:
    """Scales only."""
    given = answer()
    if isinstance(given, Rewrite):
        last = sorted(given.inputs)[-1:] if len(given.inputs) > 1 else []
        inputs = {index: array for index, array in given.inputs.items() if index not in last}
        return replace(given, inputs=inputs, shift_after=None)
    return changed(given, lambda one: Affine(one.scale, np.zeros_like(one.shift)), lambda array: array)


def turns_the_axes(answer: Callable[[], Any], node: ir.Node, labels: Labels) -> Any:
    """Every affine along the next axis."""

    def turned(one: Affine) -> Affine:
        return Affine(np.moveaxis(one.scale, 0, -1), np.moveaxis(one.shift, 0, -1)) if one.rank else one

    return changed(answer(), turned, lambda array: np.asarray(array)[::-1].copy() if np.ndim(array) else array)


WAYS = {way.__name__: way for way in (refuses, passes_on, changes_the_scale, loses_the_shift, turns_the_axes)}


def is_same(one: Any, other: Any) -> bool:
    """Whether two answers are equal, arrays by their numbers."""
    return str(plain(one)) == str(plain(other))


def plain(answer: Any) -> Any:
    """An answer as text can tell it apart; a shift of -0 is none."""
    if isinstance(answer, Rewrite):
        arrays = {index: np.asarray(array, np.float64).tobytes() for index, array in answer.inputs.items()}
        after = None if answer.shift_after is None else answer.shift_after.tobytes()
        return arrays, dict(answer.attributes), answer.operator, after
    return [
        ({i: (one.scale.tolist(), (one.shift + 0.0).tolist()) for i, one in way.labels.items()}, plain(way.rewrite))
        if isinstance(way, Propagation)
        else way
        for way in (answer if isinstance(answer, list) else [answer])
    ]


def mutant(rule: Rule, way: Callable[..., Any], trace: Trace) -> Rule:
    """``rule`` made wrong; ``trace`` records whether that made a difference."""

    def wrong(reader: GraphReader, node: ir.Node, labels: Labels) -> Any:
        right = rule(reader, node, labels)
        right = right if isinstance(right, Rewrite) else list(right)
        trace.asked = True
        try:
            answer = way(lambda: right, node, labels)
        except Refusal:
            trace.differed = True
            raise
        trace.differed |= not is_same(answer, right)
        return answer

    return wrong


# -- lost conditions ---------------------------------------------------------------------------------------------------
Site = tuple[str, int]


def modules() -> list[ModuleType]:
    """The modules of all rules, in the order of their tables."""
    return list(dict.fromkeys(entry.module for entry in entries()))


def sites(module: ModuleType) -> list[Site]:
    """Where a module calls a ``require``: its file and the line of the call."""
    file = str(module.__file__)
    calls = [node for node in ast.walk(ast.parse(Path(file).read_text())) if isinstance(node, ast.Call)]
    names = [(call, call.func.id) for call in calls if isinstance(call.func, ast.Name)]
    return sorted({(file, call.lineno) for call, name in names if name.startswith("require")})


@contextmanager
def watched(module: ModuleType, lost: Site | None, refused: set[Site]) -> Iterator[None]:
    """Every ``require`` of a module notes in ``refused`` where it refuses, and is passed over at ``lost``."""
    with ExitStack() as stack:
        for name, check in list(vars(module).items()):
            if name.startswith("require") and callable(check):
                stack.enter_context(patch.object(module, name, watching(check, lost, refused)))
        yield


def watching(check: Callable[..., Any], lost: Site | None, refused: set[Site]) -> Callable[..., Any]:
    """A condition that does not refuse when called from ``lost``; what it gives back is its first argument then."""

    def calls(*arguments: Any, **named: Any) -> Any:
        frame = sys._getframe(1)
        site = frame.f_code.co_filename, frame.f_lineno
        try:
            return check(*arguments, **named)
        except Refusal:
            refused.add(site)
            if site != lost:
                raise
            return arguments[0] if arguments else None

    return calls


def lost_conditions(module: ModuleType) -> dict[Site, str]:
    """What becomes of each condition of a module that is passed over: ``red`` or ``green``."""
    reached: dict[Site, list[Row]] = {site: [] for site in sites(module)}
    for row in rows_for(module):
        refused: set[Site] = set()
        with watched(module, None, refused):
            is_noticed([row])
        for site in refused & reached.keys():
            reached[site].append(row)
    results = {}
    for site, rows in reached.items():
        with watched(module, site, set()):
            results[site] = "red" if is_noticed(rows) else "green" if rows else "green: no row is refused by it"
    return results


# -- trying them -------------------------------------------------------------------------------------------------------
@contextmanager
def replaced(entry: Entry, wrong: Rule) -> Iterator[None]:
    """The table with ``wrong`` in one line."""
    with patch.dict(entry.table, {entry.operator: wrong}):
        yield


def is_noticed(rows: Sequence[Row]) -> bool:
    """Whether any row turns red."""
    for row in rows:
        try:
            assert_folds(row) if isinstance(row, Folds) else assert_refuses(row)
        except Exception:  # noqa: BLE001  # a crash is red too
            return True
    return False


def outcome(entry: Entry, way: str, rows: Sequence[Row]) -> str:
    """``red`` where a row notices the mutant, ``same`` where it is no mutant for this rule, ``green`` otherwise."""
    trace = Trace()
    with replaced(entry, mutant(entry.table[entry.operator], WAYS[way], trace)):
        if is_noticed(rows):
            return "red"
    if not trace.asked:
        return "green: no row asks it"
    return "green" if trace.differed else "same"


def all_results(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every mutant whose name holds one of ``parts``, and what became of it."""
    for entry in entries():
        if not parts or any(part in entry.name for part in parts):
            rows = entry.rows()
            yield from ((f"{entry.name} {way}", outcome(entry, way, rows)) for way in WAYS)
    for module in modules():
        name = "/".join(module.__name__.split(".")[-2:])
        if not parts or any(part in name for part in parts):
            yield from ((f"{name}:{line} lost", result) for (_, line), result in lost_conditions(module).items())


def main(parts: Sequence[str]) -> int:
    """Try the mutants; the exit code."""
    counts: Counter[str] = Counter()
    start = time.monotonic()
    for name, result in all_results([part.removesuffix(".py") for part in parts]):
        counts[result.partition(":")[0]] += 1
        if result.startswith("green"):
            sys.stdout.write(f"{name}: {result}\n")
            sys.stdout.flush()
    if not counts:
        sys.stderr.write(f"no carrier or absorber has a name with {' or '.join(parts)}\n")
        return 2
    tried, seconds = counts["red"] + counts["green"], time.monotonic() - start
    sys.stdout.write(f"{counts['red']} of {tried} wrong rules turn their own file red ({seconds:.0f} s)\n")
    return int(counts["green"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
