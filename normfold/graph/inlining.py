"""Model functions are inlined where that leaves fewer operators.

A norm may be spread over several functions, its weights may be inputs of one, a linear operator may lie inside and its
affine outside, each call of a function may pass another shape, and the opset converter knows no functions. ONNX
Runtime inlines every function when it loads a model, so nothing is lost but their names.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from normfold.graph.reader import attributes_of, bodies_of

LARGEST = 200_000
"""Operators that a model may have after inlining: functions that call others twice double them."""


class InlineError(Exception):
    """The functions stay; the message says why."""


def operators(model: ir.Model) -> int:
    """How many operators run, if every branch is taken once: those of a function count at each call of it."""
    known: dict[ir.OperatorIdentifier, int] = {}

    def of(nodes: Iterable[ir.Node]) -> int:
        return sum(of_one(node) for node in nodes)

    def of_one(node: ir.Node) -> int:
        if node.op_type == "Constant":
            return 0
        function = model.functions.get(node.op_identifier())
        inside = sum(of(body) for attribute in attributes_of(node) for body in bodies_of(attribute))
        if function is None:
            return 1 + inside
        if function.identifier() not in known:
            known[function.identifier()] = 0  # of a function that calls itself, which no runtime takes
            known[function.identifier()] = of(function)
        return known[function.identifier()] + inside

    return of(model.graph)


def inline(model: ir.Model) -> None:
    """Replace every call of a model function by its body, in place. InlineError where that is not possible."""
    expanded = operators(model)
    if expanded > LARGEST:
        raise InlineError(f"the functions of the model are not inlined: they would give {expanded} operators")
    try:
        InlinePass()(model)
    except (ValueError, KeyError, RuntimeError) as error:
        raise InlineError(f"the functions of the model cannot be inlined: {str(error)[:200]}") from error
