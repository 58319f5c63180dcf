"""Two models that differ in weights of one name, such as a copy in which a user changed some.

Where the operators are the same a name means the same in both, so they can be compared at each operator that reads a
changed weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

import onnx

from normfold.runtime.loaded_model import LoadedModel
from normfold.runtime.random_operators import depending_on
from normfold.verify.regions.difference import have_equal_content
from normfold.verify.result import Site

_SELECTORS = frozenset({"Gather", "GatherElements", "GatherND", "PRelu"})
"""What these make shows the rows or slopes that the data selects, and no others: so the weights are compared."""


def changed_weight_sites(one: LoadedModel, other: LoadedModel, is_written: bool = False) -> list[Site]:
    """Return what each operator makes that reads a changed weight, in the name of the operator.

    The weight itself is a site where the data selects what shows of it; none where weights of one name differ in type.

    Where the models differ in more than weights, only operators count that make the same value of the same values for
    readers of the same kinds. When normfold wrote one of the two (``is_written``) the same kind of operator is enough,
    because it leaves no name on a value that it changed, and a new weight counts too.
    """
    changed = _changed(one, other)
    if changed is None:
        return []
    new = other.initializer_names - one.initializer_names if is_written else set()
    if not changed and not new:
        return []
    have_same_operators = one.initializer_names == other.initializer_names and _same_operators(one, other)
    data = depending_on(one, [value.name for value in one.inputs])
    found = []
    for node, reads in zip(one.graph.node, one.reads, strict=True):
        made = [name for name in node.output if name]
        read = sorted(changed.intersection(reads))
        if not (read or _reads_any(other, made, new)):
            continue
        if (
            have_same_operators
            or (is_written and _has_same_op_type(other, node, made))
            or all(_use(one, v) == _use(other, v) for v in made)
        ):
            selected = read if node.op_type in _SELECTORS and not data.isdisjoint(reads) else []
            fold = node.name or f"{node.op_type} of {made[0]}"
            found += [Site(value, fold) for value in (*made, *selected)]
    return found


def _changed(one: LoadedModel, other: LoadedModel) -> set[str] | None:
    """Return the weights and constants of one name that hold other numbers; None where they are of another type."""
    tensors, others = dict(one.initializers), dict(other.initializers)
    both = tensors.keys() & others.keys()
    if any(_type(tensors[name]) != _type(others[name]) for name in both):
        return None
    changed = {name for name in both if not have_equal_content(one, tensors[name], other, others[name])}
    return changed.union(_changed_constants(one, other))


def _reads_any(model: LoadedModel, made: Sequence[str], names: Set[str]) -> bool:
    """Whether one of the operators that make ``made`` there reads one of ``names``."""
    places = (model.producers[value] for value in made if value in model.producers)
    return any(not names.isdisjoint(model.reads[place]) for place in places)


def _has_same_op_type(model: LoadedModel, node: onnx.NodeProto, made: Sequence[str]) -> bool:
    """Whether an operator of the same kind makes ``made`` there."""
    kinds = (model.graph.node[model.producers[value]].op_type for value in made if value in model.producers)
    return [node.op_type] * len(made) == list(kinds)


def _type(tensor: onnx.TensorProto) -> tuple[int, tuple[int, ...]]:
    return tensor.data_type, tuple(tensor.dims)


def _use(model: LoadedModel, value: str) -> list[object]:
    """Return what makes a value, and what kinds of operator read it; nothing where there is no such value."""
    if value not in model.producers:
        return []
    node = model.graph.node[model.producers[value]]
    readers = [model.graph.node[place] for place in model.readers.get(value, ())]
    kinds = sorted((reader.op_type, *(i for i, name in enumerate(reader.input) if name == value)) for reader in readers)
    return [node.op_type, *node.input, *node.output, *kinds]


def _same_operators(one: LoadedModel, other: LoadedModel) -> bool:
    nodes, others = one.graph.node, other.graph.node
    return (
        len(nodes) == len(others)
        and one.skeleton.opset_import == other.skeleton.opset_import
        and one.skeleton.functions == other.skeleton.functions
        and all(a == b or _are_constants(a, b) for a, b in zip(nodes, others, strict=True))
    )


def _are_constants(a: onnx.NodeProto, b: onnx.NodeProto) -> bool:
    return a.op_type == b.op_type == "Constant" and a.output == b.output


def _changed_constants(one: LoadedModel, other: LoadedModel) -> Iterator[str]:
    """Return what Constant operators of both models make that hold other numbers."""
    others = {node.output[0]: node for node in other.graph.node if node.op_type == "Constant"}
    for node in one.graph.node:
        its = others.get(node.output[0]) if node.op_type == "Constant" else None
        if its is not None and its.attribute != node.attribute:
            yield node.output[0]
