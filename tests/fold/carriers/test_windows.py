"""Carriers that take a maximum or a mean over a window or over axes, and resize."""

from __future__ import annotations

from tests.fold.rows import BN4, Folds, Refuses, ahead, back, every

BY_CHANNEL = "float[4,1,1] pos, float[4,1,1] t"
FACTOR = "float k = {-2}, float t = {0.75}"
AXES = f"{BY_CHANNEL}, int64[2] a = {{2, 3}}"
GRID = ", float[N,5,5,2] gr"
ROIS = "float[1,4] ro = {0,0,3,3}, int64[1] bi = {0}"
SIGNED = "float[4,1,1] k, float[4,1,1] t"
SPACE, WINDOW = "<axes=[2,3]>", "<kernel_shape=[2,2]>"
# What makes magnitudes, so that a shift stays: the attributes, and the size of what comes out.
MAGNITUDES = {
    "ReduceL1": (SPACE, "1,1"),
    "ReduceL2": (SPACE, "1,1"),
    "ReduceSumSquare": (SPACE, "1,1"),
    "LpPool": (WINDOW, "5,5"),
    "GlobalLpPool": ("", "1,1"),
}


def before_conv(nodes: str, size: str, weights: str, scale: str = "pos", more: str = "", batch: str = "N") -> str:
    """Return a text in which ``nodes`` make d of x * ``scale`` + t, and a Conv reads it."""
    first = f"m = Mul(x, {scale}) c = Add(m, t)"
    return ahead(f"{batch},5,{size}", f"{nodes} y = Conv(d, v)", f"{weights}, float[5,4,1,1] v", more=more, first=first)


def behind_conv(nodes: str, size: str, weights: str, scale: str = "pos", more: str = "", batch: str = "N") -> str:
    """Return a text in which ``nodes`` make d of what a Conv makes, and y is d * ``scale`` + t."""
    return back(f"{batch},4,{size}", f"{nodes} m = Mul(d, {scale}) y = Add(m, t)", weights, more=more)


