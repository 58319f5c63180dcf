"""Let one operator do what several Transposes, Squeezes and Unsqueezes in a row do, or none where that is nothing.

Also none where two of them undo each other around operators that act element by element: those need no axes moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from normfold.findings.rules import MERGE
from normfold.graph.display_names import name_of
from normfold.graph.editor import Editor, bypass, stamp
from normfold.graph.reader import GraphReader, attribute, has_one_reader, has_parameters
from normfold.operators.table import is_standard, operator_of

_NEW = -1  # stands for an axis of size 1 that was not there before
_LONGEST = 16  # operators in a row that are looked through
_AXES_AS_INPUT = 13  # the operator set from which the axes of Squeeze and Unsqueeze are an input
_OF_ONE = frozenset({"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"})  # the element itself


@dataclass(frozen=True)
class AxisMove:
    """Where the axes of a value come from: for each, the axis of an earlier value, or ``_NEW``.

    ``dropped`` are the axes of the earlier value that are gone; they are of size 1.
    """

    origin: tuple[int, ...]
    dropped: frozenset[int] = frozenset()

    def behind(self, earlier: AxisMove) -> AxisMove:
        """Return both moves as one, this one after ``earlier``."""
        dropped = {earlier.origin[axis] for axis in self.dropped} - {_NEW}
        origin = tuple(axis if axis == _NEW else earlier.origin[axis] for axis in self.origin)
        return AxisMove(origin, earlier.dropped | dropped)

    @property
    def is_nothing(self) -> bool:
        """Return whether both values are equal: an axis of size 1 may have gone and come again in its place."""
        kept = len(self.origin) - self.origin.count(_NEW)
        pairs = enumerate(self.origin)
        return len(self.origin) == kept + len(self.dropped) and all(
            before == axis or (before == _NEW and axis in self.dropped) for axis, before in pairs
        )

    def operator(self) -> tuple[str, list[int]] | None:
        """Return the one operator that does the same, with its axes or its order; None where there is none."""
        new = [axis for axis, before in enumerate(self.origin) if before == _NEW]
        kept = [before for before in self.origin if before != _NEW]
        if not new and not self.dropped:
            return "Transpose", kept
        if kept != sorted(kept) or (new and self.dropped):
            return None
        return ("Unsqueeze", new) if new else ("Squeeze", sorted(self.dropped))


def move_axes_once(editor: Editor) -> None:
    """Let each operator that moves axes read the earliest value from which it can do all that is done in between."""
    for node in list(editor.reader.graph):
        best: tuple[ir.Value, tuple[str, list[int]] | None] | None = None
        for length, (value, move) in enumerate(_moves(editor.reader, node)):
            found = None if move.is_nothing else move.operator()
            if move.is_nothing or (found and length):
                best = value, found
        if best is None:
            _index_with_axis(editor, node)
            _undo_around(editor, node)
        elif best[1] is None:
            bypass(node, best[0])
        else:
            _write(editor, node, best[0], *best[1])


def _moves(reader: GraphReader, node: ir.Node) -> Iterator[tuple[ir.Value, AxisMove]]:
    """Yield the values before ``node``, with what is done to their axes in between; the nearest comes first."""
    step, whole = _move_of(reader, node), None
    for _ in range(_LONGEST):
        value = node.inputs[0] if step is not None else None
        if step is None or value is None:
            return
        whole = step if whole is None else whole.behind(step)
        yield value, whole
        before = value.producer()
        if before is None or not reader.holds(before):
            return
        node, step = before, _move_of(reader, before)


def _move_of(reader: GraphReader, node: ir.Node) -> AxisMove | None:
    """Return what one operator does to the axes of its input; None where it does anything else, or nothing is known."""
    shape = reader.shape(node.outputs[0]) if node.outputs else None
    if not is_standard(node) or not node.inputs or has_parameters(node):
        return None
    if node.op_type == "Transpose":
        order = attribute(node, "perm", None)
        rank = 0 if shape is None else len(shape)
        return AxisMove(tuple(order or reversed(range(rank)))) if order or rank else None
    axes = reader.axes(node) if node.op_type in {"Unsqueeze", "Squeeze", *_OF_ONE} else None
    if not axes or shape is None:
        return None  # an empty list of axes stands for all of them
    if node.op_type == "Unsqueeze":
        new = {axis % len(shape) for axis in axes}
        kept = iter(range(len(shape)))
        return AxisMove(tuple(_NEW if axis in new else next(kept) for axis in range(len(shape))))
    before = reader.shape(node.inputs[0])
    if before is None:
        return None
    gone = frozenset(axis % len(before) for axis in axes)
    if node.op_type != "Squeeze":
        if any(before[axis] != 1 for axis in gone):
            return None
        gone = frozenset() if attribute(node, "keepdims", 1) else gone
    return AxisMove(tuple(axis for axis in range(len(before)) if axis not in gone), gone)


def _write(editor: Editor, node: ir.Node, value: ir.Value, operator: str, axes: list[int]) -> None:
    before = node.inputs[0].producer()  # type: ignore[union-attr]  # _moves() saw an operator before it
    assert before is not None
    if operator == "Transpose" or editor.reader.opset < _AXES_AS_INPUT:
        editor.become(node, operator, [value], {"perm" if operator == "Transpose" else "axes": axes})
    else:
        listed = editor.constant(np.asarray(axes, np.int64), ir.DataType.INT64, f"{node.outputs[0].name}_axes")
        editor.become(node, operator, [value, listed], {})
    stamp(node, MERGE, name_of(before))


def _undo_around(editor: Editor, node: ir.Node) -> None:
    """Let operators of one element at a time read what the move before them reads, where ``node`` undoes that move."""
    reader, between = editor.reader, list[ir.Node]()
    step, before = _move_of(reader, node), _maker(reader, node)
    if step is None:
        return  # most operators: nothing is walked for them
    while before is not None and _acts_on_elements(reader, before) and len(between) < _LONGEST:
        between.append(before)
        before = _maker(reader, before)
    move = _move_of(reader, before) if before is not None and between else None
    if move is None or before is None or not step.behind(move).is_nothing:
        return
    between[-1].replace_input_with(0, before.inputs[0])
    for each in between:
        editor.rename(each.outputs[0])  # it holds the elements in another order now
        each.outputs[0].shape = node.outputs[0].shape
        stamp(each, MERGE, f"{name_of(before)}, {name_of(node)}")
    editor.bypass([node], between[0].outputs[0], node.outputs[0], upstream_takes_name=True, rule=MERGE)


def _maker(reader: GraphReader, node: ir.Node) -> ir.Node | None:
    """Return the operator that makes what ``node`` reads, where both stand in this graph."""
    maker = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return maker if reader.holds(maker) else None


def _acts_on_elements(reader: GraphReader, node: ir.Node) -> bool:
    """Return whether a node makes each element of one alone, and only one operator reads the result."""
    if not operator_of(node).elementwise or not has_one_reader(node.outputs[0]) or len(node.outputs) > 1:
        return False
    return all(value is None or reader.is_constant(value) for value in node.inputs[1:])


def _index_with_axis(editor: Editor, node: ir.Node) -> None:
    """Make an Unsqueeze behind a Gather of one number, whose axis it brings back, a Gather of a list of one."""
    reader = editor.reader
    move = _move_of(reader, node) if node.op_type == "Unsqueeze" else None
    before = node.inputs[0].producer() if move is not None and node.inputs[0] is not None else None
    if move is None or before is None or before.op_type != "Gather" or not is_standard(before):
        return
    index = reader.constant(before.inputs[1]) if reader.holds(before) else None
    new = [axis for axis, origin in enumerate(move.origin) if origin == _NEW]
    if index is None or index.ndim or new != [int(attribute(before, "axis", 0)) % len(move.origin)]:
        return
    listed = editor.constant(index.reshape(1), ir.DataType.INT64, f"{node.outputs[0].name}_index")
    editor.become(node, "Gather", [before.inputs[0], listed], {"axis": new[0]})
    stamp(node, MERGE, name_of(before))
