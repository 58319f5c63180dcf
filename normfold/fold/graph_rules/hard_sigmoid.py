"""A Clip between affines by two numbers is one HardSigmoid, such as at the end of a hard swish.

Exporters write ``Clip(x + 3, 0, 6) / 6`` before opset 14; other folds may have carried a part of it through the Clip:
``t2 + s2 * Clip(s1*x + t1, low, high)`` is a HardSigmoid where the last affine maps low to 0 and high to 1. A hard
swish is found before other folds, which would carry its factor away; its factor may stand behind the product.
Source: https://onnx.ai/onnx/operators/onnx__HardSigmoid.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.algebra.affine import Affine
from normfold.findings.reason import Reason, Refusal
from normfold.fold.affines import AffineChain, AffineIndex
from normfold.fold.cancellation import offset_in_spreads, require_no_cancellation
from normfold.fold.carriers.elementwise import bounds_of
from normfold.fold.graph_rules.change import GraphChange
from normfold.fold.rule import require_attributes_fit
from normfold.graph.display_names import display_name, name_of
from normfold.graph.editor import Editor, Rewrite
from normfold.graph.reader import GraphReader, has_one_reader
from normfold.operators.table import is_standard

_RULE = "affine"
_LONGEST_PART = 4  # operators in a row that may end with the division
_ROUNDING = 1e-6  # of the bounds, which divisions such as 6/6 have rounded


@dataclass(frozen=True, eq=False)
class _HardSigmoid:
    """A Clip, and the chains of affines by two numbers before and behind it, of which one may be missing."""

    clip: ir.Node
    before: AffineChain | None
    after: AffineChain | None

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """Return the affines, which go."""
        return tuple(node for chain in (self.before, self.after) if chain is not None for node in chain.nodes)

    @property
    def numbers(self) -> dict[str, float]:
        """Return the attributes of the HardSigmoid."""
        before = _numbers(self.before)
        scale, shift = _numbers(self.after)
        return {"alpha": before[0] * scale, "beta": before[1] * scale + shift}

    def change(self) -> GraphChange:
        """Return what the engine asks for; the result stays the same where folds left it as it was."""
        name, value = name_of(self.clip), self.clip.outputs[0] if self.after is None else self.after.output
        sites = (value.name or "",) if value.name == display_name(value) else ()
        return GraphChange(name, self._apply, self.nodes, into=(name,), sites=sites)

    def _apply(self, editor: Editor) -> Sequence[ir.Node]:
        """Make the Clip a HardSigmoid of what the first affine reads."""
        node, numbers = self.clip, self.numbers
        node.resize_inputs(1)
        if self.before is not None:
            node.replace_input_with(0, self.before.input)
            editor.remove(self.before.nodes)
        change = Rewrite(node, attributes=numbers, operator="HardSigmoid", drops=("min", "max"))
        editor.rewrite(change, _RULE, name_of(node))
        if self.after is not None:
            editor.rename(node.outputs[0])
            editor.bypass(self.after.nodes, self.after.input, self.after.output, upstream_takes_name=True, rule=_RULE)
        return ()


def hard_sigmoids(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Yield every Clip that is a HardSigmoid with the affines around it."""
    return (found.change() for found in _found(reader, affines))


def hard_swishes(reader: GraphReader, affines: AffineIndex) -> Iterator[GraphChange]:
    """Yield every HardSigmoid whose first affine cannot go backward: others read what it reads, as in a hard swish."""
    for found in _found(reader, affines):
        if found.before is not None and not has_one_reader(found.before.input):
            yield found.change()


def _found(reader: GraphReader, affines: AffineIndex) -> Iterator[_HardSigmoid]:
    for node in list(reader.graph):
        if node.op_type != "Clip" or not is_standard(node) or node in affines.left or not reader.holds(node):
            continue
        try:
            found = _hard_sigmoid_at(reader, affines, node)
        except Refusal:
            continue
        if found is not None:
            yield found


def _hard_sigmoid_at(reader: GraphReader, affines: AffineIndex, node: ir.Node) -> _HardSigmoid | None:
    value, out = node.inputs[0], node.outputs[0]
    if value is None or reader.dtype(value) is not ir.DataType.FLOAT:
        return None  # ONNX Runtime has a kernel for float32 only
    first = affines.at(value.producer()) if has_one_reader(value) else None
    before = None if first is None else affines.chain_ending_at(first)
    bounds = bounds_of(reader, node)
    if set(bounds) != {"min", "max"}:
        return None
    for after in _chains_behind(reader, affines, out):
        found = _HardSigmoid(node, before, after)
        if not found.nodes or not all(map(reader.holds, found.nodes)) or not _is_from_0_to_1(found, bounds):
            continue
        require_attributes_fit(reader, node, found.numbers)
        for chain in filter(None, (found.before, found.after)):
            require_no_cancellation(reader, chain.input, offset_in_spreads(reader, chain, chain.affine), node)
        return found
    return None


def _chains_behind(reader: GraphReader, affines: AffineIndex, out: ir.Value) -> Iterator[AffineChain | None]:
    """Yield the chain that alone reads ``out``, or its first operators, and None; then one behind a product.

    Only a scale passes a product, and what is no two numbers stays behind the part.
    """
    for end in (out, _product_of(reader, out)):
        first = affines.at(end.consumers()[0]) if end is not None and has_one_reader(end) else None
        members = () if first is None else affines.chain_starting_at(first).members
        counts = {len(members), *range(1, min(len(members), _LONGEST_PART) + 1)} - {0}
        for count in sorted(counts, reverse=True):
            part = AffineChain(members[:count])
            is_numbers = part.affine.scale.size == part.affine.shift.size == 1
            if is_numbers and (end is out or part.affine.has_no_shift):
                yield part
        if end is out:
            yield None


def _is_from_0_to_1(found: _HardSigmoid, bounds: Mapping[str, float]) -> bool:
    scale, shift = _numbers(found.after)
    return abs(scale * bounds["min"] + shift) <= _ROUNDING and abs(scale * bounds["max"] + shift - 1.0) <= _ROUNDING


def _product_of(reader: GraphReader, value: ir.Value) -> ir.Value | None:
    """Return the product with another value that alone reads ``value``, or None."""
    node = value.consumers()[0] if has_one_reader(value) else None
    if node is None or node.op_type != "Mul" or not is_standard(node) or any(map(reader.is_constant, node.inputs)):
        return None
    return node.outputs[0] if reader.holds(node) else None


def _numbers(chain: AffineChain | None) -> tuple[float, float]:
    """Return scale and shift of a chain where they are two numbers; Refusal where they are not."""
    affine = Affine.identity(0) if chain is None else chain.affine
    if affine.scale.size > 1 or affine.shift.size > 1:
        raise Refusal(Reason.AXIS_STOPS, detail="a HardSigmoid has two numbers")
    return float(affine.scale.reshape(())), float(affine.shift.reshape(()))
