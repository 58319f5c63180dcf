"""The gamma and beta of a norm that follows its own statistics."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fold.engine import fold_affines
from tests.fold.rows import BN8, Folds, Refuses, ahead, back, every

MS = '"com.microsoft":1'
SAME = "(float[N,5,8] x) => (float[N,5,8] y)"
BACKWARD = {
    "gamma and beta of a norm of a sum": Folds(
        f"{SAME} <float[8] g, float[8] b, float[8] k, float[8] t>"
        "{ c = com.microsoft.SkipLayerNormalization<epsilon=0.001>(x, x, g, b) m = Mul(c, k) y = Add(m, t) }",
        "SkipLayerNormalization",
        domains=MS,
    ),
    "gamma of a norm of a sum": Folds(
        f"{SAME} <float[8] g, float[8] k>"
        "{ c = com.microsoft.SkipSimplifiedLayerNormalization<epsilon=0.001>(x, x, g) y = Mul(c, k) }",
        "SkipSimplifiedLayerNormalization",
        domains=MS,
    ),
    "gamma and beta of embeddings": Folds(
        "(int32[N,5] x) => (float[N,5,8] y)"
        "<float[9,8] w, float[9,8] p, float[8] g, float[8] b, float[8] k, float[8] t>"
        "{ c, z = com.microsoft.EmbedLayerNormalization<epsilon=0.001>(x, , w, p, , g, b)"
        " m = Mul(c, k) y = Add(m, t) }",
        "EmbedLayerNormalization",
        domains=MS,
    ),
    "layer norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] ba, float[8] k, float[8] t> "
        "{ c = LayerNormalization(x, ga, ba) d = Mul(c, k) y = Add(d, t) }",
        "LayerNormalization",
    ),
    "layer norm without beta gets one": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] k, float[8] t> "
        "{ c = LayerNormalization(x, ga) d = Mul(c, k) y = Add(d, t) }",
        "LayerNormalization",
    ),
    "layer norm over two axes, scale along the first": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[5,8] ga, float[5,8] ba, float[5,1] k> "
        "{ c = LayerNormalization<axis=1>(x, ga, ba) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "layer norm over two axes of one size, gamma of the last, scale along the first": Folds(
        "(float[N,8,8] x) => (float[N,8,8] y) <float[8] ga, float[8] ba, float[8,1] k> "
        "{ c = LayerNormalization<axis=1>(x, ga, ba) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "layer norm with gamma of one number": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[1] ga, float[8] k, float[8] t> "
        "{ c = LayerNormalization(x, ga) d = Mul(c, k) y = Add(d, t) }",
        "LayerNormalization",
    ),
    "layer norm with gamma of one number and a whole beta": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[1] ga, float[8] ba, float k = {-2.0}> "
        "{ c = LayerNormalization(x, ga, ba) y = Mul(c, k) }",
        "LayerNormalization",
    ),
    "rms norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] k> { c = RMSNormalization(x, ga) y = Mul(c, k) }",
        "RMSNormalization",
        opset=23,
    ),
    "instance norm": Folds(
        f"(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8] ga, float[8] ba, {BN8}> "
        "{ c = InstanceNormalization(x, ga, ba) y = BatchNormalization(c, g, be, m, var) }",
        "InstanceNormalization",
    ),
    "group norm from opset 21": Folds(
        "(float[N,8,5,5] x) => (float[N,8,5,5] y) <float[8] ga, float[8] ba, float[8,1,1] k, "
        "float[8,1,1] t,float[N,8,5,5] c> "
        "{ c = GroupNormalization<num_groups=2>(x, ga, ba) d = Mul(c, k) y = Sub(d, t) }",
        "GroupNormalization",
        opset=21,
    ),
    "BatchNormalization: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d, rm, rv = BatchNormalization<training_mode=1>(c, ga, ba, mm, vv) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, float[4] ga, float[4] ba, float[4] mm, float[4] vv={1,2,3,4}",
        ),
        "Conv BatchNormalization",
        kept="d",
    ),
    "SimplifiedLayerNormalization: a scale by feature": Folds(
        f"{SAME} <float[8] g, float[8] k> {{ c = SimplifiedLayerNormalization<epsilon=0.001>(x, g) y = Mul(c, k) }}",
        "SimplifiedLayerNormalization",
    ),
}
FORWARD = {
    "a shift dies in layer norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] ba, float[5,1] t> "
        "{ c = Add(x, t) y = LayerNormalization(c, ga, ba) }",
        "LayerNormalization",
        "forward",
    ),
    "a scale goes into the epsilon of layer norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {2}> "
        "{ c = Mul(x, k) y = LayerNormalization<epsilon=0.125>(c, ga) }",
        "LayerNormalization",
        "forward",
    ),
    "a scale goes into the epsilon of rms norm": Folds(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {0.5}> "
        "{ c = Mul(x, k) y = RMSNormalization<epsilon=0.125>(c, ga) }",
        "RMSNormalization",
        "forward",
        opset=23,
    ),
    "a shift by channel dies in instance norm": Folds(
        ahead(
            "N,4,6,6",
            "y = InstanceNormalization(c, ga, ba)",
            "float[4,1,1] t, float[4] ga, float[4] ba",
            first="c = Sub(x, t)",
        ),
        "InstanceNormalization",
        "forward",
    ),
    "a shift by channel dies in the statistics of a batch": Folds(
        ahead(
            "N,4,6,6",
            "y, rm, rv = BatchNormalization<training_mode=1>(c, ga, ba, mm, vv)",
            "float[4,1,1] t, float[4] ga, float[4] ba, float[4] mm, float[4] vv={1,2,3,4}",
            first="c = Sub(x, t)",
        ),
        "BatchNormalization",
        "forward",
        kept="y",
    ),
    "a negative factor dies in the statistics of a batch": Folds(
        ahead(
            "N,4,6,6",
            "y, rm, rv = BatchNormalization<training_mode=1, epsilon=0.125>(c, ga, ba, mm, vv)",
            "float k = {-2}, float[4] ga, float[4] ba, float[4] mm, float[4] vv={1,2,3,4}",
            first="c = Mul(x, k)",
        ),
        "BatchNormalization",
        "forward",
        kept="y",
    ),
    "the bias of a conv dies in instance norm": Folds(
        "(float[N,3,6,6] x) => (float[N,4,6,6] y) <float[4,3,1,1] w, float[4] b, float[4] ga, "
        "float[4] ba> "
        "{ c = Conv(x, w, b) y = InstanceNormalization(c, ga, ba) }",
        "Conv InstanceNormalization",
        "forward",
    ),
    "GroupNormalization: a factor and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = GroupNormalization<num_groups=2>(c, ga, ba) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[4] ga, float[4] ba, float[5,4,1,1] v",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "GroupNormalization Conv",
        "forward",
        opset=21,
    ),
    "GroupNormalization: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = GroupNormalization<num_groups=2>(c, ga, ba) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[4] ga, float[4] ba, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "BatchNormalization GroupNormalization Conv",
        "merge",
        kept="c",
        opset=21,
    ),
    "InstanceNormalization: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = InstanceNormalization(c, ga, ba) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[4] ga, float[4] ba, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Mul InstanceNormalization Conv",
        "forward",
        kept="m",
    ),
    "SimplifiedLayerNormalization: a negative factor": Folds(
        f"{SAME} <float k = {{-2}}, float[8] g> "
        "{ c = Mul(x, k) y = SimplifiedLayerNormalization<epsilon=0.001>(c, g) }",
        "SimplifiedLayerNormalization",
        "forward",
    ),
}
REFUSES = {
    "a scale of the rows behind a norm of a sum": Refuses(
        f"{SAME} <float[8] g, float[8] b, float[5,1] k>"
        "{ c = com.microsoft.SkipLayerNormalization<epsilon=0.001>(x, x, g, b) y = Mul(c, k) }",
        "NF111 c, NF104 y",
        domains=MS,
    ),
    "a scale of the rows behind a norm of embeddings": Refuses(
        "(int32[N,5] x) => (float[N,5,8] y) <float[9,8] w, float[9,8] p, float[8] g, float[8] b, float[5,1] k>"
        "{ c, z = com.microsoft.EmbedLayerNormalization<epsilon=0.001>(x, , w, p, , g, b) y = Mul(c, k) }",
        "NF111 c, NF104 y",
        domains=MS,
    ),
    "a shift behind a norm without beta": Refuses(
        f"{SAME} <float[8] g, float[8] t>"
        "{ c = com.microsoft.SkipSimplifiedLayerNormalization(x, x, g) y = Add(c, t) }",
        "NF108 c, NF104 y",
        domains=MS,
    ),
    "a scale that varies where layer norm normalizes": Refuses(
        f"{SAME} <float[8] ga, float[8] t> {{ c = Add(x, t) y = LayerNormalization(c, ga) }}", "NF111 y, NF118 c"
    ),
    "a shift that varies where instance norm normalizes": Refuses(
        ahead(
            "N,4,6,6",
            "y = InstanceNormalization(c, ga, ba)",
            "float[6] t, float[4] ga, float[4] ba",
            first="c = Add(x, t)",
        ),
        "NF111 y, NF118 c",
    ),
    "a shift that varies where group norm normalizes": Refuses(
        ahead(
            "N,4,6,6",
            "y = GroupNormalization<num_groups=2>(c, ga, ba)",
            "float[6] t, float[4] ga, float[4] ba",
            first="c = Add(x, t)",
        ),
        "NF111 y, NF118 c",
        opset=21,
    ),
    "a shift that varies where a batch is normalized": Refuses(
        ahead(
            "N,4,6,6",
            "y, rm, rv = BatchNormalization<training_mode=1>(c, ga, ba, mm, vv)",
            "float[6] t, float[4] ga, float[4] ba, float[4] mm, float[4] vv={1,2,3,4}",
            first="c = Add(x, t)",
        ),
        "NF111 y, NF118 c",
        site="c",
    ),
    "a norm of statistics that are computed at run time": Refuses(
        "(float[N,4,6,6] x, float[4] v) => (float[N,4,6,6] y) <float[4] ga, float[4] ba, float[4] mm, float k = {2}>"
        "{ c = BatchNormalization(x, ga, ba, mm, v) y = Mul(c, k) }",
        "NF110 c, NF104 y",
    ),
    "signs by channel and one gamma for all": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[5,1] k = {1, -1, 1, -1, 1}>"
        "{ c = Mul(x, k) y = LayerNormalization(c, ga) }",
        "NF111 y, NF118 c",
    ),
    "a small factor of float16, whose squares would overflow": Refuses(
        "(float16[N,5,8] x) => (float16[N,5,8] y) <float16[8] ga, float16 k>"
        "{ c = Mul(x, k) y = LayerNormalization(c, ga) }",
        "NF115 y, NF118 c",
        values={"k": 0.5},
    ),
    "layer norm whose mean is read": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y, float[N,5,1] mean) <float[8] ga, float[8] ba, "
        "float t = {3}> "
        "{ c = Add(x, t) y, mean = LayerNormalization(c, ga, ba) }",
        "NF110 y, NF118 c",
    ),
    "rms norm and a shift": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float t = {3}> "
        "{ c = Add(x, t) y = RMSNormalization(c, ga) }",
        "NF108 y, NF118 c",
        opset=23,
    ),
    "layer norm and a scale of zero": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {0}> "
        "{ c = Mul(x, k) y = LayerNormalization(c, ga) }",
        "NF109 y, NF118 c",
    ),
    "layer norm and a scale too small for its epsilon": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float k = {1e-25}> "
        "{ c = Mul(x, k) y = LayerNormalization(c, ga) }",
        "NF115 y, NF118 c",
    ),
    "layer norm and an affine of another axis": Refuses(
        f"(float[N,8,8] x) => (float[N,8,8] y) <float[8] ga, {BN8}> "
        "{ c = LayerNormalization(x, ga) y = BatchNormalization(c, g, be, m, var) }",
        "NF111 c, NF104 y",
    ),
    "layer norm with a gamma of run time": Refuses(
        "(float[N,5,8] x, float[8] ga) => (float[N,5,8] y) <float[8] k> "
        "{ c = LayerNormalization(x, ga) y = Mul(c, k) }",
        "NF113 c, NF104 y",
    ),
    "rms norm has no beta": Refuses(
        "(float[N,5,8] x) => (float[N,5,8] y) <float[8] ga, float[8] t> { c = RMSNormalization(x, ga) y = Add(c, t) }",
        "NF108 c, NF104 y",
        opset=23,
    ),
    "an epsilon that would vanish": Refuses(
        "(float[N,4] x) => (float[N,4] y) <float s, float[4] g, float[4] b> "
        "{ a = Mul(x, s) y = LayerNormalization(a, g, b) }",
        "NF115 y, NF118 a",
        values={"s": (1e22,)},
    ),
    "an epsilon that would vanish, by batch": Refuses(
        "(float[N,4] x) => (float[N,4] y) <float s, float[4] g, float[4] b, float[4] m, float[4] var> "
        "{ a = Mul(x, s) y, r, v = BatchNormalization<training_mode=1>(a, g, b, m, var) }",
        "NF101 y",
        values={"s": (1e18,)},
    ),
    "LayerNormalization: signs by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = LayerNormalization(c, ga, ba) y = Conv(d, v)",
            "float[4,1,1] k = {1, -1, 1, -1}, float[6] ga, float[6] ba, float[5,4,1,1] v",
            first="c = Mul(x, k)",
        ),
        "NF111 d, NF118 c",
    ),
    "InstanceNormalization: a scale along the last axis, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = InstanceNormalization(c, ga, ba) y = Conv(d, v)",
            "float[6] kw, float[4] ga, float[4] ba, float[5,4,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 d, NF118 c",
    ),
    "GroupNormalization: a scale along the last axis": Refuses(
        back(
            "N,4,6,6",
            "d = GroupNormalization<num_groups=2>(c, ga, ba) y = Mul(d, kw)",
            "float[6] kw, float[4] ga, float[4] ba",
        ),
        "NF111 d, NF104 y",
        opset=21,
    ),
    "SimplifiedLayerNormalization: a shift": Refuses(
        f"{SAME} <float[8] g, float[8] t> {{ c = SimplifiedLayerNormalization(x, g) y = Add(c, t) }}",
        "NF108 c, NF104 y",
    ),
    "GroupNormalization of opset 18: a scale by channel behind it": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[2] ga, float[2] b, float[4,1,1] k> { c = "
        "GroupNormalization<num_groups=2>(x, ga, b) y = Mul(c, k) }",
        "NF111 c, NF104 y",
        opset=18,
    ),
    "InstanceNormalization: a shift along the last axis": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] ga, float[4] b, float[6] t> { c = Add(x, t) y = "
        "InstanceNormalization(c, ga, b) }",
        "NF111 y, NF118 c",
    ),
    "GroupNormalization: a shift along the last axis": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[4] ga, float[4] b, float[6] t = {1, 1, 1, 2, 2, 2}> "
        "{ c = Add(x, t) y = GroupNormalization<num_groups=2>(c, ga, b) }",
        "NF111 y, NF118 c",
        opset=21,
    ),
    "GroupNormalization of opset 18: signs by channel before it": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,6,6] y) <float[2] ga, float[2] b, float[4,1,1] k = {2,2,-2,-2}> { "
        "c = Mul(x, k) y = GroupNormalization<num_groups=2>(c, ga, b) }",
        "NF109 y, NF118 c",
        opset=18,
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)


def test_group_norm_before_opset_21_has_gamma_by_group() -> None:
    """The checker calls it deprecated and no runtime here has it, so only the decision is looked at."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["":18]> g (float[N,8,5,5] x) => (float[N,8,5,5] y)'
        "<float[2] ga = {1, 2}, float[2] ba = {0, 1}, float k = {3}, float[N,8,5,5] c>"
        "{ c = GroupNormalization<num_groups=2>(x, ga, ba) y = Mul(c, k) }"
    )
    (verdict,) = fold_affines(ir.from_proto(model))
    assert [(obstacle.reason, obstacle.node) for obstacle in verdict.obstacles] == [
        (Reason.AXIS_STOPS, "c"),
        (Reason.GRAPH_OUTPUT, "y"),
    ]
