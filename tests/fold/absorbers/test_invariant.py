"""Operators that do not see an affine, or see it in their attributes: Softmax, ArgMax, Sign, HardSigmoid."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

BACKWARD = {
    "Selu: a positive factor": Folds(back("N,4,6,6", "d = Selu(c) y = Mul(d, k)", "float k = {0.5}"), "Conv Selu"),
}
FORWARD = {
    "Softmax: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Softmax<axis=1>(c) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Mul Softmax Conv",
        "forward",
        kept="m",
    ),
    "LogSoftmax: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = LogSoftmax<axis=1>(c) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Mul LogSoftmax Conv",
        "forward",
        kept="m",
    ),
    "ArgMax: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "s = ArgMax<axis=1>(c) d = Cast<to=1>(s) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,1,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Mul ArgMax Cast Conv",
        "forward",
        kept="m",
    ),
    "ArgMin: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "s = ArgMin<axis=1>(c) d = Cast<to=1>(s) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,1,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Mul ArgMin Cast Conv",
        "forward",
        kept="m",
    ),
    "Hardmax: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Hardmax<axis=1>(c) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "Mul Hardmax Conv",
        "forward",
        kept="m",
    ),
    "LpNormalization: a positive factor": Folds(
        ahead(
            "N,5,6,6",
            "d = LpNormalization<axis=1>(c) y = Conv(d, v)",
            "float k = {0.5}, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "LpNormalization Conv",
        "forward",
    ),
    "Sign: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Sign(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Add Sign Conv",
        "forward",
        kept="c",
    ),
    "MeanVarianceNormalization: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = MeanVarianceNormalization<axes=[2,3]>(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul MeanVarianceNormalization Conv",
        "forward",
        kept="m",
    ),
    "HardSigmoid: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = HardSigmoid<alpha=0.25, beta=0.5>(c) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "HardSigmoid Conv",
        "forward",
    ),
    "Normalizer: a positive factor": Folds(
        ahead(
            "N,5",
            'e = GlobalAveragePool(c) f = Flatten(e) d = ai.onnx.ml.Normalizer<norm="L2">(f) y = MatMul(d, v)',
            "float k = {0.5}, float[4,5] v",
            first="c = Mul(x, k)",
        ),
        "GlobalAveragePool Flatten Normalizer MatMul",
        "forward",
        domains='"ai.onnx.ml":3',
    ),
    "HardSigmoid: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = HardSigmoid<alpha=0.25, beta=0.5>(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "BatchNormalization HardSigmoid Conv",
        "merge",
        kept="c",
    ),
    "Softmax: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = Softmax<axis=1>(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "BatchNormalization Softmax Conv",
        "merge",
        kept="c",
    ),
    "Selu: a factor and a shift": Folds(
        back("N,4,6,6", "d = Selu(c) m = Mul(d, k) y = Add(m, t)", "float k = {-2}, float t = {0.75}"),
        "Conv Selu BatchNormalization",
        "merge",
        kept="y",
    ),
}
REFUSES = {
    "a factor that gamma cannot hold": Refuses(
        "(float[N,4] x) => (float[N,4] y) <float k = {1e38}> { c = Selu<gamma=100.0>(x) y = Mul(c, k) }",
        "NF115 c, NF104 y",
    ),
    "a factor that alpha cannot hold": Refuses(
        "(float[N,4] x) => (float[N,4] y) <float k = {1e38}> { c = Mul(x, k) y = HardSigmoid<alpha=100.0>(c) }",
        "NF115 y, NF118 c",
    ),
    "a small factor of float16, whose squares a length would overflow": Refuses(
        "(float16[N,4] x) => (float16[N,4] y) <float16 k> { c = Mul(x, k) y = LpNormalization(c) }",
        "NF115 y, NF118 c",
        values={"k": 0.5},
    ),
    "LpNormalization: a shift by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = LpNormalization<axis=1>(c) y = Conv(d, v)",
            "float[4,1,1] t, float[5,4,1,1] v",
            first="c = Add(x, t)",
        ),
        "NF108 d, NF118 c",
    ),
    "MeanVarianceNormalization: a positive scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = MeanVarianceNormalization(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[5,4,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "NF110 d, NF118 c",
    ),
    "Selu: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = Selu(c) y = Mul(d, kw)", "float[6] kw"), "NF111 d, NF104 y"
    ),
    "Softmax: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5,6,6", "d = Softmax<axis=1>(c) y = Conv(d, v)", "float[6] kw, float[5,4,1,1] v", first="c = Mul(x, kw)"
        ),
        "NF110 d, NF118 c",
    ),
    "LogSoftmax: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = LogSoftmax<axis=1>(c) y = Conv(d, v)",
            "float[6] kw, float[5,4,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF110 d, NF118 c",
    ),
    "ArgMax: a positive scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "s = ArgMax<axis=1>(c) d = Cast<to=1>(s) y = Conv(d, v)",
            "float[4,1,1] pos, float[5,1,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "NF111 s, NF118 c",
    ),
    "ArgMin: a positive scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "s = ArgMin<axis=1>(c) d = Cast<to=1>(s) y = Conv(d, v)",
            "float[4,1,1] pos, float[5,1,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "NF111 s, NF118 c",
    ),
    "Hardmax: a positive scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = Hardmax<axis=1>(c) y = Conv(d, v)",
            "float[4,1,1] pos, float[5,4,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "NF111 d, NF118 c",
    ),
    "Sign: a shift by channel, forward": Refuses(
        ahead("N,5,6,6", "d = Sign(c) y = Conv(d, v)", "float[4,1,1] t, float[5,4,1,1] v", first="c = Add(x, t)"),
        "NF108 d, NF118 c",
    ),
    "HardSigmoid: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = HardSigmoid<alpha=0.25, beta=0.5>(c) y = Conv(d, v)",
            "float[6] kw, float[5,4,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 d, NF118 c",
    ),
    "Normalizer: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5",
            'e = GlobalAveragePool(c) f = Flatten(e) d = ai.onnx.ml.Normalizer<norm="L2">(f) y = MatMul(d, v)',
            "float[6] kw, float[4,5] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 e, NF118 c",
        domains='"ai.onnx.ml":3',
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
