"""What is made of constants is stored once, unless what it is made from stays in the model as well."""

from __future__ import annotations

import pytest

from normfold.files.convert import to_ir
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
}


@pytest.mark.parametrize(("text", "left"), TABLE.values(), ids=TABLE)
def test_a_weight_with_another_reader_is_not_stored_twice(text: str, left: int) -> None:
    model = to_ir(parse(text))
    tidy(model)
    assert sum(node.op_type == "Transpose" for node in model.graph) == left
