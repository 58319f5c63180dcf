"""LinearRegressor and LinearClassifier: their coefficients take an affine of the features."""

from __future__ import annotations

import pytest

from tests.fold.rows import Folds, assert_folds

FORWARD = {
    "a scaler before a linear regression": Folds(
        "(float[N,3] x) => (float[N,2] y) "
        "{ c = ai.onnx.ml.Scaler<offset=[1.0, 2.0, -3.0], scale=[0.5, -2.0, 4.0]>(x) "
        "y = ai.onnx.ml.LinearRegressor<coefficients=[1.0, 2.0, 3.0, -4.0, 5.0, -6.0], "
        "intercepts=[1.0, -2.0], targets=2>(c) }",
        "LinearRegressor",
        "forward",
        domains='"ai.onnx.ml":3',
        only_in_float32=True,
    ),
}


@pytest.mark.parametrize("name", FORWARD)
def test_folds_forward(name: str) -> None:
    assert_folds(FORWARD[name])
