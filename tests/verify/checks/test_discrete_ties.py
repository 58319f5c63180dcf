"""Integers and booleans that a tie decides may fall either way, others may not."""

from __future__ import annotations

import numpy as np
import onnx

from normfold.verify import Equivalence, ProofOptions, prove
from tests.onnx_text import parse
from tests.verify.nets import edited


def test_an_argmax_of_equal_scores_may_fall_either_way() -> None:
    """Column 1 repeats column 0 up to the last digit, so which of them wins is rounding."""
    text = "(float[N,16] x) => (int64[N,1] y, float[N,4] z) <float[16,4] w> { z = MatMul(x, w) y = ArgMax<axis=1>(z) }"

    def scaled(factor: float) -> onnx.ModelProto:
        return edited(parse(text), "w", lambda w: np.stack([w[:, 0], w[:, 0] * np.float32(factor), *w.T[2:]], axis=1))

    base = scaled(1 - 2**-23)
    result = prove(base, scaled(1 + 2**-22), (), ProofOptions(input_specs=("x=64x16",)))
    assert result
    assert any("decides between values that tie" in note for note in result.notes)
    assert prove(base, scaled(1.01), (), ProofOptions(input_specs=("x=64x16",))).verdict is Equivalence.DIFFERENT


def test_a_flipped_index_without_a_tie_is_a_difference() -> None:
    text = "(float[N,16] x) => (int64[N,1] y) <float[16,4] w> { z = MatMul(x, w) y = ArgMax<axis=1>(z) }"
    swapped = edited(parse(text), "w", lambda w: w[:, [1, 0, 2, 3]])
    assert prove(parse(text), swapped).verdict is Equivalence.DIFFERENT
