"""The pre-clean: what becomes constant; names and overridable initializers survive; failures are notes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import numpy_helper

from normfold import optimize
from normfold.constants import resolve as resolve_module
from normfold.constants import simplify as module
from normfold.constants.resolve import resolve
from normfold.constants.shape_values import Dimension, PartialInts, without_rest
from normfold.constants.simplify import InferredFacts, apply_facts, simplify
from normfold.files.protos.convert import to_ir, to_proto
from normfold.files.protos.skeleton import skeleton
from normfold.fold.cleanup.tidy import tidy


def parse(text: str, **initializers: object) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    for name, value in initializers.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def applied(model: onnx.ModelProto, facts: InferredFacts | None = None) -> ir.Model:
    result = to_ir(model)
    apply_facts(result, facts if facts is not None else simplify(model))
    tidy(result)  # stores the weights that the reader knows exactly
    return result


def run(model: onnx.ModelProto, **feeds: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, feeds)[0])


# name, graph, initializers, operators left
TABLE = [
    (
        "a reshape to the shape of another value, static",
        """net (float[2, 12] x, float[4, 6] z) => (float[4, 6] y) { s = Shape (z) y = Reshape (x, s) }""",
        {},
        ["Reshape"],
    ),
    (
        "a reshape with a symbolic batch and a computed head size",
        """net (float[batch, 16, 48] x) => (float[batch, 16, 4, 12] y) {
            s = Shape (x)
            b = Gather (s, zero) t = Gather (s, one) c = Gather (s, two) h = Div (c, four)
            b1 = Unsqueeze (b, axis) t1 = Unsqueeze (t, axis) f1 = Unsqueeze (four, axis) h1 = Unsqueeze (h, axis)
            target = Concat <axis = 0> (b1, t1, f1, h1)
            y = Reshape (x, target)
        }""",
        {"zero": 0, "one": 1, "two": 2, "four": 4, "axis": [0]},
        ["Reshape"],
    ),
    (
        "a rest that follows when the symbolic batch cancels",
        """net (float[batch, 16, 48] x) => (float[batch, 16, 4, 12] y) {
            s = Shape (x) b = Slice (s, from, to) target = Concat <axis = 0> (b, tail) y = Reshape (x, target)
        }""",
        {"from": [0], "to": [1], "tail": [16, 4, -1]},
        ["Reshape"],
    ),
    (
        "a rest behind a symbolic dimension of the input",
        """net (float[batch, tokens, 48] x) => (float[batch, rest, 48] y) {
            s = Shape (x) b = Slice (s, from, to) target = Concat <axis = 0> (b, tail) y = Reshape (x, target)
        }""",
        {"from": [0], "to": [1], "tail": [-1, 48]},
        ["Reshape"],
    ),
    (
        "two symbolic dimensions in their places",
        """net (float[batch, tokens, 48] x) => (float[batch, tokens, 4, 12] y) {
            s = Shape (x) head = Slice (s, from, to) target = Concat <axis = 0> (head, tail) y = Reshape (x, target)
        }""",
        {"from": [0], "to": [2], "tail": [4, 12]},
        ["Reshape"],
    ),
    (
        "two symbolic dimensions where 0 means nothing stay computed",
        """net (float[batch, tokens, 48] x) => (float[batch, tokens, 4, 12] y) {
            s = Shape (x) head = Slice (s, from, to) target = Concat <axis = 0> (head, tail)
            y = Reshape <allowzero = 1> (x, target)
        }""",
        {"from": [0], "to": [2], "tail": [4, 12]},
        ["Shape", "Slice", "Concat", "Reshape"],
    ),
    (
        "two symbolic dimensions in other places stay computed",
        """net (float[batch, tokens, 48] x) => (float[48, batch, tokens] y) {
            s = Shape (x) head = Slice (s, from, to) target = Concat <axis = 0> (tail, head) y = Reshape (x, target)
        }""",
        {"from": [0], "to": [2], "tail": [48]},
        ["Shape", "Slice", "Concat", "Reshape"],
    ),
    (
        "what torch writes for an expand",
        """net (float[batch, 1] x, float[batch, 5] z) => (float[batch, 5] y) {
            s = Shape (z) n = Equal (s, minus) w = Where (n, ones, s) e = Expand (x, w) y = Add (e, z)
        }""",
        {"minus": [-1, -1], "ones": [1, 1]},
        ["Shape", "Expand", "Add"],
    ),
    (
        "an expand to the target of the reshape before it",
        """net (float[batch, 4] x, float[rows] v) => (float[rows, 4] y) {
            s = Shape (x) b = Slice (s, from, to) target = Concat <axis = 0> (b, tail)
            r = Reshape (v, target) e = Expand (r, target) y = Mul (x, e)
        }""",
        {"from": [0], "to": [1], "tail": [1]},
        ["Reshape", "Mul"],
    ),
    (
        "an expand to another target than that of the reshape before it",
        """net (float[batch, 4] x, float[rows] v) => (float[rows, 4] y) {
            s = Shape (x) b = Slice (s, from, to) target = Concat <axis = 0> (b, tail)
            r = Reshape (v, target) e = Expand (r, s) y = Mul (x, e)
        }""",
        {"from": [0], "to": [1], "tail": [1]},
        ["Shape", "Reshape", "Expand", "Mul"],
    ),
    (
        "an expand to the constant target of the reshape before it, in which a 0 has two meanings",
        """net (float[1, 4] x) => (float[none, 2, 2] y) { r = Reshape (x, t) e = Expand (r, t) y = Neg (e) }""",
        {"t": [0, 2, 2]},
        ["Reshape", "Expand", "Neg"],
    ),
    (
        "an expand to its own shape that is an output",
        """net (float[batch, 4] x, float[rows] v) => (float[rows, 1] y) {
            s = Shape (x) b = Slice (s, from, to) target = Concat <axis = 0> (b, tail)
            r = Reshape (v, target) y = Expand (r, target)
        }""",
        {"from": [0], "to": [1], "tail": [1]},
        ["Shape", "Slice", "Concat", "Reshape", "Expand"],
    ),
    (
        "a target that multiplies a size, whose rest is a number",
        """net (float[batch, 16, 5, 5] x) => (float[batch, 16, 5, 5] y) {
            s = Shape (x) b = Gather (s, zero) m = Mul (b, four) u = Unsqueeze (m, from) t = Concat <axis = 0> (u, rest)
            r = Reshape (x, t) e = Softmax <axis = 1> (r) y = Reshape (e, s)
        }""",
        {"zero": 0, "four": 4, "from": [0], "rest": [-1]},
        ["Reshape", "Softmax", "Reshape"],
    ),
    (
        "arithmetic on constants, by onnxsim",
        """net (float[2, 3] x) => (float[2, 3] y) { r = Sinh (v) w = Div (g, r) y = Mul (x, w) }""",
        {"v": np.array([1, 4, 9], np.float32), "g": np.array([1, 1, 1], np.float32)},
        ["Mul"],
    ),
    (
        "arithmetic on constants, by ourselves",
        """net (float[2, 3] x) => (float[2, 3] y) { r = Sqrt (v) t = Transpose (g) w = Div (t, r) y = Mul (x, w) }""",
        {"v": np.array([1, 4, 9], np.float32), "g": np.array([1, 1, 3], np.float32)},
        ["Mul"],
    ),
    (
        "a constant that is an output is stored, under a name of its own",
        """net (float[2, 3] x) => (float[3] y, float[2, 3] z) { y = Sqrt (v) z = Relu (x) }""",
        {"v": np.array([1, 4, 9], np.float32)},
        ["Identity", "Relu"],
    ),
]


@pytest.mark.parametrize(("name", "text", "initializers", "left"), TABLE, ids=[row[0] for row in TABLE])
def test_what_is_left(name: str, text: str, initializers: dict[str, object], left: list[str]) -> None:
    arrays = {
        key: value if isinstance(value, np.ndarray) else np.asarray(value, np.int64)
        for key, value in initializers.items()
    }
    model = parse(text, **arrays)
    onnx.checker.check_model(model)
    result = applied(model)
    assert [node.op_type for node in result.graph] == left
    proto = to_proto(result)
    onnx.checker.check_model(proto)
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]
        feeds[value.name] = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(run(model, **feeds), run(proto, **feeds))


def test_equal_constants_are_found_under_each_of_their_names() -> None:
    """onnxsim lets equal constants share one name; the model uses both."""
    model = parse(
        "net (float[3] x) => (float[3] y) { a = Sinh (v) b = Sinh (v) s = Mul (x, a) y = Add (s, b) }",
        v=np.array([1, 4, 9], np.float32),
    )
    result = applied(model)
    assert {"a", "b"} <= set(result.graph.initializers)
    assert [node.op_type for node in result.graph] == ["Mul", "Add"]


def test_an_overridable_initializer_is_no_constant() -> None:
    model = parse("net (float[3] x, float[3] v) => (float[3] y) { a = Sinh (v) y = Mul (x, a) }")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 9], np.float32), "v"))
    result = applied(model)
    assert [node.op_type for node in result.graph] == ["Sinh", "Mul"]
    assert [value.name for value in result.graph.inputs] == ["x", "v"]


def test_weights_never_leave_the_model() -> None:
    big = np.zeros((100, 100), np.float32)
    model = parse("net (float[100, 100] x) => (float[100, 100] y) { y = MatMul (x, w) }", w=big)
    without_weights = skeleton(model)
    assert without_weights.ByteSize() < 200
    assert [value.name for value in without_weights.graph.input] == ["x", "w"]
    assert not without_weights.graph.initializer


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.exit('it broke')", "it broke"),
        ("import time; time.sleep(60)", "more than"),
        ("print('no model')", "cannot be read"),
        ("import os; os.kill(os.getpid(), 9)", "code -9"),
        ("x = bytearray(2**40)", "MemoryError"),
    ],
)
def test_a_failing_onnxsim_is_a_note(script: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(script)
    monkeypatch.setattr(module, "_WORKER", worker)
    monkeypatch.setattr(module, "TIME_LIMIT", 3.0)
    model = parse("net (float[3] x) => (float[3] y) { a = Sinh (v) y = Mul (x, a) }", v=np.ones(3, np.float32))
    facts = simplify(model)
    assert words in facts.note
    assert [node.op_type for node in applied(model, facts).graph] == ["Sinh", "Mul"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only its time by the clock is bounded")
def test_onnxsim_has_little_time_of_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROCESSOR_LIMIT", (1, 0.0))
    (tmp_path / "onnxsim.py").write_text("def simplify(model, **options):\n    while True:\n        pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    model = parse("net (float[3] x) => (float[3] y) { a = Sinh (v) y = Mul (x, a) }", v=np.ones(3, np.float32))
    assert "more than 1 s of the processor" in simplify(model).note


def test_constants_that_are_computed_at_once_are_few_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "net (float[3] x) => (float[3] y) { a = Neg (v) b = Neg (a) c = Neg (b) y = Mul (x, c) }"
    model = parse(text, v=np.ones(3, np.float32))
    for most, left in (9, []), (8, ["Neg"]):
        monkeypatch.setattr(resolve_module, "MOST", most)
        done = [node.op_type for node in resolve(skeleton(model))[0].graph.node if node.op_type != "Constant"]
        assert done == [*left, "Mul"]


def test_onnxsim_does_not_start_for_a_model_without_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert simplify(parse("net (float[3] x) => (float[3] y) { y = Relu (x) }")).note == ""
    assert (
        "onnxsim failed"
        in simplify(
            parse("net (float[3] x) => (float[3] y) { a = Sinh (v) y = Mul (x, a) }", v=np.ones(3, np.float32))
        ).note
    )


@pytest.mark.parametrize(
    ("nodes", "known"),
    [
        ("n = Size (x) y = Expand (x, n)", {"n": 24}),
        ("s = Shape (x) n = ReduceProd (s) y = Expand (x, n)", {"n": [24]}),
        ("s = Shape (x) n = ReduceProd <keepdims = 0> (s) y = Expand (x, n)", {"n": 24}),
        ("s = Shape (x) n = ReduceProd <noop_with_empty_axes = 1> (s) y = Expand (x, n)", {"n": None}),
        ("n = Range (zero, six, two) y = Expand (x, n)", {"n": [0, 2, 4]}),
        ("n = Range (zero, six, zero) y = Expand (x, n)", {"n": None}),
        ("b = Size (z) n = Range (zero, b, two) y = Expand (x, n)", {"b": None, "n": None}),
        ("a = ReduceProd (vast) n = ReduceProd (few) y = Expand (x, n)", {"a": None, "n": [64]}),
    ],
)
def test_counts_and_ranges_need_no_process(
    nodes: str, known: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    constants = {"zero": 0, "two": 2, "six": 6, "vast": [2**32] * 3, "few": [2**3] * 2}
    facts = simplify(parse(f"net (float[4, 6] x, float[N] z) => (float[K, M] y) {{ {nodes} }}", **constants))
    for name, value in known.items():
        found = facts.constants.get(name)
        assert (None if found is None else numpy_helper.to_array(found).tolist()) == value


def test_without_simplify_only_shapes_are_learned() -> None:
    model = parse("net (float[2, 12] x) => (float[2, 12] y) { s = Shape (x) r = Relu (x) y = Reshape (r, s) }")
    result = to_ir(model)
    apply_facts(result, simplify(model, fold=False))
    assert [node.op_type for node in result.graph] == ["Shape", "Relu", "Reshape"]
    assert result.graph[1].outputs[0].shape == ir.Shape([2, 12])


def test_resolve_does_not_touch_its_argument() -> None:
    model = parse("net (float[2, 12] x) => (float[2, 12] y) { s = Shape (x) y = Reshape (x, s) }")
    before = model.SerializeToString(deterministic=True)
    resolve(model)
    assert model.SerializeToString(deterministic=True) == before


def test_ints() -> None:
    assert PartialInts((1, 2)).is_known
    assert not PartialInts((1, "batch")).is_known
    assert not PartialInts((None,)).is_known


@pytest.mark.parametrize(
    ("target", "source", "known"),
    [
        (("4*N", -1), ("N", 16, 25), ("4*N", 100)),
        (("N", -1), ("N", "H", 6), ("N", "6*H")),
        (("N*T", -1), ("T", 8, "N"), ("N*T", 8)),
        (("N", -1), ("N", "H + 1"), ("N", "H + 1")),
        (("N", -1), ("N", "H + 1", 2), ("N", -1)),
        (("3*N", -1), ("N", 16), ("3*N", -1)),
        (("M", -1), ("N", 16), ("M", -1)),
        ((0, -1), ("N", 16), (0, -1)),
        ((None, -1), ("N", 16), (None, -1)),
        (("N", -1), ("N", None), ("N", -1)),
    ],
)
def test_the_rest_of_a_target(
    target: tuple[Dimension, ...], source: tuple[Dimension, ...], known: tuple[Dimension, ...]
) -> None:
    assert without_rest(target, source) == known


WEIGHTS = (
    "float[4,4] m = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float[4,3] w = {1,2,3,4,5,6,7,8,9,1,2,3},"
    "float[4] g = {2,3,4,5}, float[3] e = {2,3,4}"
)
BODIES = {
    "If, with equal names of other shapes": (
        "(float[N,4] x, bool c) => (float[N,K] y)",
        "{ y = If (c) <then_branch = a () => (float[N,4] p) { h = MatMul(x, m) p = Mul(h, g) },"
        " else_branch = b () => (float[N,3] p) { h = MatMul(x, w) p = Mul(h, e) }> }",
    ),
    "Loop": (
        "(float[N,4] x, int64 n, bool c) => (float[N,4] y)",
        "{ y = Loop (n, c, x) <body = a (int64 i, bool d, float[N,4] s) => (bool d2, float[N,4] o)"
        " { d2 = Identity(d) h = MatMul(s, m) k = Mul(h, g) o = Tanh(k) }> }",
    ),
    "Scan": (
        "(float[5,N,4] x, float[N,4] z) => (float[N,4] y, float[5,N,4] ys)",
        "{ y, ys = Scan <num_scan_inputs = 1, body = a (float[N,4] s, float[N,4] i) => (float[N,4] o, float[N,4] p)"
        " { h = MatMul(i, m) k = Mul(h, g) j = Add(k, s) o = Tanh(j) p = Identity(o) }> (z, x) }",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_shapes_are_found_inside_bodies(name: str) -> None:
    interface, body = BODIES[name]
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g {interface} <{WEIGHTS}> {body}')
    result = optimize(model)
    assert result.changes
    assert not result.kept
    assert result.verification


def test_constants_that_half_precision_decides_are_those_of_a_run() -> None:
    """T5's buckets of distances, in float16: rounded after every operator some fall on the other side of a whole."""
    n, table = np.arange(16, 128).astype(np.float16), np.arange(64).astype(np.float16)
    k, m = np.float16(16), np.float16(11.54)
    model = parse(
        """g (float16[112] x) => (float16[112] y)
        { a = Div(n, k)  l = Log(a)  q = Mul(l, m)  b = Cast<to=7>(q)  t = Gather(table, b)  y = Add(x, t) }""",
        n=n,
        k=k,
        m=m,
        table=table,
    )
    buckets = run(model, x=np.zeros(112, np.float16))
    assert not np.array_equal((np.log(n / k) * m).astype(int), buckets), "these numbers make no difference"
    assert np.array_equal(numpy_helper.to_array(simplify(model).constants["t"]), buckets)


