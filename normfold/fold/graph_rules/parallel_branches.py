"""Parallel linear branches of one input that are summed become one operator.

``Conv3x3(x) + Conv1x1(x) + BatchNormalization(x) + x`` is one 3x3 convolution (RepVGG), the same depthwise is MobileOne
and FastViT, ``x + DWConv(x)`` is RepViT. Conditions are those of ``kernel_sum.summed``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Affine, Array
from normfold.findings.reason import Reason, Refusal
from normfold.findings.verdict import Finding
from normfold.fold.affines import AffineChain, AffineIndex
from normfold.fold.cancellation import offset_in_spreads, require_no_cancellation
from normfold.fold.graph_rules.change import Declined, GraphChange
from normfold.fold.graph_rules.kernel_sum import Diagonal, Kernel, Matrix, summed, summed_matrices
from normfold.fold.graph_rules.linear_operators import Linear, SameOperator, linear_of, summed_operators
from normfold.fold.search.remainder import nodes_for, operators_for, require_chain_fits
from normfold.graph.display_names import copy_node_name, name_of
from normfold.graph.editor import Editor, require_fits, stamp
from normfold.graph.reader import GraphReader, has_one_reader
from normfold.operators.table import SUMS, is_standard

RULE = "branches"
SHOWN_AS = "normfold.stands_for"  # in a node's meta, which no file holds: the sum whose rest the node is


@dataclass(frozen=True, eq=False)
class Branch:
    """One addend: what it reads, its sign, and how it depends on it. ``nodes`` make it, and nothing else reads them."""

    input: ir.Value
    value: ir.Value
    sign: float
    nodes: tuple[ir.Node, ...]
    linear: Linear | Affine
    chain: AffineChain | None = None

    @property
    def group(self) -> tuple[ir.Value, object]:
        """Branches of equal groups are tried together: of one input, and operators of one kind of one kind."""
        return self.input, self.linear.kind if isinstance(self.linear, SameOperator) else None


@dataclass(frozen=True, eq=False)
class Merge:
    """Branches that become one, and the sum they stand in. ``others`` are its addends that stay, with their signs."""

    root: ir.Node
    sums: tuple[ir.Node, ...]
    branches: tuple[Branch, ...]
    others: tuple[tuple[ir.Value, float], ...]
    result: Linear | Affine

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The operators that go."""
        return (*self.sums, *(node for branch in self.branches for node in branch.nodes))

    @property
    def into(self) -> tuple[str, ...]:
        """Return the name of the operator that the branches become, which is that of one of them."""
        if isinstance(self.result, Kernel):
            return (name_of(_largest_conv(self)),)
        if isinstance(self.result, Affine):
            return ()
        return (name_of(next(each.nodes[0] for each in self.branches if not isinstance(each.linear, Affine))),)

    def change(self, path: str) -> GraphChange:
        """Return what the engine asks for."""
        name, site = name_of(self.root), self.root.outputs[0].name or ""
        finding = Finding(name, self.root.op_type, site, path, "a sum of parallel linear branches")
        return GraphChange(name, self._apply, self.nodes, self.into, (site,), finding, RULE)

    def _apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Write the merged operator, and the sum of it and the other addends, in the place of the root."""
        if isinstance(self.result, Kernel):
            nodes = [_conv(editor, self, self.result)]
        elif isinstance(self.result, Matrix):
            nodes = _product(editor, self, self.result)
        elif isinstance(self.result, SameOperator):
            nodes = [_same_operator(editor, self, self.result)]
        else:
            chain = next(branch.chain for branch in self.branches if branch.chain is not None)
            nodes = nodes_for(editor, chain, self.branches[0].input, self.result)
        site = self.root.outputs[0]
        value = nodes[-1].outputs[0]
        for other, sign in self.others:
            value.shape, value.type = site.shape, site.type
            total = ir.node(
                "Add" if sign > 0 else "Sub", [value, other], name=editor.names.new(f"{name_of(self.root)}_sum")
            )
            total.meta[SHOWN_AS] = self.root.meta.get(SHOWN_AS, name_of(self.root))
            nodes.append(total)
            value = total.outputs[0]
        for node in nodes:
            merged = ", ".join(name_of(each) for each in self.nodes if each.op_type not in SUMS)
            stamp(node, RULE, merged or name_of(self.root))
        editor.insert_before(self.root, nodes)
        editor.take_over(site, value)
        editor.remove(self.nodes)
        return nodes[: len(nodes) - len(self.others)] if isinstance(self.result, Affine) else ()


# -- finding -----------------------------------------------------------------------------------------------------
def merges(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange | Declined]:
    """Every group of branches that can be merged now; for one that cannot, the affine in it and why."""
    for node in list(reader.graph):
        if reader.holds(node) and _is_sum(reader, node) and not _is_inside(reader, node):
            yield from _merges_at(reader, affines, node)


def _is_sum(reader: GraphReader, node: ir.Node) -> bool:
    if node.op_type not in SUMS or not is_standard(node) or len(node.inputs) < 2:
        return False
    shape = reader.shape(node.outputs[0])
    if shape is None or any(value is None or reader.is_constant(value) for value in node.inputs):
        return False
    return all(_same_shape(reader.shape(value), shape) for value in node.inputs)


def _same_shape(left: Sequence[object] | None, right: Sequence[object]) -> bool:
    """Nothing is broadcast: equal ranks, and no size 1 that meets another."""
    if left is None or len(left) != len(right):
        return False
    return all(a == b or (a is None and b != 1) or (b is None and a != 1) for a, b in zip(left, right, strict=True))


def _is_inside(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether the sum is an addend of another one that nothing else reads."""
    value = node.outputs[0]
    if not has_one_reader(value):
        return False
    reading = next(iter(value.uses()))[0]
    return reader.holds(reading) and _is_sum(reader, reading)


