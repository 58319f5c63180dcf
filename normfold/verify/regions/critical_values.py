"""Read from the operators of a model at which numbers it decides, cuts off, rounds or counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.operators.table import COMPARISONS, ROUNDINGS
from normfold.operators.walk import every_node, subgraphs
from normfold.runtime.loaded_model import LoadedModel
from normfold.verify.regions.affine_paths import small_constants

_COMPARES = COMPARISONS | {"Max", "Min"}
_AT_ZERO = frozenset(
    [
        "Relu",
        "LeakyRelu",
        "PRelu",
        "Abs",
        "Sign",
        "Elu",
        "Selu",
        "Celu",
        "Sigmoid",
        "Tanh",
        "Softplus",
        "Erf",
        "Gelu",
        "Swish",
        "Mish",
        "QuickGelu",
        "Softsign",
    ]
)
_STEPS = (1.0, -1.0, 2.5, 200.0)
_WINNERS = frozenset({"ArgMax", "ArgMin", "TopK", "Hardmax"})
_NOT_NUMBERS = frozenset({"IsNaN", "IsInf", "Imputer"})
_LARGEST_FLOOR = 1e-2
_KEYS = ("keys_int64s", "keys_floats", "cats_int64s", "pool_int64s")
_LARGEST_SIZE = 4096


@dataclass
class CriticalValues:
    """The numbers at which the operators of a model decide, and what else they ask about its values.

    ``limits`` are the numbers at which each value matters, ``steps`` the values with one at which something jumps,
    ``rivals`` the values of which the largest entry is looked for, ``rival_inputs`` pairs of values that are compared
    with each other, ``sizes`` the whole numbers that sizes and counts are compared with, ``floors`` how small values
    are where a number shows that is added to them or cuts them off, as an epsilon does, ``asks_for_nan`` whether NaN or
    infinity is looked for.
    """

    limits: dict[str, list[np.ndarray]] = field(default_factory=dict)
    steps: set[str] = field(default_factory=set)
    rivals: set[str] = field(default_factory=set)
    rival_inputs: set[tuple[str, str]] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)
    floors: set[float] = field(default_factory=set)
    asks_for_nan: bool = False

    def add(self, other: CriticalValues) -> None:
        """Take over the numbers of another model of the same values."""
        for name, limits in other.limits.items():
            known = self.limits.setdefault(name, [])
            known += [limit for limit in limits if not any(np.array_equal(limit, each) for each in known)]
        self.rivals |= other.rivals
        self.steps |= other.steps
        self.rival_inputs |= other.rival_inputs
        self.sizes |= other.sizes
        self.floors |= other.floors
        self.asks_for_nan |= other.asks_for_nan


def critical_values(model: LoadedModel) -> CriticalValues:
    """Return everything that the operators of a model ask, those of bodies included."""
    found = CriticalValues()
    constants = small_constants(model) | dict(_inner_constants(model.graph))
    roots = {node.input[0] for node in every_node(model.skeleton) if _is_root(node, constants)}
    for node in every_node(model.skeleton):
        for name, limit in _limits(node, constants):
            found.limits.setdefault(name, []).append(np.asarray(limit, np.float64))
            if node.op_type in COMPARISONS:
                found.steps.add(name)
        if node.op_type in _WINNERS:
            found.rivals.add(node.input[0])
        if node.op_type in _COMPARES and len(node.input) == 2 and not any(name in constants for name in node.input):
            found.rival_inputs.add((node.input[0], node.input[1]))
        found.floors.update(_floors(node, constants, roots))
        found.asks_for_nan |= node.op_type in _NOT_NUMBERS
        found.sizes.update(_sizes(node, constants))
    return found


def _limits(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    operator = node.op_type
    if not node.input:
        return
    first = node.input[0]
    attributes = {a.name: a for a in node.attribute}
    if operator in _COMPARES:
        known = [name for name in node.input if name in constants and constants[name].dtype.kind in "fiu"]
        yield from ((name, constants[each]) for name in node.input if name not in constants for each in known)
    elif operator in _AT_ZERO:
        yield first, np.asarray(0.0)
    elif operator == "Clip":
        for index, key in ((1, "min"), (2, "max")):
            if len(node.input) > index and node.input[index] in constants:
                yield first, constants[node.input[index]]
            elif key in attributes:
                yield first, np.asarray(attributes[key].f)
    elif operator in ROUNDINGS or (operator == "Cast" and _is_whole(attributes["to"].i)):
        yield from ((first, np.asarray(step)) for step in _STEPS)
    elif operator == "HardSwish":
        yield from ((first, np.asarray(limit)) for limit in (-3.0, 3.0))
    elif operator == "HardSigmoid":
        alpha, beta = (attributes[k].f if k in attributes else d for k, d in (("alpha", 0.2), ("beta", 0.5)))
        yield from ((first, np.asarray((limit - beta) / (alpha or 1.0))) for limit in (0.0, 1.0))
    elif operator in ("ThresholdedRelu", "Shrink", "Binarizer"):
        key, base = {"ThresholdedRelu": ("alpha", 1.0), "Shrink": ("lambd", 0.5)}.get(operator, ("threshold", 0.0))
        limit = attributes[key].f if key in attributes else base
        yield from ((first, np.asarray(each)) for each in {limit, -limit})
    elif operator == "QuantizeLinear":
        yield from _quantizer_limits(node, constants)
    elif operator == "NonMaxSuppression":
        yield from ((node.input[1], constants[name]) for name in node.input[4:5] if name in constants)
    else:
        yield from ((first, limit) for limit in _ml_limits(operator, attributes))


def _ml_limits(operator: str, attributes: Mapping[str, onnx.AttributeProto]) -> Iterator[np.ndarray]:
    """Yield what an operator of ai.onnx.ml compares its input with: keys, support vectors, where its trees split."""
    if operator == "Imputer":
        replaced = (attributes[key] for key in ("replaced_value_float", "replaced_value_int64") if key in attributes)
        yield from (np.asarray(onnx.helper.get_attribute_value(each)) for each in replaced)
    elif operator in ("LabelEncoder", "CategoryMapper", "OneHotEncoder", "TfIdfVectorizer"):
        numbers = (onnx.helper.get_attribute_value(attributes[key]) for key in _KEYS if key in attributes)
        yield from (np.asarray(key) for keys in numbers for key in keys)
    elif operator.startswith("SVM") and "support_vectors" in attributes:
        by_class = attributes.get("vectors_per_class")
        count = sum(by_class.ints) if by_class is not None else attributes["n_supports"].i
        yield from np.reshape(attributes["support_vectors"].floats, (count, -1))
    elif operator.startswith("TreeEnsemble") and "nodes_values" in attributes:
        yield from _tree_limits(attributes)


def _tree_limits(attributes: Mapping[str, onnx.AttributeProto]) -> Iterator[np.ndarray]:
    """Rows of numbers at which the trees split, one of each feature in a row; NaN where a feature has no more."""
    modes = attributes["nodes_modes"].strings
    features, values = attributes["nodes_featureids"].ints, attributes["nodes_values"].floats
    splits: dict[int, dict[float, None]] = {}
    for mode, feature, value in zip(modes, features, values, strict=True):
        if mode != b"LEAF":
            splits.setdefault(feature, {})[value] = None
    rows = max(map(len, splits.values()), default=0)
    table = np.full((rows, max(splits, default=0) + 1), np.nan)
    for feature, numbers in splits.items():
        table[: len(numbers), feature] = list(numbers)
    yield from table


def _floors(node: onnx.NodeProto, constants: Mapping[str, np.ndarray], roots: Set[str]) -> Iterator[float]:
    """Yield where small positive numbers show that keep a divisor, a root or a logarithm from zero.

    Below a root of squares that is their own root; values far below it would show the rounding of what is before them.
    """
    yield from (a.f**0.5 for a in node.attribute if a.name == "epsilon" and 0 < a.f < float("inf"))
    for name in node.input if node.op_type in ("Add", "Max", "Clip") else ():
        constant = constants.get(name)
        if constant is not None and constant.size == 1 and 0 < float(constant.reshape(-1)[0]) <= _LARGEST_FLOOR:
            floor = float(constant.reshape(-1)[0])
            yield floor**0.5
            if node.output[0] not in roots:
                yield floor


def _is_root(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> bool:
    """Say whether it takes the square root of its first input, or divides by that."""
    exponent = constants.get(node.input[1]) if node.op_type == "Pow" else None
    return node.op_type == "Sqrt" or (exponent is not None and bool((np.abs(exponent) == 0.5).all()))


def _quantizer_limits(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Where a quantizer saturates."""
    scale = constants.get(node.input[1])
    if scale is None or scale.size > 1:
        return
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    bounds = np.iinfo(zero.dtype) if zero is not None and zero.dtype.kind in "iu" else np.iinfo(np.uint8)
    middle = 0.0 if zero is None or zero.size > 1 else float(zero.reshape(-1)[0])
    for bound in (bounds.min, bounds.max):
        yield node.input[0], np.asarray(float(scale.reshape(-1)[0]) * (bound - middle))


