"""Weights that several operators read: a fold may not copy them without being asked."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx_ir as ir
import pytest

import normfold
from normfold.findings.reason import Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.search.growth import Budget
from normfold.fold.search.plan import FoldPlan
from normfold.graph.reader import GraphReader
from normfold.graph.weight_bytes import weight_bytes
from tests.fold.rows import fold, operators
from tests.onnx_text import parse
from tests.sweeps.growth import model as rows_of

TIED = (
    "(int64[N,5] ids) => (float[N,5,200] y) <float[200,32] table, float k={5.5}, float[32,32] w>"
    "{ e = Gather(table, ids) s = Mul(e, k) r = Sigmoid(s) m = MatMul(r, w)"
    " t = Transpose<perm=[1,0]>(table) y = MatMul(m, t) }"
)
NEGATED = (
    "(float[N,16,8,8] x, float[N,16,8,8] z) => (float[N,16,6,6] y, float[N,16,6,6] u) <float[16,16,3,3] w>"
    "{ a = Conv(x, w) c = Conv(z, w) d = Neg(a) e = Neg(c) y = Relu(d) u = Sigmoid(e) }"
)


def bytes_of(text: str, growth: float) -> tuple[str, int]:
    """Return the operators that are left, and the bytes of all weights."""
    model = fold(parse(text), Selection(max_growth=growth)).model
    return operators(model), sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def test_a_tied_table_is_not_copied() -> None:
    (verdict,) = (v for v in fold(parse(TIED)).verdicts if v.finding.operator == "Mul")
    assert verdict.outcome is Outcome.KEPT
    assert [obstacle.reason for obstacle in verdict.obstacles] == [Reason.GROWTH]


def test_a_table_is_copied_on_demand() -> None:
    assert "Mul" in bytes_of(TIED, 0.05)[0].split()
    assert "Mul" not in bytes_of(TIED, 1.0)[0].split()


def test_equal_results_are_stored_once() -> None:
    for third in ("", " b = Conv(x, w) f = Neg(b) g = Relu(f) v = Sigmoid(g)"):
        text = NEGATED.replace(" }", third + " }").replace(" u)", " u, float[N,16,6,6] v)" if third else " u)")
        left, size = bytes_of(text, 0.0)
        assert "Neg" not in left.split()
        assert size == 16 * 16 * 9 * 4


def test_one_part_that_runs_for_several_inputs_takes_its_norms_once() -> None:
    """Before the last of its runs is folded, a weight and its copy are both stored."""
    run = (
        " IN1 = Conv(IN, w) IN2 = Mul(IN1, s) IN3 = Add(IN2, s) IN4 = Relu(IN3) IN5 = Conv(IN4, v) IN6 = Mul(IN5, s)"
        " IN7 = Add(IN6, s) IN8 = Sigmoid(IN7)"
    )
    names = ("a", "b", "c")
    inputs = ", ".join(f"float[N,16,8,8] {name}" for name in names)
    outputs = ", ".join(f"float[N,16,4,4] {name}8" for name in names)
    weights = "<float[16,16,3,3] w, float[16,16,3,3] v, float[16,1,1] s>"
    text = f"({inputs}) => ({outputs}) {weights} {{ {' '.join(run.replace('IN', name) for name in names)} }}"
    left, size = bytes_of(text, 0.0)
    assert sorted(left.split()) == ["Conv"] * 6 + ["Relu"] * 3 + ["Sigmoid"] * 3
    assert size == 4 * (2 * 16 * 16 * 9 + 16)  # one bias for both


def test_a_copy_for_some_of_the_readers_is_growth() -> None:
    text = NEGATED.replace(" }", " v = Conv<strides=[2,2]>(z, w) }").replace(" u)", " u, float[N,16,3,3] v)")
    left, size = bytes_of(text, 0.0)
    assert left.split().count("Neg") == 2
    assert size == 16 * 16 * 9 * 4


def test_a_weight_of_one_reader_is_no_growth() -> None:
    text = "(float[N,64] x) => (float[N,64] y) <float[64,64] w, float[64] k> { a = MatMul(x, w) y = Mul(a, k) }"
    assert bytes_of(text, 0.0)[0] == "MatMul"


def test_a_weight_stored_as_integers_stays_one() -> None:
    """Its scale takes the factor where it has a number for each column; with one number the factor stays."""
    text = (
        "(float[N,512] x) => (float[N,256] y) <int8[512,256] q, SCALE s, float[256] k>"
        "{ f = Cast<to=1>(q) w = Mul(f, s) a = MatMul(x, w) y = Mul(a, k) }"
    )
    assert operators(fold(parse(text.replace("SCALE", "float[256]"))).model) == "Cast Mul MatMul"
    assert operators(fold(parse(text.replace("SCALE", "float"))).model) == "Cast Mul MatMul Mul"


def test_what_folds_have_added_counts() -> None:
    """Two tied tables of one size: the budget is spent by the first copy."""
    text = (
        "(int64[N,5] ids) => (float[N,5,100] y, float[N,5,100] z) <float[100,32] table, float[100,32] other,"
        "float k={5.5}, float l={2.5}>"
        "{ e = Gather(table, ids) s = Mul(e, k) r = Sigmoid(s) t = Transpose<perm=[1,0]>(table) y = MatMul(r, t)"
        " f = Gather(other, ids) o = Mul(f, l) q = Sigmoid(o) u = Transpose<perm=[1,0]>(other) z = MatMul(q, u) }"
    )
    kept = [growth for growth in (0.4, 0.6, 1.1) if "Mul" in bytes_of(text, growth)[0].split()]
    assert kept == [0.4, 0.6]
    assert bytes_of(text, 0.6)[0].split().count("Mul") == 1


def test_weights_of_constant_nodes_count_as_those_of_initializers() -> None:
    text = (
        "(float[N,4] x) => (float[N,2] y) <float[4,2] w, float[2] s, float[2] t>"
        "{ m = MatMul(x, w) n = Mul(m, s) y = Add(n, t) }"
    )
    model = parse(text)
    stored = weight_bytes(ir.from_proto(model))
    for tensor in list(model.graph.initializer):
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]
    assert weight_bytes(ir.from_proto(model)) == stored == 4 * (8 + 2 + 2)


def test_plans_that_wait_for_one_weight_are_counted_again_once_all_its_readers_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Counted with all others at each plan, 667 norms behind convolutions of one weight took 43 s."""
    counted: list[int] = []
    plain = Budget._growth

    def growth(self: Budget, reader: GraphReader, plans: Sequence[FoldPlan]) -> object:
        counted.append(len(plans))
        return plain(self, reader, plans)

    monkeypatch.setattr(Budget, "_growth", growth)
    fold(rows_of("conv_batchnorm_relu", 1200), Selection())
    assert sum(counted) < 2 * 1200


def test_small_biases_of_one_part_count_each_because_each_is_stored() -> None:
    """Counted as one they were folded all, grew the model more than is allowed, and then stayed all."""
    result = normfold.optimize(rows_of("conv_batchnorm_relu", 3000), verify=False)
    assert len(result.folds) > 200
