"""Inputs made up from the graph are legal for its operators, hard on its arithmetic, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from normfold.runtime.loaded_model import load
from normfold.verify import ProofOptions, prove
from normfold.verify.inputs.generate import Feed, Feeder
from tests.onnx_text import parse

Check = Callable[[np.ndarray], bool]


def feeds(model: onnx.ModelProto, count: int = 4, seed: int = 0) -> list[Feed]:
    """The most wanted proposal of each of ``count`` feeds."""
    feeder = Feeder.of(load(model), seed=seed)
    return [next(feeder.proposals(index))[0] for index in range(count)]


def within(low: float, high: float) -> Check:
    return lambda array: bool(array.size == 0 or (array.min() >= low and array.max() <= high))


ROLES: dict[str, tuple[str, str, Check]] = {
    "an index into a table": (
        "(int64[N,5] ids) => (float[N,5,3] y) <float[7,3] t> { y = Gather(t, ids) }",
        "ids",
        within(0, 6),
    ),
    "an index on another axis": (
        "(int64[N] ids) => (float[9,N] y) <float[9,4] t> { y = Gather<axis=1>(t, ids) }",
        "ids",
        within(0, 3),
    ),
    "an index behind Cast and Unsqueeze": (
        """(int32[N] ids) => (float[N,1,3] y) <float[7,3] t, int64[1] one = {1}>
        { a = Cast<to=7>(ids) b = Unsqueeze(a, one) y = Gather(t, b) }""",
        "ids",
        within(0, 6),
    ),
    "an index that gets an offset": (
        """(int64[N] ids) => (float[N,3] y) <float[7,3] t, int64 two = {2}>
        { a = Add(ids, two) y = Gather(t, a) }""",
        "ids",
        within(0, 4),
    ),
    "an index into two tables": (
        """(int64[N] ids) => (float[N,3] y) <float[7,3] t, float[4,3] s>
        { a = Gather(t, ids) b = Gather(s, ids) y = Add(a, b) }""",
        "ids",
        within(0, 3),
    ),
    "indices of elements": (
        "(int64[2,3] ids) => (float[2,3] y) <float[5,3] t> { y = GatherElements(t, ids) }",
        "ids",
        within(0, 4),
    ),
    "a size that a branch passes on": (
        """(int64[2] size, bool c) => (float[N,M] y)
        { s = If(c) <then_branch = a () => (int64[2] t) { t = Identity(size) },
                     else_branch = b () => (int64[2] e) { e = Neg(size) }>
          y = ConstantOfShape(s) }""",
        "size",
        within(4, 4),
    ),
    "a class to encode": (
        "(int64[N] ids) => (float[N,6] y) <int64 depth = {6}, float[2] v = {0, 1}> { y = OneHot(ids, depth, v) }",
        "ids",
        within(0, 5),
    ),
    "a mask by its use": (
        """(int64[N,5] m) => (float[N,5] y) <float one = {1}, float low = {-10000}>
        { a = Cast<to=1>(m) b = Sub(one, a) y = Mul(b, low) }""",
        "m",
        lambda m: bool(np.isin(m, (0, 1)).all() and m.any(axis=-1).all()),
    ),
    "a mask by its name": (
        "(int64[N,5] attention_mask) => (float[N,5] y) { y = Cast<to=1>(attention_mask) }",
        "attention_mask",
        lambda m: bool(np.isin(m, (0, 1)).all() and m.any(axis=-1).all()),
    ),
    "positions": (
        "(int64[N,5] position_ids) => (float[N,5,3] y) <float[9,3] t> { y = Gather(t, position_ids) }",
        "position_ids",
        lambda p: bool((p == np.arange(5)).all()),
    ),
    "an image of bytes": (
        "(uint8[1,3,32,32] x) => (float[1,3,32,32] y) { y = Cast<to=1>(x) }",
        "x",
        lambda x: bool(x.dtype == np.uint8 and x.min() < 10 and x.max() > 245),
    ),
    "a target shape": (
        "(float[2,6] x, int64[2] s) => (float[M,K] y) { y = Reshape(x, s) }",
        "s",
        lambda s: s.tolist() == [0, -1],
    ),
    "a target shape for the weights behind": (
        "(float[N,6] x, int64[2] s) => (float[M,4] y) <float[3,4] w> { r = Reshape(x, s) y = MatMul(r, w) }",
        "s",
        lambda s: s.tolist() == [-1, 3],
    ),
    "a shape to expand to": (
        "(float[N,1,6] x, int64[3] s) => (float[A,B,C] y) { y = Expand(x, s) }",
        "s",
        lambda s: s.tolist() == [1, 3, 1],
    ),
    "sizes to split into": (
        "(float[7,3] x, int64[2] s) => (float[A,3] y, float[B,3] z) { y, z = Split<axis=0>(x, s) }",
        "s",
        lambda s: s.tolist() == [3, 4],
    ),
    "the depth of an encoding that a weight reads": (
        """(int64[N] i, int64[1] d) => (float[N,3] y) <float[2] v = {0, 1}, float[5,3] w>
        { o = OneHot(i, d, v) y = MatMul(o, w) }""",
        "d",
        lambda d: d.tolist() == [5],
    ),
    "an axis of one to squeeze": (
        "(float[2,1,3] x, int64[1] a) => (float[M,K] y) { y = Squeeze(x, a) }",
        "a",
        lambda a: a.tolist() == [1],
    ),
    "an index into rows of another input": (
        "(float[N,4,8,8] x, float[R,4] b, int64[R] i) => (float[R,4,2,2] y) <int64[4] s = {0, 0, 0, 0}>"
        "{ y = RoiAlign<output_height=2, output_width=2>(x, b, i) }",
        "i",
        within(0, 2),
    ),
    "how often to repeat": (
        "(float[2,6] x, int64[2] s) => (float[M,K] y) { y = Tile(x, s) }",
        "s",
        within(1, 4),
    ),
    "how many to keep": (
        "(float[2,6] x, int64[1] k) => (float[2,K] y, int64[2,K] i) { y, i = TopK(x, k) }",
        "k",
        within(1, 6),
    ),
    "lengths of sequences": (
        """(float[6,2,4] x, int32[2] n) => (float[6,1,2,3] y) <float[1,12,4] w, float[1,12,3] r>
        { y = LSTM<hidden_size=3>(x, w, r, , n) }""",
        "n",
        within(1, 6),
    ),
    "words that the model knows": (
        """(string[N] x) => (int64[N] y)
        { y = ai.onnx.ml.LabelEncoder<keys_strings=["cat", "dog"], values_int64s=[1, 2]>(x) }""",
        "x",
        lambda x: all(isinstance(word, str) for word in x),
    ),
}


@pytest.mark.parametrize(("text", "name", "check"), ROLES.values(), ids=ROLES.keys())
def test_a_made_up_input_is_legal_for_its_operators(text: str, name: str, check: Check) -> None:
    model = parse(text, domains='"ai.onnx.ml":3') if "ai.onnx.ml" in text else parse(text)
    for feed in feeds(model):
        assert check(feed.values[name]), feed
    assert prove(model, model)


def test_sizes_of_one_name_are_tied_and_vary() -> None:
    model = parse("(float[batch,seq] a, float[batch,seq] b) => (float[batch,seq] y) { y = Add(a, b) }")
    shapes = [feed.values["a"].shape for feed in feeds(model)]
    assert shapes == [feed.values["b"].shape for feed in feeds(model)]
    assert len(set(shapes)) >= 3
    assert {1} < {shape[0] for shape in shapes}
    assert {1} < {shape[1] for shape in shapes}


def test_a_size_that_is_a_sum_follows_its_parts() -> None:
    """Free sizes may be written as sums: past_sequence_length + sequence_length."""
    text = """(float[B,P] past, float[B,S] new, float[B,T] m) => (float[B,T] y)
        { c = Concat<axis=1>(past, new) y = Add(c, m) }"""
    model = parse(text)
    model.graph.input[2].type.tensor_type.shape.dim[1].dim_param = "P + S"
    for feed in feeds(model):
        assert feed.values["m"].shape[1] == feed.values["past"].shape[1] + feed.values["new"].shape[1]
    assert prove(model, model)


DEMANDS = {
    "Conv with groups": (
        "(float[N,C,H,W] x) => (float[N,4,P,Q] y) <float[4,2,3,3] w> { y = Conv<group=2>(x, w) }",
        1,
        4,
    ),
    "Conv": ("(float[N,C,H,W] x) => (float[N,4,P,Q] y) <float[4,5,3,3] w> { y = Conv(x, w) }", 1, 5),
    "MatMul": ("(float[N,S,C] x) => (float[N,S,4] y) <float[6,4] w> { y = MatMul(x, w) }", 2, 6),
    "Gemm, transposed": ("(float[N,C] x) => (float[N,4] y) <float[4,6] w> { y = Gemm<transB=1>(x, w) }", 1, 6),
    "Conv behind Relu and Add": (
        """(float[N,C,H,W] x) => (float[N,4,P,Q] y) <float[4,5,3,3] w, float k>
        { a = Relu(x) b = Add(a, k) y = Conv(b, w) }""",
        1,
        5,
    ),
    "a constant of its shape": ("(float[N,C] x) => (float[N,C] y) <float[7] g> { y = Mul(x, g) }", 1, 7),
}


@pytest.mark.parametrize(("text", "axis", "size"), DEMANDS.values(), ids=DEMANDS.keys())
def test_weights_tell_free_sizes(text: str, axis: int, size: int) -> None:
    model = parse(text)
    assert all(feed.values["x"].shape[axis] == size for feed in feeds(model))
    assert prove(model, model)


@pytest.mark.parametrize(("slides", "length"), [(0, 4), (1, 8)])
def test_a_cache_holds_heads_of_the_size_of_the_queries_and_a_window_where_it_slides(slides: int, length: int) -> None:
    text = """(float[N,1,24] q, float[N,2,P,D] past_k, float[N,2,P,D] past_v, int32[N] n, int32 t) => (float[N,1,12] y)
        { y, a, b = com.microsoft.GroupQueryAttention
            <num_heads=4, kv_num_heads=2, local_window_size=8, sliding_window_cache=%d>
            (q, , , past_k, past_v, n, t) }"""
    header = '<ir_version: 9, opset_import: ["": 17, "com.microsoft": 1]> g '
    feed = feeds(onnx.parser.parse_model(header + text % slides))[0]
    assert feed.values["past_k"].shape[1:] == (2, length, 3)


def test_dropout_is_off() -> None:
    for feed in feeds(parse("(float[2,3] x, float r, bool t) => (float[2,3] y) { y = Dropout(x, r, t) }")):
        assert not feed.values["t"]
        assert feed.values["r"] == 0


def test_an_index_is_bounded_by_the_size_of_the_input_that_it_is_for() -> None:
    model = parse("(float[N,S,5] x, int64[K] ids) => (float[N,K,5] y) { y = Gather<axis=1>(x, ids) }")
    random_values = [(feed.values["x"].shape[1], feed.values["ids"].max()) for feed in feeds(model)]
    assert all(largest < size for size, largest in random_values)
    assert max(largest for _, largest in random_values) > 3, "not only the first row"


def test_what_a_weight_demands_of_one_input_holds_for_all_of_that_name() -> None:
    text = """(float[N,C,H,W] x, float[N,C] g) => (float[N,4,H,W] y) <float[4,6,1,1] w, int64[2] a = {2, 3}>
        { u = Unsqueeze(g, a) p = Mul(x, u) y = Conv(p, w) }"""
    for feed in feeds(parse(text)):
        assert feed.values["x"].shape[1] == feed.values["g"].shape[1] == 6


def test_a_spec_sets_the_sizes_of_all_inputs_of_that_name() -> None:
    model = parse("(float[N,3] x, int64[N] i) => (float[N,3] y, int64[N] j) { y = Relu(x) j = Identity(i) }")
    result = prove(model, model, (), ProofOptions(input_specs=("x=5x3",)))
    assert {c.value: c.elements for c in result.outputs} == {"y": 15, "j": 5}


def test_lengths_whose_names_do_not_tell_that_one_is_the_sum_of_two() -> None:
    text = """(float[B,2,P,4] past_key, float[B,2,S,4] key, float[B,1,S,T] bias) => (float[B,2,S,T] y)
        { k = Concat<axis=2>(past_key, key) t = Transpose<perm=[0,1,3,2]>(k) s = MatMul(key, t) y = Add(s, bias) }"""
    model = parse(text)
    result = prove(model, model)
    assert result
    assert "P=4, S=32, T=36" in result.feeds[0]


def test_windows_of_seven_find_their_size() -> None:
    text = """(float[N,4,H,W] x) => (float[A,49,4] y) <int64[6] a = {1, 4, 2, 7, 2, 7}, int64[3] b = {-1, 49, 4}>
        { r = Reshape(x, a) t = Transpose<perm=[0,2,4,3,5,1]>(r) y = Reshape(t, b) }"""
    assert "H=14, W=14" in prove(parse(text), parse(text)).feeds[0]


def test_a_length_is_found_next_to_batches_without_a_name() -> None:
    """A recurrent net whose state has its batch on axis 1: only 1 there runs, with 512 samples."""
    text = """(float[N,T] samples, float[2,M,8] state) => (float[2,B,520] y)
        <int64[1] a = {0}, int64[3] s = {1, 1, 512}, int64[3] t = {2, 1, 512}>
        { q = Squeeze(samples, a) r = Reshape(q, s) e = Expand(r, t) y = Concat<axis=2>(e, state) }"""
    feeds = prove(parse(text), parse(text)).feeds
    assert feeds[0].endswith("(N=1, T=512, M=1)")


def test_the_one_size_of_an_image_is_found_that_its_positions_fit() -> None:
    """A network for 240 pixels whose exporter left height and width free: 20 by 20 positions of 12 pixels each."""
    text = """(float[N,3,H,W] x) => (float[N,400] y) <float[1,3,12,12] w, float[1,400] p, int64[2] s = {-1, 400}>
        { c = Conv<strides=[12, 12]>(x, w) r = Reshape(c, s) y = Add(r, p) }"""
    assert "H=240, W=240" in prove(parse(text), parse(text.replace("Add(r, p)", "Add(p, r)"))).feeds[0]


@pytest.mark.parametrize(
    ("kind", "sizes", "longest"),
    [("float", "N,T", 80000), ("int16", "N,T", 80000), ("string", "N,T", 512), ("float", "N,3,32,32", 299)],
)
def test_as_long_as_a_recording_are_no_texts_and_no_batch_of_images(kind: str, sizes: str, longest: int) -> None:
    """16,000 images took 2.4 GB and 50 s, and 80,000 texts 16 s, where nothing smaller ran either."""
    model = load(parse(f"({kind}[{sizes}] x) => ({kind}[{sizes}] y) {{ y = Identity(x) }}"))
    assert max(max(tried.values()) for _, tried in Feeder.of(model).proposals(0)) == longest


def test_integers_that_are_rejected_are_drawn_again_from_few() -> None:
    text = "(int64[20] a, int64[20] b) => (float[20,4] y) <float[3,4] t> { n = Add(a, b) y = Gather(t, n) }"
    result = prove(parse(text), parse(text))
    assert result
    assert result.feeds[0] == "bits"


@pytest.mark.parametrize(("rows", "found"), [(2, "bits"), (1, "ones")])
def test_a_size_that_is_rejected_is_two_and_then_one(rows: int, found: str) -> None:
    text = f"""(float[{rows},{rows}] x, int64[1] size) => (float[{rows},{rows}] y)
        {{ s = Concat<axis=0>(size, size) z = ConstantOfShape(s) y = MatMul(x, z) }}"""
    result = prove(parse(text), parse(text))
    assert result
    assert result.feeds[0] == found


def test_sizes_that_the_model_rejects_are_retried() -> None:
    """A Reshape inside is fixed to two rows: only batch 2 runs. Eleven columns are not found."""
    text = "(float[N,C] x) => (float[1,11] y) <int64[2] s = {1, 11}> { y = Reshape(x, s) }"
    free = parse("(float[N,4] x) => (float[2,4] y) <int64[2] s = {2, 4}> { y = Reshape(x, s) }")
    result = prove(free, free)
    assert result
    assert all("N=2" in feed for feed in result.feeds)
    assert prove(parse(text), parse(text)).verdict.value == "inconclusive", "11 is none of the sizes that are tried"


def test_the_seed_decides() -> None:
    model = parse("(float[N,3,H,W] x, int64[N] i) => (float[N,3,H,W] y, int64[N] j) { y = Relu(x) j = Identity(i) }")

    def numbers(seed: int) -> list[bytes]:
        return [array.tobytes() for feed in feeds(model, seed=seed) for array in feed.values.values()]

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)


def test_a_spec_sets_shape_type_and_range() -> None:
    model = parse("(float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Relu(x) }")
    options = ProofOptions(input_specs=("x=2x3x5x7:float32:10..11",), feeds=2)
    result = prove(model, model, (), options)
    assert result.outputs[0].elements == 2 * 3 * 5 * 7
    assert 10 <= float(result.outputs[0].expected) <= 11


def test_a_mask_hides_something_in_the_first_feed() -> None:
    model = parse(
        """(float[2,5,3] x, bool[2,5,1] m, int64[2,5] attention_mask) => (float[2,5,3] y, float[2,5] z)
        <float c = {0.5}> { y = Where(m, x, c) z = Cast<to=1>(attention_mask) }"""
    )
    made = [feed.values["attention_mask"] for feed in feeds(model)]
    assert [bool(mask.min()) for mask in made] == [False, True, False, False]
    assert all(mask.max(axis=-1).min() == 1 for mask in made), "never all of it"


def test_sequences_of_tensors_are_fed() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (seq(float[N,3]) s, int64 i) => (float[N,3] y) { y = SequenceAt(s, i) }"""
    )
    assert prove(model, model)


def test_a_search_for_text_gets_lengths_that_fit() -> None:
    """BeamSearch of com.microsoft wants a longest length above the length of its input, and positive penalties."""
    names = ("ids", "longest", "shortest", "beams", "returned", "lengths", "repetition")
    kinds = [onnx.TensorProto.INT32] * 5 + [onnx.TensorProto.FLOAT] * 2
    search = onnx.helper.make_node("BeamSearch", names, ["y"], domain="com.microsoft", vocab_size=50)
    inputs = [
        onnx.helper.make_tensor_value_info(name, kind, ["B", "S"] if name == "ids" else [1])
        for name, kind in zip(names, kinds, strict=True)
    ]
    graph = onnx.helper.make_graph([search], "g", inputs, [onnx.ValueInfoProto(name="y")])
    for feed in feeds(onnx.helper.make_model(graph)):
        values = feed.values
        assert values["longest"][0] > values["ids"].shape[1] >= values["shortest"][0] == values["beams"][0] == 1
        assert values["ids"].max() < 50
        assert values["lengths"][0] == values["repetition"][0] == 1
