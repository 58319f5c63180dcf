"""A second run of the whole finds nothing to do; what makes a model worse is left out, rule by rule."""

from __future__ import annotations

import onnx_ir as ir
import pytest

import normfold
from normfold.findings.reason import Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.rewrite import findings_that_worsen
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


RULES = {"b1": "batchnorm", "b2": "batchnorm", "g": "gelu"}


@pytest.mark.parametrize(
    "norm",
    [
        "t = Transpose<perm=[0,2,3,1]>(b) m = Mul(t, k) t1 = Add(m, s) c = Transpose<perm=[0,3,1,2]>(t1)",
        "t = Unsqueeze(b, four) m = BatchNormalization(t, k, s, s, var) c = Squeeze(m, four)",
        "t = Reshape(b, flat) m = BatchNormalization(t, k, s, s, var) c = Reshape(m, own)",
        "t, u = Split<axis=1>(b) m = Concat<axis=1>(t, u) c = BatchNormalization(m, k, s, s, var)",
    ],
)
def test_branches_that_meet_in_one_shape_once_the_norm_between_is_gone_are_one_operator(norm: str) -> None:
    model = parse(
        "(float[2,4,6,6] x) => (float[2,4,6,6] y) <float[4,4,3,3] v, float[4,4,1,1] w, float[4] k, float[4] s,"
        "float[4] var, int64[1] four = {4}, int64[3] flat = {2,4,36}, int64[4] own = {2,4,6,6}> {"
        f" a = Conv<pads=[1,1,1,1]>(x, v) b = Conv(x, w) {norm} d = Add(a, c) y = Relu(d) }}"
    )
    result = normfold.optimize(model)
    assert operators(result.model) == "Conv Relu"
    feeds = feeds_of(model)
    assert_close(run_in_ort(result.model, feeds, ["y"]), run_in_ort(model, feeds, ["y"]), note="in ONNX Runtime")


def test_an_output_that_the_last_views_made_is_named_without_an_identity() -> None:
    """The norm between the views is found only after the first cleanup, which then is not the last."""
    model = parse(
        "(float[2,3,4,4] x) => (float[2,4,4,4] b, float[2,4,4,4] y) <float[4,3,1,1] w, float[4] s, float[4] var,"
        "int64[2] f = {-1, 4}, int64[4] g = {2, 4, 4, 4}> { c = Conv(x, w) u = Transpose<perm=[0,2,3,1]>(c)"
        " r = Reshape(u, f) n = BatchNormalization(r, s, s, s, var) v = Reshape(n, g) b = Transpose<perm=[0,3,1,2]>(v)"
        " y = Relu(b) }"
    )
    assert operators(normfold.optimize(model).model) == "Conv Relu"


@pytest.mark.parametrize(
    ("seconds_without", "left"),
    [
        ({frozenset(): 0.9}, ()),
        ({frozenset(): 1.015}, ()),
        ({frozenset(): 1.2, frozenset({"b1", "b2"}): 1.25, frozenset({"g"}): 0.95}, ("g",)),
        ({frozenset(): 1.2, frozenset({"b1", "b2"}): 1.1, frozenset({"b1", "b2", "g"}): 1.0}, ("b1", "b2", "g")),
        ({frozenset(): 1.3, frozenset({"b1", "b2"}): 1.2, frozenset({"b1", "b2", "g"}): 1.19}, ("b1", "b2")),
    ],
    ids=["faster", "as fast as one can tell", "one rule", "both rules", "slower all the same"],
)
def test_what_makes_it_worse_is_left_out(seconds_without: dict[frozenset[str], float], left: tuple[str, ...]) -> None:
    models = {names: ir.Model(ir.Graph([], [], nodes=[]), ir_version=8) for names in seconds_without}
    original = ir.Model(ir.Graph([], [], nodes=[]), ir_version=8)
    seconds = {id(original): 1.0, **{id(models[names]): seconds_without[names] for names in models}}

    def build(names: frozenset[str]) -> tuple[ir.Model, list[Verdict]]:
        verdicts = [Verdict(Finding(name, "Mul", name), Outcome.FOLDED, rule) for name, rule in RULES.items()]
        return models[names], [verdict for verdict in verdicts if verdict.finding.name not in names]

    def times_as_fast(one: ir.Model, other: ir.Model) -> float:
        return seconds[id(one)] / seconds[id(other)]

    assert findings_that_worsen(original, build, times_as_fast, 1.02) == set(left)


