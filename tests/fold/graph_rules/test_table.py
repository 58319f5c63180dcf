"""Which rules a fold uses: every rule can be left out, and every rule can be the only one."""

from __future__ import annotations

import pytest

from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.graph_rules.table import GRAPH_RULES
from tests.fold.rows import fold, operators
from tests.onnx_text import parse

NORM = "float[4] g, float[4] be, float[4] m, float[4] var"
IMAGE = "(float[N,4,6,6] x) => (float[N,4,6,6] y)"
# A model that the rule changes, what the rule makes of it, and whether other rules would change it too.
MODELS: dict[str, tuple[str, str]] = {
    "batchnorm": (
        f"{IMAGE} <float[4,4,1,1] w, {NORM}> {{ c = Conv(x, w) y = BatchNormalization(c, g, be, m, var) }}",
        "Conv",
    ),
    "affine": (f"{IMAGE} <float[4,4,1,1] w, float[4,1,1] k> {{ c = Conv(x, w) y = Mul(c, k) }}", "Conv"),
    "merge": (f"{IMAGE} <float[4,1,1] k, float[4,1,1] l> {{ c = Mul(x, k) y = Mul(c, l) }}", "Mul"),
    "branches": (
        f"{IMAGE} <float[4,4,1,1] w, float[4,4,3,3] v>"
        "{ c = Conv(x, w) d = Conv<pads=[1,1,1,1]>(x, v) y = Add(c, d) }",
        "Conv",
    ),
    "order": (
        f"{IMAGE} <float[4,4,1,1] w, int64[4] i={{2,0,3,1}}> {{ c = Gather<axis=1>(x, i) y = Conv(c, w) }}",
        "Conv",
    ),
    "pad": (
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4,4,3,3] w, int64[8] p={0,0,1,1,0,0,1,1}>"
        "{ c = Pad(x, p) y = Conv(c, w) }",
        "Conv",
    ),
    "constant": (
        f"{IMAGE} <float[4,4,1,1] w, {NORM}> {{ v = BatchNormalization(w, g, be, m, var) y = Conv(x, v) }}",
        "Conv",
    ),
    "dead": (
        f"{IMAGE} <float[4,4,1,1] w, float[4] b, float[4] g, float[4] be>"
        "{ c = Conv(x, w, b) y = InstanceNormalization(c, g, be) }",
        "Conv InstanceNormalization",
    ),
    "norm-affine": (
        "(float[N,4] x) => (float[N,4] y) <float[4] g, float[4] be, float[4,4] w, float[4] b>"
        "{ c = LayerNormalization(x, g, be) y = Gemm(c, w, b) }",
        "LayerNormalization Gemm",
    ),
}


def changes(
    rule: str, *, skip: frozenset[str] = frozenset(), only: frozenset[str] = frozenset()
) -> tuple[str, set[str]]:
    """Return the operators that are left, and the rules that changed something."""
    text, _ = MODELS[rule]
    result = fold(parse(text), Selection(skip=skip, only=only, fold_norm_scale=rule == "norm-affine"))
    rules = {verdict.rule for verdict in result.verdicts if verdict.outcome is Outcome.FOLDED}
    return operators(result.model), rules


@pytest.mark.parametrize("rule", MODELS)
def test_a_rule_alone_does_its_work(rule: str) -> None:
    left, rules = changes(rule, only=frozenset({rule}))
    assert left == MODELS[rule][1] and rules == {rule}


@pytest.mark.parametrize("rule", MODELS)
def test_a_rule_that_is_skipped_changes_nothing(rule: str) -> None:
    before = " ".join(node.op_type for node in parse(MODELS[rule][0]).graph.node)
    assert changes(rule, skip=frozenset({rule})) == (before, set())


@pytest.mark.parametrize("rule", MODELS)
def test_no_other_rule_does_its_work(rule: str) -> None:
    others = frozenset({*MODELS} - {rule})
    assert rule not in changes(rule, only=others)[1]


def test_every_rule_for_regions_has_a_model() -> None:
    assert {rule.name for rule in GRAPH_RULES} <= {*MODELS}


def test_affines_of_several_operands_are_left_where_merging_is() -> None:
    text = "(float[N,4] x, float[N,4] z) => (float[N,4] y) <float k={3}>{ a = Mul(x, k) b = Mul(z, k) y = Add(a, b) }"
    assert operators(fold(parse(text)).model) == "Add Mul"
    assert operators(fold(parse(text), Selection(skip=frozenset({"merge"}))).model) == "Mul Mul Add"
    assert operators(fold(parse(text), Selection(only=frozenset({"merge"}))).model) == "Add Mul"


def test_a_fold_is_no_merge() -> None:
    text = (
        "(float[N,4] x) => (float[N,4] y) <float[4,4] w, float k={3}, float l={2}>"
        "{ a = MatMul(x, w) b = Mul(a, k) c = Relu(b) y = Mul(c, l) }"
    )
    assert "Mul" in operators(fold(parse(text), Selection(only=frozenset({"merge"}))).model)
