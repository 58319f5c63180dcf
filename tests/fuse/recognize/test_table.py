"""Every decomposition of a norm becomes the fewest operators, and stays equal in float64 and in its own type."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from normfold.findings.rules import Selection
from normfold.findings.verdict import Outcome
from normfold.fold.cleanup.tidy import tidy
from normfold.fuse.engine import fuse_norms
from tests.fuse.decompositions import AXES, NORMS, Decomposition, data_for, model_of, pairwise
from tests.fuse.recognize.edges import EDGES, Edge
from tests.onnx_text import assert_close, feeds_of, parse, run_in_float64, run_in_ort
from tests.runtime_faults import layer_norm_cancels

OPSETS = (7, 13, 17, 18, 21, 23)
FEWEST = {
    "layernorm": {"LayerNormalization": 1},
    "layernorm2": {"LayerNormalization": 1},
    "channels_first": {"Transpose": 2, "LayerNormalization": 1},
    "instancenorm": {"InstanceNormalization": 1},
    "rmsnorm": {"RMSNormalization": 1},
}
EXAMPLES = 12  # decompositions for each norm and operator set: 5 norms, 6 sets


def fused(model: onnx.ModelProto, **options: str) -> onnx.ModelProto:
    """The model with its one norm fused."""
    intermediate = ir.from_proto(model)
    verdicts = fuse_norms(intermediate, Selection(**options))  # type: ignore[arg-type]  # a test's own options
    assert [verdict.outcome for verdict in verdicts] == [Outcome.FUSED], [str(v.obstacles) for v in verdicts]
    tidy(intermediate)
    result = ir.to_proto(intermediate)
    onnx.checker.check_model(result)
    return result


def allowed(decomposition: Decomposition, kind: str) -> float:
    """A gamma that moves into a float16 norm is rounded to float16; subtracting a mean of 1000 costs digits."""
    if decomposition.casts == "half, affine inside":
        return 4e-3
    return 1e-7 if kind == "mean 1e3" else 1e-9


def wrong(decomposition: Decomposition, original: onnx.ModelProto, result: onnx.ModelProto) -> str:
    """What is not as it should be; empty when all is."""
    found = Counter(node.op_type for node in result.graph.node if node.op_type != "Constant")
    found.pop("Identity", None)
    # Over the last two of four axes and without an affine, both names are right.
    norm = (
        "instancenorm" if (decomposition.norm, decomposition.affine) == ("layernorm2", "none") else decomposition.norm
    )
    if found != Counter(FEWEST[norm]):
        return f"left are {dict(found)}"
    for kind in ("normal", "mean 1e3", "variance 1e-6"):
        feeds = data_for(decomposition, kind)
        expected, got = (run_in_float64(model, feeds)["y"] for model in (original, result))
        worst = float(np.abs(got - expected).max())
        if not worst <= allowed(decomposition, kind):
            return f"float64, {kind}: {worst:.3g}"
    return further_from_the_truth(decomposition, original, result)


def further_from_the_truth(decomposition: Decomposition, original: onnx.ModelProto, result: onnx.ModelProto) -> str:
    """In the model's own type the result may be as far from the float64 truth as the original is, and a few roundings.

    E[x^2] - E[x]^2 loses its digits far from zero, so the original is no measure of what is right.
    """
    dtype: type[np.floating] = np.float16 if decomposition.casts != "none" else np.float32
    far = () if layer_norm_cancels() else ("mean 1e3",)
    for kind in ("normal", *far, "variance 1e-6"):
        own = {"x": data_for(decomposition, kind)["x"].astype(dtype)}
        truth = run_in_float64(original, own)["y"]
        before, after = (
            float(np.abs(run_in_ort(model, own, ["y"])["y"].astype(np.float64) - truth).max())
            for model in (original, result)
        )
        x = own["x"].astype(np.float64)
        condition = 1.0 + float(np.abs(x).max() / x.std()) * (dtype is np.float32)  # float16 is computed in float32
        allowed = 8 * float(np.finfo(dtype).eps) * condition * float(np.abs(truth).max())
        if not after <= 2 * before + allowed:  # nan is further
            return f"{dtype.__name__}, {kind}: {after:.3g} from the truth, the original {before:.3g}"
    return ""


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("norm", NORMS)
def test_every_spelling_becomes_the_fewest_operators(norm: str, opset: int) -> None:
    faults = {}
    for decomposition in pairwise(norm, opset, EXAMPLES, seed=opset + len(AXES[norm])):
        original = model_of(decomposition)
        fault = wrong(decomposition, original, fused(original))
        if fault:
            faults[str(decomposition)] = fault
    assert not faults


@pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)
def test_what_is_said_at_each_condition(edge: Edge) -> None:
    original = parse(edge.text, opset=edge.opset, ir_version=10)
    model = ir.from_proto(original)
    verdicts = fuse_norms(model, Selection(new_batchnorm=True))
    words = edge.said.split()
    said = [" ".join(pair) for pair in zip(words[::2], words[1::2], strict=True)]
    assert [f"{v.finding.operator} {v.form or v.obstacles[0].reason.code}" for v in verdicts] == said
    assert len(list(model.graph)) == edge.left
    if any(verdict.is_changed for verdict in verdicts):
        feeds = feeds_of(original)
        assert_close(run_in_float64(ir.to_proto(model), feeds), run_in_float64(original, feeds), note="float64")
