"""Put right what a file says oddly and ONNX Runtime reads without harm, or not at all, before anything looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush

import onnx

from normfold.operators.table import is_standard
from normfold.operators.walk import captures, inner_graphs, name_nodes_apart, reads, subgraphs

_VALUE_NAMES = {
    getattr(onnx.AttributeProto, kind): f"value_{kind.lower()}"
    for kind in ("FLOAT", "FLOATS", "INT", "INTS", "STRING", "STRINGS")
} | {onnx.AttributeProto.TENSOR: "value", onnx.AttributeProto.SPARSE_TENSOR: "sparse_value"}
"""The attribute of a Constant by its type."""


def repaired(model: onnx.ModelProto) -> tuple[str, ...]:
    """Repair a model in place. Return a note for each kind of repair after which the file is another one."""
    graphs = [model.graph, *inner_graphs(model)]
    holders = (*graphs, *model.functions)
    without_outputs = sum(map(_drop_without_outputs, holders))
    _forget_negative_lengths(graphs)
    for graph in graphs:
        _forget_wrong_ranks(graph)
    nodes = [node for each in holders for node in each.node]
    counts = {
        "operators without outputs, which are left out": without_outputs,
        "Constants with their value under another name, read as ONNX Runtime does": _name_values(nodes),
        "operators with the name of another one, which have one of their own now": name_nodes_apart(graphs),
        "operators that ended in outputs without a name, which are left out": _drop_unnamed_outputs(nodes),
        "Constants that were declared again; the last value counts, as in ONNX Runtime": _join_constants(graphs),
        "inner values of an undefined type, which have their own now": _forget_no_types(graphs),
        "graphs with operators before those that they read, in order now": sum(map(_put_in_order, graphs)),
    }
    return tuple(f"{what}: {count}" for what, count in counts.items() if count)


def _forget_negative_lengths(graphs: Sequence[onnx.GraphProto]) -> None:
    """Make a length below 0 an unknown one: exporters write -1 for it, and shape inference computes with that number.

    A convolution of stride 2 makes 0 of -1, and ONNX Runtime refuses a model whose inner values are said to be empty.
    """
    for graph in graphs:
        for value in (*graph.input, *graph.output, *graph.value_info):
            kind = value.type
            while kind.HasField("sequence_type") or kind.HasField("optional_type"):
                kind = (kind.sequence_type if kind.HasField("sequence_type") else kind.optional_type).elem_type
            for dim in kind.tensor_type.shape.dim if kind.HasField("tensor_type") else ():
                if dim.HasField("dim_value") and dim.dim_value < 0:
                    dim.ClearField("dim_value")


def is_untyped(value: onnx.ValueInfoProto) -> bool:
    """Return whether a value is said to be a tensor of the type 0, which ONNX Runtime reads as no model."""
    return value.type.HasField("tensor_type") and not value.type.tensor_type.elem_type


def _forget_no_types(graphs: Sequence[onnx.GraphProto]) -> int:
    """Remove what is said of inner values with an undefined type; return of how many."""
    removed = 0
    for graph in graphs:
        for value in [value for value in graph.value_info if is_untyped(value)]:
            graph.value_info.remove(value)
            removed += 1
    return removed


def _forget_wrong_ranks(graph: onnx.GraphProto) -> None:
    """Forget the shape of an inner value that contradicts its constant, or in its rank what makes or reads it.

    Exporters write such shapes into the branches of merged decoders; a runtime infers its own.
    """
    shapes = {value.name: value.type.tensor_type for value in graph.value_info if value.type.HasField("tensor_type")}
    lengths = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 1}
    for name, kind in shapes.items():
        if kind.HasField("shape") and len(kind.shape.dim) == 1 and kind.shape.dim[0].HasField("dim_value"):
            lengths[name] = kind.shape.dim[0].dim_value
    for name, sizes in _sizes_of_constants(graph) if shapes else ():
        if name not in shapes or not shapes[name].HasField("shape"):
            continue
        said = [dim.dim_value if dim.HasField("dim_value") else None for dim in shapes[name].shape.dim]
        if len(said) != len(sizes) or any(size not in (None, own) for size, own in zip(said, sizes, strict=True)):
            shapes[name].ClearField("shape")
    for node in graph.node:
        ranks: dict[str, int] = {}
        if node.op_type == "Reshape" and len(node.input) > 1 and node.input[1] in lengths:
            ranks = {node.output[0]: lengths[node.input[1]]}
        elif node.op_type == "Transpose":
            ranks = {name: len(each.ints) for each in node.attribute for name in (node.input[0], node.output[0])}
        for name, rank in ranks.items() if is_standard(node) else ():
            if name in shapes and shapes[name].HasField("shape") and len(shapes[name].shape.dim) != rank:
                shapes[name].ClearField("shape")


def _sizes_of_constants(graph: onnx.GraphProto) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the names of what a graph stores, with the sizes of the tensors."""
    yield from ((tensor.name, tensor.dims) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant" and is_standard(node) and node.output and node.attribute:
            value = node.attribute[0]
            if value.type == onnx.AttributeProto.TENSOR:
                yield node.output[0], value.t.dims
            elif not value.ref_attr_name and value.type != onnx.AttributeProto.SPARSE_TENSOR:
                lists = len(value.floats) or len(value.ints) or len(value.strings)
                yield node.output[0], [lists] if lists else []


def _drop_without_outputs(holder: onnx.GraphProto | onnx.FunctionProto) -> int:
    """Remove operators that give nothing, as printing ones of custom domains do; return how many."""
    without = [index for index, node in enumerate(holder.node) if not node.output]
    for index in reversed(without):
        del holder.node[index]
    return len(without)


def _drop_unnamed_outputs(nodes: Iterable[onnx.NodeProto]) -> int:
    """Take the empty names from the end of every node's outputs, which means the same; return for how many nodes."""
    changed = 0
    for node in nodes:
        length = len(node.output)
        while len(node.output) > 1 and not node.output[-1]:
            del node.output[-1]
        changed += len(node.output) < length
    return changed


def _name_values(nodes: Iterable[onnx.NodeProto]) -> int:
    """Give the attribute of each Constant the name that its type demands; return how many had another, or several.

    ONNX Runtime takes the first attribute, whatever its name is.
    """
    changed = 0
    for node in nodes:
        if node.op_type != "Constant" or not is_standard(node) or not node.attribute:
            continue
        name = _VALUE_NAMES.get(node.attribute[0].type)
        if name is None or node.attribute[0].ref_attr_name:
            continue
        changed += node.attribute[0].name != name or len(node.attribute) > 1
        node.attribute[0].name = name
        del node.attribute[1:]
    return changed


def _join_constants(graphs: Sequence[onnx.GraphProto]) -> int:
    """Make one of the Constants of a graph that declare one value, with the last content; return how many went."""
    removed = 0
    for graph in graphs:
        first: dict[str, onnx.NodeProto] = {}
        again: list[int] = []
        for at, node in enumerate(graph.node):
            if node.op_type != "Constant" or node.domain or len(node.output) != 1:
                continue
            earlier = first.setdefault(node.output[0], node)
            if earlier is not node:
                del earlier.attribute[:]
                earlier.attribute.extend(node.attribute)
                again.append(at)
        for at in reversed(again):
            del graph.node[at]
        removed += len(again)
    return removed


def _put_in_order(graph: onnx.GraphProto) -> bool:
    """Sort the operators of a graph, as ONNX Runtime does; return whether they were out of order.

    Those that are in order stay as they are. Of a cycle nothing is moved.
    """
    if _is_in_order(graph):
        return False
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = [{makers[name] for name in reads(node) if name in makers} for node in graph.node]
    positions = {index: at for at, index in enumerate(_in_order(needs))}
    if len(positions) < len(needs):
        return False
    indices = iter(range(len(needs)))
    graph.node.sort(key=lambda _: positions[next(indices)])
    return True


def _is_in_order(graph: onnx.GraphProto) -> bool:
    later = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not later.isdisjoint(reads(node) if node.attribute else node.input):
            return False
        later.difference_update(node.output)
    return True


def _in_order(needs: Sequence[set[int]]) -> Iterator[int]:
    """Yield each index behind those that it needs, the lowest first that can be."""
    readers: dict[int, list[int]] = {}
    for index, needed in enumerate(needs):
        for before in needed:
            readers.setdefault(before, []).append(index)
    missing = [len(needed) for needed in needs]
    ready = [index for index, count in enumerate(missing) if not count]
    heapify(ready)
    while ready:
        index = heappop(ready)
        yield index
        for reader in readers.get(index, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, reader)


def drop_identities(graph: onnx.GraphProto) -> None:
    """Let what reads the result of an Identity read its input, in place, where no output and no body needs the name.

    Every pass over a model takes its time for each of them, and the runtime its own.
    """
    if all(node.op_type != "Identity" for node in graph.node):
        return
    needed = {value.name for value in graph.output}
    needed.update(name for node in graph.node if node.attribute for body in subgraphs(node) for name in captures(body))
    passed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        if node.op_type == "Identity" and is_standard(node) and len(node.input) == len(node.output) == 1:
            name, source = node.output[0], node.input[0]
            if name and source and name not in needed:
                passed[name] = passed.get(source, source)
                continue
        if passed and not passed.keys().isdisjoint(node.input):
            node.input[:] = [passed.get(name, name) for name in node.input]
        kept.append(node)
    if passed:
        del graph.node[:]
        graph.node.extend(kept)
        typed = [value for value in graph.value_info if value.name not in passed]
        del graph.value_info[:]
        graph.value_info.extend(typed)
