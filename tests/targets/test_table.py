"""Targets: each row is complete, and says what its runtime has a kernel for."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

import normfold
from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fuse.engine import fuse_norms
from normfold.option_declaration import declared_options
from normfold.options import RewriteOptions
from normfold.targets.table import ONNXRUNTIME, TARGETS, at_version, target_named
from tests.onnx_text import parse

LAYERNORM = (
    "(float[N,3,4] x) => (float[N,3,4] y) <float eps = {0.001}> { m = ReduceMean<axes=[-1]>(x) d = Sub(x, m)"
    "p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w) y = Div(d, s) }"
)
RMSNORM = (
    "(float[N,3,4] x) => (float[N,3,4] y) <float eps = {0.001}> { p = Mul(x, x) v = ReduceMean<axes=[-1]>(p)"
    "w = Add(v, eps) s = Sqrt(w) r = Reciprocal(s) y = Mul(x, r) }"
)
GROUPNORM = (
    "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[5] split = {2, 2, 2, 3, 5}, int64[4] back = {2, 4, 3, 5},"
    "float eps = {0.001}, float[4,1,1] g, float[4,1,1] b>"
    "{ r = Reshape(x, split) m = ReduceMean<axes=[2,3,4]>(r) d = Sub(r, m) p = Mul(d, d)"
    "v = ReduceMean<axes=[2,3,4]>(p) w = Add(v, eps) s = Sqrt(w) n = Div(d, s) q = Reshape(n, back)"
    "h = Mul(q, g) y = Add(h, b) }"
)
# The operator that takes the moments, for LayerNorm, RMSNorm and GroupNorm, with the operator set free to rise; ""
# where the norm is kept as it is.
WRITES = {
    "onnxruntime": ("LayerNormalization", "RMSNormalization", "InstanceNormalization"),
    "onnxruntime-cuda": ("LayerNormalization", "ReduceMean", "InstanceNormalization"),
    "directml": ("LayerNormalization", "ReduceMean", "GroupNormalization"),
    "webgpu": ("LayerNormalization", "RMSNormalization", "InstanceNormalization"),
    "tensorrt": ("LayerNormalization", "RMSNormalization", "GroupNormalization"),
    "openvino": ("LayerNormalization", "RMSNormalization", "InstanceNormalization"),
    "coreml": ("LayerNormalization", "ReduceMean", "GroupNormalization"),
    "qnn": ("LayerNormalization", "RMSNormalization", "GroupNormalization"),
    "ncnn": ("LayerNormalization", "RMSNormalization", "InstanceNormalization"),
    "tract": ("LayerNormalization", "RMSNormalization", "InstanceNormalization"),
    "onnx": ("LayerNormalization", "RMSNormalization", "InstanceNormalization"),
}
TAKES_MOMENTS = {name for names in WRITES.values() for name in names}


def test_every_target_is_there_with_its_source() -> None:
    assert set(TARGETS) == set(WRITES), "a line of WRITES says which operators it gets"
    for target in TARGETS.values():
        assert target.title
        assert "https://" in target.source
        assert target.operators


def test_the_help_of_the_option_names_every_target() -> None:
    """A name has to be known before it can be chosen."""
    ((_, option),) = [each for each in declared_options(RewriteOptions) if each[0].name == "target"]
    assert re.findall(r"[a-z-]+", option.help.split(": ")[1].replace(", or ", ", ").removesuffix(" for any.")) == [
        *TARGETS
    ]


@pytest.mark.parametrize("name", sorted(WRITES))
@pytest.mark.parametrize("text", [LAYERNORM, RMSNORM, GROUPNORM])
def test_contrib_says_why_it_writes_nothing_of_com_microsoft(name: str, text: str) -> None:
    model = ir.from_proto(parse(text))
    verdicts = fuse_norms(model, Selection(target=name, opset="auto", contrib=True))
    assert {node.domain for node in model.graph} <= {""}
    fused = [verdict.why for verdict in verdicts if verdict.outcome is Outcome.FUSED]
    assert all("--contrib: " in why for why in fused)
    plain = fuse_norms(ir.from_proto(parse(text)), Selection(target=name, opset="auto"))
    assert not any("contrib" in verdict.why for verdict in plain)


@pytest.mark.parametrize("name", sorted(WRITES))
def test_a_target_gets_its_own_form_of_each_norm(name: str) -> None:
    if not target_named(name).has("RMSNormalization", "FLOAT") and TARGETS[name].has("RMSNormalization", "FLOAT"):
        pytest.skip("the installed runtime has no kernel for it yet")
    for text, wanted in zip((LAYERNORM, RMSNORM, GROUPNORM), WRITES[name], strict=True):
        model = ir.from_proto(parse(text))
        (verdict,) = fuse_norms(model, Selection(target=name, opset="auto"))
        assert verdict.outcome is (Outcome.FUSED if wanted else Outcome.KEPT), (name, verdict.obstacles)
        if not wanted:
            assert verdict.obstacles[0].reason is Reason.NO_KERNEL
            continue
        assert [node.op_type for node in model.graph if node.op_type in TAKES_MOMENTS] == [wanted]
        onnx.checker.check_model(ir.to_proto(model))


def test_a_target_without_a_kernel_keeps_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """What "" in WRITES stands for: no kernel, and no spelling that the runtime fuses by itself."""
    without = replace(TARGETS["onnx"], name="new", operators={"LayerNormalization": frozenset({"FLOAT"})})
    monkeypatch.setitem(TARGETS, "new", replace(without, rmsnorm_below_23=False))
    (verdict,) = fuse_norms(ir.from_proto(parse(RMSNORM)), Selection(target="new", opset="auto"))
    assert [obstacle.reason for obstacle in verdict.obstacles] == [Reason.NO_KERNEL]


def test_releases_with_a_slow_kernel_keep_the_operators() -> None:
    for release, has in (((1, 26), True), ((1, 27), False), ((1, 29), False), ((1, 30), True), (None, True)):
        assert at_version(ONNXRUNTIME, release).has("LayerNormalization", "FLOAT") is has
    assert "third of the speed" in at_version(ONNXRUNTIME, (1, 28)).why["LayerNormalization"]


def test_an_older_release_has_fewer_kernels_and_operator_sets() -> None:
    for release, has_rms, has_lp, opset in (
        ((1, 22), False, False, 22),
        ((1, 23), True, False, 23),
        ((1, 31), True, True, 26),
        (None, True, True, 26),
    ):
        target = at_version(ONNXRUNTIME, release)
        assert target.has("RMSNormalization", "FLOAT") is has_rms
        assert target.has("LpNormalization", "FLOAT") is has_lp
        assert target.newest_opset == opset


def test_a_slow_release_leaves_a_layernorm_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normfold.targets.table._installed_onnxruntime", lambda: (1, 28))
    original = parse(LAYERNORM)
    model = ir.from_proto(original)
    (verdict,) = fuse_norms(model)
    assert verdict.obstacles[0].reason is Reason.NO_KERNEL
    assert [node.op_type for node in model.graph] == [node.op_type for node in original.graph.node]


def test_an_unknown_target_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="expected a target, got 'no-such-target'; the targets are onnxruntime"):
        target_named("no-such-target")


# A residual stream with an RMSNorm as T5 spells it and two Gelus behind a bias, by tanh and by erf.
BLOCK = (
    "(float[2,5,8] x, float[2,5,8] z) => (float[2,5,8] y) <float[8] g, float[8,8] w, float[8] b, float two = {2.0}, "
    "float eps = {0.00001}, float one = {1.0}, float half = {0.5}, float three = {3.0}, float c = {0.044715}, float k "
    "= {0.7978845608}, float root = {1.4142135}> { a = Add(x, z) p = Pow(a, two) v = ReduceMean<axes = [-1], keepdims "
    "= 1>(p) e = Add(v, eps) s = Sqrt(e) r = Div(one, s) n = Mul(a, r) h = Mul(g, n) m = MatMul(h, w) q = Add(m, b) "
    "q3 = Pow(q, three) d = Mul(q3, c) i = Add(q, d) u = Mul(i, k) t = Tanh(u) o = Add(t, one) f = Mul(q, half) t1 = "
    "Mul(f, o) m1 = MatMul(t1, w) q1 = Add(m1, b) d1 = Div(q1, root) e1 = Erf(d1) o1 = Add(e1, one) f1 = Mul(half, "
    "o1) t2 = Mul(q1, f1) m2 = MatMul(t2, w) y = Add(a, m2) }"
)


def found_by_transformers(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """What onnxruntime.transformers.optimizer makes of a model: the operators that are no ONNX."""
    optimizer = pytest.importorskip("onnxruntime.transformers.optimizer")
    onnx.save(model, folder / "model.onnx")
    nodes = optimizer.optimize_model(str(folder / "model.onnx"), model_type="t5", opt_level=0).model.graph.node
    return Counter(node.op_type for node in nodes if node.domain or not onnx.defs.has(node.op_type))


@pytest.mark.parametrize(
    ("target", "lost"), [("onnxruntime-cuda", []), ("onnxruntime", ["SkipSimplifiedLayerNormalization"])]
)
def test_the_tool_for_transformers_finds_as_much_behind_us(target: str, lost: list[str], tmp_path: Path) -> None:
    """Only where its SkipSimplifiedLayerNormalization is the slower one, on CPU, is RMSNormalization written."""
    before = found_by_transformers(parse(BLOCK), tmp_path)
    assert set(before) == {"SkipSimplifiedLayerNormalization", "FastGelu", "BiasGelu"}
    result = normfold.optimize(parse(BLOCK), target=target, verify=False).model
    after = found_by_transformers(result, tmp_path)
    assert sorted(before - after) == lost
    assert "BiasGelu" not in after - before, "a Gelu by tanh would become one by erf"