def _is_whole(kind: int) -> bool:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).kind in "iub"


def _sizes(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Iterator[int]:
    """Whole numbers that sizes or counts may be compared with, and the rows of tables that are cut to a size."""
    if node.op_type in (
        "Slice",
        "Greater",
        "Less",
        "GreaterOrEqual",
        "LessOrEqual",
        "Equal",
        "Min",
        "Max",
        "Range",
        "Mod",
        "Trilu",
    ):
        for name in node.input[1:] if node.op_type == "Slice" else node.input:
            constant = constants.get(name)
            if constant is not None and constant.dtype.kind in "iu" and constant.size <= 8:
                yield from (abs(int(n)) for n in constant.reshape(-1) if 1 < abs(int(n)) <= _LARGEST_SIZE)
    if node.op_type == "Slice":
        yield from (
            abs(int(n))
            for a in node.attribute
            if a.name in ("starts", "ends")
            for n in a.ints
            if 1 < abs(n) <= _LARGEST_SIZE
        )
    if node.op_type in ("Slice", "Gather") and node.input[0] in constants:
        yield from (n for n in constants[node.input[0]].shape if 16 <= n <= _LARGEST_SIZE)


def _inner_constants(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    for node in graph.node:
        for body in subgraphs(node):
            yield from ((t.name, numpy_helper.to_array(t)) for t in body.initializer if t.data_type != t.STRING)
            for inner in body.node:
                for attribute in inner.attribute if inner.op_type == "Constant" else ():
                    if attribute.name == "value" and attribute.t.data_type != attribute.t.STRING:
                        yield inner.output[0], numpy_helper.to_array(attribute.t)
            yield from _inner_constants(body)