def test_constants_that_are_made_of_little_are_no_reason_to_keep_a_norm() -> None:
    """Stored, the three of them would be ten times as large as the model."""
    model = parse(
        "(float[N,4,16,16] x) => (float[N,4,16,16] y) <float[4,4,1,1] w, float[4] g, float[4] be, float[4] m,"
        "float[4] var, float[4,1,1] k, int64[3] s = {4, 16, 16}> { e0 = Expand(k, s) p0 = Sin(e0) p1 = Cos(e0)"
        " p2 = Exp(e0) c = Conv(x, w) b = BatchNormalization(c, g, be, m, var) r = Tanh(b)"
        " a = Max(r, p0) d = Max(a, p1) y = Max(d, p2) }"
    )
    result = normfold.optimize(model)
    assert "BatchNormalization" not in operators(result.model)


def test_branches_on_one_shared_kernel_do_not_each_get_a_copy() -> None:
    blocks = "".join(
        f"a{i} = Conv<pads = [1,1,1,1]>(x{i}, k) b{i} = Conv(x{i}, p{i}) s{i} = Add(a{i}, b{i}) x{i + 1} = Relu(s{i}) "
        for i in range(4)
    )
    weights = ", ".join(f"float[32,32,1,1] p{i}" for i in range(4))
    text = f"(float[N,32,8,8] x) => (float[N,32,8,8] y) <float[32,32,3,3] k, {weights}> {{ x0 = Neg(x) {blocks} "
    model = parse(text + "y = Relu(x4) }")
    size = len(model.SerializeToString())
    assert len(normfold.optimize(model, verify=False).model.SerializeToString()) < 1.05 * size
    grown = normfold.optimize(model, verify=False, max_growth=10)
    assert sum(node.op_type == "Conv" for node in grown.model.graph.node) == 4


LAYER = (
    "{ m = ReduceMean<axes=[1, 2, 3]>(x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean<axes=[1, 2, 3]>(q) a = Add(v, e) "
    "r = Sqrt(a) n = Div(d, r) g = Mul(n, k) y = Add(g, b) }"
)


@pytest.mark.parametrize(
    ("size", "form"), [(5, "LayerNormalization"), (20, "Reshape-InstanceNormalization-Reshape-Mul-Add")]
)
def test_a_norm_takes_the_form_whose_parameters_are_small_enough(size: int, form: str) -> None:
    """A few kilobytes are no matter in any model; beyond that gamma and beta are not repeated for every position."""
    shape = f"float[N,16,{size},{size}]"
    model = parse(f"({shape} x) => ({shape} y) <float e = {{0.01}}, float[16,1,1] k, float[16,1,1] b> {LAYER}")
    (verdict,) = (each for each in normfold.optimize(model).verdicts if each.finding.is_norm)
    assert verdict.form == form


def test_a_norm_whose_only_form_is_too_large_stays() -> None:
    """A mean square over two axes is an RMSNormalization with a scale for each of its elements, or nothing."""
    model = parse(
        "(float[N,64,64] x) => (float[N,64,64] y) <float e = {0.01}, float[64] k, int64[2] ax = {1, 2}> "
        "{ q = Mul(x, x) v = ReduceMean(q, ax) a = Add(v, e) r = Sqrt(a) n = Mul(x, k) y = Div(n, r) }",
        opset=23,
        ir_version=11,
    )
    (verdict,) = (each for each in normfold.optimize(model).verdicts if each.finding.is_norm)
    assert verdict.main_obstacle.reason is Reason.GROWTH
    allowed = normfold.optimize(model, max_growth=100)
    assert [each.form for each in allowed.verdicts if each.finding.is_norm] == ["RMSNormalization"]
