"""Look at a model as ONNX Runtime's optimizer leaves it: which operators it executes as one.

Nothing is run, and no weight is read or written: each large one becomes zeros of a sparse file. What the optimizer
decides depends on which values are constant and on small constants, and both stay.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from normfold.errors import CrashError
from normfold.files.protos.convert import to_proto
from normfold.files.temporary import TemporaryFolder
from normfold.native import isolated
from normfold.native.ort_session import OptimizationLevel, SessionError, SessionOptions, open_session

_NORM, _ATTENTION, _ACTIVATION, _QUANTIZED = "norm", "attention", "activation", "quantized product"
# What an operator of the optimized graph stands for. Spellings of one kind may become another operator of that kind.
KINDS = {
    "LayerNormalization": _NORM,
    "SimplifiedLayerNormalization": _NORM,
    "RMSNormalization": _NORM,
    "SkipLayerNormalization": _NORM,
    "SkipSimplifiedLayerNormalization": _NORM,
    "EmbedLayerNormalization": _NORM,
    "Attention": _ATTENTION,
    "MultiHeadAttention": _ATTENTION,
    "GroupQueryAttention": _ATTENTION,
    "QAttention": _ATTENTION,
    "Gelu": _ACTIVATION,
    "BiasGelu": _ACTIVATION,
    "FastGelu": _ACTIVATION,
    "QuickGelu": _ACTIVATION,
    "DynamicQuantizeMatMul": _QUANTIZED,
    "MatMulIntegerToFloat": _QUANTIZED,
    "MatMulNBits": _QUANTIZED,
    "QLinearConv": _QUANTIZED,
    "QLinearMatMul": _QUANTIZED,
    "QGemm": _QUANTIZED,
}
# Operators without which a model has none of these, so that it need not be looked at.
_NEEDED = frozenset(
    {"Erf", "Tanh", "Sigmoid", "ReduceMean", "Sqrt", "Softmax", "MatMulInteger", "DequantizeLinear", "Gelu"}
    | set(KINDS)
)
_LARGE = 1024  # elements; smaller constants may be what a pattern asks for
_ZEROS = "zeros"


@dataclass(frozen=True)
class FusedOperator:
    """An operator that the runtime made of several, or that is one already: its kind, inputs and first output."""

    kind: str
    operator: str
    inputs: tuple[str, ...]
    output: str


def may_have_fused_operators(model: ir.Model) -> bool:
    """Return whether a model has any operator of which the runtime might make one of ``KINDS``."""
    return any(node.op_type in _NEEDED for node in model.graph.all_nodes())


def fused_operators(model: ir.Model) -> tuple[FusedOperator, ...] | None:
    """Return what ONNX Runtime executes as one in ``model``, the main graph; None where it does not load it."""
    with TemporaryFolder() as folder:
        path, optimized = folder / "model.onnx", folder / "optimized.onnx"
        with _without_weights(model, folder) as proto:
            path.write_bytes(proto.SerializeToString())
        try:
            isolated.call("ONNX Runtime's optimizer", write_optimized, str(path), str(optimized))
        except (CrashError, SessionError):
            return None  # the proof says it in full
        graph = onnx.load(optimized, load_external_data=False).graph
    return tuple(
        FusedOperator(KINDS[node.op_type], node.op_type, tuple(node.input), node.output[0])
        for node in graph.node
        if node.op_type in KINDS
    )


def write_optimized(model: str, optimized: str) -> None:
    """Write a model as ONNX Runtime rewrites it at level extended, weights aside."""
    settings = {
        "session.disable_prepacking": "1",
        "session.optimized_model_external_initializers_file_name": "weights",
        "session.optimized_model_external_initializers_min_size_in_bytes": "64",
    }
    open_session(model, SessionOptions(OptimizationLevel.EXTENDED, settings=settings, optimized=optimized))


def lost_operators(before: tuple[FusedOperator, ...], after: tuple[FusedOperator, ...]) -> tuple[FusedOperator, ...]:
    """Return those of ``before`` whose kind has become rarer, and which are not found by name in ``after``."""
    counts = Counter(each.kind for each in before)
    counts.subtract(each.kind for each in after)
    kept = {each.output for each in after}
    rarer = [each for each in before if counts[each.kind] > 0]
    return tuple(each for each in rarer if each.output not in kept) or tuple(rarer)


@contextmanager
def _without_weights(model: ir.Model, folder: Path) -> Iterator[onnx.ModelProto]:
    """Return the model as a proto whose large initializers lie, all in one place, in a sparse file of zeros."""
    large = [
        value
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and value.const_value.dtype is not ir.DataType.STRING
        and math.prod(value.const_value.shape.numpy()) > _LARGE
    ]
    kept = {value: value.const_value for value in large}
    sizes = [tensor.nbytes for tensor in kept.values() if tensor is not None]
    with Path(folder, _ZEROS).open("wb") as file:
        os.truncate(file.fileno(), max(sizes, default=0))
    try:
        for value, tensor in kept.items():
            assert tensor is not None, "it was looked at above"
            value.const_value = ir.ExternalTensor(
                _ZEROS,
                0,
                tensor.nbytes,
                tensor.dtype,
                shape=ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
                base_dir=folder,
            )
        yield to_proto(model)
    finally:
        for value, tensor in kept.items():
            value.const_value = tensor
