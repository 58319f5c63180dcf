"""Reports with everything that a format may meet, and names that are not to be trusted."""

from __future__ import annotations

from dataclasses import replace

from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.report.report import Problem, Report
from normfold.report.statistics import Statistics
from normfold.verify.result import Comparison, Equivalence, Stage, Verification

FOLDED = Verdict(
    Finding("/stem/bn", "BatchNormalization", "stem_out", is_norm=True),
    Outcome.FOLDED,
    rule="batchnorm",
    direction="backward",
    into=("/stem/conv",),
    sites=("stem_out",),
)
FUSED = Verdict(
    Finding("/block/ln", "LayerNorm", "ln_out", what="axes -1, epsilon 1e-05", is_norm=True),
    Outcome.FUSED,
    rule="layernorm",
    form="LayerNormalization",
    sites=("ln_out",),
)
KEPT = Verdict(
    Finding("/head/shift", "Add", "head_out", graph="loop/body"),
    Outcome.KEPT,
    obstacles=(
        Obstacle(Reason.GRAPH_OUTPUT, "/head/conv", "head_out", direction="backward"),
        Obstacle(Reason.ZERO_PADDING, "/head/next", "head_out", "pads 1,1,1,1", "forward"),
    ),
)
PROOF = Verification(
    Equivalence.EQUIVALENT,
    outputs=(
        Comparison(
            "y", Stage.DEFAULT, True, dtype="float32", max_abs=1e-6, relative=2e-7, margin=0.1, ulps=1.7, tolerance=2e-6
        ),
    ),
    sites=tuple(
        Comparison(
            value,
            Stage.AT_SITE,
            True,
            folds=(fold,),
            dtype="float32",
            max_abs=worst,
            relative=relative,
            margin=margin,
            tolerance=2e-6,
        )
        for value, fold, worst, relative, margin in (
            ("stem_out", "/stem/bn", 1e-6, 1e-7, 0.05),
            ("ln_out", "/block/ln", 2e-6, 9e-7, 0.45),
        )
    ),
    feeds=("4 made up",),
)


def sample() -> Report:
    """One of each outcome, proven."""
    return Report(
        command="optimize",
        version="1.2.3",
        model="nets/model.onnx",
        target="onnxruntime",
        verdicts=(FOLDED, FUSED, KEPT),
        before=Statistics((("Add", 3), ("BatchNormalization", 1), ("Conv", 2)), 12_340, 49_360, 16),
        after=Statistics((("Add", 1), ("Conv", 2), ("LayerNormalization", 1)), 12_300, 49_200, 17),
        verification=PROOF,
        output="nets/model.opt.onnx",
        notes=("operator set 16 was raised to 17",),
        seconds={"fold": 0.25, "verify": 1.0},
    )


def checked() -> Report:
    """A check that fails: one norm could be folded, and a comparison went wrong."""
    problems = (Problem(Reason.FOLDABLE_LEFT, FOLDED.finding, "at most 0 are allowed"), Problem(Reason.MODELS_DIFFER))
    return replace(sample(), command="check", model="nets/other.onnx", output="", verification=None, problems=problems)


HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;\"'`",
    "script_end": "</script><script>document.title='owned'</script><!--",
    "cdata": "]]></failure>",
    "table": "a|b\\|c `d` **e** [f](http://g) @team #1 ![h](i)",
    "commands": "x\n::error::owned\r::set-output name=a::b%0A::warning::c",
    "properties": "a,title=b::c",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "controls": "nul\x00 bell\x07 del\x7f line\u2028 nbsp\xa0 bidi\u202e lone\ud800 nonchar\uffff",
    "megabyte": "n" * 1_000_000,
}


def hostile(name: str) -> Report:
    """The sample with ``name`` at every place where a model can put a name."""
    finding = Finding(name, name, name, name, name)
    folded = replace(FOLDED, finding=finding, into=(name,), sites=(name,), why=name)
    obstacle = Obstacle(Reason.ZERO_PADDING, name, name, name, "forward")
    kept = Verdict(replace(finding, name=f"{name}2"), Outcome.KEPT, obstacles=(obstacle,))
    place = replace(PROOF.sites[0], value=name, folds=(name,), passed=False, note=name, feed=name, expected=name)
    sizes = Statistics(((name, 2),), 1, 4, 17)
    return replace(
        checked(),
        model=f"{name}.onnx",
        output=name,
        verdicts=(folded, kept),
        before=sizes,
        after=sizes,
        notes=(name,),
        verification=Verification(
            Equivalence.DIFFERENT, outputs=(place,), sites=(place,), failing_folds=(name,), notes=(name,)
        ),
        problems=(Problem(Reason.FOLDABLE_LEFT, finding, name), Problem(Reason.GRAPH_OUTPUT, None, name, obstacle)),
    )
