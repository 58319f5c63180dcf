"""Sizes behind convolutions and pools by name, against the sizes that the runtime makes."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import normfold
from normfold.constants.named_sizes import with_named_sizes
from normfold.constants.window_sizes import WindowSize
from normfold.runtime.loaded_model import load
from normfold.runtime.session import OrtRunner
from tests.onnx_text import parse

SHORTEST = 100

windows = st.lists(
    st.tuples(
        st.sampled_from(["Conv", "MaxPool", "AveragePool"]),
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(1, 2),
        st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=3,
)


def rows_of(chain: list[tuple[str, int, int, int, str, int]]) -> str:
    """Return a model with these operators, kernels, strides, dilations and paddings in a row."""
    weights, nodes, value = [], [], "x"
    for number, (operator, kernel, stride, dilation, auto, pad) in enumerate(chain):
        dilation = 1 if operator == "AveragePool" or auto.startswith("SAME") else dilation
        stride = min(stride, kernel) if auto.startswith("SAME") else stride  # the runtime refuses negative paddings
        pad = min(pad, kernel - 1)
        how = f'auto_pad="{auto}"' if auto != "NOTSET" else f"pads=[{pad},0]"
        how += f",kernel_shape=[{kernel}],strides=[{stride}]" + (f",dilations=[{dilation}]" if dilation > 1 else "")
        weights += [f"float[2,2,{kernel}] w{number}"] if operator == "Conv" else []
        read = f"{value},w{number}" if operator == "Conv" else value
        nodes.append(f"v{number} = {operator}<{how}>({read})")
        value = f"v{number}"
    listed = f"<{','.join(weights)}>" if weights else ""
    return f"(float[N,2,L] x) => (float[N,2,M] y) {listed} {{ {' '.join(nodes)} y = Identity({value}) }}"


@given(windows)
def test_a_name_says_the_size_that_the_runtime_makes(chain: list[tuple[str, int, int, int, str, int]]) -> None:
    model = with_named_sizes(parse(rows_of(chain)))
    last = next(value for value in model.graph.value_info if value.name == f"v{len(chain) - 1}")
    named = WindowSize.read(last.type.tensor_type.shape.dim[2].dim_param)
    assert named is not None
    assert named.name == "L"
    with OrtRunner(load(model)) as runner:
        for length in range(SHORTEST, SHORTEST + 6):
            (made,) = runner.run({"x": np.zeros((1, 2, length), np.float32)}, ["y"])
            assert made.shape[2] == ceil((length + named.more) / named.stride)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (WindowSize("H"), "H"),
        (WindowSize("H", -2), "ceil(H - 2)"),
        (WindowSize("H", 0, 2), "ceil(H/2)"),
        (WindowSize("H", 3, 2), "ceil(H/2 + 3/2)"),
        (WindowSize("H", -4, 4), "ceil(H/4 - 1)"),
    ],
)
def test_a_size_is_read_as_it_was_written(size: WindowSize, text: str) -> None:
    assert str(size) == text
    assert WindowSize.read(text) == size


@pytest.mark.parametrize("text", ["2*H", "(s0 - 1)//2 + 1", "ceil(H*2)", "H W"])
def test_other_arithmetic_is_left_alone(text: str) -> None:
    assert WindowSize.read(text) is None


BRANCHES = (
    "(float[N,4,H,W] x) => (float[N,4,I,J] y) <float[4,4,3,3] v, float[4,4,1,1] w> {"
    " a = Conv<pads=[1,1,1,1],strides=[2,2]>(x, v) b = Conv<strides=[%d,%d]>(x, w) s = Add(a, b) y = Relu(s) }"
)


@pytest.mark.parametrize(("strides", "operators"), [((2, 2), 2), ((1, 2), 4)])
def test_branches_of_equal_named_sizes_are_one_operator(strides: tuple[int, int], operators: int) -> None:
    """With other strides the sizes are equal for few inputs, and the sum broadcasts, or fails."""
    assert len(normfold.optimize(parse(BRANCHES % strides), verify=False).model.graph.node) == operators
