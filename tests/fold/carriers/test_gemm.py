"""Gemm beside variables: two variable factors, or a variable C. (With one variable factor alone it absorbs.)"""

from __future__ import annotations

from tests.fold.rows import Refuses, ahead, back, every

REFUSES = {
    "Gemm: a scale along the last axis": Refuses(
        back(
            "4,3",
            "f = Reshape(c, sh) d = Gemm(f, z) y = Mul(d, kw)",
            "float[3] kw, int64[2] sh = {4, 36}",
            more=", float[36,3] z",
        ),
        "NF118 d, NF104 y",
    ),
    "Gemm: a positive scale by channel, forward": Refuses(
        ahead(
            "4,5",
            "f = Reshape(c, sh) d = Gemm(f, z) y = MatMul(d, v)",
            "float[4,1,1] pos, int64[2] sh = {4, 36}, float[3,5] v",
            more=", float[36,3] z",
            first="c = Mul(x, pos)",
        ),
        "NF113 d, NF118 c",
    ),
}


test_refuses = every(REFUSES)
