"""Reading a graph: what is constant, who reads a value, what shape it has. Nothing here changes anything.

The Editor in ``editor.py`` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.algebra.weight import Weight
from normfold.files.limits import MOST_COMPUTED
from normfold.findings.reason import Reason, Refusal
from normfold.graph.display_names import display_name, name_of
from normfold.graph.evaluators import (
    EVALUATORS,
    Quota,
    TooLargeError,
    constant_attribute,
    elements_of,
    evaluate,
    jumps,
    work,
)
from normfold.graph.node_order import NodeOrder
from normfold.graph.quantization import QUANTIZERS, dequantized
from normfold.operators import ml_operators
from normfold.operators.table import ML_DOMAIN, RUNTIME_DOMAIN, is_standard, operator_of
from normfold.operators.weight_shapes import SHAPED_BY_WEIGHT, shape_by_weight

Dim = int | str | None
FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
EXACT = "normfold.float64"
_AS_STORED = "normfold.weight"  # a tensor and the Weight of it, which remembers its largest magnitudes
_COUNTED = "normfold.counted"  # a value that was taken from the quota of its model
_QUOTA = "normfold.quota"
_FREE = 4096  # elements that are not counted
_Evaluated = dict[tuple[ir.Value, bool], npt.NDArray[Any]]
_NARROW = 8  # bits of integers that stand for a weight
_MAX_CHAIN = 64  # longest chain of operators on constants that is evaluated to reach a weight


def graphs_of(model: ir.Model) -> Iterator[tuple[str, ir.Graph | ir.Function]]:
    """Every graph of a model with its path: the main graph "", its subgraphs, then functions and theirs."""
    yield from _with_subgraphs("", model.graph)
    for identifier, function in model.functions.items():
        yield from _with_subgraphs(":".join(part for part in identifier if part), function)


def _with_subgraphs(path: str, graph: ir.Graph | ir.Function) -> Iterator[tuple[str, ir.Graph | ir.Function]]:
    yield path, graph
    for node in graph:
        for attribute in attributes_of(node):
            for body in bodies_of(attribute):
                yield from _with_subgraphs(f"{path}/{name_of(node)}.{attribute.name}".lstrip("/"), body)


def attributes_of(node: ir.Node) -> Collection[ir.Attr]:
    """Return the attributes of a node, from the plain dict in their mapping: every walk asks this of every node."""
    found: dict[str, ir.Attr] = node.attributes.data
    return found.values() if found else ()


def has_parameters(node: ir.Node) -> bool:
    """Return whether any attribute of a node is a parameter of the function that it stands in."""
    return any(found.is_ref() for found in attributes_of(node))


def bodies_of(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    """Return the graphs that an attribute holds: those of If, Loop and Scan."""
    if attribute.is_ref():
        return ()
    if attribute.type is ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    return tuple(attribute.as_graphs()) if attribute.type is ir.AttributeType.GRAPHS else ()


def is_in(graph: ir.Graph | ir.Function, node: ir.Node) -> bool:
    """Return whether ``node`` stands in ``graph`` itself; a function's nodes know the graph inside it."""
    return node.graph is _holder(graph)


def _holder(graph: ir.Graph | ir.Function) -> ir.Graph | ir.Function:
    return graph.graph if isinstance(graph, ir.Function) else graph


def attribute(node: ir.Node, name: str, default: Any = None) -> Any:
    """Return an attribute as a plain Python value; ``default`` where it is absent.

    Raises Refusal where a function's attribute refers to one of its call's.
    """
    found = node.attributes.get(name)
    if found is None:
        return default
    if found.is_ref():
        raise Refusal(
            Reason.DYNAMIC_PARAMETERS, name_of(node), detail=f"attribute {name} is a parameter of the function"
        )
    return found.value


def opset_of(graph: ir.Graph | ir.Function) -> int:
    """Return the version of the default operator set that ``graph`` is written in (1 when it declares none)."""
    imports = graph.opset_imports
    return imports.get("", imports.get("ai.onnx", 1))


