"""Count the bytes that a plan adds to a model: a weight that others read too is copied, and not replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from normfold.algebra.affine import Array
from normfold.algebra.weight import Weight
from normfold.findings.reason import Obstacle, Reason
from normfold.fold.search.plan import FoldPlan
from normfold.graph.display_names import display_name, name_of
from normfold.graph.editor import OWN_ELEMENTS
from normfold.graph.reader import GraphReader, count_uses, input_at, stored_bytes
from normfold.graph.weight_bytes import FREE, weight_bytes

Use = tuple[ir.Node, int]
Written = dict[tuple[ir.Value, int], list[Array | Weight]]  # by a weight that others read too, and the input


@dataclass
class _Waiting:
    """Plans for one weight, by the last operator of the chain of each, and how many readers of it they change."""

    plans: dict[ir.Node, FoldPlan] = field(default_factory=dict)
    readers: int = 0


@dataclass
class Budget:
    """How many bytes the folds of a model may add in all, and how many they have.

    What one part of a module makes of each of its calls is the same: the copies of a shared weight are stored once, and
    the weight itself goes with its last reader. So plans that are too dear alone wait in ``waiting`` for the others, by
    the weight and the direction.
    """

    limit: int
    spent: int = 0
    waiting: dict[tuple[ir.Value, str], _Waiting] = field(default_factory=dict)
    _written: Written = field(default_factory=dict)

    @staticmethod
    def of(model: ir.Model, part: float) -> Budget:
        """Return the budget of ``part`` of the weights that a model has now."""
        return Budget(max(FREE, int(part * weight_bytes(model))))

    def objection(self, reader: GraphReader, plan: FoldPlan) -> Obstacle | None:
        """Return why a plan may not be carried out, or None where it fits, or will with those that wait."""
        growth, _ = self._growth(reader, [plan])
        if self._fits(growth):
            return None
        others = self._waiting_with(plan)
        if others and self._fits(self._growth(reader, [*others, plan])[0]):
            return None
        shared = _largest_shared(plan)
        node = name_of(shared[0]) if shared else name_of(plan.chain.nodes[-1])
        what = f"{display_name(shared[0].inputs[shared[1]])} has other readers, and " if shared else ""
        detail = f"{what}the weights would grow by {growth:,} bytes, of {max(0, self.limit - self.spent):,} allowed"
        return Obstacle(Reason.GROWTH, node, detail=detail, direction=plan.direction)

    def _waiting_with(self, plan: FoldPlan) -> list[FoldPlan]:
        """Let a plan wait; return the others that wait for its weights, if a weight goes as all its readers change."""
        node, goes = plan.chain.nodes[-1], False
        groups = []
        for value, changed in _copies(plan).items():
            group = self.waiting.setdefault((value, plan.direction), _Waiting())
            group.readers += 0 if node in group.plans else changed
            group.plans[node] = plan
            groups.append(group)
            goes = goes or group.readers >= count_uses(value)
        found = {last: other for group in groups for last, other in group.plans.items()} if goes else {}
        return [other for last, other in found.items() if last is not node]

    def spend(self, reader: GraphReader, plan: FoldPlan) -> None:
        """Count what a plan adds, or frees, before it is carried out."""
        growth, written = self._growth(reader, [plan])
        self.spent += growth
        for key, results in written.items():
            self._written.setdefault(key, []).extend(results)

    def _fits(self, growth: int) -> bool:
        return growth <= 0 or self.spent + growth <= self.limit

    def _growth(self, reader: GraphReader, plans: Sequence[FoldPlan]) -> tuple[int, Written]:
        """Return the bytes that plans write, less those of the constants that they leave unused, and their copies."""
        rewrites = [rewrite for plan in plans for rewrite in (*plan.rewrites, *plan.companions)]
        changed = {(rewrite.node, index) for rewrite in rewrites for index in rewrite.inputs}
        freed: set[ir.Value] = set()
        written: Written = {}
        total = 0
        for rewrite in rewrites:
            for index, array in rewrite.inputs.items():
                previous = input_at(rewrite.node, index)
                total -= 0 if previous is None else _freed(previous, changed, freed)
                anchor = previous or input_at(rewrite.node, 1)  # of a new bias, the weight
                is_shared = array.size > OWN_ELEMENTS
                if is_shared and anchor is not None and (count_uses(anchor) > 1 or (anchor, index) in self._written):
                    known = written.setdefault((anchor, index), [])
                    if any(_are_equal(each, array) for each in (*known, *self._written.get((anchor, index), ()))):
                        continue
                    known.append(array)
                dtype = reader.dtype(previous)
                total += array.size * (4 if dtype is None else dtype.bitwidth // 8 or 1)
        return total, written


def _are_equal(one: Array | Weight, other: Array | Weight) -> bool:
    """Compare two results of one weight, without computing a large one."""
    if isinstance(one, Weight) and isinstance(other, Weight):
        steps = list(zip(one.steps, other.steps, strict=False))
        same = len(one.steps) == len(other.steps) == len(steps)
        return same and all(a[0] is b[0] and np.array_equal(a[1], b[1]) for a, b in steps)
    return not isinstance(one, Weight) and not isinstance(other, Weight) and np.array_equal(one, other)


def _freed(value: ir.Value, changed: set[Use], freed: set[ir.Value]) -> int:
    """Return the bytes of stored constants that are unused once the inputs ``changed`` read others."""
    if value in freed or value.is_graph_output() or count_uses(value) > len(changed):
        return 0
    if any((use[0], use[1]) not in changed for use in value.uses()):
        return 0
    freed.add(value)
    stored, node = stored_bytes(value), value.producer()
    if stored or node is None:
        return stored
    inner = changed | {(node, index) for index in range(len(node.inputs))}
    return sum(_freed(operand, inner, freed) for operand in node.inputs if operand is not None)


def _copies(plan: FoldPlan) -> Counter[ir.Value]:
    """Return the constants that a plan changes for some of their readers, and for how many."""
    values = Counter(
        value
        for rewrite in (*plan.rewrites, *plan.companions)
        for index in rewrite.inputs
        if index < len(rewrite.node.inputs) and (value := rewrite.node.inputs[index]) is not None
    )
    return Counter({value: count for value, count in values.items() if count_uses(value) > 1})


def _largest_shared(plan: FoldPlan) -> Use | None:
    """Return the node and input of the largest weight that is copied because others read it."""
    uses = [(rewrite.node, index) for rewrite in plan.rewrites for index in rewrite.inputs]
    sizes = {
        (node, index): array.size
        for rewrite in plan.rewrites
        for node in (rewrite.node,)
        for index, array in rewrite.inputs.items()
        if index < len(node.inputs) and (value := node.inputs[index]) is not None and count_uses(value) > 1
    }
    return max((use for use in uses if use in sizes), key=sizes.__getitem__, default=None)
