"""Carriers that take elements at positions known only at run time: what they take along must be the same everywhere."""

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
    "GatherND: a positive scale by channel and a shift again": Folds(
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
}


test_folds_backward = every(BACKWARD)
test_folds_forward = every(FORWARD)
test_refuses = every(REFUSES)
