"""Clean up what the exporter leaves to its optimizer and no weight takes part in: shapes, types, lists of splits.

Run without its optimizer, torch's exporter writes shapes as chains of little operators, a split as a list and an index
into it, and CastLike where the type is known. That hides constants and axes. Weights, norms and names are not touched.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Sequence

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants

from normfold.graph.editor import make_cast
from normfold.graph.reader import input_at

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
_SMALL = frozenset(
    {"Transpose", "Reshape", "Identity", "Constant", "Cast", "Squeeze", "Unsqueeze", "Flatten", "Expand"}
)

LARGEST = 1024  # numbers in a constant that is computed
_KEEPS_TYPE = frozenset(
    {"Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Identity", "Add", "Mul", "InstanceNormalization"}
)  # of their first input


def clean_up(model: ir.Model) -> None:
    """In place: name every node, compute shapes, replace CastLike and lists of split values."""
    for node in list(model.graph):
        if node.op_type == "CastLike":
            _replace_cast_like(node)
        elif node.op_type == "Squeeze":
            _drop_squeeze_that_does_nothing(node)
    parameters = set(model.graph.initializers)

    def may_fold(node: ir.Node) -> bool | None:
        reads_parameter = any(value is not None and value.name in parameters for value in node.inputs)
        return False if reads_parameter and node.op_type not in ("Shape", "Size") else None

    fold_constants(model, input_size_limit=LARGEST, output_size_limit=LARGEST, should_fold=may_fold)
    for node in model.graph:
        if node.op_type in ("Conv", "ConvTranspose") and len(node.inputs) == 3:
            _drop_zero_bias(node, parameters)
    RemoveUnusedNodesPass()(model)
    _separate_outputs(model.graph)
    _name_nodes(model.graph)


def _replace_cast_like(node: ir.Node) -> None:
    """CastLike to a known type is a Cast, or nothing. Left alone, it makes a constant seem to depend on the data."""
    source, like = node.inputs[0], node.inputs[1]
    dtype = None if like is None else _type_of(like)
    if source is None or dtype is None:
        return
    if _type_of(source) == dtype and not node.outputs[0].is_graph_output():
        node.outputs[0].replace_all_uses_with(source)
        return
    make_cast(node, dtype)


def _drop_squeeze_that_does_nothing(node: ir.Node) -> None:
    """Replace a Squeeze of one axis that has another size than 1: torch leaves it, and ONNX has no such operator."""
    source, axes = node.inputs[0], input_at(node, 1)
    known = ir.convenience.get_const_tensor(axes) if axes is not None else None
    if source is None or source.shape is None or known is None or known.size != 1:
        return
    size = source.shape[int(known.numpy().reshape(-1)[0])]
    if isinstance(size, int) and size != 1:
        node.outputs[0].replace_all_uses_with(source, replace_graph_outputs=True)


def _drop_zero_bias(node: ir.Node, parameters: Collection[str]) -> None:
    """Remove the zeros that the exporter writes where a module has no bias. For conv3d their shape is [M, 2]."""
    bias = node.inputs[2]
    made = bias.producer() if bias is not None else None
    bias = made.inputs[0] if made is not None and made.op_type == "Expand" else bias  # too large to be computed
    if bias is None or bias.name in parameters or bias.const_value is None:
        return
    if not bias.const_value.numpy().any():
        node.replace_input_with(2, None)
        node.resize_inputs(2)


def _type_of(value: ir.Value) -> ir.DataType | None:
    """Return the type of a value, or of the value that it is computed from."""
    while value.dtype is None:
        node = value.producer()
        if node is None or node.op_type not in _KEEPS_TYPE:
            return None
        source = node.inputs[0]
        if source is None:
            return None
        value = source
    return value.dtype


def _separate_outputs(graph: ir.Graph) -> None:
    """Give each output a value and a name of its own: a module may return one tensor twice, or an argument."""
    names = {value.name for node in graph for value in node.outputs} | {value.name for value in graph.inputs}
    seen: set[ir.Value] = set()
    for index, value in enumerate(graph.outputs):
        if value in seen or value.is_graph_input() or value.is_initializer():
            name, number = f"{value.name}_output", 1
            while name in names:
                number += 1
                name = f"{value.name}_output_{number}"
            names.add(name)
            node = ir.node("Identity", [value])
            own = node.outputs[0]
            own.name, own.shape, own.type = name, value.shape, value.type
            graph.append(node)
            graph.outputs[index] = own
        seen.add(value)


def name_outputs(graph: ir.Graph, names: Sequence[str]) -> None:
    """Rename the outputs, in their order; an empty name leaves one. Another value of that name gets a new one."""
    taken = {value.name: value for node in graph for value in node.outputs}
    taken |= {value.name: value for value in (*graph.inputs, *graph.initializers.values())}
    for value, name in zip(graph.outputs, names, strict=False):
        other = taken.get(name)
        if not name or other is value or (other is not None and (other.is_graph_input() or other.is_initializer())):
            continue
        if other is not None:
            other.name = f"{name}_inner"
        value.name = name


def path_of(node: ir.Node) -> str:
    """Return the path of the module that a node runs in, "" for the root or where the exporter did not say."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(NAME_SCOPES, "[]"))
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if len(scopes) > 1 else ""


def restore_scopes(graph: ir.Graph, called: Collection[str]) -> None:
    """Say in which module the nodes run that torch has lost that of, as it does within torch.autocast, in place.

    Such a module is in ``called``, the paths of those that ran, has no other nodes, and alone has the node's weights.
    """
    lost = {*called} - {path_of(node) for node in graph}
    owners = {value: {(value.name or "").rpartition(".")[0]} for value in graph.initializers.values()}
    data = set(graph.inputs)
    for node in graph if lost else ():
        own = set().union(*(owners.get(value, ()) for value in node.inputs if value is not None))
        if data.isdisjoint(node.inputs):
            owners.update(dict.fromkeys(node.outputs, own))
        else:
            data.update(node.outputs)
        if len(own) == 1 and own <= lost and not path_of(node):
            node.metadata_props[NAME_SCOPES] = str(["", *own, node.name])


def _name_nodes(graph: ir.Graph) -> None:
    """Name each node after its module, so that a report and --skip speak of modules.

    The one operator of a module has the path of the module itself, one of several the path and its operator.
    """
    paths = {node: path_of(node) for node in graph}
    counts = Counter(path for node, path in paths.items() if node.op_type not in _SMALL)
    taken: set[str] = set()
    for index, (node, path) in enumerate(paths.items()):
        name = node.name or f"node_{node.op_type}_{index}"
        if path and node.op_type not in _SMALL:
            name = path if counts[path] == 1 else f"{path}.{node.op_type}"
        elif path:
            name = f"{path}.{node.op_type}"
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        node.name = unique
