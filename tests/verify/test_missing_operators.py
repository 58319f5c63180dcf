"""What the runtime has no kernel for is cut out, and the rest is proven."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

import normfold
from normfold.errors import UsageError
from normfold.verify import Equivalence, ProofOptions, prove, verify
from tests.onnx_text import parse
from tests.verify.nets import edited

TEXT = """(float[N,3,8,8] x) => (float[N,4,6,6] z, float[N,4,6,6] boxes)
    <float[4,3,3,3] w, float[4] g, float[4] b, float[4] m, float[4] var, float[4,4,1,1] w2> {
    c = Conv(x, w)  n = BatchNormalization(c, g, b, m, var)  q = Identity(n)  z = Conv(q, w2)  boxes = Identity(z)
}"""


def with_plugins(*values: str) -> onnx.ModelProto:
    """Return the model with operators that no runtime here has in the place of some Identities."""
    model = parse(TEXT)
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    for node in model.graph.node:
        if node.output[0] in values:
            node.op_type, node.domain, node.name = "EfficientNMS_TRT", "TRT", f"nms_{node.output[0]}"
    return model


@pytest.mark.parametrize("values", [("boxes",), ("q",), ("q", "boxes")], ids=["at the end", "inside", "both"])
def test_the_rest_is_proven_and_what_is_not_is_named(values: tuple[str, ...]) -> None:
    raw = with_plugins(*values)
    result = normfold.optimize(raw)
    assert result.changes
    assert result.verification
    assert result.verification.unproven_operators == tuple(f"EfficientNMS_TRT nms_{value}" for value in values)
    assert f"proven but for {len(values)} operator" in str(result.verification)
    assert verify(raw, result.model)


BODIES = {
    "If": """g = Greater(t, u) q = If(g) <then_branch = a () => (float[N,4,6,6] p) { p = Abs(n) },
        else_branch = e () => (float[N,4,6,6] r) { r = Neg(n) }>""",
    "Loop": """q = Loop(two, "", n) <body = a (int64 i, bool k, float[N,4,6,6] s) => (bool d, float[N,4,6,6] p)
        { p = Abs(s) d = Identity(k) }>""",
}


@pytest.mark.parametrize("kind", BODIES)
def test_one_in_a_body_takes_its_operator_with_it(kind: str) -> None:
    raw = parse(
        """(float[N,3,8,8] x, float t) => (float[N,4,6,6] z) <float[4,3,3,3] w, float[4] g0, float[4] b, float[4] m,
        float[4] var, float[4,4,1,1] w2, float u = {0}, int64 two = {2}>
        { c = Conv(x, w) n = BatchNormalization(c, g0, b, m, var) BODY z = Conv(q, w2) }""".replace(
            "BODY", BODIES[kind]
        )
    )
    raw.opset_import.append(helper.make_opsetid("TRT", 1))
    owner = next(node for node in raw.graph.node if node.op_type == kind)
    owner.attribute[0].g.node[0].domain, owner.attribute[0].g.node[0].op_type = "TRT", "Plugin"
    result = normfold.optimize(raw)
    assert result.changes
    assert result.verification
    assert result.verification.unproven_operators == (f"Plugin in {kind} q",)
    for weight in ("w", "w2"):
        assert verify(raw, edited(raw, weight, lambda w: w * 1.001)).verdict is Equivalence.DIFFERENT


READERS = {
    "Gather": "i = my.Keep(b) y = Gather(b, i)",
    "Reshape": "i = my.Sizes(b) y = Reshape(b, i)",
    "Where": "i = my.Mask(b) y = Where(i, b, z)",
    "If": """i = my.Yes(b) y = If(i) <then_branch = t () => (float[N,4] u) { u = Neg(b) },
        else_branch = e () => (float[N,4] v) { v = Abs(b) }>""",
    "Loop": """i = my.Count(b) y = Loop(i, "", b) <body = t (int64 n, bool c, float[N,4] u) => (bool d, float[N,4] v)
        { v = Neg(u) d = Identity(c) }>""",
    "ConcatFromSequence": "i = my.Parts(b) c = ConcatFromSequence<axis = 0>(i) y = Mul(c, z)",
}


@pytest.mark.parametrize("reader", READERS)
def test_what_it_makes_is_of_the_type_that_its_reader_takes(reader: str) -> None:
    raw = parse(
        "(float[N,4] x) => (float[P,Q] y) <float[4,4] w, float[4] s, float z = {0.5}> { a = MatMul(x, w) b = Mul(a, s) "
        + READERS[reader]
        + "}",
        domains='"my": 1',
    )
    result = normfold.optimize(raw)
    assert result.changes
    assert result.verification is not None
    assert len(result.verification.unproven_operators) == 1
    assert verify(raw, edited(result.model, "w_folded", lambda w: w * 1.01)).verdict is Equivalence.DIFFERENT


def test_a_fault_before_or_behind_it_is_found() -> None:
    raw = with_plugins("q")
    for weight in ("w", "w2"):
        assert verify(raw, edited(raw, weight, lambda w: w * 1.001)).verdict is Equivalence.DIFFERENT


def test_an_operator_that_is_another_one_is_not_cut() -> None:
    raw, other = with_plugins("q"), with_plugins("q")
    next(node for node in other.graph.node if node.domain).attribute.append(helper.make_attribute("k", 3))
    assert verify(raw, other).verdict is Equivalence.INCONCLUSIVE


@pytest.mark.parametrize("sizes", [[None] * 4, [4, None, None, 3], ["M", "C", "H", "W"]])
def test_what_reads_a_stored_tensor_makes_one_of_its_shape(sizes: list[int | str | None]) -> None:
    """A weight behind QONNX Quant, whose sizes the exporter leaves open: no one size for all is a kernel of 5 by 3."""
    head = "(float[N,2,8,8] x) => (float[N,4,H,W] y) <float[4,2,5,3] w>"
    body = "{ a = Identity(x) q = Identity(w) c = Conv<kernel_shape=[5,3]>(a, q) "
    one, other = parse(f"{head} {body} y = Relu(c) }}"), parse(f"{head} {body} r = Relu(c) y = Relu(r) }}")
    for model in (one, other):
        model.opset_import.append(helper.make_opsetid("qonnx", 1))
        for name, declared in (("a", [None] * 4), ("q", sizes)):
            model.graph.value_info.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, declared))
        for node in model.graph.node[:2]:
            node.op_type, node.domain = "Quant", "qonnx"
    found = prove(one, other)
    assert found
    assert found.unproven_operators == ("Quant a", "Quant q")


def test_strict_asks_for_every_operator() -> None:
    raw = with_plugins("q")
    assert prove(raw, raw, None, ProofOptions()).verdict is Equivalence.EQUIVALENT
    assert prove(raw, raw, None, ProofOptions(strict=True)).verdict is Equivalence.INCONCLUSIVE


def test_a_library_that_is_not_there_is_a_usage_error() -> None:
    raw = with_plugins("q")
    with pytest.raises(UsageError, match="no such file"):
        prove(raw, raw, None, ProofOptions(custom_ops=("/no/such/library.so",)))


def test_a_library_of_operators_is_loaded() -> None:
    extensions = pytest.importorskip("onnxruntime_extensions", reason="a library of operators to try")
    raw = parse("(float[N,4] x) => (float[N,4] y) <float[4] s> { a = Identity(x) y = Mul(a, s) }")
    raw.opset_import.append(helper.make_opsetid("ai.onnx.contrib", 1))
    raw.graph.node[0].op_type, raw.graph.node[0].domain = "NegPos", "ai.onnx.contrib"
    raw.graph.node[0].output.append("positive")
    found = prove(raw, raw, None, ProofOptions(custom_ops=(extensions.get_library_path(),)))
    assert found
    assert found.unproven_operators == ()
