"""Parallel linear branches of one input that are summed become one operator.

``Conv3x3(x) + Conv1x1(x) + BatchNormalization(x) + x`` is one 3x3 convolution (RepVGG), the same depthwise is MobileOne
and FastViT, ``x + DWConv(x)`` is RepViT. Conditions are those of ``kernels.summed``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from normfold.affine import Affine, Array
from normfold.edit import Editor, require_fits, stamp
from normfold.fold.find import Run, Sources
from normfold.fold.form import nodes_for, operators_for, require_run_fits
from normfold.fold.kernels import Diagonal, Kernel, summed
from normfold.graph import GraphReader, attribute, name_of
from normfold.reason import Reason, Refusal

RULE = "branches"
_SUMS = ("Add", "Sum", "Sub")


@dataclass(frozen=True, eq=False)
class Branch:
    """One addend: what it reads, its sign, and how it depends on it. ``nodes`` make it, and nothing else reads them."""

    entry: ir.Value
    value: ir.Value
    sign: float
    nodes: tuple[ir.Node, ...]
    linear: Kernel | Affine
    run: Run | None = None


@dataclass(frozen=True, eq=False)
class Merge:
    """Branches that become one, and the sum they stand in. ``others`` are its addends that stay, with their signs."""

    root: ir.Node
    sums: tuple[ir.Node, ...]
    branches: tuple[Branch, ...]
    others: tuple[tuple[ir.Value, float], ...]
    result: Kernel | Affine

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """The operators that go."""
        return (*self.sums, *(node for branch in self.branches for node in branch.nodes))


# -- finding -----------------------------------------------------------------------------------------------------
def merges(reader: GraphReader, sources: Sources) -> Iterator[Merge | tuple[Run, Refusal]]:
    """Every group of branches that can be merged now; for one that cannot, the affine in it and why."""
    for node in list(reader.graph):
        if node.graph is reader.graph and _is_sum(reader, node) and not _is_inside(reader, node):
            yield from _merges_at(reader, sources, node)


def _is_sum(reader: GraphReader, node: ir.Node) -> bool:
    if node.op_type not in _SUMS or node.domain not in ("", "ai.onnx") or len(node.inputs) < 2:
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
    """Whether the sum is an addend of another one that nothing else reads."""
    value = node.outputs[0]
    if value.is_graph_output() or len(value.uses()) != 1:
        return False
    reading = next(iter(value.uses()))[0]
    return reading.graph is reader.graph and _is_sum(reader, reading)


def _merges_at(reader: GraphReader, sources: Sources, root: ir.Node) -> Iterator[Merge | tuple[Run, Refusal]]:
    sums: list[ir.Node] = []
    addends = list(_addends(reader, root, sums))
    branches = [branch for value, sign in addends for branch in [_branch(reader, sources, value, sign)]]
    for entry in dict.fromkeys(branch.entry for branch in branches):
        group = [branch for branch in branches if branch.entry is entry]
        if len(group) < 2:
            continue
        others = tuple((value, sign) for value, sign in addends if not any(b.value is value for b in group))
        try:
            yield Merge(root, tuple(sums), tuple(group), others, _merged(reader, group))
            return  # the graph has changed; the next pass sees what is left
        except Refusal as refusal:
            yield from ((branch.run, refusal) for branch in group if branch.run is not None)


def _addends(reader: GraphReader, root: ir.Node, sums: list[ir.Node]) -> Iterator[tuple[ir.Value, float]]:
    """The leaves of a tree of sums, left to right, each with its sign; the sums themselves are added to ``sums``."""
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
            producer = operand.producer()
            inner = producer is not None and producer.graph is node.graph and _is_sum(reader, producer)
            parts.append(
                (producer if inner and producer is not None and _is_inside(reader, producer) else None, operand, own)
            )
        stack.extend(reversed(parts))


def _branch(reader: GraphReader, sources: Sources, value: ir.Value, sign: float) -> Branch:
    """What an addend is: a convolution, a per-channel affine, or (anything else) just itself."""
    itself = Branch(value, value, sign, (), Affine.identity(len(reader.shape(value) or ())))
    node = value.producer()
    if node is None or node.graph is not reader.graph or value.is_graph_output() or len(value.uses()) != 1:
        return itself
    source = sources.at(node)
    if source is not None:
        run = sources.run_up_to(source)
        return Branch(run.entry, value, sign, run.nodes, run.affine, run)
    kernel = _kernel(reader, node)
    entry = node.inputs[0] if node.inputs else None
    return itself if kernel is None or entry is None else Branch(entry, value, sign, (node,), kernel)


def _kernel(reader: GraphReader, node: ir.Node) -> Kernel | None:
    """A Conv with constant weight and bias and explicit padding, or None."""
    if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
        return None
    weight = reader.constant(node.inputs[1])
    bias = reader.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else 0.0
    mode = attribute(node, "auto_pad", "NOTSET")
    if weight is None or bias is None or mode not in ("NOTSET", "VALID"):
        return None
    dims = weight.ndim - 2
    pads = [int(pad) for pad in attribute(node, "pads", ())] if mode == "NOTSET" else []
    pads = pads or [0] * (2 * dims)
    ones = [1] * dims
    return Kernel(
        weight,
        np.broadcast_to(bias, weight.shape[:1]),
        int(attribute(node, "group", 1)),
        tuple(int(n) for n in attribute(node, "strides", ones)),
        tuple(int(n) for n in attribute(node, "dilations", ones)),
        tuple(pads[:dims]),
        tuple(pads[dims:]),
    )


# -- merging -----------------------------------------------------------------------------------------------------
def _merged(reader: GraphReader, group: Sequence[Branch]) -> Kernel | Affine:
    kernels = [_signed(branch.linear, branch.sign) for branch in group if isinstance(branch.linear, Kernel)]
    affines = [(branch.linear, branch.sign) for branch in group if isinstance(branch.linear, Affine)]
    if not kernels:
        return _sum_of_affines(reader, group, affines)
    channels = kernels[0].channels[1]
    diagonals = [Diagonal(sign * scale, sign * shift) for scale, shift, sign in _vectors(affines, channels)]
    result = summed(kernels, diagonals)
    conv = next(branch.nodes[0] for branch in group if isinstance(branch.linear, Kernel))
    weight = conv.inputs[1]
    for array in (result.weight, result.bias):
        require_fits(array, None if weight is None else reader.dtype(weight), conv)
    return result


def _signed(kernel: Kernel, sign: float) -> Kernel:
    return kernel if sign > 0 else replace(kernel, weight=-kernel.weight, bias=-kernel.bias)


def _vectors(affines: Sequence[tuple[Affine, float]], channels: int) -> Iterator[tuple[Array, Array, float]]:
    for affine, sign in affines:
        if not affine.is_constant_on(axis for axis in range(affine.rank) if axis != 1):
            raise Refusal(Reason.AXIS_STOPS, detail="a branch varies on an axis other than 1")
        yield (*affine.vectors(1, channels), sign)


def _sum_of_affines(reader: GraphReader, group: Sequence[Branch], affines: Sequence[tuple[Affine, float]]) -> Affine:
    """BN(x) + x is one affine; x + x alone is left as it is."""
    runs = [branch.run for branch in group if branch.run is not None]
    if not runs:
        raise Refusal(Reason.COSTS_MORE, detail="a sum of equal values is one operator already")
    scale = sum((sign * affine.scale for affine, sign in affines), np.zeros(()))
    shift = sum((sign * affine.shift for affine, sign in affines), np.zeros(()))
    total = Affine.of(scale, shift, affines[0][0].rank)
    require_run_fits(reader, runs[0], total)
    before = sum(len(run.nodes) for run in runs) + len(group) - 1
    if len(operators_for(reader, runs[0], total)) >= before or total.is_identity:
        raise Refusal(Reason.COSTS_MORE, detail="the sum would take as many operators")
    return total


def apply(editor: Editor, merge: Merge) -> list[ir.Node]:
    """Write the merged operator (and the sum of what else there is) in the place of the root; returns the new nodes."""
    if isinstance(merge.result, Kernel):
        nodes = [_conv(editor, merge, merge.result)]
    else:
        run = next(branch.run for branch in merge.branches if branch.run is not None)
        nodes = nodes_for(editor, run, merge.branches[0].entry, merge.result)
    site = merge.root.outputs[0]
    value = nodes[-1].outputs[0]
    for other, sign in merge.others:
        value.shape, value.type = site.shape, site.type
        nodes.append(
            ir.node("Add" if sign > 0 else "Sub", [value, other], name=editor.names.new(f"{name_of(merge.root)}_sum"))
        )
        value = nodes[-1].outputs[0]
    for node in nodes:
        stamp(node, RULE, ", ".join(name_of(each) for each in merge.nodes if each.op_type not in _SUMS))
    editor.insert_before(merge.root, nodes)
    editor.take_over(site, value)
    editor.remove(merge.nodes)
    return nodes


def _conv(editor: Editor, merge: Merge, kernel: Kernel) -> ir.Node:
    branch = max(
        (each for each in merge.branches if isinstance(each.linear, Kernel)),
        key=lambda each: each.linear.multiply_adds if isinstance(each.linear, Kernel) else 0,
    )
    old = branch.nodes[0]
    weight = old.inputs[1]
    assert weight is not None, "asked by _kernel()"
    dtype = editor.reader.dtype(weight) or ir.DataType.FLOAT
    inputs = [branch.entry, editor.constant(kernel.weight, dtype, f"{weight.name}_folded")]
    if kernel.bias.any():
        inputs.append(editor.constant(kernel.bias, dtype, f"{name_of(old)}_bias_folded"))
    attributes: dict[str, int | Sequence[int]] = {
        "kernel_shape": kernel.sizes,
        "strides": kernel.strides,
        "dilations": kernel.dilations,
        "pads": (*kernel.begins, *kernel.ends),
        "group": kernel.group,
    }
    node = ir.node("Conv", inputs, attributes, name=old.name)
    node.metadata_props.update(old.metadata_props)
    return node
