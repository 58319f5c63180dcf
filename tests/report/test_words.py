"""The first line: what became of the norms, and the counts of all findings, the same in every format."""

from __future__ import annotations

from dataclasses import replace

import pytest

from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.words import headline
from tests.report.samples import FOLDED, FUSED, KEPT, sample

ALREADY = Verdict(
    Finding("ln", "LayerNormalization", "y", is_norm=True),
    Outcome.KEPT,
    obstacles=(Obstacle(Reason.OWN_STATISTICS, "ln", "y"),),
)
AFFINE = replace(FOLDED, finding=Finding("mul", "Mul", "z"))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "no norms and no constant affines (0 folded, 0 fused, 0 kept)"),
        ((KEPT,), "nothing to fold or fuse (0 folded, 0 fused, 1 kept)"),
        ((FOLDED,), "1 of 1 norm removed (1 folded, 0 fused, 0 kept)"),
        ((FOLDED, AFFINE, KEPT), "1 of 1 norm removed (2 folded, 0 fused, 1 kept)"),
        ((FUSED, FUSED), "2 of 2 norms written as one operator (0 folded, 2 fused, 0 kept)"),
        ((AFFINE,), "constant affines folded, no norms (1 folded, 0 fused, 0 kept)"),
        ((AFFINE, ALREADY), "each norm is one operator already (1 folded, 0 fused, 0 kept)"),
        ((FOLDED, ALREADY), "1 of 1 norm removed, 1 one operator already (1 folded, 0 fused, 0 kept)"),
    ],
)
def test_the_first_line(verdicts: tuple[Verdict, ...], expected: str) -> None:
    same = sample().before
    assert headline(replace(sample(), verdicts=verdicts, after=same)) == expected
    would = headline(replace(sample(), command="inspect", verdicts=verdicts, after=same))
    counts = expected[expected.index("(") :]
    assert would.endswith(counts)
    assert ("can be " in would) is any(word in expected for word in ("removed", "written", "affines folded"))
