"""What is made of constants is stored once, unless what it is made from stays in the model as well."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import Mock

import pytest

import normfold
from normfold.constants import materialize
from normfold.constants.simplify import apply_facts, simplify
from normfold.files.protos.convert import to_ir, to_proto
from normfold.fold.cleanup.tidy import tidy
from tests.onnx_text import parse

HEAD = "(float[N,64] x, int64[M] ids) => (float[N,300] y, float[M,64] e) <float[300,64] w, float[300,64] v> { "
TABLE = {
    "a weight of its own": (HEAD + "t = Transpose <perm = [1, 0]> (v) y = MatMul (x, t) e = Gather (w, ids) }", 0),
    "a tied embedding": (HEAD + "t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t) e = Gather (w, ids) }", 1),
    "a scaled one": (
        HEAD.replace("v>", "v, float k>")
        + "t = Transpose <perm = [1, 0]> (w) s = Mul (t, k) y = MatMul (x, s) e = Gather (w, ids) }",
        1,
    ),
    "one that shares only the axes": (
        HEAD.replace("v>", "v, int64[1] a = {1}>").replace("float[N,64] x", "float[N,64] x, float[M] z")
        + "u = Unsqueeze (v, a) s = Squeeze (u, a) t = Transpose <perm = [1, 0]> (s) y = MatMul (x, t) "
        "q = Unsqueeze (z, a) r = Gather (w, ids) e = Mul (r, q) }",
        0,
    ),
    "one in a Constant node": (
        f"(float[N,64] x) => (float[N,80] y) {{ v = Constant <value = float[80,64] {{{','.join(['1'] * 5120)}}}> () "
        "t = Transpose <perm = [1, 0]> (v) y = MatMul (x, t) }",
        0,
    ),
}


@pytest.mark.parametrize(("text", "left"), TABLE.values(), ids=TABLE)
def test_a_weight_with_another_reader_is_not_stored_twice(text: str, left: int) -> None:
    model = to_ir(parse(text))
    tidy(model)
    assert sum(node.op_type == "Transpose" for node in model.graph) == left


def test_an_output_that_is_made_of_constants_is_stored_so_that_no_norm_is_left() -> None:
    model = parse(
        "(float[2,4] x) => (float[2,4] y, float[2,4] z) <float[2,4] k, float[4,4] w, float[4] s, float[4] var> "
        "{ h = MatMul(k, w) y = BatchNormalization(h, s, s, s, var) z = Identity(x) }"
    )
    result = normfold.optimize(model)
    assert [verdict.is_changed for verdict in result.verdicts] == [True]
    assert [node.op_type for node in result.model.graph.node] == ["Identity", "Identity"]
    assert not normfold.inspect(result.model).verdicts


def test_a_chain_of_constants_that_read_one_twice_is_walked_once() -> None:
    names = ["v", *(f"v{i}" for i in range(40))]
    chain = " ".join(f"{new} = Add ({old}, {old})" for old, new in pairwise(names))
    model = to_ir(parse(f"(float[N,300] x) => (float[N,64] y) <float[300,64] v> {{ {chain} y = MatMul (x, v39) }}"))
    tidy(model)
    assert [node.op_type for node in model.graph] == ["MatMul"]


def test_what_is_made_from_little_is_stored_as_long_as_all_of_it_is_little() -> None:
    weights = " ".join(f"w{i} = ConstantOfShape <value = float[1] {{0.{i + 1}}}> (s{i})" for i in range(3))
    shapes = ", ".join(f"int64[2] s{i} = {{24, 24}}" for i in range(3))
    products = "a = MatMul(x, w0) b = MatMul(a, w1) y = MatMul(b, w2)"
    text = f"(float[N,24] x) => (float[N,24] y) <{shapes}> {{ {weights} {products} }}"
    model = to_ir(parse(text))
    tidy(model)
    assert [node.op_type for node in model.graph].count("ConstantOfShape") == 2, (
        "one has 2,304 bytes, and 4,096 are free"
    )


def test_constants_that_would_enlarge_a_model_are_no_reason_to_leave_the_rest_as_it_is() -> None:
    """A Fourier transform that is spelled with the indices of its matrix: as constants they would be four times it."""
    indices = ",".join(map(str, range(32)))
    matrix = "i{0} = Mul(r, c) h{0} = Mod(i{0}, n) f{0} = Cast<to = 1>(h{0}) a{0} = Mul(f{0}, k) m{0} = {1}(a{0}) "
    model = parse(
        "(float[N,32] x) => (float[N,32] y, float[N,32] z) <int64[32,1] r = {" + indices + "}, int64[1,32] c = {"
        f"{indices}}}, int64 n = {{32}}, float k = {{0.19634954}}>"
        f"{{ {matrix.format(1, 'Cos')} {matrix.format(2, 'Sin')} y = MatMul(x, m1) z = MatMul(x, m2) }}"
    )
    folded = normfold.optimize(model)
    left = [node.op_type for node in folded.model.graph.node]
    assert left.count("Mod") == left.count("Cast") == 1, "what is computed twice is gone"


def test_a_chain_that_does_not_fit_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walks = Mock(wraps=materialize.bytes_before)
    monkeypatch.setattr(materialize, "bytes_before", walks)
    names = [f"v{i}" for i in range(50)]
    chain = " ".join(f"{new} = Add(v0, {old})" for old, new in pairwise(names))
    model = to_ir(
        parse(
            "(float[40,40] x) => (float[40,40] y) <int64[2] s = {40, 40}>"
            f"{{ v0 = ConstantOfShape<value = int64[1] {{3}}>(s) {chain} c = Cast<to=1>(v49) y = Add(x, c) }}"
        )
    )
    apply_facts(model, simplify(to_proto(model)))
    assert [node.op_type for node in model.graph].count("Add") == 50
    assert walks.call_count < 5
