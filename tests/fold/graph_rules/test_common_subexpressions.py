"""What is computed twice is computed once, where it is the same: attributes, constants and chance included."""

from __future__ import annotations

import onnx
import pytest

from normfold.fold.cleanup.tidy import clear_the_way
from tests.fold.cleanup.test_tidy import assert_tidied
from tests.fold.rows import fold
from tests.onnx_text import assert_close, feeds_of, run_in_ort

MASK = f"float[15,2,3] {{{', '.join(['0', '7', '1'] * 30)}}}"

REPEATED = {
    "the same": ("a = Softmax<axis=1> (x) b = Softmax<axis=1> (x) y = Add (a, b)", "Softmax Add"),
    "in a row": ("a = Sin (x) b = Sin (x) c = Cos (a) d = Cos (b) y = Add (c, d)", "Sin Cos Add"),
    "with other attributes": ("a = Softmax<axis=0> (x) b = Softmax<axis=1> (x) y = Add (a, b)", "Softmax Softmax Add"),
    "with equal constants": (
        "k = Constant<value = float {2}>() l = Constant<value = float {2}>() m = Constant<value = float {3}>()"
        " a = Pow (x, k) b = Pow (x, l) c = Pow (x, m) y = Sum (a, b, c)",
        "Constant Constant Pow Pow Sum",
    ),
    "with equal masks of 360 bytes, too small to be shared": (
        f"k = Constant<value = {MASK}>() l = Constant<value = {MASK}>() a = Min (x, k) b = Min (x, l) c = Sub (a, b)"
        " y = ReduceMax<axes = [0], keepdims = 0> (c)",
        "Constant Min Sub ReduceMax",
    ),
    "means over the last axis, counted from either end": (
        "a = ReduceMean<axes=[-1]> (x) b = ReduceMean<axes=[1]> (x) y = Add (a, b)",
        "ReduceMean Add",
    ),
    "sums over both axes, in another order": (
        "k = Constant<value_ints = [0, 1]>() l = Constant<value_ints = [-1, -2]>() a = ReduceSum (x, k)"
        " b = ReduceSum (x, l) y = Add (a, b)",
        "Constant ReduceSum Add",
    ),
    "means over other axes": (
        "a = ReduceMean<axes=[-1]> (x) b = ReduceMean<axes=[0]> (x) y = Add (a, b)",
        "ReduceMean ReduceMean Add",
    ),
    "means that keep the axis, or not": (
        "a = ReduceMean<axes=[-1], keepdims=0> (x) b = ReduceMean<axes=[1]> (x) y = Add (a, b)",
        "ReduceMean ReduceMean Add",
    ),
    "by chance": (
        "a = RandomNormalLike (x) b = RandomNormalLike (x) y = Add (a, b)",
        "RandomNormalLike RandomNormalLike Add",
    ),
}


@pytest.mark.parametrize(("body", "left"), REPEATED.values(), ids=REPEATED)
def test_the_same_is_computed_once(body: str, left: str) -> None:
    assert_tidied(f"(float[2,3] x) => (float[2,3] y) {{ {body} }}", left, clear_the_way, runs="Random" not in left)


def test_operators_that_read_a_parameter_of_their_function_are_compared_by_its_name() -> None:
    text = """<ir_version: 8, opset_import: ["":17, "own":1]> g (float[N,4] x) => (float[N,4] y)
        { y = own.f<p=0.2, q=0.3>(x) }
        <domain: "own", opset_import: ["":17]> f <p, q> (x) => (y) {
        a = LeakyRelu<alpha: float = @p>(x) b = LeakyRelu<alpha: float = @p>(x) c = LeakyRelu<alpha: float = @q>(x)
        d = Add(a, b) y = Sub(d, c) }"""
    model = onnx.parser.parse_model(text)
    folded = fold(model).model
    assert [node.op_type for node in folded.functions[0].node] == ["LeakyRelu", "LeakyRelu", "Add", "Sub"]
    feeds = feeds_of(model)
    assert_close(run_in_ort(model, feeds, ["y"]), run_in_ort(folded, feeds, ["y"]), note="function")
