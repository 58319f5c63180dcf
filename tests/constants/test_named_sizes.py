"""Sizes that the target of a Reshape knows by name, as TensorFlow computes it."""

from __future__ import annotations

from unittest.mock import Mock

import onnx
import pytest

import normfold
from normfold.constants import named_sizes
from normfold.constants.named_sizes import with_named_sizes
from normfold.constants.simplify import simplify
from normfold.findings.verdict import Outcome
from normfold.operators.shape_inference import infer_shapes
from tests.onnx_text import parse

# The sizes behind a pool have no name, and a model that was inferred once has another one for each value.
DYNAMIC = (
    "(float[N,8,H,W] e) => (float[N,8,I,J] z) <float eps = {0.001}, float[1,1,1,2,4] g, float[1,1,1,2,4] b,"
    "int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] zero = {0}, int32[1] rest = {-1},"
    "int32[1] groups = {2}, int32[1] size = {4}, int32[1] all = {8}>"
    "{ c = MaxPool<kernel_shape=[2,2]>(e) x = Transpose<perm=[0,2,3,1]>(c) l = Shape(x) i = Cast<to=6>(l)"
    "h = Slice(i, one, two, zero) w = Slice(i, two, three, zero) n = Slice(i, zero, one, zero)"
    "t = Concat<axis=0>(rest, h, w, groups, size) split = Cast<to=7>(t)"
    "u = Concat<axis=0>(n, h, w, all) back = Cast<to=7>(u) r = Reshape(x, split)"
    "m = ReduceMean<axes=[1,2,4]>(r) d = Sub(r, m) p = Mul(d, d) v = ReduceMean<axes=[1,2,4]>(p) a = Add(v, eps)"
    "s = Sqrt(a) k = Div(d, s) f = Mul(k, g) o = Add(f, b) y = Reshape(o, back) q = Relu(y)"
    "z = Transpose<perm=[0,3,1,2]>(q) }"
)


def sizes(model: onnx.ModelProto, name: str) -> list[int | str]:
    (value,) = (value for value in model.graph.value_info if value.name == name)
    return [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]


def test_a_target_gives_its_names_to_what_is_reshaped() -> None:
    model = parse(DYNAMIC)
    for value in model.graph.value_info:
        if value.name in ("r", "d"):  # as the inference of another day may have named them
            value.type.tensor_type.shape.dim[1].dim_param = "height"
    named = with_named_sizes(model)
    pooled = sizes(named, "x")
    assert pooled == ["N", "ceil(H - 1)", "ceil(W - 1)", 8]
    for name in ("r", "d"):
        assert sizes(named, name) == [*pooled[:3], 2, 4]
    assert sizes(named, "y") == pooled


def test_a_rest_that_is_no_size_of_the_input_has_no_name() -> None:
    text = (
        "(float[N,H,6] x) => (float[N,M,6] z) <int64[1] rest = {-1}, int64[1] three = {3}, int64[1] zero = {0},"
        "int64[1] one = {1}> { l = Shape(x) n = Slice(l, zero, one) t = Concat<axis=0>(n, rest, three)"
        " r = Reshape(x, t) z = Concat<axis=2>(r, r) }"
    )
    named = with_named_sizes(parse(text))
    assert sizes(named, "r")[0] == "N"
    assert sizes(named, "r")[1] != "H", "there are twice as many"


def test_how_many_sizes_a_target_has_is_the_rank_of_the_result() -> None:
    text = (
        "(float[N] x, int64[2] t, int64[1] e) => (float[A,B] z) <float[6,4] w>"
        "{ r = Reshape(x, t) y = Expand(r, e) z = MatMul(y, w) }"
    )
    model = parse(text)
    del model.graph.value_info[:]
    named = with_named_sizes(infer_shapes(model))
    assert len(sizes(named, "r")) == len(sizes(named, "y")) == 2


def test_two_sizes_in_one_are_divided_again() -> None:
    """As video models put the frames of all samples into the batch, and take them out again."""
    text = (
        "(float[N,T,3,4] x) => (float[N,T,K] y) <int64 first = {0}, int64 second = {1}, int64[1] flat = {12},"
        "int64[1] up = {0}, int64[1] rest = {-1}> { s = Shape(x) b = Gather(s, first) t = Gather(s, second)"
        "p = Mul(b, t) u = Unsqueeze(p, up) k = Concat<axis=0>(u, flat) r = Reshape(x, k) e = Softmax(r) l = Shape(e)"
        "n = Gather(l, first) d = Div(n, t) v = Unsqueeze(d, up) w = Unsqueeze(t, up) g = Concat<axis=0>(v, w, rest)"
        "q = Reshape(e, g) y = Neg(q) }"
    )
    named = with_named_sizes(parse(text))
    assert sizes(named, "e") == ["N*T", 12]
    assert sizes(named, "q") == ["N", "T", 12]


def test_what_a_target_tells_is_carried_on_without_inferring_the_whole_model_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inferred = Mock(wraps=infer_shapes)
    monkeypatch.setattr(named_sizes, "infer_shapes", inferred)
    blocks = [
        f"s{n} = Shape(x{n}) h{n} = Slice(s{n}, zero, two) t{n} = Concat<axis=0>(h{n}, size) r{n} = Reshape(x{n}, t{n})"
        f" p{n} = Transpose<perm=[1,0,2]>(r{n}) q{n} = Relu(p{n}) x{n + 1} = Transpose<perm=[1,0,2]>(q{n})"
        for n in range(30)
    ]
    model = parse(
        "(float[N,L,4] x0) => (float[N,L,4] y) <int64[1] zero = {0}, int64[1] two = {2}, int64[1] size = {4}>"
        f"{{ {' '.join(blocks)} y = Relu(x30) }}",
        opset=11,
    )
    assert sizes(with_named_sizes(infer_shapes(model)), "x30") == ["N", "L", 4]
    assert inferred.call_count < 4


def test_a_chain_longer_than_a_few_rounds_of_inference_is_followed_to_its_end() -> None:
    """Before Shape-15, inference loses the rank at each Reshape to a Shape, and finds it only when that is constant."""
    blocks = [f"s{n} = Shape(x{n}) r{n} = Reshape(x{n}, flat) x{n + 1} = Reshape(r{n}, s{n})" for n in range(40)]
    text = f"(float[2,3,4] x0) => (float[2,3,4] y) <int64[2] flat = {{2, 12}}>{{ {' '.join(blocks)} y = Relu(x40) }}"
    assert simplify(parse(text, opset=13)).types["x40"].tensor_type.shape.dim[2].dim_value == 4


def test_the_norm_of_a_dynamic_image_is_recognized() -> None:
    assert simplify(parse(DYNAMIC)).note == ""
    result = normfold.inspect(parse(DYNAMIC))
    (norm,) = (verdict for verdict in result.verdicts if verdict.outcome is Outcome.FUSED)
    assert norm.form == "Transpose-Reshape-InstanceNormalization-Reshape-Mul-Add-Transpose"
