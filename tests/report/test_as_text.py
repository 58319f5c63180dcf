"""The report: found = folded + fused + kept, plain text without a terminal, JSON that any parser takes."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

import normfold
from normfold.files.protos.convert import to_ir
from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.as_json import as_json
from normfold.report.as_text import console_for, print_report
from normfold.report.report import Report
from normfold.report.statistics import Statistics, statistics
from normfold.verify import Comparison, Equivalence, Stage, Verification
from tests.nets import conv_bn

KEPT = tuple(
    Verdict(
        Finding(f"bn{index}", "BatchNormalization", f"y{index}", is_norm=True),
        Outcome.KEPT,
        obstacles=(
            Obstacle(Reason.ZERO_PADDING if index % 3 else Reason.GRAPH_OUTPUT, "conv", "v", "pads 1", "forward"),
        ),
    )
    for index in range(8)
)
FOLDED = Verdict(Finding("mul", "Mul", "z"), Outcome.FOLDED, rule="affine", direction="backward", into=("gemm",))
FUSED = Verdict(Finding("ln", "LayerNorm", "n"), Outcome.FUSED, rule="layernorm", form="LayerNormalization", why="fast")
SIZES = Statistics((("Constant", 5), ("Conv", 2)), 1234, 4936, 17)


def report(**changes: object) -> Report:
    fields = {
        "command": "optimize",
        "version": "1",
        "model": "net.onnx",
        "target": "onnxruntime",
        "verdicts": (*KEPT, FOLDED, FUSED),
        "before": SIZES,
        "after": SIZES,
        **changes,
    }
    return Report(**fields)  # type: ignore[arg-type]  # the fields are those of Report


def text_of(report: Report, details: bool = False, **console: object) -> str:
    stream = io.StringIO()
    options = {"width": 200, "highlight": False, "markup": False, **console}
    print_report(report, Console(file=stream, **options), details)  # type: ignore[arg-type]  # options of Console
    return stream.getvalue()


def test_every_finding_has_one_outcome() -> None:
    whole = report()
    assert sum(len(whole.of(outcome)) for outcome in Outcome) == len(whole.verdicts)
    assert sum(len(rows) for _, rows in whole.kept_by_reason) == len(whole.of(Outcome.KEPT))
    assert [reason for reason, _ in whole.kept_by_reason] == [Reason.ZERO_PADDING, Reason.GRAPH_OUTPUT]


@pytest.mark.parametrize("excluded", [(), ("batchnorm",)])
def test_the_invariant_holds_for_a_real_model(excluded: tuple[str, ...]) -> None:
    content = json.loads(as_json([normfold.optimize(conv_bn(), skip=excluded, verify=False).report()]))
    assert (
        content["found"]
        == sum(content[name] for name in ("folded", "fused", "kept", "settled"))
        == len(content["findings"])
        == 1
    )


def test_plain_text_names_what_stays_and_the_remedy() -> None:
    text = text_of(report(notes=("a note",)))
    assert "net.onnx: 0 of 8 norms removed (1 folded, 1 fused, 8 kept)" in text
    assert f"NF107 5 kept: {Reason.ZERO_PADDING.obstacle}" in text
    assert "bn1 at conv (pads 1)" in text
    assert "and 1 more" in text
    assert f"remedy: {Reason.ZERO_PADDING.remedy}" in text
    assert "note: a note" in text
    assert text.rstrip().endswith("nothing written")
    assert "\x1b" not in text


def test_details_name_every_finding() -> None:
    text = text_of(report(command="inspect"), details=True)
    for name in (*(f"bn{index}" for index in range(8)), "mul", "ln"):
        assert name in text
    assert "into the operator before it (gemm) [affine]" in text
    assert "as LayerNormalization; fast [layernorm]" in text
    assert "nothing written" not in text


def test_a_terminal_gets_colours_unless_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in text_of(report(), force_terminal=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in text_of(report(), force_terminal=True)
    assert not console_for(is_terminal=False).is_terminal


def test_a_failed_proof_shows_its_table() -> None:
    place = Comparison(
        "y", Stage.UNOPTIMIZED, False, max_abs=1.0, relative=0.5, tolerance=1e-6, needed_tolerance="rtol=0.5"
    )
    proof = Verification(Equivalence.DIFFERENT, outputs=(place,), failing_folds=("mul",))
    text = text_of(report(verification=proof))
    assert "verification: different" in text
    assert "DIFFERS" in text


def test_json_has_no_infinities_and_no_raw_names() -> None:
    place = Comparison("y\x1b", Stage.UNOPTIMIZED, False, max_abs=math.inf, relative=math.nan, needed_tolerance="")
    text = as_json([report(verification=Verification(Equivalence.DIFFERENT, outputs=(place,)))])
    assert text.isascii()
    assert "\x1b" not in text
    (row,) = json.loads(text)["verification"]["outputs"]
    assert (row["max_abs"], row["relative"], row["value"]) == ("inf", "nan", "y\x1b")


def test_statistics_count_weights_wherever_they_are() -> None:
    sizes = statistics(to_ir(conv_bn()))
    assert dict(sizes.operators) == {"BatchNormalization": 1, "Conv": 1}
    assert (sizes.nodes, sizes.parameters, sizes.weight_bytes) == (2, 108 + 16, 4 * 124)
    assert SIZES.nodes == 2
