"""Affines in front of linear operators: each is folded and right at its own centre, or kept because of its digits."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from normfold.algebra.affine import Array
from normfold.findings.reason import Reason
from normfold.findings.verdict import Outcome
from tests.fold.rows import Folds, Refuses, assert_folds, every, fold, operators
from tests.onnx_text import parse

TYPES = {
    "float64": TensorProto.DOUBLE,
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}
# What a result may differ by, against the largest: some times what the type rounds a value of unit spread by.
TOLERANCE = {"float64": 1e-7, "float32": 5e-4, "float16": 5e-2, "bfloat16": 2e-1}
RATIOS = (1.0, 30.0, 3e3, 1e5, 1e9)
FEATURES, UNITS, SPREAD = 4, 8, 25.0


@dataclass(frozen=True)
class Case:
    """An affine with a mean of ``ratio`` spreads, as ``spelling``, in ``dtype``, then a Cast to ``cast`` or none."""

    spelling: str
    dtype: str
    ratio: float
    cast: str = ""
    integers: bool = False

    def __str__(self) -> str:
        kind = "integers" if self.integers else "reals"
        return f"{self.spelling}-{self.dtype}{'-to-' if self.cast else ''}{self.cast}-{self.ratio:g}-{kind}"


def cases() -> list[Case]:
    spellings = ("BatchNormalization", "Sub Div", "Mul Add")
    plain = [Case(*each) for each in itertools.product(spellings, TYPES, RATIOS)]
    scalers = [Case("Scaler", "float32", ratio) for ratio in RATIOS]
    casts = [
        Case("Sub Div", wide, ratio, narrow, integers)
        for (wide, narrow), ratio, integers in itertools.product(
            (("float64", "float32"), ("float32", "float16"), ("float64", "float16")), RATIOS, (False, True)
        )
    ]
    integers = [Case("Sub Div", "float32", ratio, integers=True) for ratio in RATIOS]
    return [case for case in (*plain, *scalers, *casts, *integers) if in_range(case)]


def in_range(case: Case) -> bool:
    """Whether the type of the affine holds its mean at all."""
    return case.dtype != "float16" or case.ratio * SPREAD < 6e4


def constant(name: str, array: Array, dtype: str) -> onnx.TensorProto:
    kind = TYPES[dtype]
    return helper.make_tensor(name, kind, array.shape, array.astype(helper.tensor_dtype_to_np_dtype(kind)))


def statistics(case: Case) -> tuple[Array, Array]:
    """Mean and spread of each feature, as the type of the affine holds them; only the first is far from zero."""
    mean = np.array([case.ratio * SPREAD, 1.0, 2.0, 0.0])
    kept = mean.astype(helper.tensor_dtype_to_np_dtype(TYPES[case.dtype])).astype(np.float64)
    return kept, np.full(FEATURES, SPREAD)


def model_of(case: Case) -> onnx.ModelProto:
    rng = np.random.default_rng(7)
    mean, spread = statistics(case)
    after = case.cast or case.dtype
    weights = [
        constant("w", rng.standard_normal((FEATURES, UNITS)), after),
        constant("b", rng.standard_normal(UNITS), after),
    ]
    constants, nodes = [], []
    match case.spelling:
        case "BatchNormalization":
            for name, array in zip("gbmv", (np.ones(4), np.zeros(4), mean, spread**2), strict=True):
                constants.append(constant(f"n_{name}", array, case.dtype))
            nodes = [helper.make_node(case.spelling, ["x", "n_g", "n_b", "n_m", "n_v"], ["c"])]
        case "Scaler":
            numbers = {"offset": mean.tolist(), "scale": (1 / spread).tolist()}
            nodes = [helper.make_node("Scaler", ["x"], ["c"], domain="ai.onnx.ml", **numbers)]
        case pair:
            first, second = (mean, spread) if pair == "Sub Div" else (1 / spread, -mean / spread)
            constants = [constant("p", first, case.dtype), constant("q", second, case.dtype)]
            nodes = [
                helper.make_node(pair.split()[0], ["x", "p"], ["a"]),
                helper.make_node(pair.split()[1], ["a", "q"], ["c"]),
            ]
    if case.cast:
        nodes.append(helper.make_node("Cast", ["c"], ["d"], to=TYPES[case.cast]))
    nodes.append(helper.make_node("Gemm", [nodes[-1].output[0], "w", "b"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TYPES[case.dtype], ["N", FEATURES])],
        [helper.make_tensor_value_info("y", TYPES[after], ["N", UNITS])],
        [*constants, *weights],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def at_its_centre(case: Case) -> Array:
    """Return inputs of the spread of the affine, around the values that it maps to zero."""
    mean, spread = statistics(case)
    feed = mean + np.random.default_rng(3).standard_normal((64, FEATURES)) * spread
    feed = np.round(feed) if case.integers else feed
    return feed.astype(helper.tensor_dtype_to_np_dtype(TYPES[case.dtype]))


def result(model: onnx.ModelProto, feed: Array) -> Array:
    """Return what the reference evaluator makes of a model, which rounds every value to its own type."""
    (found,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": feed.copy()})
    return np.asarray(found).astype(np.float64)


@pytest.mark.parametrize("case", cases(), ids=str)
def test_an_affine_is_folded_and_right_or_kept_for_its_digits(case: Case) -> None:
    model = model_of(case)
    folded = fold(model)
    feed = at_its_centre(case)
    before, after = result(model, feed), result(folded.model, feed)
    assert np.abs(before - after).max() <= TOLERANCE[case.cast or case.dtype] * np.abs(before).max()
    kept = [verdict for verdict in folded.verdicts if verdict.outcome is Outcome.KEPT]
    reasons = {obstacle.reason for verdict in kept for obstacle in verdict.obstacles}
    assert not kept or Reason.CANCELLATION in reasons
    if case.ratio <= 2:
        assert not kept, "what lies near its own centre is folded in every type"


def test_there_are_at_least_sixty_cases_and_both_answers() -> None:
    answers = [any(v.outcome is Outcome.KEPT for v in fold(model_of(case)).verdicts) for case in cases()]
    assert len(answers) >= 60
    assert 20 <= sum(answers) <= len(answers) - 20


HALF = "(float16[N,4] x) => (float16[N,4] y)"
CONV = "float[2,2,1,1] w"
REFUSES = {
    "a scaled value before a norm in float16, whose squares would overflow": Refuses(
        f"{HALF} <float16 k, float16[4] g, float16[4] b> {{ c = Mul(x, k) y = LayerNormalization(c, g, b) }}",
        "NF115 y, NF118 c",
        site="c",
        values={"k": (0.015625,)},
    ),
    "a large mean in front of a Conv": Refuses(
        "(float[N,2,6,6] x) => (float[N,2,6,6] y) <float[2] g, float[2] be, float[2] m = {0, 5000},"
        f"float[2] v = {{1, 1}}, {CONV}> {{ c = BatchNormalization(x, g, be, m, v) y = Conv(c, w) }}",
        "NF116 c, NF118 c",
        site="c",
    ),
    "two large means whose difference is taken": Refuses(
        "(float[N,2] x, float[N,2] z) => (float[N,2] y) <float[2] m = {90000, 1}, float k = {3}>"
        "{ a = Sub(x, m) b = Div(a, k) c = Sub(z, m) d = Div(c, k) y = Max(b, d) }",
        "NF116 d, NF118 c",
        site="d",
    ),
    "two sums of which float32 does not hold the sum": Refuses(
        "(float[N,2] x) => (float[N,2] y) <float a = {16777216}, float b = {1}>"
        "{ c = Sub(x, a) d = Sub(c, b) y = Relu(d) }",
        "NF116 d, NF118 c",
        site="d",
    ),
}
FOLDS = {
    "two sums of which float32 holds the sum": Folds(
        "(float[N,2] x) => (float[N,2] y) <float a = {16777214}, float b = {1}>"
        "{ c = Sub(x, a) d = Sub(c, b) y = Relu(d) }",
        "Add Relu",
        "merge",
        kept="d",
        only_in_float32=True,
    ),
    "the same scaled value in float32": Folds(
        "(float[N,4] x) => (float[N,4] y) <float k = {0.015625}, float[4] g, float[4] b>"
        "{ c = Mul(x, k) y = LayerNormalization(c, g, b) }",
        "LayerNormalization",
        "forward",
    ),
    "a large mean behind a Conv, which has rounded the value already": Folds(
        "(float[N,2,6,6] x) => (float[N,2,6,6] y) <float[2] g, float[2] be, float[2] m = {0, 5000},"
        f"float[2] v = {{1, 1}}, {CONV}> {{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, v) }}",
        "Conv",
    ),
    "a dead channel that its shift hides": Folds(
        "(float[N,1,6,6] x) => (float[N,2,6,6] y) <float[2,1,1,1] w, float[2,1,1] k, float[2,1,1] t>"
        "{ c = Conv(x, w) d = Mul(c, k) y = Add(d, t) }",
        "Conv",
        values={"k": (1e-40, 1)},
    ),
    "a dead row that was subnormal before": Folds(
        "(float[N,1,6,6] x) => (float[N,2,6,6] y) <float[2,1,1,1] w, float[2,1,1] k>{ c = Conv(x, w) y = Mul(c, k) }",
        "Conv",
        values={"w": (1e-41, 1e-41), "k": (0.5, 0.5)},
        only_in_float32=True,
    ),
}


test_refuses = every(REFUSES)
test_folds = every(FOLDS)


def test_a_subtraction_and_a_division_are_not_written_as_a_product_and_a_sum() -> None:
    text = (
        "(float[N,2,6,6] x) => (float[N,2,6,6] y) <float[2,1,1] m = {5000, 1}, float[2,1,1] s = {2, 3}>"
        "{ c = Sub(x, m) y = Div(c, s) }"
    )
    assert operators(fold(parse(text)).model) == "Sub Div"


def test_what_stays_of_a_chain_remembers_its_spread() -> None:
    """The Sub that stays when its Div went forward is 5000 spreads from zero, and not 500."""
    row = Folds(
        "(float[N,2,6,6] x) => (float[N,2,6,6] y)"
        f"<float[2,1,1] m = {{500, 500}}, float[2,1,1] s = {{0.1, 0.1}}, {CONV}>"
        "{ c = Sub(x, m) d = Div(c, s) y = Conv(d, w) }",
        "Add Conv",
        "forward",
        kept="c",
        only_in_float32=True,
    )
    assert_folds(row)


def test_tensors_are_of_the_types_that_the_cases_name() -> None:
    stored = numpy_helper.to_array(constant("w", np.array([1.5]), "bfloat16"))
    assert stored.astype(np.float64).tolist() == [1.5]
