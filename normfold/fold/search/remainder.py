"""The operators that an affine is written as when it stays: none, Mul, Add, one BatchNormalization, or Mul and Add.

On ONNX Runtime CPU one BatchNormalization takes about half the time of a Mul and an Add, so a per-channel affine on
axis 1 is written as BatchNormalization(gamma=scale, beta=shift, mean=0, var=1, epsilon=0).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, squeeze_leading
from normfold.fold.affines import AffineChain
from normfold.fold.cancellation import require_same_rounding
from normfold.graph.display_names import copy_node_name, display_name, name_of
from normfold.graph.editor import Editor, require_fits, stamp
from normfold.graph.reader import GraphReader

_HAS_FAST_BATCHNORM = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_MERGED = "merge"


def operators_for(reader: GraphReader, chain: AffineChain, affine: Affine) -> tuple[str, ...]:
    """Return the operators that write ``affine`` where ``chain`` stands."""
    return operators_at(reader, chain.input, affine, chain.has_batchnorm)


def operators_at(reader: GraphReader, value: ir.Value, affine: Affine, has_batchnorm: bool = False) -> tuple[str, ...]:
    """Return the operators of ``affine(value)``; where there was a BatchNormalization, its kernel is known to exist."""
    if affine.is_identity:
        return ()
    if affine.has_no_shift:
        return ("Mul",)
    if affine.has_no_scale:
        return ("Add",)
    return ("BatchNormalization",) if _is_batchnorm(reader, value, affine, has_batchnorm) else ("Mul", "Add")


def _is_batchnorm(reader: GraphReader, value: ir.Value, affine: Affine, has_batchnorm: bool) -> bool:
    shape = reader.shape(value)
    if shape is None or len(shape) < 2 or not isinstance(shape[1], int):
        return False
    has_kernel = has_batchnorm or (reader.may_add_batchnorm and reader.dtype(value) in _HAS_FAST_BATCHNORM)
    return has_kernel and affine.is_constant_on(axis for axis in range(affine.rank) if axis != 1)


def rewrite_chain(editor: Editor, chain: AffineChain, affine: Affine, rule: str = _MERGED) -> list[ir.Node]:
    """Write ``affine`` in the place of ``chain``; returns the new nodes. The value at the site keeps its name."""
    nodes = nodes_for(editor, chain, chain.input, affine)
    for node, old in zip(reversed(nodes), reversed(chain.nodes), strict=False):
        copy_node_name(old, node)
        node.metadata_props.update(old.metadata_props)
        stamp(node, rule, ", ".join(name_of(each) for each in chain.nodes))
    editor.insert_before(chain.nodes[-1], nodes)
    editor.take_over(chain.output, nodes[-1].outputs[0])
    editor.remove(chain.nodes)
    return nodes


def nodes_for(editor: Editor, chain: AffineChain, entry: ir.Value, affine: Affine) -> list[ir.Node]:
    """Return the operators of ``affine(entry)``, not yet in the graph; ``chain`` gives type and known kernels."""
    reader = editor.reader
    dtype = reader.dtype(entry) or reader.dtype(chain.output) or ir.DataType.FLOAT
    nodes: list[ir.Node] = []
    value = entry
    for operator in operators_at(reader, entry, affine, chain.has_batchnorm):
        nodes.append(_node(editor, operator, value, affine, dtype))
        value = nodes[-1].outputs[0]
        value.shape, value.type = entry.shape, entry.type
    return nodes


def _node(editor: Editor, operator: str, value: ir.Value, affine: Affine, dtype: ir.DataType) -> ir.Node:
    hint = display_name(value) or operator
    if operator == "BatchNormalization":
        size = editor.reader.shape(value)
        assert size is not None and isinstance(size[1], int), "asked by operators_for()"
        scale, shift = affine.vectors(1, size[1])
        parameters = (scale, shift, np.zeros(size[1]), np.ones(size[1]))
        names = ("scale", "shift", "mean", "var")
        constants = [
            editor.constant(array, dtype, f"{hint}_{name}") for array, name in zip(parameters, names, strict=True)
        ]
        return ir.node(operator, [value, *constants], {"epsilon": 0.0}, name=editor.names.new(f"{hint}_affine"))
    array = affine.scale if operator == "Mul" else affine.shift
    constant = editor.constant(squeeze_leading(array), dtype, f"{hint}_{'scale' if operator == 'Mul' else 'shift'}")
    return ir.node(operator, [value, constant], name=editor.names.new(f"{hint}_{operator.lower()}"))


def require_chain_fits(reader: GraphReader, chain: AffineChain, affine: Affine) -> None:
    """Refuse an affine that the type of the value at ``chain`` cannot hold."""
    dtype = reader.dtype(chain.input) or reader.dtype(chain.output)
    for array in (affine.scale, affine.shift):
        require_fits(array, dtype, chain.nodes[-1])
    require_same_rounding(reader, chain, affine)