class GraphReader:
    """Questions about one graph of a model. Answers are computed when asked and follow the graph as it changes."""

    def __init__(
        self, model: ir.Model, graph: ir.Graph | ir.Function, path: str = "", *, may_add_batchnorm: bool = True
    ) -> None:
        self.graph = graph
        self._model = model
        self._holder = _holder(graph)
        self.path = path
        self.may_add_batchnorm = may_add_batchnorm  # where there was none, as the fastest form of a scale and a shift
        self.opset = opset_of(graph) if opset_of(graph) > 1 else opset_of(model.graph)
        self._overridable = _overridable(model)
        self._chains: dict[ir.Value, int | None] = {}

    def holds(self, node: ir.Node | None) -> bool:
        """Return whether ``node`` stands in this graph itself, not in a subgraph or outside."""
        return node is not None and node.graph is self._holder

    # -- order ---------------------------------------------------------------------------------------------------
    @cached_property
    def numbers(self) -> NodeOrder:
        """Return the order of the nodes: made when it is first asked for, and kept by the Editor."""
        return NodeOrder(self.graph)

    def order(self, node: ir.Node) -> float:
        """Return a number that grows along the graph: producers before readers."""
        return self.numbers[node]

    # -- constants -----------------------------------------------------------------------------------------------
    def is_constant(self, value: ir.Value | None) -> bool:
        """Return whether the value is the same in every run and may not be overridden by the caller."""
        return value is not None and self._chain(value) is not None

    def _chain(self, value: ir.Value) -> int | None:
        """How many operators lead from stored constants to ``value``; None where it is not constant.

        Remembered, because folds never make a variable constant or a constant variable. Without recursion: the
        residual stream of a network may be a sum of a sum of a sum, thousands of operators deep.
        """
        waiting = [value]
        while waiting:
            current = waiting[-1]
            if current in self._chains:
                waiting.pop()
                continue
            operands = self._constant_operands(current)
            unknown = [each for each in operands or () if each not in self._chains]
            if operands and unknown and not any(self._chains.get(each, 0) is None for each in operands):
                waiting.append(unknown[0])
                continue
            self._chains[waiting.pop()] = self._longest(operands)
        return self._chains[value]

    def _longest(self, operands: Sequence[ir.Value] | None) -> int | None:
        lengths = None if operands is None else [self._chains[each] for each in operands if each in self._chains]
        if lengths is None or None in lengths:
            return None
        longest = 1 + max((length for length in lengths if length is not None), default=-1)
        return longest if longest <= _MAX_CHAIN else None

    def _constant_operands(self, value: ir.Value) -> list[ir.Value] | None:
        """Get the values that must be constant for ``value`` to be: none for a stored one; None where it never is."""
        if value.is_initializer() and value.const_value is not None:
            return None if value in self._overridable else []
        node = value.producer()
        if node is None or not (is_standard(node) or (node.domain == RUNTIME_DOMAIN and node.op_type in QUANTIZERS)):
            return None
        if node.op_type == "Constant":
            return [] if value.const_value is not None or constant_attribute(node) is not None else None
        alone = node.outputs[0] is value and not any(output.uses() for output in node.outputs[1:])
        if node.op_type not in EVALUATORS or not alone:
            return None
        return [operand for operand in node.inputs if operand is not None]

    def is_quantized(self, value: ir.Value | None) -> bool:
        """Return whether a constant is stored as integers, scaled in every run by DequantizeLinear, or Cast and Mul."""
        waiting, seen = [value] if self.is_constant(value) else [], {value}
        while waiting:
            current = waiting.pop()
            node = None if current is None else current.producer()
            if node is None:
                continue
            if node.op_type == "DequantizeLinear" or (node.op_type == "Cast" and self._is_narrow(node.inputs[0])):
                return True
            operands = [each for each in node.inputs if each not in seen]
            seen.update(operands)
            waiting += operands
        return False

    def is_dequantized(self, value: ir.Value | None) -> bool:
        """Return whether DequantizeLinear itself makes a value of integers of 8 bits or fewer."""
        node = None if value is None else value.producer()
        return node is not None and node.op_type == "DequantizeLinear" and self._is_narrow(node.inputs[0])

    def _is_narrow(self, value: ir.Value | None) -> bool:
        """Return whether a value is of integers of few bits."""
        dtype = None if value is None else self.dtype(value)
        return dtype is not None and dtype.is_integer() and dtype.bitwidth <= _NARROW

    def constant(self, value: ir.Value | None) -> npt.NDArray[Any] | None:
        """Return the value of a constant, float64 for every floating type; None if it is not constant.

        Chains of operators on constants are evaluated in float64.
        """
        if value is None or not self.is_constant(value):
            return None
        try:
            with np.errstate(all="ignore"):  # what is not finite is refused where it matters, with its reason
                return self._evaluate(value, {})
        except (ValueError, IndexError, TypeError, KeyError):  # an operator whose operands do not fit each other
            return None

    def may_make(self, value: ir.Value, elements: int) -> bool:
        """Return whether a constant may be computed: those of a model make a limited number of elements in all.

        Each is counted once, however often it is computed.
        """
        if elements <= _FREE or value.meta.get(_COUNTED):
            return True
        if _QUOTA not in self._model.meta:
            values = (value for _, graph in graphs_of(self._model) for value in stored_values(graph))
            self._model.meta[_QUOTA] = Quota(MOST_COMPUTED + 16 * sum(map(stored_bytes, values)))
        value.meta[_COUNTED] = self._model.meta[_QUOTA].take(elements)
        return bool(value.meta[_COUNTED])

    def _evaluate(self, value: ir.Value, known: _Evaluated, as_run: bool = False) -> npt.NDArray[Any]:
        """In float64; ``as_run``, every result on the way is rounded to its own type, as the runtime does.

        ``known`` keeps what was evaluated on the way: a value that is added to itself, again and again, is made once.
        """
        if (value, as_run) not in known:
            known[value, as_run] = self._evaluated(value, known, as_run)
        return known[value, as_run]

    def _evaluated(self, value: ir.Value, known: _Evaluated, as_run: bool) -> npt.NDArray[Any]:
        exact = None if as_run else value.meta.get(EXACT)
        if exact is not None:
            return np.asarray(exact)
        if value.const_value is not None:
            return _widened(value.const_value.numpy(), value.const_value.dtype)
        node = value.producer()
        assert node is not None, "is_constant() was asked first"
        if node.op_type == "Constant":
            return _widened(*constant_attribute(node))  # type: ignore[misc]  # not None: is_constant() was asked first
        rounds = as_run or jumps(node)
        operands = [None if operand is None else self._evaluate(operand, known, rounds) for operand in node.inputs]
        shapes = [*(np.shape(each) for each in operands[:1] if each is not None), (elements_of(node, operands),)]
        if not self.may_make(value, work(node.op_type, shapes)):
            raise TooLargeError(f"the constants of the model take too long to compute at {node.op_type}")
        result = evaluate(node, operands)
        dtype = self._type_on_chain(value) if as_run and result.dtype == np.float64 else None
        return result if dtype not in FLOATS or dtype is None else result.astype(dtype.numpy()).astype(np.float64)

    def _type_on_chain(self, value: ir.Value | None) -> ir.DataType | None:
        """Return the type of a constant; where it was not inferred, that of what it is made from."""
        while value is not None and self.dtype(value) is None:
            node = value.producer()
            if node is None or not node.inputs or node.op_type == "Cast":
                return None if node is None or node.op_type != "Cast" else ir.DataType(attribute(node, "to"))
            value = node.inputs[-1]
        return None if value is None else self.dtype(value)

    def weight(self, value: ir.Value | None) -> Weight | None:
        """Get a constant as it is stored, with what was done to it since, nothing widened yet; None if not constant."""
        if value is None or not self.is_constant(value):
            return None
        exact = value.meta.get(EXACT)
        if isinstance(exact, Weight):
            return exact
        if exact is None and value.const_value is not None:
            known: tuple[object, Weight] | None = value.meta.get(_AS_STORED)
            if known is None or known[0] is not value.const_value:
                known = value.meta[_AS_STORED] = value.const_value, Weight(value.const_value.numpy())
            return known[1]
        node = value.producer()
        if node is not None and node.op_type == "DequantizeLinear":
            numbers, scale, zero = (*map(self.constant, node.inputs), None)[:3]
            if numbers is None or scale is None:  # too large to compute
                return None
            return dequantized(numbers, scale, zero, attribute(node, "axis", 1), attribute(node, "block_size", 0))
        evaluated = self.constant(value)
        return None if evaluated is None else Weight(evaluated)

    def overridable(self, value: ir.Value | None) -> bool:
        """Return whether the value is an initializer that the caller may replace, because it is also a graph input."""
        return value is not None and value in self._overridable

    def require_constant(self, node: ir.Node, index: int, reason: Reason) -> npt.NDArray[Any]:
        """Return the constant at input ``index`` of ``node``, or a Refusal with ``reason``."""
        found = self.constant(input_at(node, index))
        return self._variable(node, index, reason) if found is None else found

    def require_number(self, node: ir.Node, index: int, reason: Reason) -> float:
        """As ``require_constant``, of one element."""
        found = self.require_constant(node, index, reason)
        if found.size != 1:
            raise Refusal(reason, name_of(node), detail=f"input {index} has {found.size} elements instead of one")
        return float(found.reshape(()))

    def require_weight(self, node: ir.Node, index: int, reason: Reason) -> Weight:
        """As ``require_constant``, without widening it."""
        found = self.weight(input_at(node, index))
        return self._variable(node, index, reason) if found is None else found

    def _variable(self, node: ir.Node, index: int, reason: Reason) -> NoReturn:
        value = input_at(node, index)
        named = display_name(value)
        if self.overridable(value):
            raise Refusal(Reason.OVERRIDABLE_INITIALIZER, name_of(node), named, f"initializer {named}")
        detail = f"input {index}, {named}, is computed at run time" if named else f"input {index} is missing"
        raise Refusal(reason, name_of(node), named, detail)

    # -- readers -------------------------------------------------------------------------------------------------
    def readers(self, value: ir.Value) -> list[ir.Node]:
        """Return the nodes that read ``value``, in order; Refusal when one of them is in another graph."""
        nodes = list(dict.fromkeys(node for node, _ in value.uses()))
        for node in nodes:
            if node not in self.numbers:
                detail = f"it reads {display_name(value)} from inside a subgraph"
                raise Refusal(Reason.CAPTURED, name_of(node), display_name(value), detail)
        return sorted(nodes, key=self.order)

    # -- shapes --------------------------------------------------------------------------------------------------
    def axes(self, node: ir.Node) -> tuple[int, ...] | None:
        """Return the axes that a node names, by an attribute or its second input; None where they are computed."""
        given = input_at(node, 1)
        found = attribute(node, "axes", ()) if given is None else self.constant(given)
        return None if found is None else tuple(int(axis) for axis in np.asarray(found).reshape(-1))

    def shape(self, value: ir.Value | None) -> tuple[Dim, ...] | None:
        """Sizes where known, names of symbolic dimensions, None for unknown ones; None when the rank is unknown.

        Where no shape was inferred, as in a function, the weights before the value tell rank and channels.
        """
        return None if value is None else self._shape(value, _MAX_CHAIN)

    def _shape(self, value: ir.Value, depth: int) -> tuple[Dim, ...] | None:
        if value.shape is not None:
            return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
        if value.const_value is not None:
            return tuple(int(dim) for dim in value.const_value.shape if isinstance(dim, int))
        node = value.producer()
        if node is None or depth == 0 or node.outputs[0] is not value:
            return None
        if node.domain == ML_DOMAIN:
            return self._ml_shape(node, depth)
        if not is_standard(node):
            return None
        if operator_of(node).keeps_shape:
            entry = node.inputs[0]
            return None if entry is None else self._shape(entry, depth - 1)
        weight = self.weight(node.inputs[1]) if node.op_type in SHAPED_BY_WEIGHT else None
        return None if weight is None else shape_by_weight(node.op_type, weight.shape, partial(attribute, node))

    def _ml_shape(self, node: ir.Node, depth: int) -> tuple[Dim, ...] | None:
        if node.op_type in ml_operators.TARGETS:
            return (None, int(attribute(node, ml_operators.TARGETS[node.op_type], 1)))
        entry = node.inputs[0] if node.op_type in ml_operators.KEEPS_SHAPE else None
        return None if entry is None else self._shape(entry, depth - 1)

    def require_shape(self, value: ir.Value | None, node: ir.Node) -> tuple[Dim, ...]:
        """Return the shape of ``value``, an input or output of ``node``; a Refusal where it is missing or not known."""
        if value is None:
            raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), detail="an input is missing")
        found = self.shape(value)
        if found is None:
            named = display_name(value)
            raise Refusal(Reason.UNKNOWN_SHAPE, name_of(node), named, f"the rank of {named} is not known")
        return found

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """Return the element type, where known."""
        if value is None:
            return None
        if value.dtype is not None:
            return value.dtype
        if value.const_value is not None:
            return value.const_value.dtype
        node = value.producer()
        if node is not None and node.domain == ML_DOMAIN and node.op_type in ml_operators.MAKES_FLOATS:
            return ir.DataType.FLOAT
        # functions have no inferred types, but their constants have
        found = constant_attribute(node) if node is not None and node.op_type == "Constant" else None
        return None if found is None else found[1]


