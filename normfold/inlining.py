"""Model functions are inlined where what they hold could not be fused in them.

A norm may be spread over several functions, each call of a function may pass another shape, and the opset converter
knows no functions. ONNX Runtime inlines every function when it loads a model, so nothing is lost but their names.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from normfold.fuse.recognize import is_core
from normfold.graph import graphs_of
from normfold.reason import Reason
from normfold.record import Outcome, Verdict


class CannotInline(Exception):
    """The functions stay; the message says why."""


def may_help(model: ir.Model, verdicts: Iterable[Verdict]) -> bool:
    """Whether a model has functions that stood in the way: of the converter, or of a norm in one of them."""
    if not model.functions:
        return False
    known = list(verdicts)
    if any(obstacle.reason is Reason.CONVERTER for verdict in known for obstacle in verdict.obstacles):
        return True
    settled = {verdict.finding.graph for verdict in known if verdict.outcome is Outcome.FUSED}
    outside = {path for path, _ in graphs_of(ir.Model(model.graph, ir_version=model.ir_version))}
    return any(
        path not in outside and path not in settled and any(is_core(node) for node in graph)
        for path, graph in graphs_of(model)
    )


def inline(model: ir.Model) -> None:
    """Replace every call of a model function by its body, in place. CannotInline where that is not possible."""
    try:
        InlinePass()(model)
    except (ValueError, KeyError, RuntimeError) as error:
        raise CannotInline(f"the functions of the model cannot be inlined: {str(error)[:200]}") from error
