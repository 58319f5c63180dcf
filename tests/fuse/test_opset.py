"""Raising the operator set: only as far as a form needs, nothing lost on the way, known converter faults refused."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fuse.engine import fuse_norms
from normfold.fuse.opset import OpsetRaiseError, min_ir_version, raise_opset
from normfold.graph.reader import opset_of
from tests.onnx_text import assert_close, feeds_of, parse, run_in_ort
from tests.runtime_faults import run_or_skip

NORM = (
    "m = ReduceMean<axes=[-1]>(x) d = Sub(x, m) p = Mul(d, d) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps) s = Sqrt(w)"
)
X = "(float[N,3,40] x) => (float[N,3,40] y)"
PLAIN = f"{X} <float eps = {{0.001}}, float[40,40] big> {{ {NORM} n = Div(d, s) y = MatMul(n, big) }}"
RMS = (
    f"{X} <float eps = {{0.001}}> {{ p = Mul(x, x) v = ReduceMean<axes=[-1]>(p) w = Add(v, eps)"
    " s = Sqrt(w) y = Div(x, s) }"
)


@pytest.mark.parametrize(
    ("text", "opset", "policy", "target", "raised"),
    [
        (PLAIN, 13, "auto", "onnxruntime", 17),
        (PLAIN, 13, "", "onnxruntime", 17),
        (PLAIN, 13, "keep", "onnxruntime", 13),
        (PLAIN, 13, "", "onnx", 13),
        (PLAIN, 13, "auto", "onnx", 17),
        (PLAIN, 13, "18", "onnxruntime", 18),
        (PLAIN, 17, "auto", "onnxruntime", 17),
        (RMS, 17, "auto", "onnxruntime", 23),
        (RMS, 17, "keep", "onnxruntime", 17),
        (RMS, 17, "auto", "directml", 17),
    ],
)
def test_the_operator_set_rises_as_far_as_the_form_needs(
    text: str, opset: int, policy: str, target: str, raised: int
) -> None:
    original = parse(text, opset=opset, ir_version=7)
    model = ir.from_proto(original)
    (verdict,) = fuse_norms(model, Selection(opset=policy, target=target))
    assert opset_of(model.graph) == raised
    assert model.ir_version == (7 if raised == opset else max(7, min_ir_version(raised)))
    assert (f"operator set rises from {opset} to {raised}" in verdict.why) == (raised != opset)
    result = ir.to_proto(model)
    onnx.checker.check_model(result)
    feeds = feeds_of(original)
    assert_close(run_in_ort(result, feeds, ["y"]), run_in_ort(original, feeds, ["y"]), note=policy)


def test_a_target_that_is_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="expected a target, got 'no-such-target'"):
        fuse_norms(ir.from_proto(parse(PLAIN)), Selection(target="no-such-target"))


def test_what_the_converter_loses_is_put_back() -> None:
    """Weights it never saw, node metadata, names, shapes, subgraphs."""
    original = parse(
        "(float[N,3,40] x, bool c) => (float[N,3,40] y) <float[40,40] big>"
        "{ h = MatMul(x, big) q = Clip(h) y = If(c) <then_branch = t () => (float[N,3,40] a) { a = Mul(q, x) },"
        "else_branch = e () => (float[N,3,40] b) { u, v = Split<axis=1, split=[1,2]>(q) b = Concat<axis=1>(u, v) }> }",
        opset=11,
        ir_version=6,
    )
    original.graph.node[0].name = "dense"
    entry = original.graph.node[0].metadata_props.add()
    entry.key, entry.value = "exporter.module", "encoder.dense"
    model = ir.from_proto(original)
    before = model.graph.initializers["big"].const_value
    raise_opset(model, 18, 10)
    result = ir.to_proto(model)
    onnx.checker.check_model(result)
    assert opset_of(model.graph) == 18
    assert [value.name for value in model.graph.inputs] == ["x", "c"]
    assert model.graph.initializers["big"].const_value is before
    (dense,) = [node for node in model.graph if node.op_type == "MatMul"]
    assert (dense.name, dense.metadata_props["exporter.module"]) == ("dense", "encoder.dense")
    assert dense.outputs[0].shape is not None
    for flag in (True, False):
        feeds = {**feeds_of(original), "c": np.asarray(flag)}
        assert_close(run_in_ort(result, feeds, ["y"]), run_in_ort(original, feeds, ["y"]), note=str(flag))


def test_branches_that_share_names_keep_their_own_weights_and_shapes() -> None:
    """The two branches of a merged decoder: the same names, other weights, other shapes of the same output."""
    original = parse(
        "(float[N,3,40] x, bool c) => (float[A,3,B] y, float[N,3,40] z) "
        "{ y, z = If(c) <then_branch = t () => (float[A,3,40] y, float[N,3,40] z) "
        "{ w = RandomNormal<shape = [40,40], seed = 1.0>() y = MatMul(x, w) z = Clip(y) }, "
        "else_branch = e () => (float[2,3,2] y, float[N,3,40] z) "
        "{ w = RandomNormal<shape = [40,40], seed = 2.0>() z = MatMul(x, w) y = RandomNormal<shape = [2,3,2]>() }> }",
        opset=11,
        ir_version=6,
    )
    rng = np.random.default_rng(0)
    for attribute in original.graph.node[0].attribute:
        drawn = [node for node in attribute.g.node if node.op_type == "RandomNormal"]
        for node in drawn:
            array = rng.standard_normal(node.attribute[0].ints).astype(np.float32)
            attribute.g.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
            attribute.g.node.remove(node)
    model = ir.from_proto(original)
    raise_opset(model, 18, 10)
    result = ir.to_proto(model)
    bodies = [attribute.g for attribute in result.graph.node[0].attribute]
    assert [[value.name for value in body.output] for body in bodies] == [["y", "z"], ["y", "z"]]
    assert [tensor.name for tensor in result.graph.initializer] == ["w", "w_2"]
    for flag in (True, False):
        feeds = {**feeds_of(original), "c": np.asarray(flag)}
        assert_close(run_in_ort(result, feeds, ["y", "z"]), run_in_ort(original, feeds, ["y", "z"]), note=str(flag))


def test_words_of_one_name_stay_those_of_their_branch() -> None:
    bodies = {}
    for branch, words in (("then_branch", [b"x", b"y"]), ("else_branch", [b"u", b"v"])):
        output = helper.make_tensor_value_info(branch, onnx.TensorProto.STRING, [2])
        stored = onnx.numpy_helper.from_array(np.array(words, object), "k")
        bodies[branch] = helper.make_graph([helper.make_node("Identity", ["k"], [branch])], "b", [], [output], [stored])
    given = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    made = helper.make_tensor_value_info("y", onnx.TensorProto.STRING, [2])
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], **bodies)], "g", [given], [made])
    original = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model = ir.from_proto(original)
    raise_opset(model, 17, 10)
    assert {
        each.name: [(tensor.name, list(tensor.string_data)) for tensor in each.g.initializer]
        for each in ir.to_proto(model).graph.node[0].attribute
    } == {"then_branch": [("k", [b"x", b"y"])], "else_branch": [("k", [b"u", b"v"])]}
    assert {tensor.name for each in original.graph.node[0].attribute for tensor in each.g.initializer} == {"k"}


def test_weights_never_pass_through_the_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    tracked: list[int] = []
    convert = onnx.version_converter.convert_version

    def spy(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
        tracked.append(model.ByteSize())
        return convert(model, opset)

    monkeypatch.setattr(onnx.version_converter, "convert_version", spy)
    model = ir.from_proto(
        parse(f"{X} <float[40,4000] a, float[4000,40] b> {{ h = MatMul(x, a) y = MatMul(h, b) }}", opset=13)
    )
    raise_opset(model, 17, 10)
    assert len(tracked) == 1
    assert tracked[0] < 10_000


FAULTS = {
    "training BatchNormalization": (
        "(float[2,4,5,5] x) => (float[2,4,5,5] y) <float[4] g, float[4] b, float[4] m, float[4] v>"
        "{ y, rm, rv, sm, sv = BatchNormalization(x, g, b, m, v) }",
        13,
        15,
    ),
    "Upsample": (
        "(float[2,4,5,5] x) => (float[2,4,10,10] y) <float[4] s = {1, 1, 2, 2}> { y = Upsample(x, s) }",
        9,
        17,
    ),
    "Resize 10": (
        "(float[2,4,5,5] x) => (float[2,4,10,10] y) <float[4] s = {1, 1, 2, 2}> { y = Resize(x, s) }",
        10,
        17,
    ),
    "Hardmax 11": ("(float[2,4,5,5] x) => (float[2,4,5,5] y) { y = Hardmax<axis=1>(x) }", 11, 17),
    "Hardmax 11 as it is by default": ("(float[2,4,5] x) => (float[2,4,5] y) { y = Hardmax(x) }", 11, 17),
    "the broadcast axis of operator set 6": (
        "(float[2,4,5] x) => (float[2,4,5] y) <float[4] k> { y = Mul<broadcast=1, axis=1>(x, k) }",
        6,
        17,
    ),
    "no kernel for 22": ("(float[2,4,5,5] x) => (float[2,4,1,1] y) { y = GlobalLpPool(x) }", 17, 23),
    "no kernel for random numbers of 22": ("(float[2,4] x) => (float[2,4] y) { y = RandomNormalLike(x) }", 17, 23),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_known_fault_of_the_converter_is_refused(name: str) -> None:
    text, present, wanted = FAULTS[name]
    original = parse(text, opset=present, ir_version=5)
    model = ir.from_proto(original)
    with pytest.raises(OpsetRaiseError):
        raise_opset(model, wanted, 10)
    assert ir.to_proto(model).SerializeToString() == ir.to_proto(ir.from_proto(original)).SerializeToString()


def test_a_function_is_refused_and_the_norm_says_so() -> None:
    text = (
        '<ir_version: 8, opset_import: ["": 13, "own": 1]> g (float[N,3,40] x) => (float[N,3,40] y)'
        f"<float eps = {{0.001}}> {{ {NORM} n = Div(d, s) y = own.Twice(n) }}"
        '<domain: "own", opset_import: ["": 13]> Twice (x) => (z) { z = Add(x, x) }'
    )
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    (verdict,) = fuse_norms(model)
    assert verdict.outcome is Outcome.KEPT
    assert verdict.obstacles[0].reason is Reason.CONVERTER
    assert "functions" in verdict.obstacles[0].detail


def test_group_normalization_18_gets_one_scale_a_channel() -> None:
    """The converter leaves one scale a group, which GroupNormalization 21 reads as one a channel."""
    text = (
        '<ir_version: 8, opset_import: ["": 18]> g (float[N,4,5] x) => (float[N,4,5] y)'
        "<float[2] g = {2, 3}, float[2] b = {-1, 1}> { y = GroupNormalization<num_groups=2>(x, g, b) }"
    )
    model = ir.from_proto(onnx.parser.parse_model(text))
    raise_opset(model, 21, 10)
    (node,) = model.graph
    scale, bias = (value.const_value.numpy().tolist() for value in node.inputs[1:] if value and value.const_value)
    assert (scale, bias) == ([2, 2, 3, 3], [-1, -1, 1, 1])


def test_an_initializer_that_ir_3_had_to_list_as_an_input_is_no_input_afterwards() -> None:
    original = parse(f"{X} <float[40] g> {{ y = Mul(x, g) }}", opset=9, ir_version=4)
    listed = onnx.helper.make_tensor_value_info("g", onnx.TensorProto.FLOAT, [40])
    original.graph.input.append(listed)
    original.ir_version = 3
    model = ir.from_proto(original)
    raise_opset(model, 17, 10)
    assert [value.name for value in model.graph.inputs] == ["x"]
    weight = numpy_helper.to_array(original.graph.initializer[0])
    constant = model.graph.initializers["g"].const_value
    assert constant is not None
    np.testing.assert_array_equal(constant.numpy(), weight)


# Operators that changed between operator sets: what one is before, and where it is raised to.
RAISED = (
    ("Softmax<axis=1>(x)", 11, 17),
    ("LogSoftmax<axis=2>(x)", 11, 17),
    ("Softmax(x)", 11, 17),
    ("Hardmax<axis=-1>(x)", 11, 17),
    ("Clip<min=-0.5, max=0.5>(x)", 7, 17),
    ("Pad<pads=[0,0,1,1,0,0,1,1], value=2.0>(x)", 7, 17),
    ("Slice<axes=[1], starts=[0], ends=[2]>(x)", 9, 17),
    ("Unsqueeze<axes=[0]>(x)", 11, 17),
    ("ReduceSum<axes=[1], keepdims=0>(x)", 11, 17),
    ("ReduceMean<axes=[1], keepdims=0>(x)", 11, 23),
    ("ReduceMax<axes=[2]>(x)", 11, 23),
    ("ReduceL2<axes=[1]>(x)", 13, 23),
    ("Flatten<axis=2>(x)", 8, 23),
    ("AveragePool<kernel_shape=[2,2], pads=[1,1,1,1]>(x)", 7, 23),
    ("LRN<size=3>(x)", 7, 23),
    ("InstanceNormalization(x, g, b)", 7, 23),
    ("LpNormalization<axis=1>(x)", 7, 23),
    ("BatchNormalization(x, g, b, g, var)", 8, 17),
    ("Transpose<perm=[0,2,3,1]>(x)", 7, 23),
    ("Gather<axis=1>(x, i)", 7, 23),
)
OTHER_TYPES = (
    ("Clip<min=-0.5, max=0.5>(x)", "float16"),
    ("Clip<max=0.5>(x)", "float16"),
    ("Clip<min=0.5>(x)", "float16"),
    ("Pad<pads=[0,0,1,1,0,0,1,1], value=2.0>(x)", "float16"),
    ("Pad<pads=[0,0,1,1,0,0,1,1]>(x)", "double"),
)
"""The converter makes float32 numbers of attributes, which no runtime takes in other types."""


@pytest.mark.parametrize(
    ("operator", "present", "wanted", "kind"),
    [*((*row, "float") for row in RAISED), *((operator, 7, 17, kind) for operator, kind in OTHER_TYPES)],
)
def test_a_raised_operator_computes_what_it_did(operator: str, present: int, wanted: int, kind: str) -> None:
    kinds = {"Unsqueeze": "a,b,c,d,e", "ReduceSum": "a,b,c", "ReduceMean": "a,b,c", "Flatten": "a,b"}
    sizes = kinds.get(operator.split("<")[0], "a,b,c,d")
    weights = f"{kind}[3] g, {kind}[3] b, {kind}[3] var, int64[2] i = {{0, 2}}"
    text = f"({kind}[2,3,4,5] x) => ({kind}[{sizes}] y) <{weights}> {{ y = {operator} }}"
    original = parse(text, opset=present, ir_version=5)
    model = ir.from_proto(original)
    raise_opset(model, wanted, 11)
    numbers = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    feeds = {"x": numbers.astype(np.float32 if kind == "float" else kind)}
    assert_close(run_or_skip(ir.to_proto(model), feeds, ["y"]), run_in_ort(original, feeds, ["y"]), note=operator)
