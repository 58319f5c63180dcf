"""Fixed orders of channels: what they pass on their way into a weight, and what stops them."""

from __future__ import annotations

import pytest

from tests.fold.rows import fold, operators
from tests.onnx_text import parse

ORDER = "(float[N,4,6,6] x) => (float[N,5,4,4] y) <float[5,4,3,3] v, int64[4] i={2,0,3,1}>"
# By element or by channel: the row in normfold/operators/table.py is all that an operator needs.
PASSED = (
    *(
        "Softsign",
        "Sin",
        "Round",
        "Mish",
        "Swish",
        "Elu",
        "Celu",
        "HardSwish",
        "Erf",
        "Sqrt",
        "Floor",
        "Cosh",
    ),
    *("MaxPool<kernel_shape=[1,1]>", "AveragePool<kernel_shape=[1,1]>", "ThresholdedRelu", "Shrink", "Gelu"),
)
STOPPED = ("Softmax<axis=1>", "LRN<size=3>", "LpNormalization<axis=1>", "Hardmax<axis=1>")


@pytest.mark.parametrize("between", PASSED)
def test_an_order_passes(between: str) -> None:
    name, _, _ = between.partition("<")
    text = f"{ORDER} {{ c = Gather<axis=1>(x, i) e = {between}(c) y = Conv(e, v) }}"
    model = parse(text, opset=24 if name == "Swish" else 20, ir_version=10)
    assert operators(fold(model).model) == f"{name} Conv"


@pytest.mark.parametrize("between", STOPPED)
def test_an_order_stops(between: str) -> None:
    text = f"{ORDER} {{ c = Gather<axis=1>(x, i) e = {between}(c) y = Conv(e, v) }}"
    assert operators(fold(parse(text, opset=20, ir_version=10)).model).startswith("Gather")


def test_a_pool_with_indices_stops_an_order() -> None:
    text = (
        "(float[N,4,6,6] x) => (float[N,5,4,4] y, int64[N,4,6,6] k) <float[5,4,3,3] v, int64[4] i={2,0,3,1}>"
        "{ c = Gather<axis=1>(x, i) e, k = MaxPool<kernel_shape=[1,1]>(c) y = Conv(e, v) }"
    )
    assert operators(fold(parse(text)).model).startswith("Gather")
