"""Folds in branches, loops and functions have evidence of their own: a fault inside is found at its fold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import normfold
from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, Site, Verification, prove
from normfold.verify.regions.difference import differing_regions
from normfold.verify.sites.subgraph_copies import inline_bodies
from tests.onnx_text import parse

WEIGHTS = "float[4,4] w, float[4] s, float[4] b, float[4] m, float[4] var"
NORM = "BatchNormalization(a, s, b, m, var)"
LOOP = f"""Loop(n, t, x) <body = turn (int64 i, bool c, float[N,4] v) => (bool d, float[N,4] u)
    {{ d = Identity(c) a = MatMul(v, w) z = {NORM} u = Tanh(z) }}>"""
SCAN = f"""<num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1],
    body = turn (float[N,4] before, float[N,4] x) => (float[N,4] after, float[N,4] out)
    {{ a = MatMul(x, w) z = {NORM} k = Add(z, before) after = Tanh(k) out = Identity(after) }}>"""
TWO = f"""<then_branch = one () => (float[N,4] p)
      {{ a = MatMul(x, w) z = {NORM} r = Relu(z) a2 = MatMul(r, w) p = BatchNormalization(a2, b, s, b, var) }},
    else_branch = other () => (float[N,4] q) {{ a = MatMul(x, w) q = BatchNormalization(a, b, s, m, var) }}>"""

BODIES = {
    "both branches of If": (
        f"(float[N,4] x, bool k) => (float[N,4] y) <{WEIGHTS}> {{ y = If(k) {TWO} }}",
        ("y.then_branch/z", "y.then_branch/p", "y.else_branch/q"),
    ),
    "branches of which no feed takes one": (
        f"(float[N,4] x, float f) => (float[N,4] y) <{WEIGHTS}> {{ k = IsNaN(f) y = If(k) {TWO} }}",
        ("y.then_branch/z", "y.then_branch/p", "y.else_branch/q"),
    ),
    "Loop": (
        f"(float[N,4] x) => (float[N,4] y) <int64 n = {{40}}, bool t = {{1}}, {WEIGHTS}> {{ y = {LOOP} }}",
        ("y.body/z", "y.body, turn 2/z"),
    ),
    "Loop in If": (
        f"""(float[N,4] x, bool k) => (float[N,4] y) <int64 n = {{3}}, bool t = {{1}}, {WEIGHTS}>
        {{ y = If(k) <then_branch = one () => (float[N,4] p) {{ p = {LOOP} }},
                      else_branch = other () => (float[N,4] q) {{ q = Neg(x) }}> }}""",
        ("y.then_branch/p.body/z", "y.then_branch/p.body, turn 2/z"),
    ),
    "Scan from behind along axis 1": (
        f"""(float[N,4] h, float[N,S,4] x) => (float[N,4] last, float[S,N,4] y) <{WEIGHTS}>
        {{ last, y = Scan {SCAN} (h, x) }}""",
        ("last.body/z", "last.body, turn 2/z"),
    ),
}


def sites(result: normfold.Result) -> list[Site]:
    return [Site(value, v.finding.name, v.finding.graph) for v in result.changes for value in v.sites]


def bodies(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Every body graph of a model, with its path."""

    def walk(nodes: list[onnx.NodeProto], path: str) -> Iterator[tuple[str, onnx.GraphProto]]:
        for node in nodes:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    inner = f"{path}/{node.name or node.output[0]}.{attribute.name}".lstrip("/")
                    yield inner, attribute.g
                    yield from walk(list(attribute.g.node), inner)

    return walk(list(model.graph.node), "")


def broken_bodies(result: normfold.Result) -> Iterator[tuple[str, onnx.ModelProto]]:
    """The result with one channel of one weight of one body off by a thousandth, and the fold that went into it."""
    for path, body in bodies(result.model):
        for index, tensor in enumerate(body.initializer):
            readers = {name for node in body.node if tensor.name in node.input for name in (node.name, *node.output)}
            inside = [v for v in result.changes if v.finding.graph == path]
            owner = next((v.finding.name for v in inside if readers & {*v.into, *v.sites}), None)
            if owner is not None and len(tensor.dims) > 1:
                broken = onnx.ModelProto()
                broken.CopyFrom(result.model)
                dict(bodies(broken))[path].initializer[index].CopyFrom(off_by_a_thousandth(tensor))
                yield owner, broken


def off_by_a_thousandth(tensor: onnx.TensorProto) -> onnx.TensorProto:
    array = np.array(numpy_helper.to_array(tensor))
    array[..., 1] *= np.float32(1.001)
    return numpy_helper.from_array(array, tensor.name)


