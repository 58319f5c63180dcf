"""Carriers that take or put elements by index."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, ahead, back, every

BACKWARD = {
    "GatherElements: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = GatherElements<axis=2>(c, i) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t",
            more=", int64[N,4,6,6] i",
        ),
        "Conv GatherElements",
    ),
    "GatherND: a factor and a shift": Folds(
        back(
            "N,4,2",
            "d = GatherND<batch_dims=2>(c, i) m = Mul(d, k) y = Add(m, t)",
            "float k = {-2}, float t = {0.75}",
            more=", int64[N,4,2,2] i",
        ),
        "Conv GatherND",
    ),
    "GatherND: a positive scale by channel and a shift": Folds(
        back(
            "2,4,6,6",
            "d = GatherND(c, i) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, int64[2,1] i = {0, 0}",
        ),
        "Conv GatherND",
    ),
    "TopK: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,3",
            "d, i = TopK(c, k3) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, int64[1] k3 = {3}",
        ),
        "Conv TopK",
    ),
    "ReverseSequence: along time, a scale of the rest": Folds(
        "(float[6,4,3] x) => (float[6,4,5] y) <float[3,5] w, float[5] k, int64[4] l = {6, 2, 4, 1}> "
        "{ c = MatMul(x, w) d = ReverseSequence<time_axis=0, batch_axis=1>(c, l) y = Mul(d, k) }",
        "MatMul ReverseSequence",
    ),
    "ScatterElements: a positive scale by channel and a shift": Folds(
        back(
            "N,4,6,6",
            "d = ScatterElements<axis=2>(c, i, u) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, "
            "int64[1,4,1,6] i = {0,1,2,3,4,5,0,1,2,3,4,5,0,1,2,3,4,5,0,1,2,3,4,5}, float[1,4,1,6] u",
        ),
        "Conv ScatterElements",
    ),
    "ScatterND: a positive scale by channel and a shift": Folds(
        back(
            "3,4,6,6",
            "d = ScatterND(c, i, u) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, int64[1,1] i = {0}, float[1,4,6,6] u",
        ),
        "Conv ScatterND",
    ),
    "Compress: a positive scale by channel and a shift": Folds(
        back(
            "N,4,3,6",
            "d = Compress<axis=2>(c, q) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1,1] pos, float[4,1,1] t, bool[6] q = {1, 0, 1, 0, 1, 0}",
        ),
        "Conv Compress",
    ),
    "Compress: a factor and a shift": Folds(
        back(
            "K",
            "d = Compress(c, q) m = Mul(d, k) y = Add(m, t)",
            "float k = {-2}, float t = {0.75}, bool[6] q = {1, 0, 1, 0, 1, 0}",
        ),
        "Conv Compress",
    ),
    "MaxUnpool: a factor": Folds(
        "(float[1,3,3,3] x) => (float[1,4,6,6] y) <float[4,3,1,1] w, float k = {-2}, "
        "int64[1,4,3,3] i = "
        "{0,2,4,12,14,16,24,26,28,36,38,40,48,50,52,60,62,64,72,74,76,84,86,88,96,98,100,108,110,112,120,122,"
        "124,132,134,136}> "
        "{ c = Conv(x, w) d = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(c, i) y = Mul(d, k) }",
        "Conv MaxUnpool",
    ),
    "GatherND: the batch goes": Folds(
        "(float[N,3,8,8] x) => (float[4,6,6] y) <int64[1] i = {0}, float[4,3,3,3] w, float[4] b, "
        "float[4,1,1] k> { c = Conv(x, w, b) d = GatherND(c, i) y = Mul(d, k) }",
        "Conv GatherND",
    ),
}
FORWARD = {
    "GatherElements: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = GatherElements<axis=2>(c, i) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, float[5,4,1,1] v",
            more=", int64[N,4,6,6] i",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "GatherElements Conv",
        "forward",
    ),
    "GatherND: a factor and a shift": Folds(
        ahead(
            "N,5,2",
            "d = GatherND<batch_dims=2>(c, i) y = Conv(d, v)",
            "float k = {-2}, float t = {0.75}, float[5,4,1] v",
            more=", int64[N,4,2,2] i",
            first="m = Mul(x, k) c = Add(m, t)",
        ),
        "GatherND Conv",
        "forward",
    ),
    "GatherND: a positive scale by channel and a shift": Folds(
        ahead(
            "2,5,6,6",
            "d = GatherND(c, i) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[2,1] i = {0, 0}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "GatherND Conv",
        "forward",
    ),
    "TopK: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,3",
            "d, i = TopK(c, k3) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[1] k3 = {3}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "TopK Conv",
        "forward",
    ),
    "GatherND: a positive scale by channel and a shift behind it": Folds(
        back(
            "N,4,2",
            "d = GatherND<batch_dims=2>(c, i) m = Mul(d, pos) y = Add(m, t)",
            "float[4,1] pos, float[4,1] t",
            more=", int64[N,4,2,2] i",
        ),
        "Conv GatherND BatchNormalization",
        "merge",
        kept="y",
    ),
    "TopK: a scale by channel and a shift": Folds(
        back(
            "N,4,6,3",
            "d, i = TopK(c, k3) m = Mul(d, k) y = Add(m, t)",
            "float[4,1,1] k, float[4,1,1] t, int64[1] k3 = {3}",
        ),
        "Conv TopK BatchNormalization",
        "merge",
        kept="y",
    ),
    "ReverseSequence: along time, a scale of the rest": Folds(
        "(float[6,4,3] x) => (float[6,4,5] y) <float[3,5] w, float[3] k, float[3] t, int64[4] l = {6, 2, "
        "4, 1}> "
        "{ m = Mul(x, k) c = Add(m, t) d = ReverseSequence<time_axis=0, batch_axis=1>(c, l) "
        "y = MatMul(d, w) }",
        "ReverseSequence MatMul Add",
        "forward",
    ),
    "ScatterElements: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,6,6",
            "d = ScatterElements<axis=2>(c, i, u) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, "
            "int64[1,4,1,6] i = {0,1,2,3,4,5,0,1,2,3,4,5,0,1,2,3,4,5,0,1,2,3,4,5}, float[1,4,1,6] u, "
            "float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "ScatterElements Conv",
        "forward",
    ),
    "ScatterND: a positive scale by channel and a shift": Folds(
        ahead(
            "3,5,6,6",
            "d = ScatterND(c, i, u) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, int64[1,1] i = {0}, float[1,4,6,6] u, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "ScatterND Conv",
        "forward",
    ),
    "Compress: a positive scale by channel and a shift": Folds(
        ahead(
            "N,5,3,6",
            "d = Compress<axis=2>(c, q) y = Conv(d, v)",
            "float[4,1,1] pos, float[4,1,1] t, bool[6] q = {1, 0, 1, 0, 1, 0}, float[5,4,1,1] v",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "Compress Conv",
        "forward",
    ),
    "Compress: a positive scale by channel and a shift of a value that loses its axes": Folds(
        ahead(
            "K",
            "d = Compress(c, q) y = Sigmoid(d)",
            "float[4,1,1] pos, float[4,1,1] t, bool[6] q = {1, 0, 1, 0, 1, 0}",
            first="m = Mul(x, pos) c = Add(m, t)",
        ),
        "BatchNormalization Compress Sigmoid",
        "merge",
        kept="c",
    ),
    "MaxUnpool: a factor": Folds(
        "(float[1,4,3,3] x) => (float[1,5,6,6] y) <float k = {-2}, float[5,4,1,1] v, "
        "int64[1,4,3,3] i = "
        "{0,2,4,12,14,16,24,26,28,36,38,40,48,50,52,60,62,64,72,74,76,84,86,88,96,98,100,108,110,112,120,122,"
        "124,132,134,136}> "
        "{ c = Mul(x, k) d = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(c, i) y = Conv(d, v) }",
        "MaxUnpool Conv",
        "forward",
    ),
    "GatherND: the batch goes": Folds(
        "(float[N,4,6,3] x) => (float[4,5,3] y) <int64[1] i = {0}, float[6,1] k, float[5,6,1] w> { c = "
        "Mul(x, k) d = GatherND(c, i) y = Conv(d, w) }",
        "GatherND Conv",
        "forward",
    ),
}
REFUSES = {
    "a factor along the axis that is indexed at run time": Refuses(
        "(float[4,6] x, int64[4,6] i) => (float[4,6] y) <float[6] pos, float[6,6] w>"
        "{ c = MatMul(x, w) d = GatherElements<axis=1>(c, i) y = Mul(d, pos) }",
        "NF111 d, NF104 y",
    ),
    "a part of the axis of a factor": Refuses(
        "(float[4,6] x, int64[4,3] i) => (float[4,3] y) <float[3] pos, float[6,6] w>"
        "{ c = MatMul(x, w) d = GatherElements<axis=0>(c, i) y = Mul(d, pos) }",
        "NF111 d, NF104 y",
    ),
    "ReverseSequence: a scale along the last axis": Refuses(
        back(
            "3,4,6,6",
            "d = ReverseSequence<batch_axis=0, time_axis=2>(c, l) y = Mul(d, kw)",
            "float[6] kw, int64[3] l = {6, 2, 4}",
        ),
        "NF111 c, NF104 y",
    ),
    "ReverseSequence: a scale along the last axis, forward": Refuses(
        ahead(
            "3,5,6,6",
            "d = ReverseSequence<batch_axis=0, time_axis=2>(c, l) y = Conv(d, v)",
            "float[6] kw, int64[3] l = {6, 2, 4}, float[5,4,1,1] v",
            first="c = Mul(x, kw)",
        ),
        "NF111 y, NF118 c",
    ),
    "ReverseSequence: a positive scale by channel": Refuses(
        back(
            "N,4,6,6",
            "d = ReverseSequence<batch_axis=2, time_axis=1>(c, l) y = Mul(d, pos)",
            "float[4,1,1] pos, int64[6] l = {4, 2, 4, 1, 1, 3}",
        ),
        "NF111 d, NF104 y",
    ),
    "TopK: a scale along the last axis": Refuses(
        back("N,4,6,3", "d, i = TopK(c, k3) y = Mul(d, kw)", "float[3] kw, int64[1] k3 = {3}"), "NF111 d, NF104 y"
    ),
    "GatherElements: a scale along the last axis": Refuses(
        back("N,4,6,6", "d = GatherElements<axis=2>(c, i) y = Mul(d, kw)", "float[6] kw", more=", int64[N,4,6,6] i"),
        "NF111 c, NF104 y",
    ),
    "GatherND: a scale along the last axis": Refuses(
        back("N,4,2", "d = GatherND<batch_dims=2>(c, i) y = Mul(d, kw)", "float[2] kw", more=", int64[N,4,2,2] i"),
        "NF111 d, NF104 y",
    ),
    "ReverseSequence: channels": Refuses(
        back(
            "N,6,6,4",
            "e = Transpose<perm=[3,2,0,1]>(c) g = ReverseSequence<batch_axis=1, time_axis=0>(e, "
            "l) d = Transpose<perm=[2,3,0,1]>(g) y = Mul(d, k)",
            "float[6,1] k, int64[6] l = {4, 2, 4, 1, 1, 3}",
        ),
        "NF111 g, NF104 y",
    ),
    "ReverseSequence: a scale along time": Refuses(
        "(float[6,4,3] x) => (float[6,4,5] y) <float[3,5] w, float[6,1,1] k, int64[4] l = {6, 2, 4, 1}> "
        "{ c = MatMul(x, w) d = ReverseSequence<time_axis=0, batch_axis=1>(c, l) y = Mul(d, k) }",
        "NF111 d, NF104 y",
    ),
    "a product of what is written": Refuses(
        "(float[4,6] x, float[2,6] u) => (float[4,6] y) <int64[2,1] i = {0, 2}, float[6] pos, float[6,6] w>"
        '{ c = MatMul(x, w) v = MatMul(u, w) d = ScatterND<reduction="mul">(c, i, v) y = Mul(d, pos) }',
        "NF110 d, NF104 y",
    ),
    "a factor along the axis that is indexed": Refuses(
        "(float[4,6] x, float[2,6] u) => (float[4,6] y) <int64[2,1] i = {0, 2}, float[4,1] pos, float[4,4] w>"
        "{ c = MatMul(w, x) v = Relu(u) d = ScatterND(c, i, v) y = Mul(d, pos) }",
        "NF111 d, NF104 y",
    ),
    "elements put into a part of the axis of a factor": Refuses(
        "(float[4,6] x, float[2,3] u, int64[2,3] i) => (float[4,6] y) <float[6] pos, float[6,6] w>"
        "{ c = MatMul(x, w) v = Relu(u) d = ScatterElements<axis=0>(c, i, v) y = Mul(d, pos) }",
        "NF111 d, NF104 y",
    ),
    "updates that lack what the data does not": Refuses(
        "(float[4,6] x, float[2,6] u) => (float[4,3] y) <int64[2,1] i = {0, 2}, float[6] pos, float[6,3] w>"
        "{ c = Mul(x, pos) d = ScatterND(c, i, u) y = MatMul(d, w) }",
        "NF117 d, NF118 c",
    ),
    "MaxUnpool: a positive factor": Refuses(
        back(
            "N,4,6,6",
            "e, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) d = MaxUnpool<kernel_shape=[2,2], "
            "strides=[2,2]>(e, i) y = Mul(d, k)",
            "float k = {0.5}",
        ),
        "NF110 e, NF104 y",
    ),
    "Compress: a positive scale by channel, forward": Refuses(
        ahead(
            "N,5,6,6",
            "d = Compress<axis=1>(c, q) y = Conv(d, v)",
            "float[4,1,1] pos, bool[4] q = {1, 0, 1, 0}, float[5,2,1,1] v",
            first="c = Mul(x, pos)",
        ),
        "NF111 d, NF118 c",
    ),
    "MaxUnpool: a shift by channel": Refuses(
        back(
            "N,4,6,6",
            "e, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) d = MaxUnpool<kernel_shape=[2,2], "
            "strides=[2,2]>(e, i) y = Add(d, t)",
            "float[4,1,1] t",
        ),
        "NF108 d, NF104 y",
    ),
    "MaxUnpool: a positive scale by channel": Refuses(
        back(
            "N,4,6,6",
            "e, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c) d = MaxUnpool<kernel_shape=[2,2], "
            "strides=[2,2]>(e, i) y = Mul(d, pos)",
            "float[4,1,1] pos",
        ),
        "NF111 d, NF104 y",
    ),
    "ScatterElements: a scale along the last axis": Refuses(
        back(
            "N,4,6,6",
            "d = ScatterElements<axis=2>(c, i, u) y = Mul(d, kw)",
            "float[6] kw, int64[1,4,1,6] i = {0,1,2,3,4,5,0,1,2,3,4,5,0,1,2,3,4,5,0,1,2,3,4,5}, float[1,4,1,6] u",
        ),
        "NF111 c, NF104 y",
    ),
    "ScatterND: a scale along the last axis": Refuses(
        back("3,4,6,6", "d = ScatterND(c, i, u) y = Mul(d, kw)", "float[6] kw, int64[1,1] i = {0}, float[1,4,6,6] u"),
        "NF111 c, NF104 y",
    ),
    "GatherND: indices of unknown length": Refuses(
        "(float[N,4,6] x, int64[5,K] i) => (float[N,M] y) <float[6] k> { c = Mul(x, k) y = GatherND(c, i) }",
        "NF112 y, NF118 c",
    ),
    "ScatterND: a scale of 0 before constant updates": Refuses(
        "(float[5,4] x) => (float[5,3] y) <float[4] k = {0,1,2,3}, int64[2,1] i = {0, 3}, float[2,4] u, "
        "float[4,3] w> { c = Mul(x, k) d = ScatterND(c, i, u) y = MatMul(d, w) }",
        "NF109 d, NF118 c",
    ),
    "ScatterND: updates whose scale varies where they are put": Refuses(
        "(float[2,4] x) => (float[5,3] y) <float[2,1] k, int64[2,1] i = {0, 3}, float[5,4] u, float[4,3] w> "
        "{ c = Mul(x, k) d = ScatterND(u, i, c) y = MatMul(d, w) }",
        "NF111 d, NF118 c",
    ),
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
