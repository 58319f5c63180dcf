"""Where ONNX Runtime itself changes a model at its default level, that is the runtime's fault and no fold's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from normfold.verify import Site, Verdict, prove
from tests.onnx_text import parse
from tests.verify.verify_nets import edited


def layer_norm(
    *, power: float = 2.0, eps: str = "Add(v, eps)", epsilon: float = 1e-5, div: str = "Div(d, s)", keep: bool = True
) -> str:
    """A Linear with its own scale, then a decomposed LayerNorm in one of many spellings."""
    axes = "axes=[-1]" if keep else "axes=[-1], keepdims=0"
    return f"""(float[8,8] x) => (float[8,8] y)
        <float[8,8] w, float[8] g, float[8] gamma, float[8] beta, float p = {{{power}}}, float eps = {{{epsilon}}}>
        {{ l = MatMul(x, w) h = Mul(l, g) m = ReduceMean<{axes}>(h) d = Sub(h, m) q = Pow(d, p)
           v = ReduceMean<{axes}>(q) e = {eps} s = Sqrt(e) n = {div} o = Mul(n, gamma) y = Add(o, beta) }}"""


# Each is miscompiled by the LayerNorm fusion of ONNX Runtime 1.31: it takes every one of them for the plain spelling.
TRAPS = {
    "the exponent of Pow is 4": layer_norm(power=4.0),
    "epsilon 0.1 is added first": layer_norm(eps="Add(eps, v)", epsilon=0.1),
    "the deviation is divided by the value": layer_norm(div="Div(s, d)"),
    "keepdims=0 on a square": layer_norm(keep=False),
}


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS.keys())
def test_a_miscompilation_of_the_runtime_is_not_blamed_on_a_fold(text: str) -> None:
    original = parse(text)
    folded = scale_folded(original)
    result = prove(original, folded, [Site("h", "scale")])
    assert result.verdict is Verdict.EQUIVALENT
    [note] = result.notes
    assert "changes the result of the original itself (y) at level basic" in note
    assert "graph optimizations disabled" in note
    right = {c.witness for c in result.outputs if c.relative <= 1e-4}
    assert right == {"at the site", "disable_all"}, "the reference and our model are right, the optimized run is not"


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS.keys())
def test_a_wrong_fold_is_found_beside_a_miscompilation(text: str) -> None:
    original = parse(text)
    broken = edited(scale_folded(original), "w", lambda w: w * 1.001)
    assert prove(original, broken, [Site("h", "scale")]).guilty == ("scale",)


def test_a_candidate_that_only_the_optimized_runtime_gets_wrong_is_different() -> None:
    """The original is right at every level; the candidate walks into the trap, so a user would get wrong numbers."""
    trap = parse(layer_norm(eps="Add(eps, v)", epsilon=0.1))
    same = parse(layer_norm(epsilon=0.1))
    assert prove(same, same)
    result = prove(same, trap)
    assert result.verdict is Verdict.DIFFERENT
    assert {c.witness for c in result.failures} == {"default"}
    assert "wrong at ONNX Runtime's default level" in str(result)


def scale_folded(original: onnx.ModelProto) -> onnx.ModelProto:
    """l = x@w, h = l*g becomes h = x@(w*g)."""
    arrays = {t.name: numpy_helper.to_array(t) for t in original.graph.initializer}
    folded = edited(original, "w", lambda w: w.astype(np.float64) * arrays["g"])
    nodes = [node for node in folded.graph.node if node.output[0] != "l"]
    nodes[0].CopyFrom(onnx.helper.make_node("MatMul", ["x", "w"], ["h"]))
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    return folded
