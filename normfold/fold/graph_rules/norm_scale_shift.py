"""On demand: gamma and beta of norms over the last axes go into all MatMuls that follow.

It saves nothing on a CPU, where the norm multiplies anyway; it helps quantizers and NPUs, which want norms without
parameters. All readers take them, or none does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Refusal
from normfold.findings.verdict import Finding
from normfold.fold.absorbers.norms import GAMMA_AND_BETA
from normfold.fold.affines import AffineChain, AffineIndex, AffineNode
from normfold.fold.graph_rules.change import GraphChange
from normfold.fold.search.forward import plan_forward
from normfold.fold.search.plan import FoldPlan
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, Rewrite
from normfold.graph.reader import GraphReader, attribute, input_at
from normfold.operators.table import RUNTIME_DOMAIN, is_standard

_RULE = "norm-affine"
_NORMS = GAMMA_AND_BETA.keys() - {"EmbedLayerNormalization"}  # whose beta may not be missing


def norm_affines(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Yield every norm whose gamma and beta can go."""
    for node in list(reader.graph):
        affine_node = _own_affine(reader, node)
        if affine_node is None or affine_node.affine.is_identity or node in affines.left:
            continue
        chain = AffineChain((affine_node,))
        try:
            plan = plan_forward(reader, affines, chain, affine_node.affine, Affine.identity(affine_node.affine.rank))
        except Refusal:
            continue
        if all(rewrite.operators_added == 0 for rewrite in plan.rewrites):
            yield _change(reader, node, plan)


def _change(reader: GraphReader, node: ir.Node, plan: FoldPlan) -> GraphChange:
    name, site = name_of(node), node.outputs[0].name or ""
    finding = Finding(name, node.op_type, site, reader.path, "gamma and beta of a norm")
    return GraphChange(name, partial(_without_affine, node), (), plan.into, plan.sites, finding, plan=plan)


def _without_affine(node: ir.Node, editor: Editor) -> Sequence[ir.Node]:
    """Leave the norm with ones and without beta; its value is another one from now on."""
    scale_at, shift_at = GAMMA_AND_BETA[node.op_type]
    gamma = editor.reader.constant(node.inputs[scale_at])
    assert gamma is not None, "asked by norm_affines()"
    editor.rewrite(Rewrite(node, inputs={scale_at: np.ones_like(gamma)}), _RULE, name_of(node))
    if shift_at is not None and _given(node, shift_at) is not None:
        node.replace_input_with(shift_at, None)
        node.resize_inputs(max(index + 1 for index, value in enumerate(node.inputs) if value is not None))
    editor.rename(node.outputs[0])
    return ()


def _own_affine(reader: GraphReader, node: ir.Node) -> AffineNode | None:
    """Return gamma and beta as the affine that the norm applies last; None where they are not constant vectors."""
    if node.op_type not in _NORMS or not (is_standard(node) or node.domain == RUNTIME_DOMAIN):
        return None
    scale_at, shift_at = GAMMA_AND_BETA[node.op_type]
    gamma, given = reader.constant(node.inputs[scale_at]), _given(node, shift_at)
    beta = np.zeros(()) if given is None else reader.constant(given)
    shape = reader.shape(node.outputs[0])
    if gamma is None or beta is None or shape is None:
        return None
    if int(attribute(node, "axis", -1)) % len(shape) + gamma.ndim != len(shape):
        return None
    return AffineNode(node, 0, Affine.of(gamma, beta, len(shape)))


def _given(node: ir.Node, index: int | None) -> ir.Value | None:
    return None if index is None else input_at(node, index)
