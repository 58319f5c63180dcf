"""Which values two models compute in different ways."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from normfold.runtime.loaded_model import load
from normfold.verify import Equivalence, verify
from normfold.verify.regions.difference import DifferingRegion, differing_regions
from tests.sweeps.data_faults.trio import model


def regions(first: str, second: str) -> list[DifferingRegion]:
    weights = {"w": np.ones(4, np.float32), "v": np.full(4, 2, np.float32)}
    return differing_regions(load(model(first, **weights)), load(model(second, **weights)))


def test_what_is_the_same_is_no_region() -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) b = Add(a, v) y = Relu(b) }"
    assert regions(text, text) == []
    assert regions(text, text.replace("y = Relu(b)", "i = Identity(b) y = Relu(i)")) == []


def test_a_region_begins_with_the_nearest_values_that_both_have() -> None:
    first = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) b = Add(a, v) c = Relu(b) y = Mul(c, v) }"
    assert regions(first, first.replace("Add(a, v)", "Add(a, w)")) == [DifferingRegion(("b",), ("a",))]
    second = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) d = Sub(a, v) c = Relu(d) y = Mul(c, v) }"
    assert regions(first, second) == [DifferingRegion(("c",), ("a",))]


def test_a_region_begins_with_the_same_values_in_both() -> None:
    first = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) b = Add(a, v) y = Mul(b, w) }"
    second = "(float[N,4] x) => (float[N,4] y) { b = Mul(x, v) a = Mul(x, w) y = Add(a, v) }"
    assert DifferingRegion(("y",), ("a",)) in regions(first, second)


def test_what_one_model_keeps_and_the_other_computes_again_begins_no_region() -> None:
    """A mask that layers share is no reason to begin with what the whole network begins with."""
    first = """(float[N,4] x, float[N,4] m) => (float[N,4] y)
        { n = Mul(m, v) a = Add(x, n) b = Mul(a, w) k = Mul(v, m) y = Add(b, k) }"""
    assert regions(first, first.replace("k = Mul(v, m) y = Add(b, k)", "y = Add(n, b)")) == [
        DifferingRegion(("y",), ("b", "m"))
    ]


def test_a_shape_that_one_model_reads_does_not_widen_a_region() -> None:
    first = """(float[N,4] x) => (float[N,4] y)
        { a = Mul(x, w) b = Relu(a) s = Shape(x) c = Reshape(b, s) y = Mul(c, w) }"""
    assert regions(first, first.replace("s = Shape(x) c = Reshape(b, s)", "c = Abs(b)")) == [
        DifferingRegion(("c",), ("b", "x"))
    ]


def test_what_one_operator_makes_is_one_region() -> None:
    first = "(float[N,4] x) => (float[N,2] b, float[N,2] c) { a = Mul(x, w) b, c = Split<axis = 1>(a) }"
    second = first.replace("a = Mul(x, w)", "d = Mul(x, v)").replace("(a)", "(d)")
    assert regions(first, second) == [DifferingRegion(("b", "c"), ("x",))]


def test_tables_of_words_are_compared() -> None:
    def words(*entries: str) -> onnx.ModelProto:
        table = numpy_helper.from_array(np.array(entries, object), "t")
        made = model("(int64[N] i) => (string[N] y) { y = Gather(t, i) }", t=np.array(["a"], object))
        made.graph.initializer[0].CopyFrom(table)
        return made

    assert verify(words("a", "b"), words("a", "b"))
    assert verify(words("a", "b"), words("a", "c")).verdict is Equivalence.DIFFERENT


def test_no_region_begins_with_numbers_that_sum_to_one() -> None:
    first = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) s = Softmax(a) t = Identity(s) y = Mul(t, w) }"
    assert regions(first, first.replace("Mul(t, w)", "Mul(t, v)")) == [DifferingRegion(("y",), ("a",))]


def test_a_value_is_no_boundary_where_one_model_reads_what_it_is_made_of() -> None:
    first = "(float[N,4] x) => (float[N,4] y) { a = Mul(x, w) b = Add(a, v) c = Mul(b, v) y = Add(b, c) }"
    second = first.replace("c = Mul(b, v)", "d = Mul(a, v) e = Mul(v, v) c = Add(d, e)")
    renamed = second.replace("c = Add(d, e) y = Add(b, c)", "f = Add(d, e) y = Add(b, f)")
    assert DifferingRegion(("y",), ("a",)) in regions(first, renamed)
    assert verify(*(model(text, w=np.ones(4, np.float32), v=np.full(4, 2, np.float32)) for text in (first, second)))
