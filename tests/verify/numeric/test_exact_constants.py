"""Settings, and what an exact input is shifted by, are not moved where rounding is measured."""

from __future__ import annotations

from normfold.verify.numeric.exact_constants import exact_constants
from tests.onnx_text import parse


def test_what_an_exact_input_meets_is_exact_and_so_are_settings() -> None:
    model = parse(
        """(float[N,4] x) => (float[N,3] y) <float[4] m, float[4] s, float[4,3] w, float two = {2.0}>
        { k = Identity(m) c = Sub(x, k) d = Div(c, s) u = MatMul(d, w) y = Pow(u, two) }"""
    )
    constants = {tensor.name for tensor in model.graph.initializer}
    assert exact_constants(model.graph, {"x"}) & constants == {"m", "s", "two"}
    assert exact_constants(model.graph) & constants == {"two"}


def test_settings_are_found_in_the_branches_that_read_them() -> None:
    """Moved by one unit, the exponent 2 makes NaN of every negative base, and then nothing is known of the noise."""
    model = parse(
        """(float[N,4] x, bool c) => (float[N,4] y) <float[4,4] w, float two = {2.0}>
        { y = If (c) < then_branch = t () => (float[N,4] p) { m = MatMul(x, w) p = Pow(m, two) },
                       else_branch = e () => (float[N,4] q) { q = MatMul(x, w) } > }"""
    )
    assert exact_constants(model.graph) & {"two", "w"} == {"two"}
