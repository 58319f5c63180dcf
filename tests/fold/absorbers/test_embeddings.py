"""Gather from a constant table: an embedding takes an affine of its features into the table."""

from __future__ import annotations

from tests.fold.rows import Folds, Refuses, back, every

MS = '"com.microsoft":1'
BLOCKS = "com.microsoft.GatherBlockQuantized<bits=4, block_size=16>"
NIBBLES = {"q": tuple(range(60, 204)), "z": (0x35, 0x91, 0x7F, 0, 1, 2, 3, 4, 5)}
TABLE = "(int64[N,5] i) => (float[N,5,32] y) <uint8[9,16] q, float[9,2] k"
PARTS = "float[32] s = {" + ", ".join(["2"] * 16 + ["-3"] * 16) + "}"

BACKWARD = {
    "a table of four bits": Folds(
        f"{TABLE}, uint8[9,1] z, {PARTS}> {{ c = {BLOCKS}(q, i, k, z) y = Mul(c, s) }}",
        "GatherBlockQuantized",
        domains=MS,
        values=NIBBLES,
    ),
    "a table of eight bits": Folds(
        "(int64[N,5] i) => (float[N,5,16] y) <uint8[9,16] q, float[9,1] k>"
        "{ c = com.microsoft.GatherBlockQuantized<bits=8, block_size=16>(q, i, k) y = Neg(c) }",
        "GatherBlockQuantized",
        domains=MS,
        values=NIBBLES,
    ),
    "an embedding": Folds(
        "(int64[N,5] i) => (float[N,5,8] y) <float[9,8] w, float[8] k, float[8] t> "
        "{ c = Gather(w, i) d = Mul(c, k) y = Add(d, t) }",
        "Gather",
    ),
    "an embedding along the columns": Folds(
        "(int64[5] i) => (float[8,5] y) <float[8,9] w, float[8,1] k> { c = Gather<axis=1>(w, i) y = Mul(c, k) }",
        "Gather",
    ),
    "embedding gathernd": Folds(
        "(int64[N,1] x) => (float[N,4] y) <float[10,4] w, float[4] k> { c = GatherND(w, x) y = Mul(c, k) }", "GatherND"
    ),
}
REFUSES = {
    "a table of four bits, inside its blocks": Refuses(
        f"{TABLE}, float[32] s> {{ c = {BLOCKS}(q, i, k) y = Mul(c, s) }}",
        "NF120 c, NF104 y",
        domains=MS,
        values=NIBBLES,
    ),
    "a shift of a table of four bits": Refuses(
        f"{TABLE}, float[32] s> {{ c = {BLOCKS}(q, i, k) y = Add(c, s) }}",
        "NF108 c, NF104 y",
        domains=MS,
        values=NIBBLES,
    ),
    "a factor of the rows of indices": Refuses(
        "(int64[4,2] i) => (float[4,3] y) <float[5,6,3] t, float[4,1] pos> { c = GatherND(t, i) y = Mul(c, pos) }",
        "NF111 c, NF104 y",
    ),
    "an embedding, along the tokens": Refuses(
        "(int64[5] i) => (float[5,8] y) <float[9,8] w, float[5,1] k> { c = Gather(w, i) y = Mul(c, k) }",
        "NF111 c, NF104 y",
    ),
    "GatherND: a scale along the last axis": Refuses(
        back("N,4,2", "d = GatherND<batch_dims=2>(c, i) y = Mul(d, kw)", "float[2] kw", more=", int64[N,4,2,2] i"),
        "NF111 d, NF104 y",
    ),
}


test_folds_backward = every(BACKWARD)
test_refuses = every(REFUSES)
