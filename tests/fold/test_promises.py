"""The two lists that the engine was asked for: what must fold correctly, and what must be refused and why.

Then the borders that no rule may cross: subgraphs, functions, names, and numbers that cancel.
"""

from __future__ import annotations

import onnx
import pytest

from normfold.findings.verdict import Outcome
from tests.fold.rows import Folds, Refuses, assert_folds, assert_refuses, assert_sound, fold, model_of, operators
from tests.onnx_text import parse, values_of

BN4 = "float[4] g, float[4] be, float[4] m, float[4] var"
X = "(float[N,3,6,6] x) => (float[N,4,6,6] y)"
HALF = "(float16[N,1,6,6] x) => (float16[N,2,6,6] y)"
NORM = "BatchNormalization(c, g, be, m, var)"


FOLDS = {
    "a weight shared by two convs": Folds(
        f"(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, float[N,4,9,9] z) <float[4,3,1,1] w, {BN4}>"
        f"{{ c = Conv(x, w) y = {NORM} z = Conv(q, w) }}",
        "Conv Conv",
    ),
    "a weight shared by two convs that both have a norm": Folds(
        f"(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, float[N,4,9,9] z) <float[4,3,1,1] w, {BN4},"
        "float[4] g2, float[4] be2, float[4] m2, float[4] var2>"
        f"{{ c = Conv(x, w) y = {NORM} d = Conv(q, w) z = BatchNormalization(d, g2, be2, m2, var2) }}",
        "Conv Conv",
    ),
    "a bias shared by two convs": Folds(
        f"(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, float[N,4,9,9] z) <float[4,3,1,1] w,"
        f"float[4,3,1,1] v, float[4] b, {BN4}> {{ c = Conv(x, w, b) y = {NORM} z = Conv(q, v, b) }}",
        "Conv Conv",
    ),
    "parameters shared by two norms": Folds(
        f"(float[N,3,6,6] x, float[N,3,9,9] q) => (float[N,4,6,6] y, float[N,4,9,9] z) <float[4,3,1,1] w,"
        f"float[4,3,1,1] v, {BN4}> {{ c = Conv(x, w) y = {NORM} d = Conv(q, v) z = {NORM.replace('(c', '(d')} }}",
        "Conv Conv",
    ),
    "gamma zero or negative": Folds(
        f"{X} <float[4,3,1,1] w, float[4] g = {{0, -1, -0.0, -2}}, float[4] be, float[4] m, float[4] var>"
        f"{{ c = Conv(x, w) y = {NORM} }}",
        "Conv",
    ),
    "variance zero": Folds(
        f"{X} <float[4,3,1,1] w, float[4] g, float[4] be, float[4] m, float[4] v = {{0, 1, 0, 2}}>"
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, v) }",
        "Conv",
    ),
    "a conv without bias": Folds(f"{X} <float[4,3,1,1] w, {BN4}> {{ c = Conv(x, w) y = {NORM} }}", "Conv"),
    "weights in Constant nodes": Folds(
        "(float[N,1,6,6] x) => (float[N,2,6,6] y) <float[2] be, float[2] m, float[2] var>"
        "{ w = Constant<value = float[2,1,1,1] {2, -3}>() g = Constant<value_floats = [0.5, 4.0]>()"
        f"c = Conv(x, w) y = {NORM} }}",
        "Conv",
    ),
    "weights behind an Identity": Folds(
        f"{X} <float[4,3,1,1] v, {BN4}> {{ w = Identity(v) h = Identity(g) c = Conv(x, w)"
        " y = BatchNormalization(c, h, be, m, var) }",
        "Conv",
    ),
    "weights behind a Cast": Folds(
        f"{X} <double[4,3,1,1] v, {BN4}> {{ w = Cast<to=1>(v) c = Conv(x, w) y = {NORM} }}", "Conv"
    ),
    "weights behind a Reshape": Folds(
        f"{X} <float[12] v, int64[4] s = {{4, 3, 1, 1}}, {BN4}> {{ w = Reshape(v, s) c = Conv(x, w) y = {NORM} }}",
        "Conv",
    ),
    "weights behind a Transpose": Folds(
        f"{X} <float[1,1,3,4] v, {BN4}> {{ w = Transpose<perm=[3,2,0,1]>(v) c = Conv(x, w) y = {NORM} }}", "Conv"
    ),
    "weights behind a Transpose in a Gemm": Folds(
        f"(float[N,3] x) => (float[N,4] y) <float[4,3] v, {BN4}>"
        f"{{ w = Transpose<perm=[1,0]>(v) c = MatMul(x, w) y = {NORM} }}",
        "Gemm",
    ),
    "weights from ConstantOfShape": Folds(
        f"{X} <int64[4] s = {{4, 3, 1, 1}}, {BN4}>"
        f"{{ w = ConstantOfShape<value = float[1] {{0.25}}>(s) c = Conv(x, w) y = {NORM} }}",
        "Conv",
    ),
    "float16 conv with float32 parameters": Folds(
        f"(float16[N,3,6,6] x) => (float16[N,4,6,6] y) <float16[4,3,1,1] w, float16[4] b, {BN4}>"
        f"{{ c = Conv(x, w, b) y = {NORM} }}",
        "Conv",
    ),
}
REFUSES = {
    "training mode with one output": Refuses(
        f"{X} <float[4,3,1,1] w, {BN4}>{{ c = Conv(x, w) y = BatchNormalization<training_mode=1>(c, g, be, m, var) }}",
        "NF101 y",
    ),
    "training mode with three outputs": Refuses(
        f"{X} <float[4,3,1,1] w, {BN4}>"
        "{ c = Conv(x, w) y, rm, rv = BatchNormalization<training_mode=1>(c, g, be, m, var) }",
        "NF101 y",
    ),
    "training mode with empty outputs": Refuses(
        f"{X} <float[4,3,1,1] w, {BN4}>"
        '{ c = Conv(x, w) y, "", "" = BatchNormalization<training_mode=1>(c, g, be, m, var) }',
        "NF101 y",
    ),
    "a weight of run time": Refuses(
        f"(float[N,3,6,6] x, float[4,3,1,1] w) => (float[N,4,6,6] y) <{BN4}> {{ c = Conv(x, w) y = {NORM} }}",
        "NF113 c, NF104 y",
    ),
    "the conv is an output of the graph": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] c) <float[4,3,1,1] w, {BN4}>"
        f"{{ c = Conv(x, w) y = {NORM} }}",
        "NF104 y, NF104 y",
    ),
    "the conv has another reader": Refuses(
        f"(float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) <float[4,3,1,1] w, {BN4}>"
        f"{{ c = Conv(x, w) y = {NORM} z = Relu(c) }}",
        "NF103 z, NF104 y",
    ),
    "a norm on the wrong axis of a MatMul": Refuses(
        f"(float[N,4,3] x) => (float[N,4,4] y) <float[3,4] w, {BN4}> {{ c = MatMul(x, w) y = {NORM} }}",
        "NF111 c, NF104 y",
    ),
    "an overridable initializer": Refuses(
        "(float[N,1,6,6] x, float[2,1,1,1] w) => (float[N,2,6,6] y) <float[2,1,1,1] w = {1, 2}, float[2] g,"
        f"float[2] be, float[2] m, float[2] var> {{ c = Conv(x, w) y = {NORM} }}",
        "NF106 c, NF104 y",
    ),
    "a Pad with zeros between": Refuses(
        f"(float[N,4,6,6] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, int64[8] p = {{0, 0, 1, 1, 0, 0, 1, 1}}, {BN4}>"
        "{ c = BatchNormalization(x, g, be, m, var) d = Pad(c, p) y = ConvTranspose<pads=[1,1,1,1]>(d, w) }",
        "NF107 d, NF118 c",
        site="c",
    ),
    "a padded conv between": Refuses(
        f"(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,4,3,3] w, {BN4}>"
        "{ c = BatchNormalization(x, g, be, m, var) y = Conv<pads=[1,1,1,1]>(c, w) }",
        "NF107 y, NF118 c",
        site="c",
    ),
    "variance + epsilon not positive": Refuses(
        f"{X} <float[4,3,1,1] w, float[4] g, float[4] be, float[4] m, float[4] v = {{1, -1, 1, 1}}>"
        "{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, v) }",
        "NF114 y",
    ),
    "a float16 overflow of a weight": Refuses(
        f"{HALF} <float16[2,1,1,1] w, float16[2,1,1] k> {{ c = Conv(x, w) y = Mul(c, k) }}",
        "NF115 c, NF104 y",
        values={"w": (600, 1), "k": (200, 1)},
    ),
    "a float16 overflow of a bias": Refuses(
        f"{HALF} <float16[2,1,1,1] w, float16[2] b, float16[2,1,1] t> {{ c = Conv(x, w, b) y = Add(c, t) }}",
        "NF115 c, NF104 y",
        values={"b": (60000, 1), "t": (60000, 1)},
    ),
    "a float16 overflow of a constant part of a Concat": Refuses(
        "(float16[1,1,6,6] x) => (float16[1,2,6,6] y) <float16[1,1,1,1] w, float16[1,1,6,6] f, float16[2,1,1] k>"
        "{ c = Conv(x, w) d = Concat<axis=1>(c, f) y = Mul(d, k) }",
        "NF115 d, NF104 y",
        values={"f": (600,) * 36, "k": (1, 200)},
    ),
    "a row of weights that would become subnormal": Refuses(
        f"{HALF} <float16[2,1,1,1] w, float16[2,1,1] k> {{ c = Conv(x, w) y = Mul(c, k) }}",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "an output channel of a transposed conv that would become subnormal": Refuses(
        f"{HALF} <float16[1,2,1,1] w, float16[2,1,1] k> {{ c = ConvTranspose(x, w) y = Mul(c, k) }}",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "a column of weights that would become subnormal": Refuses(
        "(float16[N,1] x) => (float16[N,2] y) <float16[1,2] w, float16[2] k> { c = MatMul(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
    "a row of a transposed Gemm that would become subnormal": Refuses(
        "(float16[N,1] x) => (float16[N,2] y) <float16[2,1] w, float16[2] k>{ c = Gemm<transB=1>(x, w) y = Mul(c, k) }",
        "NF115 c, NF104 y",
        values={"w": (0.01, 1), "k": (0.001, 1)},
    ),
}


@pytest.mark.parametrize("name", FOLDS)
def test_folds(name: str) -> None:
    assert_folds(FOLDS[name])


@pytest.mark.parametrize("name", REFUSES)
def test_refuses(name: str) -> None:
    assert_refuses(REFUSES[name])


# -- a norm that nobody may lose ---------------------------------------------------------------------------------
CANCELS = (
    "(float[N,1,6,6] x) => (float[N,2,6,6] y, float[N,2,6,6] z) <float[2,1,1,1] w, float[2] g = {0.000001, 1},"
    "float[2] be = {5, 0}, float[2] m = {0, 0}, float[2] v = {1, 1}, float[2] g2, float[2] be2, float[2] m2,"
    "float[2] var2> { c = Conv(x, w) y = BatchNormalization(c, g, be, m, v)"
    " z = BatchNormalization(c, g2, be2, m2, var2) }"
)


def test_a_norm_is_not_computed_from_another_that_has_lost_its_digits() -> None:
    """y is almost constant in channel 0; z cannot be read off it. The other way around is exact."""
    result = assert_sound(parse(CANCELS), decides_alike_in_float64=False)
    assert operators(result.model) in ("Conv BatchNormalization", "Conv BatchNormalization BatchNormalization")


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


def test_an_input_that_only_two_scales_separate_from_an_output_keeps_its_name() -> None:
    text = (
        "(float[2,3] x) => (float[2,3] y, float[2,5] z) <float k = {2}, float j = {0.5}, float[3,5] w>"
        "{ c = Mul(x, k) y = Mul(c, j) z = MatMul(c, w) }"
    )
    assert_folds(Folds(text, "Identity MatMul", "forward merge"))


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
