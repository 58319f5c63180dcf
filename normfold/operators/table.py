"""What is known of each ONNX operator, once: one row an operator, read by all rooms.

A claim holds for the operator as the standard defines it, whatever its attributes, but for those that a reader asks
about itself: ``transB`` of a Gemm, ``group`` of a Conv, ``min`` and ``max`` of a Clip, the training of a Dropout.
``tests/graph/test_operators.py`` checks every claim against onnx's reference evaluator.
Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

DEFAULT_DOMAINS = ("", "ai.onnx")
ML_DOMAIN = "ai.onnx.ml"  # classic machine learning
RUNTIME_DOMAIN = "com.microsoft"  # ONNX Runtime's own operators
REDUCTION_AXES_ARE_INPUTS = 18  # the operator set from which ReduceMean and its like take their axes as an input
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Operator:
    """The properties of an operator that folds, proofs and shapes rely on. Nothing is claimed by default.

    ``elementwise``: each element of the result depends on the same element of the first input, and on nothing else
    that varies by position. ``by_channel``: each channel (axis 1) of the result depends on the same channel of the
    input. ``keeps_shape``: the first output has the shape of the first input. ``homogeneous``: f(s*x) = s*f(x), for
    every s or for s > 0. ``never_negative``: no element of the result is. ``keeps_one``: f(1) = 1, whatever channel.
    ``amplifies``: an element of the result may be ten times the largest element of the inputs, and 10, so that float16
    may overflow here. It multiplies, or sums over more elements than it has operands.

    ``weight`` and ``bias`` are the inputs of a linear operator that hold them; ``weight_out`` and ``weight_in`` the
    axes of the weight by output channel and by input channel; ``axis`` the axis of the channels in input and output.
    """

    elementwise: bool = False
    by_channel: bool = False
    keeps_shape: bool = False
    homogeneous: Literal["", "positive", "any"] = ""
    never_negative: bool = False
    keeps_one: bool = False
    amplifies: bool = False
    weight: int | None = None
    bias: int | None = None
    weight_out: int | None = None
    weight_in: int | None = None
    axis: int | None = None


def _elementwise(
    homogeneous: Literal["", "positive", "any"] = "",
    *,
    never_negative: bool = False,
    keeps_one: bool = False,
    amplifies: bool = False,
) -> Operator:
    return Operator(True, True, True, homogeneous, never_negative, keeps_one, amplifies)


NOTHING = Operator()
OPERATORS: dict[str, Operator] = {
    # Functions of one element.
    "Abs": _elementwise("positive", never_negative=True, keeps_one=True),
    "Acos": _elementwise(),
    "Asin": _elementwise(),
    "Asinh": _elementwise(),
    "Atan": _elementwise(),
    "Atanh": _elementwise(),
    "Cast": _elementwise("any", keeps_one=True),  # between floating types
    "CastLike": _elementwise("any", keeps_one=True),
    "Ceil": _elementwise(keeps_one=True),
    "Celu": _elementwise(keeps_one=True),
    "Clip": _elementwise(keeps_one=True),  # without bounds; with bounds, the reader compares them
    "Cos": _elementwise(),
    "Cosh": _elementwise(never_negative=True, amplifies=True),
    "Dropout": _elementwise("any", keeps_one=True),  # at inference
    "Elu": _elementwise(keeps_one=True),
    "Erf": _elementwise(),
    "Exp": _elementwise(never_negative=True, amplifies=True),
    "Floor": _elementwise(keeps_one=True),
    "Gelu": _elementwise(),
    "HardSigmoid": _elementwise(never_negative=True),
    "HardSwish": _elementwise(),
    "Identity": _elementwise("any", keeps_one=True),
    "LeakyRelu": _elementwise("positive", keeps_one=True),
    "Log": _elementwise(),
    "Mish": _elementwise(),
    "Neg": _elementwise("any"),
    "Reciprocal": _elementwise(keeps_one=True, amplifies=True),
    "Relu": _elementwise("positive", never_negative=True, keeps_one=True),
    "Round": _elementwise(keeps_one=True),
    "Selu": _elementwise(),
    "Shrink": _elementwise(),
    "Sigmoid": _elementwise(never_negative=True),
    "Sign": _elementwise(keeps_one=True),
    "Sin": _elementwise(),
    "Sinh": _elementwise(amplifies=True),
    "Softplus": _elementwise(never_negative=True),
    "Softsign": _elementwise(),
    "Sqrt": _elementwise(never_negative=True, keeps_one=True),
    "Swish": _elementwise(),
    "Tan": _elementwise(amplifies=True),
    "Tanh": _elementwise(),
    "ThresholdedRelu": _elementwise(),
    # Functions of a channel, and norms.
    "AveragePool": Operator(by_channel=True, homogeneous="any"),
    "BatchNormalization": Operator(by_channel=True, keeps_shape=True),
    "GlobalAveragePool": Operator(by_channel=True, homogeneous="any", keeps_one=True),
    "GlobalMaxPool": Operator(by_channel=True, homogeneous="positive", keeps_one=True),
    "GroupNormalization": Operator(keeps_shape=True),
    "InstanceNormalization": Operator(by_channel=True, keeps_shape=True),
    "LayerNormalization": Operator(keeps_shape=True),
    "LogSoftmax": Operator(keeps_shape=True),
    "LpNormalization": Operator(keeps_shape=True),
    "MaxPool": Operator(by_channel=True, homogeneous="positive", keeps_one=True),
    "RMSNormalization": Operator(keeps_shape=True),
    "Softmax": Operator(keeps_shape=True, never_negative=True),
    # Sums over elements, and products.
    "Col2Im": Operator(homogeneous="any", amplifies=True),
    "CumSum": Operator(keeps_shape=True, homogeneous="any", amplifies=True),
    "DFT": Operator(homogeneous="any", amplifies=True),
    "Einsum": Operator(homogeneous="any", amplifies=True),
    "GlobalLpPool": Operator(by_channel=True, homogeneous="positive", never_negative=True, amplifies=True),
    "LpPool": Operator(by_channel=True, homogeneous="positive", never_negative=True, amplifies=True),
    "Mul": Operator(homogeneous="any", amplifies=True),
    "Pow": Operator(amplifies=True),
    "ReduceL1": Operator(homogeneous="positive", never_negative=True, amplifies=True),
    "ReduceL2": Operator(homogeneous="positive", never_negative=True, amplifies=True),
    "ReduceSum": Operator(homogeneous="any", amplifies=True),
    "ReduceSumSquare": Operator(never_negative=True, amplifies=True),
    "STFT": Operator(homogeneous="any", amplifies=True),
    # Linear operators.
    "Conv": Operator(homogeneous="any", amplifies=True, weight=1, bias=2, weight_out=0, weight_in=1, axis=1),
    "ConvTranspose": Operator(homogeneous="any", amplifies=True, weight=1, bias=2, weight_out=1, weight_in=0, axis=1),
    "DeformConv": Operator(homogeneous="any", amplifies=True, bias=3),
    "Gemm": Operator(homogeneous="any", amplifies=True, weight=1, bias=2, weight_out=1, weight_in=0, axis=1),
    "MatMul": Operator(homogeneous="any", amplifies=True, weight=1, weight_out=-1, weight_in=-2, axis=-1),
    # Recurrent operators: their first weight meets the features, and nothing is claimed of the result.
    "LSTM": Operator(weight=1, bias=3, weight_in=2, axis=2),
    "GRU": Operator(weight=1, bias=3, weight_in=2, axis=2),
    "RNN": Operator(weight=1, bias=3, weight_in=2, axis=2),
}

RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
"""They keep all elements in their order."""

ADDITIONS = frozenset({"Add", "Sub", "Sum"})
SUMS = ADDITIONS | {"Mean"}
"""They add up operands, which broadcast to each other."""

ROUNDINGS = frozenset({"Ceil", "Floor", "Round"})
COMPARISONS = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})

RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""They draw numbers at every run; a Dropout does so in training."""


