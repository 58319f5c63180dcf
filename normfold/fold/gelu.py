"""Recognize a spelled Gelu, by erf or by tanh, by algebra.

Every value between the input x and the output is a polynomial in x and in e, the result of Erf or Tanh::

    Gelu(x) = 0.5*x + 0.5*x*e    with e = erf(x / sqrt(2)), or e = tanh(sqrt(2/pi) * (x + 0.044715*x^3))

so neither the order of factors nor the place of the half matters.
Source: https://onnx.ai/onnx/operators/onnx__Gelu.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from normfold.graph.display_names import name_of
from normfold.graph.reader import GraphReader

ERF, TANH = "erf", "tanh"
_Coefficients = Mapping[tuple[int, int], float]  # the coefficient of x^i * e^j
_X: _Coefficients = {(1, 0): 1.0}
_E: _Coefficients = {(0, 1): 1.0}
_ARGUMENTS = {
    "Erf": {(1, 0): math.sqrt(0.5)},
    "Tanh": {(1, 0): math.sqrt(2 / math.pi), (3, 0): math.sqrt(2 / math.pi) * 0.044715},
}
_AS_ONE = {  # operators of the spelling that ONNX Runtime executes as one
    ERF: ["Add", "Div", "Erf", "Mul", "Mul"],
    TANH: ["Add", "Add", "Mul", "Mul", "Mul", "Mul", "Pow", "Tanh"],
}
_DEPTH = 8  # operators between x and the argument, and between e and the output
_CLOSE = 1e-3  # exporters write constants with four digits


@dataclass(frozen=True)
class Activation:
    """A spelled activation: ``factor * f(input)``, made by ``nodes``, all of which serve nothing else.

    ``kind`` is ERF or TANH, ``core`` its Erf or Tanh.
    """

    kind: str
    core: ir.Node
    input: ir.Value
    output: ir.Value
    nodes: tuple[ir.Node, ...]
    factor: float = 1.0

    @property
    def is_executed_as_one(self) -> bool:
        """Return whether ONNX Runtime's optimizer finds it: spelled as BERT does by erf, as GPT-2 does by tanh.

        ``x * (1 + erf(x / sqrt(2))) * 0.5`` with the half before or behind the product, and
        ``(0.5 * x) * (1 + tanh(k * (x + 0.044715 * x^3)))``.
        """
        operators = sorted(node.op_type for node in self.nodes)
        if operators != _AS_ONE[self.kind] or self.factor != 1.0:
            return False
        one = _only_reader(self.core.outputs[0])
        product = None if one is None or one.op_type != "Add" else _only_reader(one.outputs[0])
        if product is None or product.op_type != "Mul":
            return False
        has_half = any(self.input in _factors(value) for value in product.inputs)
        if self.kind == TANH:
            return has_half and bool(_factors(self.core.inputs[0]))
        return has_half or self.input in product.inputs


def activations_of(reader: GraphReader) -> Iterator[Activation]:
    """Yield every spelled activation of a graph."""
    for node in reader.graph:
        if node.domain not in ("", "ai.onnx"):
            continue
        found = _gelu(reader, node) if node.op_type in _ARGUMENTS else None
        if found is not None:
            yield found


def parts_kept_together(reader: GraphReader, *, every_spelling: bool) -> Iterator[ir.Node]:
    """Yield the operators of each Gelu that a runtime executes as one, which no fold may take apart.

    ``every_spelling`` is for a runtime that knows them all; otherwise only those that ONNX Runtime finds count.
    """
    for activation in activations_of(reader):
        if every_spelling or activation.is_executed_as_one:
            yield from activation.nodes


# -- Gelu --------------------------------------------------------------------------------------------------------
def _gelu(reader: GraphReader, core: ir.Node) -> Activation | None:
    argument = core.inputs[0]
    assert argument is not None, "Erf and Tanh have an input"
    factors = (factor for value in _downstream(core.outputs[0]) for factor in _operands(value))
    near = {value for factor in factors for value in _upstream(reader, factor)}  # the product with the input is there
    for root in filter(near.__contains__, _upstream(reader, argument)):
        found = _polynomial(reader, argument, {root: _X}, _DEPTH)
        if found is not None and _are_close(found, _ARGUMENTS[core.op_type]):
            return _gelu_of(reader, core, root)
    return None


def _gelu_of(reader: GraphReader, core: ir.Node, root: ir.Value) -> Activation | None:
    """Return the Gelu of ``root``; where several values are multiples of it, the last that is whole, or the last."""
    known = {root: _X, core.outputs[0]: _E}
    best: Activation | None = None
    for value in _downstream(core.outputs[0]):
        poly = _polynomial(reader, value, known, _DEPTH)
        if poly is None or set(poly) != {(1, 0), (1, 1)} or not math.isclose(poly[1, 0], poly[1, 1], rel_tol=1e-6):
            continue
        nodes = _between(reader, value, root)
        if nodes is None:
            continue
        factor = 2 * poly[1, 0]
        whole = math.isclose(factor, 1, rel_tol=1e-6)
        best = Activation(
            ERF if core.op_type == "Erf" else TANH, core, root, value, nodes, factor=1.0 if whole else factor
        )
        if whole:
            break
    return best


# -- polynomials -------------------------------------------------------------------------------------------------
def _polynomial(
    reader: GraphReader, value: ir.Value, known: Mapping[ir.Value, _Coefficients], depth: int
) -> _Coefficients | None:
    """``value`` as a polynomial in what is known; None where another operator or another variable comes in."""
    if value in known:
        return known[value]
    number = _number(reader, value)
    if number is not None:
        return {(0, 0): number}
    node = value.producer()
    if node is None or not depth or node.domain not in ("", "ai.onnx") or node.op_type not in _RULES:
        return None
    operands = [None if each is None else _polynomial(reader, each, known, depth - 1) for each in node.inputs]
    first, *rest = operands
    if first is None or len(rest) != 1 or rest[0] is None:
        return None
    return _RULES[node.op_type](first, rest[0])


def _sum(a: _Coefficients, b: _Coefficients) -> _Coefficients:
    return {key: a.get(key, 0.0) + b.get(key, 0.0) for key in {*a, *b}}


def _difference(a: _Coefficients, b: _Coefficients) -> _Coefficients:
    return _sum(a, {key: -coefficient for key, coefficient in b.items()})


def _product(a: _Coefficients, b: _Coefficients) -> _Coefficients:
    result: dict[tuple[int, int], float] = {}
    for (i, j), p in a.items():
        for (k, m), q in b.items():
            result[i + k, j + m] = result.get((i + k, j + m), 0.0) + p * q
    return result


def _quotient(a: _Coefficients, b: _Coefficients) -> _Coefficients | None:
    divisor = b.get((0, 0), 0.0)
    return {key: coefficient / divisor for key, coefficient in a.items()} if set(b) == {(0, 0)} and divisor else None


def _power(a: _Coefficients, b: _Coefficients) -> _Coefficients | None:
    exponent = b.get((0, 0), 0.0)
    if set(b) != {(0, 0)} or exponent not in (2.0, 3.0):
        return None
    square = _product(a, a)
    return square if exponent == 2.0 else _product(square, a)


_RULES = {"Add": _sum, "Sub": _difference, "Mul": _product, "Div": _quotient, "Pow": _power}


def _are_close(a: _Coefficients, b: _Coefficients) -> bool:
    return set(a) == set(b) and all(math.isclose(a[key], b[key], rel_tol=_CLOSE) for key in b)


# -- the graph around --------------------------------------------------------------------------------------------
def _upstream(reader: GraphReader, value: ir.Value) -> Iterator[ir.Value]:
    """``value`` and the variables that it is computed from by arithmetic, the nearest first."""
    seen, front = {value: None}, [value]
    for _ in range(_DEPTH):
        yield from front
        operands = [each for made in front for each in _operands(made)]
        front = [each for each in dict.fromkeys(operands) if each not in seen and not reader.is_constant(each)]
        seen.update(dict.fromkeys(front))


def _operands(value: ir.Value) -> Sequence[ir.Value]:
    """Return what arithmetic makes ``value`` of; nothing where another operator makes it."""
    node = value.producer()
    return [each for each in node.inputs if each is not None] if node is not None and node.op_type in _RULES else ()


def _downstream(value: ir.Value) -> Iterator[ir.Value]:
    """Return the values that are made of ``value`` by one reader after the other."""
    for _ in range(_DEPTH):
        node = _only_reader(value)
        if node is None or node.op_type not in _RULES:
            return
        value = node.outputs[0]
        yield value


def _between(reader: GraphReader, output: ir.Value, root: ir.Value) -> tuple[ir.Node, ...] | None:
    """Return the operators that make ``output`` of ``root``; None where one of them is read elsewhere."""
    found: dict[ir.Node, None] = {}
    waiting = [output]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value is root or node is None or reader.is_constant(value) or node in found:
            continue
        found[node] = None
        waiting += [each for each in node.inputs if each is not None]
    for node in found:
        for value in node.outputs:
            is_read = value.is_graph_output() or any(each not in found for each in reader.readers(value))
            if value is not output and is_read:
                return None
    return tuple(found)


def _factors(value: ir.Value | None) -> Sequence[ir.Value | None]:
    """Return what a Mul makes ``value`` of; nothing where another operator makes it."""
    maker = None if value is None else value.producer()
    return maker.inputs if maker is not None and maker.op_type == "Mul" else ()


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = value.consumers()
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _number(reader: GraphReader, value: ir.Value | None) -> float | None:
    """Return the number that a constant of one element is."""
    if value is None or not reader.is_constant(value):
        return None
    shape = reader.shape(value)
    if shape is not None and any(size != 1 for size in shape):
        return None
    array = reader.constant(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def title(activation: Activation) -> str:
    """Return in words what was seen."""
    spelling = ", ".join(node.op_type for node in reversed(activation.nodes))
    return f"Gelu by {activation.kind} of {activation.input.name}, spelled {spelling} ({name_of(activation.core)})"
