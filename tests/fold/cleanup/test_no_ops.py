"""Operators that do nothing go when something was folded; those that look like them stay."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from normfold.fold.cleanup.tidy import tidy

PAIR = "(float[2,3,4,4] x) => (float[2,3,4,4] y)"
GONE = {
    "concat of one": (PAIR, "a = Concat<axis=1>(x) y = Relu(a)"),
    "sum of one": (PAIR, "a = Sum(x) y = Relu(a)"),
    "dropout": (PAIR, "a, mask = Dropout(x) y = Relu(a)"),
    "split and joined again": (PAIR, "a, b = Split<axis=2>(x) d = Concat<axis=-2>(a, b) y = Relu(d)"),
    "reshape to its own shape": (PAIR, "s = Constant<value_ints=[2,3,4,4]>() a = Reshape(x, s) y = Relu(a)"),
    "reshape with one unknown size": (
        "(float[N,3,4] x) => (float[N,3,4] y)",
        "s = Constant<value_ints=[-1,3,4]>() a = Reshape(x, s) y = Relu(a)",
    ),
    "flatten of two axes": ("(float[N,3] x) => (float[N,3] y)", "a = Flatten(x) y = Relu(a)"),
    "transpose to the same order": (PAIR, "a = Transpose<perm=[0,1,2,3]>(x) y = Relu(a)"),
    "cast to its own type": (PAIR, "a = Cast<to=1>(x) y = Relu(a)"),
    "pad by nothing": (PAIR, "p = Constant<value_ints=[0,0,0,0,0,0,0,0]>() a = Pad(x, p) y = Relu(a)"),
    "slice of everything": (
        PAIR,
        "b = Constant<value_ints=[0]>() e = Constant<value_ints=[9]>() c = Constant<value_ints=[1]>() "
        "a = Slice(x, b, e, c) y = Relu(a)",
    ),
    "slice of all channels of an image of any size": (
        "(float[N,3,H,W] x) => (float[N,3,H,W] y)",
        "b = Constant<value_ints=[0]>() e = Constant<value_ints=[3]>() c = Constant<value_ints=[1]>() "
        "a = Slice(x, b, e, c) y = Relu(a)",
    ),
    "where that takes one side": (
        PAIR,
        "c = Constant<value_ints=[0]>() d = Cast<to=9>(c) z = Constant<value_float=1.0>() a = Where(d, z, x) "
        "y = Relu(a)",
    ),
    "before an output": (PAIR, "a = Relu(x) y = Cast<to=1>(a)"),
}
STAYS = {
    "concat of two": ("(float[2,3] x) => (float[4,3] y)", "a = Concat<axis=0>(x, x) y = Relu(a)", "Concat Relu"),
    "split and joined in another order": (
        PAIR,
        "a, b = Split<axis=2>(x) d = Concat<axis=2>(b, a) y = Relu(d)",
        "Split Concat Relu",
    ),
    "split and joined along another axis": (
        "(float[2,3,4,4] x) => (float[2,3,2,8] y)",
        "a, b = Split<axis=2>(x) d = Concat<axis=3>(a, b) y = Relu(d)",
        "Split Concat Relu",
    ),
    "split and joined in part": (
        "(float[2,4] x) => (float[1,4] y)",
        "s = Constant<value_ints=[1,1]>() a, b = Split<axis=0>(x, s) d = Concat<axis=0>(a) y = Relu(d)",
        "Split Relu",
    ),
    "dropout of a constant": (
        PAIR,
        "c = Constant<value_float=2.0>() d = Dropout(c) y = Mul(x, d)",
        "Mul",
    ),
    "dropout in training": (
        PAIR,
        "r = Constant<value_float=0.5>() t = Cast<to=9>(r) a = Dropout(x, r, t) y = Relu(a)",
        "Cast Dropout Relu",
    ),
    "dropout whose mask is read": (
        "(float[2,3] x) => (float[2,3] y, bool[2,3] mask)",
        "a, mask = Dropout(x) y = Relu(a)",
        "Dropout Relu",
    ),
    "where that widens one side": (
        "(float[3] x, float[2,3] z) => (float[2,3] y)",
        "c = Constant<value_ints=[1]>() d = Cast<to=9>(c) a = Where(d, x, z) y = Relu(a)",
        "Cast Where Relu",
    ),
    "reshape that swaps sizes": (
        "(float[2,3] x) => (float[3,2] y)",
        "s = Constant<value_ints=[3,2]>() a = Reshape(x, s) y = Relu(a)",
        "Reshape Relu",
    ),
    "reshape with two unknown sizes": (
        "(float[N,M] x) => (float[N,M] y)",
        "s = Constant<value_ints=[4,-1]>() a = Reshape(x, s) y = Relu(a)",
        "Reshape Relu",
    ),
    "expand of an unknown size": (
        "(float[N,3] x) => (float[N,3] y)",
        "s = Constant<value_ints=[4,3]>() a = Expand(x, s) y = Relu(a)",
        "Expand Relu",
    ),
    "transpose of equal sizes": (PAIR, "a = Transpose<perm=[0,1,3,2]>(x) y = Relu(a)", "Transpose Relu"),
    "transpose without an order": (
        "(float[3,3] x) => (float[3,3] y)",
        "a = Transpose(x) y = Relu(a)",
        "Transpose Relu",
    ),
    "cast to another type": (PAIR, "a = Cast<to=10>(x) b = Cast<to=1>(a) y = Relu(b)", "Cast Cast Relu"),
    "slice of rows of an image of any size": (
        "(float[N,3,H,W] x) => (float[N,3,K,W] y)",
        "b = Constant<value_ints=[0]>() e = Constant<value_ints=[3]>() c = Constant<value_ints=[2]>() "
        "a = Slice(x, b, e, c) y = Relu(a)",
        "Slice Relu",
    ),
    "slice backwards": (
        PAIR,
        "b = Constant<value_ints=[-1]>() e = Constant<value_ints=[-9]>() c = Constant<value_ints=[3]>() "
        "a = Slice(x, b, e, c, b) y = Relu(a)",
        "Slice Relu",
    ),
    "another domain": (PAIR, "a = other.Cast<to=1>(x) y = Relu(a)", "Cast Relu"),
}


def operators_after_tidy(signature: str, body: str) -> str:
    text = f'<ir_version: 8, opset_import: ["" : 17, "other" : 1]> g {signature} {{ {body} }}'
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    model = ir.from_proto(proto)
    tidy(model)
    return " ".join(node.op_type for node in model.graph if node.op_type != "Constant")


@pytest.mark.parametrize("name", GONE)
def test_what_does_nothing_goes(name: str) -> None:
    assert operators_after_tidy(*GONE[name]) == "Relu"


@pytest.mark.parametrize("name", STAYS)
def test_what_does_something_stays(name: str) -> None:
    signature, body, left = STAYS[name]
    assert operators_after_tidy(signature, body) == left