@pytest.mark.parametrize(("text", "expected"), BODIES.values(), ids=BODIES.keys())
def test_a_fold_in_a_body_has_evidence_of_its_own(text: str, expected: tuple[str, ...]) -> None:
    result = normfold.optimize(parse(text))
    assert result.verification is not None
    assert {c.value for c in result.verification.sites} == set(expected)
    assert not result.verification.notes
    faults = list(broken_bodies(result))
    assert len(faults) >= len(result.changes)
    for owner, broken in faults:
        assert prove(result.source.proto, broken, sites(result)).failing_folds == (owner,)


def linear_function() -> onnx.ModelProto:
    """A function with weights of its own, called twice with another slope of its LeakyRelu."""
    rng = np.random.default_rng(3)
    arrays = {"w": rng.normal(size=(4, 4, 3, 3)), "s": rng.normal(size=4), "b": rng.normal(size=4)}
    arrays |= {"m": rng.normal(size=4), "var": rng.uniform(0.5, 2, 4)}
    constants = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array.astype(np.float32)))
        for name, array in arrays.items()
    ]
    leaky = helper.make_node("LeakyRelu", ["z"], ["y"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    nodes = [
        *constants,
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", "s", "b", "m", "var"], ["z"]),
        leaky,
    ]
    opset = helper.make_opsetid("", 17)
    function = helper.make_function("my", "Block", ["x"], ["y"], nodes, [opset], attributes=["slope"])
    calls = [
        helper.make_node("Block", ["x"], ["h"], domain="my", slope=0.2),
        helper.make_node("Block", ["h"], ["y"], domain="my", slope=0.9),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 4, 6, 6]) for name in ("x", "y")]
    graph = helper.make_graph(calls, "g", ends[:1], ends[1:])
    imports = [opset, helper.make_opsetid("my", 1)]
    return helper.make_model(graph, functions=[function], opset_imports=imports, ir_version=9)


def test_a_fold_in_a_function_has_evidence_at_every_call() -> None:
    result = normfold.optimize(linear_function())
    assert result.verification is not None
    assert {c.value for c in result.verification.sites} == {"h:Block/z", "y:Block/z"}
    broken = onnx.ModelProto()
    broken.CopyFrom(result.model)
    weight = next(n for n in broken.functions[0].node if n.op_type == "Constant" and "w" in n.output[0])
    weight.attribute[0].t.CopyFrom(off_by_a_thousandth(weight.attribute[0].t))
    assert prove(result.source.proto, broken, sites(result)).failing_folds == ("z",)


def test_a_branch_that_cannot_run_on_what_it_captures_is_shown_by_its_operator() -> None:
    """The branch is for another size; the proof of the rest does not suffer."""
    text = f"""(float[M,4] x, float f) => (float[N,4] y) <int64[2] six = {{6, 4}}, {WEIGHTS}>
        {{ k = IsNaN(f) y = If(k) <then_branch = one () => (float[6,4] p)
               {{ r = Reshape(x, six) a = MatMul(r, w) z = {NORM} p = Relu(z) }},
             else_branch = other () => (float[M,4] q) {{ a = MatMul(x, w) q = {NORM} }}> }}"""
    result = normfold.optimize(parse(text)).verification
    assert isinstance(result, Verification)
    assert {c.value: c.folds for c in result.sites} == {"y": ("z",), "y.else_branch/q": ("q",)}
    assert result.verdict is Equivalence.EQUIVALENT


def test_an_if_is_no_difference_itself_where_its_branches_agree() -> None:
    """No input takes the first branch, and no caller says where to look: a fault in it is found at its operator."""
    text = """(float[N,4] x, float f) => (float[N,4] y) <float[4] w, float[4] v> {
        k = IsNaN(f) y = If(k) <
            then_branch = one () => (float[N,4] p) { a = Mul(x, w) b = Relu(a) c = Mul(b, v) p = Tanh(c) },
            else_branch = other () => (float[N,4] q) { d = Mul(x, w) q = Relu(d) }> }"""
    raw = parse(text)
    weights = {tensor.name: tensor for tensor in raw.graph.initializer}

    def other(line: str) -> onnx.ModelProto:
        made = parse(text.replace("c = Mul(b, v)", line))
        for tensor in made.graph.initializer:
            tensor.CopyFrom(weights[tensor.name])
        return made

    assert normfold.verify(raw, other("e = Identity(v) c = Mul(e, b)"))
    found = normfold.verify(raw, other("e = Mul(b, v) g = Mul(e, v) c = Sub(e, g)"))
    assert [row.value for row in found.sites] == ["y.then_branch/c"]
    one, two = (inline_bodies(load(each), {"y.then_branch", "y.else_branch"})[0] for each in (raw, other("c = Neg(b)")))
    assert [region.targets for region in differing_regions(one, two)] == [("y.then_branch/c",)]