def stored_bytes(value: ir.Value) -> int:
    """Return the bytes of a constant that is an initializer or made by a Constant node; 0 for other values."""
    if value.const_value is not None:
        return value.const_value.nbytes
    node = value.producer()
    tensor = None if node is None or node.op_type != "Constant" else node.attributes.get("value")
    return 0 if tensor is None or tensor.is_ref() else int(tensor.value.nbytes)  # as_tensor() checks a protocol


def stored_values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    """Yield the initializers of a graph, and what its Constant nodes make."""
    if isinstance(graph, ir.Graph):
        yield from graph.initializers.values()
    yield from (node.outputs[0] for node in graph if node.op_type == "Constant")


def is_read(value: ir.Value) -> bool:
    """Return whether anything sees the value: an operator, or the caller of the graph."""
    return count_uses(value) > 0 or value.is_graph_output()


def count_uses(value: ir.Value) -> int:
    """Return how many inputs of operators read a value, without the copy of all that ``uses()`` makes."""
    return len(value._uses)  # a weight may have 100,000 readers, each of which asks this


def has_one_reader(value: ir.Value) -> bool:
    """Return whether one input of one operator is all that sees the value."""
    return count_uses(value) == 1 and not value.is_graph_output()


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """Return an input of a node; None where it is left out, or not there."""
    return node.inputs[index] if index < len(node.inputs) else None


def _widened(array: npt.NDArray[Any], dtype: ir.DataType) -> npt.NDArray[Any]:
    return array.astype(np.float64) if dtype in FLOATS else array


def _overridable(model: ir.Model) -> frozenset[ir.Value]:
    """Get initializers that are also inputs of the main graph; before IR version 4 every one is, and all are fixed."""
    if model.ir_version < 4:
        return frozenset()
    return frozenset(value for value in model.graph.inputs if value.is_initializer())
