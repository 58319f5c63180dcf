"""The engine as a whole: subgraphs, functions, names, depth, what a verdict says, and random small networks."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings

from normfold.findings.verdict import Outcome
from tests.fold.rows import Folds, assert_ledger, assert_names, assert_provenance, assert_sound, fold, model_of
from tests.onnx_text import TOLERANCE, Tensors, feeds_of, parse, run_in_float64, run_in_ort, text_of, values_of, widened
from tests.random_graphs import networks

# -- subgraphs and functions -------------------------------------------------------------------------------------
BODY = (
    "(bool flag, float[2,4] x) => (float[2,4] y) <float[4,4] w, float[4] k>"
    "{{ {before} y = If (flag) <then_branch = a () => (float[2,4] t) {{ {then} }},"
    " else_branch = b () => (float[2,4] e) {{ {other} }}> }}"
)
IN_SUBGRAPHS: dict[str, tuple[str, dict[str, Outcome | str]]] = {
    "inside a branch": (
        BODY.format(before="", then="c = MatMul(x, w) t = Mul(c, k)", other="e = Relu(x)"),
        {"t": Outcome.FOLDED},
    ),
    "a captured value is an input": (
        BODY.format(before="c = MatMul(x, w)", then="t = Mul(c, k)", other="e = Neg(c)"),
        {"t": "NF105 t", "e": "NF105 e"},
    ),
    "a captured value is read": (
        BODY.format(before="c = MatMul(x, w) d = Mul(c, k)", then="t = Relu(c)", other="e = Sigmoid(d)"),
        {"d": "NF105 t"},
    ),
    "a branch that does nothing to a captured value": (
        BODY.format(
            before="c = Relu(x)", then="o = Constant<value_float=1.0>() t = Mul(c, o)", other="e = Identity(c)"
        ),
        {"t": "NF104 t"},
    ),
    "a branch that does nothing to an input": (
        BODY.format(before="", then="o = Constant<value_float=0.0>() t = Add(o, x)", other="e = Identity(x)"),
        {"t": "NF104 t"},
    ),
}


@pytest.mark.parametrize("name", IN_SUBGRAPHS)
def test_subgraphs(name: str) -> None:
    text, expected = IN_SUBGRAPHS[name]
    result = assert_sound(parse(text))
    got = {
        verdict.finding.site: verdict.outcome
        if verdict.outcome is Outcome.FOLDED
        else next(f"{o.reason.code} {o.node}" for o in verdict.obstacles)
        for verdict in result.verdicts
    }
    assert got == expected


LOOP = (
    "(int64 n, bool go, float[2,4] x) => (float[2,4] y) <float[4,4] w, float[4] k>"
    "{ y = Loop (n, go, x) <body = body (int64 i, bool g, float[2,4] w_folded) => (bool g_out, float[2,4] next)"
    "{ g_out = Identity(g) c = MatMul(w_folded, w) next = Mul(c, k) }> }"
)


def test_a_loop_body_is_folded_and_its_inputs_keep_their_names() -> None:
    """The name that a folded w would get is taken by an input of the body."""
    result = assert_sound(parse(LOOP))
    assert result.sites(Outcome.FOLDED) == ["next"]
    (loop,) = result.model.graph.node
    body = loop.attribute[0].g
    assert [value.name for value in body.input] == ["i", "g", "w_folded"]
    assert not {t.name for t in (*body.initializer, *result.model.graph.initializer)} & {"w_folded"}


FUNCTION = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[N,4] x) => (float[N,4] y) { y = local.f(x) }
<domain: "local", opset_import: ["": 17]>
f (a) => (b) {
    w = Constant<value = float[4,1] {1, 2, 3, 4}>()
    k = Constant<value = float[1] {-2}>()
    t = Constant<value_float = 0.5>()
    c = MatMul(a, w)
    d = Mul(c, k)
    b = Add(d, t)
}"""


def test_a_function_is_folded() -> None:
    model = onnx.parser.parse_model(FUNCTION.replace("float[N,4] y", "float[N,1] y"))
    onnx.checker.check_model(model)
    for value, shape in (("a", ["N", 4]), ("c", ["N", 1]), ("d", ["N", 1]), ("b", ["N", 1])):
        model.functions[0].value_info.append(
            onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, shape)  # type: ignore[arg-type]  # names are sizes too
        )
    result = assert_sound(model)
    kinds = [node.op_type for node in result.model.functions[0].node if node.op_type != "Constant"]
    assert kinds == ["MatMul", "Add"]
    assert result.sites(Outcome.FOLDED) == ["d", "b"]