class _HasDomain(Protocol):
    """A node, or an import of a set of operators, of onnx or of onnx_ir."""

    @property
    def domain(self) -> str:
        """Return the domain that its operators are of."""
        ...


class _HasOperator(_HasDomain, Protocol):
    """A node of onnx or of onnx_ir."""

    @property
    def op_type(self) -> str:
        """Return the name of its operator."""
        ...


def is_standard(holder: _HasDomain) -> bool:
    """Return whether a node or an import is of ONNX's own operators, and not of ai.onnx.ml or of a runtime."""
    return holder.domain in DEFAULT_DOMAINS


def qualified_name(node: _HasOperator) -> str:
    """Return ``Conv`` of a standard operator, and ``com.microsoft.FusedConv`` of one of another domain."""
    return node.op_type if is_standard(node) else f"{node.domain}.{node.op_type}"


def of_domain(domain: str, rows: Mapping[str, _Row]) -> dict[str, _Row]:
    """Return the rows of a table of operators by the qualified names of operators of ``domain``."""
    return {f"{domain}.{operator}": row for operator, row in rows.items()}


def operator_of(node: _HasOperator) -> Operator:
    """Return what is known of the operator of a node; of an operator of another domain that is nothing."""
    return OPERATORS.get(node.op_type, NOTHING) if is_standard(node) else NOTHING