BACKWARD = {
    "max pool": Folds(
        back(
            "N,4,3,3",
            "d = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(c) e = Add(d, t) y = Mul(e, pos)",
            BY_CHANNEL,
        ),
        "Conv MaxPool",
    ),
    **{
        name: Folds(
            back(f"N,4{size}", f"d = {nodes}(c) y = BatchNormalization(d, g, be, m, var)"),
            f"Conv {nodes.partition('<')[0]}",
        )
        for name, nodes, size in (
            ("average pool without padding", "AveragePool<kernel_shape=[2,2], strides=[2,2]>", ",3,3"),
            (
                "average pool, padding not counted",
                "AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>",
                ",3,3",
            ),
            ("global average pool", "GlobalAveragePool", ",1,1"),
            ("mean over space", "ReduceMean<axes=[2,3]>", ",1,1"),
            ("mean over space, axes gone", "ReduceMean<axes=[-1,2], keepdims=0>", ""),
        )
    },
    "average pool with padding that is counted takes a scale": Folds(
        back(
            "N,4,3,3",
            "d = AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1], "
            "count_include_pad=1>(c) y = Mul(d, pos)",
            "float[4,1,1] pos",
        ),
        "Conv AveragePool",
    ),
    "mean over space, axes as an input": Folds(
        back(
            "N,4",
            "d = ReduceMean<keepdims=0>(c, a) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, int64[2] a = {{3, -2}}",
        ),
        "Conv ReduceMean",
        opset=18,
    ),
    "mean over everything takes a scalar": Folds(
        "(float[N,3,8,8] x) => (float y) <float[4,3,3,3] w, float[4] b, float k = {-2}, float t = {3}> "
        "{ c = Conv(x, w, b) d = ReduceMean<keepdims=0>(c) e = Mul(d, k) y = Add(e, t) }",
        "Conv ReduceMean",
    ),
    "mean over no axes": Folds(
        back("N,4,6,6", "d = ReduceMean<noop_with_empty_axes=1>(c) y = BatchNormalization(d, g, be, m, var)"),
        "Conv ReduceMean",
        opset=18,
    ),
    "largest over space": Folds(
        back("N,4,1,1", "d = ReduceMax<axes=[2,3]>(c) e = Mul(d, pos) y = Sub(e, t)", BY_CHANNEL),
        "Conv ReduceMax",
    ),
    "smallest over space": Folds(
        back(
            "N,4", "d = ReduceMin<axes=[2,3], keepdims=0>(c) e = Mul(d, pos) y = Sub(e, t)", "float[4] pos, float[4] t"
        ),
        "Conv ReduceMin",
    ),
    "sum over space takes a scale": Folds(
        back("N,4", "d = ReduceSum<keepdims=0>(c, a) y = Mul(d, k)", "float[4] k, int64[2] a = {2, 3}"),
        "Conv ReduceSum",
    ),
    "global max pool": Folds(
        back("N,4,1,1", "d = GlobalMaxPool(c) y = Mul(pos, d)", "float[4,1,1] pos"), "Conv GlobalMaxPool"
    ),
    "pad that repeats the edge": Folds(
        back(
            "N,4,9,7",
            'd = Pad<mode="edge">(c, p) y = BatchNormalization(d, g, be, m, var)',
            f"{BN4}, int64[8] p = {{0, 0, 1, 0, 0, 0, 2, 1}}",
        ),
        "Conv Pad",
    ),
    "pad with a constant that stays one": Folds(
        back(
            "N,4,9,7",
            "d = Pad(c, p, v) e = Mul(d, k) y = Add(e, t)",
            "float k = {-2}, float t = {3}, float v = {0.5}, int64[8] p = {0, 0, 1, 0, 0, 0, 2, 1}",
        ),
        "Conv Pad",
    ),
    "pad with zeros and a scale": Folds(
        back("N,4,9,7", "d = Pad(c, p) y = Mul(d, k)", "float[4,1,1] k, int64[8] p = {0, 0, 1, 0, 0, 0, 2, 1}"),
        "Conv Pad",
    ),
    "pad of opset 10": Folds(
        back("N,4,8,6", "d = Pad<pads=[0,0,1,0,0,0,1,0], value=2.0>(c) y = Sub(d, t)", "float t = {0.75}"),
        "Conv Pad",
        opset=10,
    ),
    "resize": Folds(
        back(
            "N,4,12,12",
            'd = Resize<mode="linear">(c, "", s) y = BatchNormalization(d, g, be, m, var)',
            f"{BN4}, float[4] s = {{1, 1, 2, 2}}",
        ),
        "Conv Resize",
    ),
    "upsample": Folds(
        back(
            "N,4,12,12",
            'd = Upsample<mode="nearest">(c, s) y = BatchNormalization(d, g, be, m, var)',
            f"{BN4}, float[4] s = {{1, 1, 2, 2}}",
        ),
        "Conv Upsample",
        opset=9,
    ),
    "ReduceLogSumExp: a shift by channel": Folds(
        back("N,4,1,1", "d = ReduceLogSumExp<axes=[2,3]>(c) y = Add(d, t)", "float[4,1,1] t"), "Conv ReduceLogSumExp"
    ),
    **{
        f"{operator}: a positive scale by channel and a shift": Folds(
            behind_conv(f"d = {operator}{attributes}(c)", size, BY_CHANNEL),
            f"Conv {operator} Add",
            kept="y",
        )
        for operator, (attributes, size) in MAGNITUDES.items()
    },
    "mean over the batch, which goes": Folds(
        back("4,6,6", "d = ReduceMean<axes=[0], keepdims=0>(c) y = Mul(d, k)", "float[4,1,1] k"), "Conv ReduceMean"
    ),
    "Crop": Folds(
        back("N,4,3,4", "d = Crop<border=[1,2,1,1]>(c) y = BatchNormalization(d, g, be, m, var)"), "Conv Crop", opset=9
    ),
    "ReduceMin: a negative factor and a shift": Folds(
        behind_conv("d = ReduceMin<axes=[2,3]>(c)", "1,1", FACTOR, "k"), "Conv ReduceMax"
    ),
    "ReduceSum: a positive scale by channel and a shift": Folds(
        behind_conv("d = ReduceSum(c, a)", "1,1", AXES), "Conv ReduceSum"
    ),
    "GridSample: a positive scale by channel and a shift": Folds(
        behind_conv("d = GridSample(c, gr)", "5,5", BY_CHANNEL, more=GRID), "Conv GridSample Add", kept="y", opset=20
    ),
    "GridSample at the border: a positive scale by channel and a shift": Folds(
        behind_conv('d = GridSample<padding_mode="border">(c, gr)', "5,5", BY_CHANNEL, more=GRID),
        "Conv GridSample",
        opset=20,
    ),
    "RoiAlign: a positive scale by channel and a shift": Folds(
        behind_conv(
            "d = RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(c, ro, bi)",
            "2,2",
            f"{BY_CHANNEL}, {ROIS}",
            batch="1",
        ),
        "Conv RoiAlign Add",
        kept="y",
    ),
}
FORWARD = {
    "max pool": Folds(
        ahead(
            "N,5,3,3",
            "d = MaxPool<kernel_shape=[2,2]>(c) y = Conv(d, w, b)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,3,3] w, float[5] b",
            first="e = Mul(x, pos) c = Sub(e, t)",
        ),
        "MaxPool Conv",
        "forward",
    ),
    "average pool": Folds(
        ahead(
            "N,5,4,4",
            "d = AveragePool<kernel_shape=[2,2], pads=[0,0,1,1]>(c) y = Conv(d, w, b)",
            f"{BN4}, float[5,4,3,3] w, float[5] b",
        ),
        "AveragePool Conv",
        "forward",
    ),
    "the head of a network": Folds(
        ahead(
            "N,5",
            "e = GlobalAveragePool(c) d = Flatten(e) y = Gemm<transB=1>(d, w, b)",
            f"{BN4}, float[5,4] w, float[5] b",
        ),
        "GlobalAveragePool Flatten Gemm",
        "forward",
    ),
    "mean over space": Folds(
        ahead("N,5", "d = ReduceMean<axes=[2,3], keepdims=0>(c) y = Gemm(d, w)", f"{BN4}, float[4,5] w"),
        "ReduceMean Gemm",
        "forward",
    ),
    "resize": Folds(
        ahead(
            "N,5,12,12",
            'd = Resize<mode="cubic">(c, "", s) y = Conv(d, w)',
            f"{BN4}, float[5,4,1,1] w, float[4] s = {{1, 1, 2, 2}}",
        ),
        "Resize Conv",
        "forward",
    ),
    "pad that reflects": Folds(
        ahead(
            "N,5,9,7",
            'd = Pad<mode="reflect">(c, p) y = Conv(d, w)',
            f"{BN4}, float[5,4,1,1] w, int64[8] p = {{0, 0, 1, 0, 0, 0, 2, 1}}",
        ),
        "Pad Conv",
        "forward",
    ),
    "a scalar pair before a padded conv becomes the value of its Pad": Folds(
        ahead(
            "N,5,9,7",
            "d = Pad(c, p) y = Conv(d, w)",
            "float k = {2}, float t = {3}, float[5,4,1,1] w, int64[8] p = {0, 0, 1, 0, 0, 0, 2, 1}",
            first="e = Mul(x, k) c = Add(e, t)",
        ),
        "Pad Conv",
        "forward",
    ),
    "mean over space without keepdims": Folds(
        f"(float[N,4,6,6] x) => (float[N,3] y) <{BN4}, float[4,3] v> "
        "{ d = BatchNormalization(x, g, be, m, var) p = ReduceMean<axes=[-2,-1],keepdims=0>(d) "
        "y = MatMul(p, v) }",
        "ReduceMean Gemm",
        "forward",
    ),
    **{
        f"{operator}: a {sign} scale by channel and a shift": Folds(
            before_conv(f"d = {operator}{attributes}(c)", size, weights, scale),
            f"Add {operator} Conv",
            "forward",
            kept="c",
        )
        for operator, (attributes, size) in MAGNITUDES.items()
        for sign, scale, weights in (("positive", "pos", BY_CHANNEL), ("signed", "k", SIGNED))
        if operator != "ReduceSumSquare" or sign == "positive"
    },
    **{
        f"{operator}: a positive scale by channel and a shift": Folds(
            before_conv(f"d = {operator}{attributes}(c)", "1,1", BY_CHANNEL), f"{operator} Conv", "forward"
        )
        for operator, attributes in (("GlobalMaxPool", ""), ("ReduceMax", SPACE), ("ReduceMin", SPACE))
    },
    **{
        f"{operator}: a negative factor and a shift": Folds(
            before_conv(f"d = {operator}{SPACE}(c)", "1,1", FACTOR, "k"), f"{opposite} Conv", "forward"
        )
        for operator, opposite in (("ReduceMax", "ReduceMin"), ("ReduceMin", "ReduceMax"))
    },
    "Crop": Folds(
        ahead("N,5,3,4", "d = Crop<border=[1,2,1,1]>(c) y = Conv(d, v)", f"{BN4}, float[5,4,1,1] v"),
        "Crop Conv",
        "forward",
        opset=9,
    ),
    "Upsample: a positive scale by channel and a shift": Folds(
        before_conv('d = Upsample<mode="nearest">(c, s)', "12,12", f"{BY_CHANNEL}, float[4] s = {{1, 1, 2, 2}}"),
        "Upsample Conv",
        "forward",
        opset=9,
    ),
    "ReduceSum: a positive scale by channel and a shift": Folds(
        before_conv("d = ReduceSum(c, a)", "1,1", AXES), "ReduceSum Conv", "forward"
    ),
    "ReduceLogSumExp: a positive scale by channel and a shift": Folds(
        before_conv("d = ReduceLogSumExp<axes=[2,3]>(c)", "1,1", BY_CHANNEL),
        "Mul ReduceLogSumExp Conv",
        "forward",
        kept="m",
    ),
    "GridSample: a positive scale by channel and a shift": Folds(
        before_conv("d = GridSample(c, gr)", "5,5", BY_CHANNEL, more=GRID),
        "Add GridSample Conv",
        "forward",
        kept="c",
        opset=20,
    ),
    "GridSample at the border: a positive scale by channel and a shift": Folds(
        before_conv('d = GridSample<padding_mode="border">(c, gr)', "5,5", BY_CHANNEL, more=GRID),
        "GridSample Conv",
        "forward",
        opset=20,
    ),
    "RoiAlign: a positive scale by channel and a shift": Folds(
        before_conv(
            "d = RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(c, ro, bi)",
            "2,2",
            f"{BY_CHANNEL}, {ROIS}",
            batch="1",
        ),
        "Add RoiAlign Conv",
        "forward",
        kept="c",
    ),
    **{
        f"{operator} merges a scale and a shift": Folds(
            behind_conv(f"d = {operator}{attributes}(c)", "1,1", weights, scale),
            f"Conv {operator} BatchNormalization",
            "merge",
            kept="y",
        )
        for operator, attributes, weights, scale in (
            ("ReduceMax", SPACE, SIGNED, "k"),
            ("ReduceL1", SPACE, SIGNED, "k"),
            ("ReduceLogSumExp", SPACE, BY_CHANNEL, "pos"),
        )
    },
    "RoiAlign merges a scale and a shift": Folds(
        behind_conv(
            'd = RoiAlign<output_height=2, output_width=2, sampling_ratio=2, mode="max">(c, ro, bi)',
            "2,2",
            f"{SIGNED}, {ROIS}",
            "k",
            batch="1",
        ),
        "Conv RoiAlign BatchNormalization",
        "merge",
        kept="y",
    ),
}
REFUSES = {
    "max pool and a negative scale": Refuses(
        back("N,4,3,3", "d = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) y = Neg(d)"), "NF109 d, NF104 y"
    ),
    "max pool whose indices are read": Refuses(
        back(
            "N,4,5,5",
            "d, i = MaxPool<kernel_shape=[2,2]>(c) y = Mul(d, pos) z = Cast<to=1>(i)",
            "float[4,1,1] pos",
            outputs=", float[N,4,5,5] z",
        ),
        "NF110 d, NF104 y",
    ),
    "max pool whose indices are an output": Refuses(
        back(
            "N,4,5,5",
            "d, i = MaxPool<kernel_shape=[2,2]>(c) y = Mul(d, k)",
            "float[4,1,1] k = {0,1,2,3}",
            outputs=", int64[N,4,5,5] i",
        ),
        "NF110 d, NF104 y",
    ),
    "average pool that counts its padding, and a shift": Refuses(
        back(
            "N,4,6,6",
            "d = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], "
            "count_include_pad=1>(c) y = BatchNormalization(d, g, be, m, var)",
        ),
        "NF107 d, NF104 y",
    ),
    "mean over the channels": Refuses(
        ahead("N,1,6,6", "d = ReduceMean<axes=[1]>(c) y = Relu(d)", BN4), "NF111 d, NF118 c", site="c"
    ),
    "resize to the same size that still interpolates": Refuses(
        "(float[N,6,3] x) => (float[N,6,6] y) <float[3,6] w, float[6] k, float[3] s = {1, 1, 1.1}> "
        '{ c = MatMul(x, w) d = Resize<mode="nearest">(c, "", s) y = Mul(d, k) }',
        "NF111 d, NF104 y",
    ),
    "resize that crops": Refuses(
        back(
            "N,4,12,12",
            'd = Resize<coordinate_transformation_mode="tf_crop_and_resize">(c, r, '
            "s) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, float[8] r = {{0,0,0,0,1,1,1,1}}, float[4] s = {{1, 1, 2, 2}}",
        ),
        "NF110 d, NF104 y",
    ),
    "pad with zeros and a shift": Refuses(
        back(
            "N,4,9,7",
            "d = Pad(c, p) y = BatchNormalization(d, g, be, m, var)",
            f"{BN4}, int64[8] p = {{0, 0, 1, 0, 0, 0, 2, 1}}",
        ),
        "NF107 d, NF104 y",
    ),
    "a sum over space and a shift": Refuses(
        "(float[N,3,8,8] x) => (float[4,6,6] y) <float[4,3,3,3] w, float[4] b, int64[1] a = {0}, "
        "float[4,6,6] k> "
        "{ c = Conv(x, w, b) d = ReduceSum<keepdims=0>(c, a) y = Add(d, k) }",
        "NF108 d, NF104 y",
    ),
    "a Pad with another value behind a scale of 0": Refuses(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[4,1,1] k, int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1},"
        " float v = {2.0}, float[5,4,3,3] w> { c = Mul(x, k) d = Pad(c, p, v) y = Conv(d, w) }",
        "NF107 d, NF118 c",
        site="c",
        values={"k": (0, 1, 2, 1)},
    ),
    "a Pad at the edge along which the scale varies": Refuses(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[6,1] k, int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1},"
        ' float[5,4,3,3] w> { c = Mul(x, k) d = Pad<mode="edge">(c, p) y = Conv(d, w) }',
        "NF111 d, NF118 c",
        site="c",
    ),
    "a Pad whose value would be another one for each channel": Refuses(
        "(float[N,4,6,6] x) => (float[N,5,6,6] y) <float[4,1,1] t, int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1},"
        " float[4,5,3,3] w> { c = Add(x, t) d = Pad(c, p) y = ConvTranspose<pads=[2,2,2,2]>(d, w) }",
        "NF107 d, NF118 c",
        site="c",
    ),
    "a Pad with zeros between": Refuses(
        "(float[N,4,6,6] x) => (float[N,4,8,8] y) <float[4,4,3,3] w, int64[8] p = {0, 0, 1, 1, 0, 0, 1, "
        f"1}}, {BN4}> "
        "{ c = BatchNormalization(x, g, be, m, var) d = Pad(c, p) "
        "y = ConvTranspose<pads=[1,1,1,1]>(d, w) }",
        "NF107 d, NF118 c",
        site="c",
    ),
    "a norm of no axes": Refuses(
        "(float[N,4] x) => (float[N,5] y) <float k={-2}, float[4,5] w> "
        "{ a = Mul(x, k) b = ReduceL1<noop_with_empty_axes=1>(a) y = MatMul(b, w) }",
        "NF110 b, NF118 a",
        opset=18,
    ),
    "GridSample: a scale along the last axis": Refuses(
        back("N,4,5,5", "d = GridSample(c, gr) y = Mul(d, kw)", "float[5] kw", more=", float[N,5,5,2] gr"),
        "NF111 d, NF104 y",
        opset=20,
    ),
    "Upsample: a scale along the last axis": Refuses(
        back(
            "N,4,12,12", 'd = Upsample<mode="nearest">(c, s) y = Mul(d, kw)', "float[12] kw, float[4] s = {1, 1, 2, 2}"
        ),
        "NF111 d, NF104 y",
        opset=9,
    ),
    "RoiAlign: a scale along the last axis": Refuses(
        back(
            "1,4,2,2",
            "d = RoiAlign<output_height=2, output_width=2, sampling_ratio=2>(c, ro, bi) y = Mul(d, kw)",
            "float[2] kw, float[1,4] ro = {0,0,3,3}, int64[1] bi = {0}",
        ),
        "NF111 d, NF104 y",
    ),
    **{
        f"{operator}: a scale along the last axis": Refuses(
            back(f"N,{size}", f"d = {operator}{attributes}(c) y = Mul(d, kw)", f"float[{size[-1]}] kw"),
            f"{why} d, NF104 y",
        )
        for operator, attributes, size, why in (
            ("LpPool", WINDOW, "4,5,5", "NF111"),
            ("GlobalLpPool", "", "4,1,1", "NF109"),
            ("ReduceMax", "<axes=[1]>", "1,6,6", "NF109"),
            ("ReduceMin", "<axes=[1]>", "1,6,6", "NF109"),
            ("ReduceL2", SPACE, "4,1,1", "NF109"),
            ("ReduceSumSquare", SPACE, "4,1,1", "NF109"),
            ("ReduceLogSumExp", SPACE, "4,1,1", "NF110"),
        )
    },
    "Crop: a scale along the last axis": Refuses(
        back("N,4,3,4", "d = Crop<border=[1,2,1,1]>(c) y = Mul(d, kw)", "float[4] kw"), "NF111 d, NF104 y", opset=9
    ),
    **{
        f"{operator}: a scale along the last axis, forward": Refuses(
            ahead(
                "N,5,1,1", f"d = {operator}(c) y = Conv(d, v)", "float[6] kw, float[5,4,1,1] v", first="c = Mul(x, kw)"
            ),
            "NF111 d, NF118 c",
        )
        for operator in ("GlobalMaxPool", "GlobalAveragePool")
    },
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