def test_the_unknown_size_of_a_reshape_is_not_that_of_the_others_who_read_the_same_shape() -> None:
    model = parse(
        """
shared (float[N,3,4] x) => (float[M,12] y, float[P,12] z)
<float[1] one = {1}, int64[1] first = {0}, int64[1] rest = {12}>
{ shape = Shape(x)
  n = Gather(shape, first)
  t = Concat<axis = 0>(n, rest)
  y = Reshape(x, t)
  z = Expand(one, t) }
"""
    )
    facts = simplify(model)
    assert facts.reshape_targets == {"y": (-1, 12)}
    assert "t" not in facts.constants


def test_a_constant_that_is_cast_to_the_type_of_a_variable_is_a_constant() -> None:
    """As torch's exporter writes the bias of a convolution that has none, without its optimizer."""
    weight = np.ones((4, 2, 3, 3), np.float32)
    model = parse(
        "g (float[N,2,6,6] x) => (float[N,4,4,4] y) { t = CastLike(k, x) b = Expand(t, s) c = Conv(x, w, b)"
        " y = BatchNormalization(c, g, g, g, g) }",
        k=np.float32(0.5),
        s=np.asarray([4]),
        w=weight,
        g=np.ones(4, np.float32),
    )
    assert [node.op_type for node in optimize(model).model.graph.node] == ["Conv"]