def _merges_at(reader: GraphReader, affines: AffineIndex, root: ir.Node) -> Iterator[GraphChange | Declined]:
    sums: list[ir.Node] = []
    addends = list(_addends(reader, root, sums))
    entries = [entry for value, _ in addends for entry in _entries(affines, value)]
    if len(set(entries)) == len(entries):
        return
    branches = [branch for value, sign in addends for branch in [_branch(reader, affines, value, sign)]]
    for key in dict.fromkeys(branch.group for branch in branches):
        group = [branch for branch in branches if branch.group == key]
        if len(group) < 2:
            continue
        others = tuple((value, sign) for value, sign in addends if not any(b.value is value for b in group))
        try:
            if any(abs(sign) != 1 for _, sign in others):
                raise Refusal(Reason.COSTS_MORE, name_of(root), detail="a mean that others take part in")
            merge = Merge(root, tuple(sums), tuple(group), others, _merged(reader, group))
            yield merge.change(reader.path)
            return  # the graph has changed; the next pass sees what is left
        except Refusal as refusal:
            why = refusal.obstacle
            why = replace(why, node=why.node or name_of(root), direction=RULE)
            yield from (Declined(branch.chain.nodes, why) for branch in group if branch.chain is not None)


def _addends(reader: GraphReader, root: ir.Node, sums: list[ir.Node]) -> Iterator[tuple[ir.Value, float]]:
    """Yield the leaves of a tree of sums, left to right, each with its sign; add the sums themselves to ``sums``."""
    stack: list[tuple[ir.Node | None, ir.Value, float]] = [(root, root.outputs[0], 1.0)]
    while stack:
        node, value, sign = stack.pop()
        if node is None:
            yield value, sign
            continue
        sums.append(node)
        parts: list[tuple[ir.Node | None, ir.Value, float]] = []
        for index, operand in enumerate(node.inputs):
            assert operand is not None, "asked by _is_sum()"
            own = -sign if node.op_type == "Sub" and index == 1 else sign
            own = own / len(node.inputs) if node.op_type == "Mean" else own
            producer = operand.producer()
            inner = producer is not None and producer.graph is node.graph and _is_sum(reader, producer)
            parts.append(
                (producer if inner and producer is not None and _is_inside(reader, producer) else None, operand, own)
            )
        stack.extend(reversed(parts))


def _entries(affines: AffineIndex, value: ir.Value) -> set[ir.Value | None]:
    """Return what an addend may be a branch of, before any weight is read: itself, or what its operators read."""
    node = value.producer()
    if node is None:
        return {value}
    affine_node = affines.at(node)
    start = None if affine_node is None else affines.chain_ending_at(affine_node).input
    linear = node if start is None else start.producer()
    return {value, start or value, *(() if linear is None else linear.inputs)} - {None}


