"""A second run of the whole finds nothing to do, also where the first one brings together what makes a norm."""

from __future__ import annotations

import normfold
from tests.fold.rows import operators
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort


def test_a_norm_of_what_was_computed_twice_is_found_in_the_same_run() -> None:
    model = parse(
        "(float[2,3,4] x, float[2,3,4] z) => (float[2,3,4] y)"
        "<float two = {2}, float eps = {0.1}, float[4] g, float k, int64[1] last = {-1}>"
        "{ m = ReduceMean(z, last) d = Sub(x, m) e = Sub(x, m) p = Pow(e, two) v = ReduceMean(p, last)"
        " w = Add(v, eps) s = Sqrt(w) n = Div(d, s) h = Mul(n, g) y = Mul(h, k) }",
        opset=23,
        ir_version=10,
    )
    result = normfold.optimize(model)
    assert operators(result.model) == "ReduceMean Sub RMSNormalization"
    assert not normfold.optimize(result.model).changes
    feeds = feeds_of(model)
    assert_close(run_in_ort(result.model, feeds, ["y"]), run_in_ort(model, feeds, ["y"]), note="in ONNX Runtime")