REFERENCED = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
g (float[2,3,4] x) => (float[2,3,4] y) { y = local.f<turn = [0, 2, 1]>(x) }
<domain: "local", opset_import: ["": 17]>
f <turn> (a) => (b) {
    c = Transpose<perm: ints = @turn>(a)
    b = Transpose<perm: ints = @turn>(c)
}"""


def test_an_attribute_that_the_caller_of_a_function_gives_stops_nothing_else() -> None:
    model = onnx.parser.parse_model(REFERENCED)
    onnx.checker.check_model(model)
    assert [node.op_type for node in fold(model).model.functions[0].node] == ["Transpose", "Transpose"]


# -- names -------------------------------------------------------------------------------------------------------
NAMES = {
    "a graph input": (
        "(float[N,3] x, float[N,4] w_folded) => (float[N,4] y) <float[3,4] w, float[4] k>"
        "{ c = MatMul(x, w) d = Mul(c, k) y = Add(d, w_folded) }"
    ),
    "an initializer": (
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] k, float[4] w_folded, float[3,4] w_folded_2>"
        "{ c = MatMul(x, w) d = Mul(c, k) e = Relu(d) f = Max(e, w_folded) h = MatMul(x, w_folded_2) y = Max(f, h) }"
    ),
    "a value": (
        "(float[N,3] x) => (float[N,4] y) <float[3,4] w, float[4] k>"
        "{ c = MatMul(x, w) d = Mul(c, k) w_folded = Relu(d) c_folded = Exp(w_folded) y = Add(w_folded, c_folded) }"
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_new_names_do_not_collide(name: str) -> None:
    model = parse(NAMES[name])
    result = assert_sound(model)
    assert result.sites(Outcome.FOLDED)
    kept = set(values_of(result.model)) & set(values_of(model))
    assert {"w_folded", "c_folded"} & set(values_of(model)) <= kept


# -- depth -------------------------------------------------------------------------------------------------------
def test_a_long_sum_is_searched_without_recursion() -> None:
    """600 convolutions of one input each, all summed, and a norm behind: every one must take the scale."""
    count = 600
    inputs = ", ".join(f"float[N,1,1,1] x{i}" for i in range(count))
    convs = " ".join(f"c{i} = Conv(x{i}, w)" for i in range(count))
    sums = "s1 = Add(c0, c1) " + " ".join(f"s{i} = Add(s{i - 1}, c{i})" for i in range(2, count))
    text = (
        f"({inputs}) => (float[N,1,1,1] y) <float[1,1,1,1] w, float[1] g, float[1] be, float[1] m, float[1] var>"
        f"{{ {convs} {sums} y = BatchNormalization(s{count - 1}, g, be, m, var) }}"
    )
    result = fold(model_of(Folds(text, "")))
    assert result.sites(Outcome.FOLDED) == ["y"]


# -- what a verdict says -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dies", ["Abs(b)", "LpPool<kernel_shape=[2,2]>(b)", "Cos(b)"])
def test_where_a_sign_dies_is_a_site(dies: str) -> None:
    model = parse(
        f"(float[N,3,5,5] x) => (float y) {{ a = Tanh(x) b = Neg(a) c = {dies} y = ReduceSum<keepdims=0>(c) }}"
    )
    (verdict,) = fold(model).verdicts
    assert verdict.outcome is Outcome.FOLDED and verdict.sites


def test_an_output_is_reported_by_its_own_name() -> None:
    model = parse(
        "(float[4,4] x) => (float[4,4] y, float[3,4] z) <float[4,1] t, float c, float[3,4] w>"
        " { d = Transpose(x) a = Add(d, t) b = Mul(a, c) y = Div(b, c) z = MatMul(w, b) }"
    )
    said = " ".join(str(obstacle) for verdict in fold(model).verdicts for obstacle in verdict.obstacles)
    assert "output y" in said and "output b" not in said


def test_an_unknown_type_is_reported_of_an_operator() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 12]> g (float16[2,4] x) => (float16[2,4] y) <float16[1] s = {15360}>'
        " { a = Abs(x) b = Mul(a, s) c = Add(b, s) y = Log(c) }"
    )
    assert all(obstacle.node for verdict in fold(model).verdicts for obstacle in verdict.obstacles)


# -- random networks ---------------------------------------------------------------------------------------------
def assert_stays_the_same(model: onnx.ModelProto) -> None:
    """The folded model equals the original in float64, and in its own type as far as that is exact itself."""
    note(f"from {text_of(model)}")
    result = fold(model)
    note(f"to {text_of(result.model)}")
    assert_ledger(model, result)
    assert_names(model, result.model)
    if not result.sites(Outcome.FOLDED):
        return
    onnx.checker.check_model(result.model, full_check=True)
    assert_provenance(model, result.model)
    feeds = feeds_of(model)
    shared = [name for name in values_of(model) if name in set(values_of(result.model))]
    exact = run_in_float64(_showing(model, values_of(model)), feeds)
    largest = max((float(np.abs(array).max(initial=0.0)) for array in exact.values()), default=0.0) + 1e-3
    outputs = [value.name for value in model.graph.output]
    wide = run_in_float64(fold(widened(model)).model, feeds)
    _assert_within({name: wide[name] for name in outputs}, exact, 1e-8 * largest)
    ours = run_in_ort(result.model, feeds, shared)
    before = run_in_ort(model, feeds, shared)
    own = max(_difference(before[name], exact[name]) for name in shared)
    narrow = max(TOLERANCE[array.dtype] for array in before.values() if array.dtype in TOLERANCE)
    _assert_within(ours, {name: before[name] for name in shared}, 30 * own + narrow * largest)


def _showing(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {value.name for value in shown.graph.output}
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return shown


def _assert_within(got: Tensors, wanted: Tensors, limit: float) -> None:
    for name, array in got.items():
        assert array.shape == wanted[name].shape
        worst = _difference(array, wanted[name])
        assert worst <= limit, f"{name} differs by {worst:.3g}, allowed are {limit:.3g}"


def _difference(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max(initial=0.0))


@pytest.mark.slow
@given(networks())
@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a network is small enough to read; shrinking it would take minutes
    suppress_health_check=list(HealthCheck),
)
def test_random_networks(model: onnx.ModelProto) -> None:
    assert_stays_the_same(model)