def _branch(reader: GraphReader, affines: AffineIndex, value: ir.Value, sign: float) -> Branch:
    """Return what an addend is: a convolution, a per-channel affine, or (anything else) just itself."""
    itself = Branch(value, value, sign, (), Affine.identity(len(reader.shape(value) or ())))
    node = value.producer()
    if node is None or not reader.holds(node) or not has_one_reader(value):
        return itself
    affine_node = affines.at(node)
    if affine_node is not None:
        chain = affines.chain_ending_at(affine_node)
        return _behind_linear(reader, value, sign, chain) or Branch(
            chain.input, value, sign, chain.nodes, chain.affine, chain
        )
    linear = linear_of(reader, node)
    entry = (
        node.inputs[1 - linear.side if isinstance(linear, SameOperator) and linear.side < 2 else 0]
        if node.inputs
        else None
    )
    return itself if linear is None or entry is None else Branch(entry, value, sign, (node,), linear)


def _behind_linear(reader: GraphReader, value: ir.Value, sign: float, chain: AffineChain) -> Branch | None:
    """Return a linear operator and the affine behind it: a MatMul and its bias, a norm behind an AveragePool."""
    node = chain.input.producer()
    if node is None or not reader.holds(node) or not has_one_reader(chain.input):
        return None
    linear, entry, affine = linear_of(reader, node), node.inputs[0] if node.inputs else None, chain.affine
    axis = 1 if isinstance(linear, Kernel) else affine.rank - 1
    if not isinstance(linear, Kernel | Matrix) or entry is None:
        return None
    if not affine.is_constant_on(other for other in range(affine.rank) if other != axis):
        return None
    scale, shift = affine.vectors(axis, linear.bias.size)
    form = (-1, *[1] * (linear.weight.ndim - 1)) if isinstance(linear, Kernel) else (-1,)
    changed = replace(linear, weight=linear.weight * scale.reshape(form), bias=linear.bias * scale + shift)
    return Branch(entry, value, sign, (node, *chain.nodes), changed, chain)


# -- merging -----------------------------------------------------------------------------------------------------
def _merged(reader: GraphReader, group: Sequence[Branch]) -> Linear | Affine:
    for branch in group:
        if branch.chain is not None and isinstance(branch.linear, Affine):  # it adds its shift where it stands
            require_no_cancellation(
                reader, branch.input, offset_in_spreads(reader, branch.chain, branch.linear), branch.nodes[-1]
            )
    operators = [(branch.linear, branch.sign) for branch in group if isinstance(branch.linear, SameOperator)]
    if operators:
        total = summed_operators(operators)
        node = group[0].nodes[0]
        for array in (total.weight, total.bias):
            require_fits(np.zeros(()) if array is None else array, _dtype(reader, node, total.side), node)
        return total
    affines = [(branch.linear, branch.sign) for branch in group if isinstance(branch.linear, Affine)]
    matrices = [(branch.linear, branch.sign) for branch in group if isinstance(branch.linear, Matrix)]
    kernels = [_signed(branch.linear, branch.sign) for branch in group if isinstance(branch.linear, Kernel)]
    if not kernels and not matrices:
        return _sum_of_affines(reader, group, affines)
    operator = next(branch.nodes[0] for branch in group if not isinstance(branch.linear, Affine))
    if kernels and matrices:
        raise Refusal(Reason.BRANCHES_DIFFER, name_of(operator), detail="a convolution and a matrix product")
    result: Kernel | Matrix
    if matrices:
        columns = matrices[0][0].weight.shape[0]
        result = summed_matrices(matrices, [Diagonal(s * a, s * t) for a, t, s in _vectors(affines, columns, -1)])
    else:
        if all(branch.nodes[0].op_type == "AveragePool" for branch in group if isinstance(branch.linear, Kernel)):
            raise Refusal(Reason.COSTS_MORE, name_of(operator), detail="no convolution among the branches")
        columns = kernels[0].channels[1]
        result = summed(kernels, [Diagonal(s * a, s * t) for a, t, s in _vectors(affines, columns, 1)])
    for array in (result.weight, result.bias):
        require_fits(array, _dtype(reader, operator), operator)
    return result


def _dtype(reader: GraphReader, node: ir.Node, side: int = 1) -> ir.DataType:
    """Return the type of the weight, else of the variable."""
    for value in (*node.inputs[side : side + 1], *node.inputs[1 - side : 2 - side]):
        dtype = reader.dtype(value)
        if dtype is not None:
            return dtype
    return ir.DataType.FLOAT


def _signed(kernel: Kernel, sign: float) -> Kernel:
    return kernel if sign == 1 else replace(kernel, weight=sign * kernel.weight, bias=sign * kernel.bias)


