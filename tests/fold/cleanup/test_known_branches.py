"""An If whose condition is constant becomes its branch, names and weights included; any other stays."""

from __future__ import annotations

from itertools import chain

import onnx
import pytest

import normfold
from normfold.fold.cleanup.known_branches import take_known_branches
from tests.fold.cleanup.test_tidy import assert_tidied
from tests.onnx_text import parse

HEAD = "(float[N,3] x, bool c) => (float[N,3] y) <bool t = {1}, bool f = {0}, float[3] k, float[3,3] w> { r = Relu (x) "
THEN = "then_branch = b () => (float[N,3] p) { q = Neg (r) p = Mul (q, k) }"
ELSE = "else_branch = b () => (float[N,3] p) { q = Abs (x) p = Add (q, k) }"
BRANCHES = {
    "then": (f"y = If (t) < {THEN}, {ELSE} > }}", "Relu Neg Mul Identity"),
    "else": (f"y = If (f) < {THEN}, {ELSE} > }}", "Relu Abs Add Identity"),
    "names that another body has too": (
        f"a = If (t) < {THEN}, {ELSE} > b = If (c) < {THEN}, {ELSE} > y = Add (a, b) }}",
        "Relu Neg Mul Identity If Add",
    ),
    "one inside another": (
        "y = If (t) < then_branch = o () => (float[N,3] i) { "
        f"i = If (f) < {THEN}, {ELSE} > }}, else_branch = u () => (float[N,3] j) {{ j = Sin (r) }} > }}",
        "Relu Abs Add Identity Identity",
    ),
    "a value from outside": (
        "y = If (t) < then_branch = o () => (float[N,3] i) { i = Identity (r) }, "
        "else_branch = u () => (float[N,3] j) { j = Sin (r) } > }",
        "Relu Identity Identity",
    ),
    "an input decides": (f"y = If (c) < {THEN}, {ELSE} > }}", "Relu If"),
}


@pytest.mark.parametrize(("text", "left"), BRANCHES.values(), ids=BRANCHES)
def test_known_branches_are_taken(text: str, left: str) -> None:
    assert_tidied(HEAD + text, left, take_known_branches)


def test_a_norm_in_the_known_branch_folds_and_the_other_branch_reads_nothing_any_more() -> None:
    model = parse(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] g, float[4] be, float[4] m, "
        "float[4] var, bool t = {1}> { r = Conv (x, w) y = If (t) < "
        "then_branch = a () => (float[N,4,6,6] p) { p = BatchNormalization (r, g, be, m, var) }, "
        "else_branch = b () => (float[N,4,6,6] q) { q = Relu (r) } > }"
    )
    result = normfold.optimize(model)
    assert [node.op_type for node in result.model.graph.node] == ["Conv"]
    assert result.verification


# What an exporter writes for squeeze() and unsqueeze() of a value whose rank it does not know, in a branch of an If.
ASKS_SHAPES = """(bool c, float[N,T] x) => (float[N,T] y) {
    y = If (c) <
        then_branch = a () => (float[N,T] p) {
            axes = Constant <value_ints = [1]> () u = Unsqueeze (x, axes)
            s = Shape (u) i = Constant <value_ints = [1]> () d = Gather (s, i) one = Constant <value_ints = [1]> ()
            q = Equal (d, one)
            v = If (q) < then_branch = b () => (float[N,T] sq) { sq = Squeeze (u, axes) },
                         else_branch = e () => (float[N,A,T] un) { un = Identity (u) } >
            s2 = Shape (v) r = Shape (s2) j = Constant <value_int = 0> () k = Gather (r, j)
            two = Constant <value_int = 2> () o = Equal (k, two)
            p = If (o) < then_branch = f () => (float[N,T] n) { n = Neg (v) },
                         else_branch = g () => (float[N,T] m) { m = Abs (v) } >
        },
        else_branch = h () => (float[N,T] w) { w = Relu (x) } >
}"""


def test_questions_about_shapes_in_a_branch_are_answered_one_after_the_other() -> None:
    """The rank that the second If asks for is known once the first is gone."""
    result = normfold.optimize(parse(ASKS_SHAPES))
    assert operators_of(result.model.graph) == ["If", "Neg", "Relu"]
    assert result.verification


def test_a_size_that_an_input_decides_keeps_its_question() -> None:
    """Here the axis that is asked about is the input's own, of a size that is not known."""
    text = ASKS_SHAPES.replace("axes = Constant <value_ints = [1]> () u = Unsqueeze (x, axes)", "u = Softsign (x)")
    text = text.replace("float[N,A,T] un", "float[N,T] un").replace("sq = Squeeze (u, axes)", "sq = Sin (u)")
    result = normfold.optimize(parse(text))
    assert operators_of(result.model.graph).count("If") == 2
    assert result.verification


def operators_of(graph: onnx.GraphProto) -> list[str]:
    """Return all operators but Constants, those of a body behind the one that has it."""
    bodies = {node.output[0]: [operators_of(attribute.g) for attribute in node.attribute] for node in graph.node}
    found = [[node.op_type, *chain(*bodies[node.output[0]])] for node in graph.node if node.op_type != "Constant"]
    return list(chain(*found))
