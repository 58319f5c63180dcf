"""A shift through zero padding: the convolution before emits one more channel, constant 1, that carries it."""

from __future__ import annotations

from normfold.findings.rules import Selection
from tests.fold.rows import Folds, Refuses, assert_folds_with, every, operators

CLIPPED = (
    "(float[N,3,6,6] x) => (float[N,5,6,6] y) <float[5,3,1,1] w, float[5] b, float[5] g,float[5] be, "
    "float[5] m, float[5] var, float[5,5,3,3] v{bound}> "
    "{{ c = Conv(x, w, b) d = Clip({inputs}) e = BatchNormalization(d, g, be, m, var) "
    "y = Conv<pads=[1,1,1,1]>(e, v) }}"
)
FORWARD = {
    "a shift through zero padding, by one more channel": Folds(
        "(float[N,3,6,6] x) => (float[N,5,6,6] y) <float[5,3,1,1] w, float[5] b, float[5] g,float[5] be, "
        "float[5] m, float[5] var, float[5,5,3,3] v> "
        "{ c = Conv(x, w, b) d = Relu(c) e = BatchNormalization(d, g, be, m, var) "
        "y = Conv<pads=[1,1,1,1]>(e, v) }",
        "Conv Relu Conv",
        "forward",
    ),
    "a Clip with a maximum alone that lets 1 through": Folds(
        CLIPPED.format(bound=", float high = {6}", inputs='c, "", high'), "Conv Clip Conv", "forward"
    ),
    "a Clip with a minimum alone that lets 1 through": Folds(
        CLIPPED.format(bound=", float low = {1}", inputs="c, low"), "Conv Clip Conv", "forward"
    ),
    "a Clip without bounds": Folds(CLIPPED.format(bound="", inputs="c"), "Conv Clip Conv", "forward"),
}
REFUSES = {
    "a Clip with a maximum alone that is below 1": Refuses(
        CLIPPED.format(bound=", float high = {0.5}", inputs='c, "", high'), "NF111 d, NF107 y", site="e"
    ),
    "a Clip with a minimum alone that is above 1": Refuses(
        CLIPPED.format(bound=", float low = {1.5}", inputs="c, low"), "NF111 d, NF107 y", site="e"
    ),
    "one more channel would start a new block": Refuses(
        "(float[N,3,6,6] x) => (float[N,8,6,6] y) <float[8,3,1,1] w, float[8] b, float[8] g,float[8] be, "
        "float[8] m, float[8] var, float[8,8,3,3] v> "
        "{ c = Conv(x, w, b) d = Relu(c) e = BatchNormalization(d, g, be, m, var) "
        "y = Conv<pads=[1,1,1,1]>(e, v) }",
        "NF108 d, NF107 y",
        site="e",
    ),
}


test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)


def test_on_demand_one_more_channel_starts_a_new_block() -> None:
    result = assert_folds_with(REFUSES["one more channel would start a new block"].text, Selection(extra_channel=True))
    assert "BatchNormalization" not in operators(result)
    assert max(tensor.dims[0] for tensor in result.graph.initializer) == 9