def _vectors(affines: Sequence[tuple[Affine, float]], size: int, axis: int) -> Iterator[tuple[Array, Array, float]]:
    """Scale, shift and sign of each affine, which may vary along ``axis`` only."""
    for affine, sign in affines:
        if not affine.is_constant_on(other for other in range(affine.rank) if other != axis % affine.rank):
            detail = f"a branch varies along axes {list(affine.varying_axes)}, and the operator along axis {axis}"
            raise Refusal(Reason.AXIS_STOPS, detail=detail)
        yield (*affine.vectors(axis, size), sign)


def _sum_of_affines(reader: GraphReader, group: Sequence[Branch], affines: Sequence[tuple[Affine, float]]) -> Affine:
    """BN(x) + x is one affine; x + x alone is left as it is."""
    chains = [branch.chain for branch in group if branch.chain is not None]
    if not chains:
        raise Refusal(Reason.COSTS_MORE, detail="a sum of equal values is one operator already")
    scale = sum((sign * affine.scale for affine, sign in affines), np.zeros(()))
    shift = sum((sign * affine.shift for affine, sign in affines), np.zeros(()))
    total = Affine.of(scale, shift, affines[0][0].rank)
    require_chain_fits(reader, chains[0], total)
    before = sum(len(chain.nodes) for chain in chains) + len(group) - 1
    if len(operators_for(reader, chains[0], total)) >= before or total.is_identity:
        raise Refusal(Reason.COSTS_MORE, detail="the sum would take as many operators")
    return total


def _largest_conv(merge: Merge) -> ir.Node:
    """Return the convolution among the branches that computes most."""
    kernels = [(each.linear.multiply_adds, each.nodes[0]) for each in merge.branches if isinstance(each.linear, Kernel)]
    return max((pair for pair in kernels if pair[1].op_type == "Conv"), key=lambda pair: pair[0])[1]


def _conv(editor: Editor, merge: Merge, kernel: Kernel) -> ir.Node:
    old = _largest_conv(merge)
    weight = old.inputs[1]
    assert weight is not None, "asked by _kernel()"
    dtype = _dtype(editor.reader, old)
    inputs = [old.inputs[0], editor.constant(kernel.weight, dtype, f"{weight.name}_folded")]
    if kernel.bias.any():
        inputs.append(editor.constant(kernel.bias, dtype, f"{name_of(old)}_bias_folded"))
    attributes: dict[str, int | Sequence[int]] = {
        "kernel_shape": kernel.sizes,
        "strides": kernel.strides,
        "dilations": kernel.dilations,
        "pads": (*kernel.begins, *kernel.ends),
        "group": kernel.group,
    }
    node = _named(old, ir.node("Conv", inputs, attributes))
    node.metadata_props.update(old.metadata_props)
    return node


def _same_operator(editor: Editor, merge: Merge, same: SameOperator) -> ir.Node:
    """Return the first of the operators once more, with the sum of the weights."""
    old = merge.branches[0].nodes[0]
    dtype = _dtype(editor.reader, old, same.side)
    inputs = list(old.inputs)
    inputs[same.side] = editor.constant(same.weight, dtype, f"{name_of(old)}_weight_folded")
    if same.bias is not None:
        bias = editor.constant(same.bias, dtype, f"{name_of(old)}_bias_folded")
        inputs = [*inputs[:2], bias]
    node = _named(old, ir.Node(old.domain, old.op_type, inputs, list(old.attributes.values())))
    node.metadata_props.update(old.metadata_props)
    return node


def _product(editor: Editor, merge: Merge, matrix: Matrix) -> list[ir.Node]:
    """Return a Gemm where the input has two dimensions and a bias is wanted, else a MatMul, and an Add for a bias."""
    branch = next(each for each in merge.branches if isinstance(each.linear, Matrix))
    old, entry = branch.nodes[0], branch.input
    dtype = _dtype(editor.reader, old)
    weight = editor.constant(matrix.weight, dtype, f"{name_of(old)}_weight_folded")
    if not matrix.bias.any():
        return [_named(old, ir.node("MatMul", [entry, weight]))]
    bias = editor.constant(matrix.bias, dtype, f"{name_of(old)}_bias_folded")
    if len(editor.reader.shape(entry) or ()) == 2 and dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
        return [_named(old, ir.node("Gemm", [entry, weight, bias]))]
    product = _named(old, ir.node("MatMul", [entry, weight]))
    site = merge.root.outputs[0]
    product.outputs[0].shape, product.outputs[0].type = site.shape, site.type
    return [product, ir.node("Add", [product.outputs[0], bias], name=editor.names.new(f"{name_of(old)}_bias"))]


def _named(old: ir.Node, new: ir.Node) -> ir.Node:
    copy_node_name(old, new)
    return new
