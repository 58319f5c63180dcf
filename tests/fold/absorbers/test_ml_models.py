"""LinearRegressor and LinearClassifier: their coefficients take an affine of the features."""

from __future__ import annotations

from tests.fold.rows import Folds, every

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
BACKWARD = {
    "linear regressor then affine": Folds(
        "(float[N,4] x) => (float[N,1] y) <float k={2}, float t={3}> "
        "{ s = ai.onnx.ml.LinearRegressor<coefficients=[1.0,2.0,3.0,4.0],intercepts=[0.5]>(x) "
        "d = Mul(s, k) y = Add(d, t) }",
        "LinearRegressor",
        domains='"ai.onnx.ml":3',
    ),
}


test_folds_forward = every(FORWARD)
test_folds_backward = every(BACKWARD)
