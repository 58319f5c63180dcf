"""Norms where graphs nest: in subgraphs, in model functions, with outer values; and what must keep its name."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import normfold
from normfold.findings.reason import Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.cleanup.tidy import tidy
from normfold.fuse.engine import find_norms, fuse_norms
from normfold.graph.reader import graphs_of
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort

BODY = (
    "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p)"
    "w = Add(v, eps) s = Sqrt(w) n = Div(d, s) k = Mul(n, g)"
)


def check(original: onnx.ModelProto, path: str) -> onnx.ModelProto:
    """One norm, in the graph called ``path``, is fused; the outputs are the same."""
    model = ir.from_proto(original)
    assert [finding.graph for finding in find_norms(model)] == [path]
    (verdict,) = fuse_norms(model)
    assert verdict.outcome is Outcome.FUSED, verdict.obstacles
    tidy(model)
    inside = dict(graphs_of(model))[path]
    assert [node.op_type for node in inside if node.op_type != "Constant"] == ["LayerNormalization"]
    result = ir.to_proto(model)
    onnx.checker.check_model(result)
    feeds, names = feeds_of(original), [value.name for value in original.graph.output]
    assert_close(run_in_ort(result, feeds, names), run_in_ort(original, feeds, names), note=path)
    return result


def test_a_norm_in_a_branch_of_if_with_its_data_and_scale_outside() -> None:
    text = (
        "(float[2,3,4] x, bool c) => (float[2,3,4] y) <float[4] g, float eps = {0.001}> { y = If(c) <"
        f"then_branch = t () => (float[2,3,4] k) {{ {BODY} }},"
        " else_branch = e () => (float[2,3,4] z) { z = Identity(x) }> }"
    )
    check(parse(text), "y.then_branch")


def test_a_norm_in_a_function_whose_calls_agree() -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 17, "own": 1]> g (float[N,3,4] x, float[4] g) => (float[N,3,4] y)'
        "{ h = own.Norm(x, g) r = Relu(h) y = own.Norm(r, g) }"
        '<domain: "own", opset_import: ["": 17]> Norm (x, g) => (k)'
        f"{{ eps = Constant<value_float=0.001>() {BODY} }}"
    )
    original = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    values = {value.name for value in original.graph.value_info}
    assert {"h", "r"} <= values, "the calls' shapes are known"
    result = check(original, "own:Norm")
    assert not any(value.type.HasField("tensor_type") for value in result.functions[0].value_info)


def test_a_function_whose_calls_disagree_is_left_with_its_reason() -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 17, "own": 1]> g (float[N,3,4] x, float[4] g, float[N,4] z)'
        " => (float[N,3,4] y, float[N,4] u) { y = own.Norm(x, g) u = own.Norm(z, g) }"
        '<domain: "own", opset_import: ["": 17]> Norm (x, g) => (k)'
        f"{{ eps = Constant<value_float=0.001>() {BODY} }}"
    )
    model = ir.from_proto(onnx.parser.parse_model(text))
    (verdict,) = fuse_norms(model)
    assert [obstacle.reason for obstacle in verdict.obstacles] == [Reason.UNKNOWN_SHAPE]
    assert [node.op_type for node in next(iter(model.functions.values()))][-1] == "Mul"


def test_an_intermediate_that_a_subgraph_reads_stays() -> None:
    text = (
        "(float[2,3,4] x, bool c) => (float[2,3,4] k, float[2,3,4] y) <float[4] g, float eps = {0.001}>"
        f"{{ {BODY} y = If(c) <then_branch = t () => (float[2,3,4] a) {{ a = Neg(d) }},"
        "else_branch = e () => (float[2,3,4] b) { b = Neg(k) }> }"
    )
    original = parse(text)
    model = ir.from_proto(original)
    (verdict,) = fuse_norms(model)
    assert verdict.outcome is Outcome.FUSED
    tidy(model)
    assert [node.op_type for node in model.graph] == ["LayerNormalization", "ReduceMean", "Sub", "If"] or [
        node.op_type for node in model.graph
    ] == ["ReduceMean", "Sub", "LayerNormalization", "If"]
    result = ir.to_proto(model)
    for flag in (True, False):
        feeds = {**feeds_of(original), "c": np.asarray(flag)}
        assert_close(run_in_ort(result, feeds, ["k", "y"]), run_in_ort(original, feeds, ["k", "y"]), note=str(flag))


def test_names_of_outputs_and_metadata_of_the_exporter_stay() -> None:
    original = parse(f"(float[2,3,4] x) => (float[2,3,4] k) <float[4] g, float eps = {{0.001}}> {{ {BODY} }}", opset=13)
    entry = original.graph.node[-1].metadata_props.add()
    entry.key, entry.value = "exporter.module", "encoder.norm"
    model = ir.from_proto(original)
    (verdict,) = fuse_norms(model)
    (node,) = model.graph
    assert node.outputs[0].name == "k"
    assert verdict.sites == ("k",)
    assert node.metadata_props["exporter.module"] == "encoder.norm"
    assert node.metadata_props["normfold.rule"] == "layernorm"
    assert node.metadata_props["normfold.from"] == verdict.finding.name


STANDARDIZED = (
    "m = ReduceMean<axes=[1,2,3]>(w) d = Sub(w, m) p = Mul(d, d) v = ReduceMean<axes=[1,2,3]>(p)"
    "e = Add(v, eps) s = Sqrt(e) n = Div(d, s) y = Conv(x, n)"
)


@pytest.mark.parametrize("filters", [8, 640])
def test_a_norm_of_a_stored_weight_is_reported_and_gone_whatever_its_size(filters: int) -> None:
    text = f"(float[N,4,8,8] x) => (float[N,{filters},6,6] y) <float[{filters},4,3,3] w, float eps = {{0.00001}}>"
    result = normfold.optimize(parse(f"{text} {{ {STANDARDIZED} }}"))
    assert [(each.outcome, each.rule, each.into) for each in result.verdicts] == [(Outcome.FOLDED, "constant", ("y",))]
    assert [node.op_type for node in result.model.graph.node] == ["Conv"]
    kept = normfold.optimize(parse(f"{text} {{ {STANDARDIZED} }}"), skip=["constant"])
    assert [each.obstacles[0].reason for each in kept.verdicts] == [Reason.SKIPPED]


def test_what_a_norm_was_made_of_is_not_said_to_stay() -> None:
    """The norm is whole only behind a cleanup, when something was said of its scale and epsilon already."""
    model = parse(
        "(float[2,4,3,5] x) => (float[2,4,3,5] y) <int64[4] split = {2, 2, 2, 15}, int64[4] back = {2, 4, 1, 1},"
        "float eps = {0.001}, float[1,2,2,1] g, float[1,2,2,1] b, int64[1] flat = {-1},"
        "int64[2,4] all = {0, 1, 2, 3, 4, 5, 6, 7}> { r = Reshape(x, split) m = ReduceMean<axes=[2,3]>(r)"
        "d = Sub(r, m) p = Mul(d, d) v = ReduceMean<axes=[2,3]>(p) w = Add(v, eps) s = Sqrt(w) i = Reciprocal(s)"
        "k = Mul(i, g) o = Mul(m, k) c = Sub(b, o) kf = Reshape(k, flat) cf = Reshape(c, flat) kg = Gather(kf, all)"
        "cg = Gather(cf, all) ku = Reshape(kg, back) cu = Reshape(cg, back) h = Mul(x, ku) y = Add(h, cu) }"
    )
    result = normfold.optimize(model)
    assert len(result.fused) == 1
    assert not result.kept


def test_a_norm_that_was_undone_says_so_at_the_old_operator_set_that_then_stays() -> None:
    """It asked for "--opset auto", which was given: without it nothing raises the operator set of the model."""
    text = f"(float[2,3,4] x) => (float[2,3,4] k) <float[4] g, float eps = {{0.001}}> {{ {BODY} }}"
    (found,) = find_norms(ir.from_proto(parse(text, opset=13)))
    model = ir.from_proto(parse(text, opset=13))
    (verdict,) = fuse_norms(model, Selection(exclude={found.name: Reason.ROLLED_BACK}))
    assert [obstacle.reason for obstacle in verdict.obstacles] == [Reason.ROLLED_BACK]


@pytest.mark.parametrize("pool", ["AveragePool<kernel_shape=[2,2], strides=[2,2]>", "AveragePool<kernel_shape=[1,1]>"])
@pytest.mark.parametrize("norm", ["k = LayerNormalization<axis=-1>(x, g)", BODY])
def test_a_pool_smaller_than_its_input_is_no_part_of_the_norm_before_it(norm: str, pool: str) -> None:
    """VOLO pools what it has normalized: the pool went into the norm, and the proof undid all eight of them."""
    text = f"""(float[2,8,8,4] x) => (float[2,H,W,4] y) <float[4] g, float eps = {{0.001}}>
        {{ {norm} t = Transpose<perm=[0,3,1,2]>(k) a = {pool}(t) y = Transpose<perm=[0,2,3,1]>(a) }}"""
    model = ir.from_proto(parse(text))
    fuse_norms(model)
    tidy(model)
    operators = [node.op_type for node in model.graph if node.op_type != "Constant"]
    assert operators == ["LayerNormalization", "Transpose", "AveragePool", "Transpose"]
