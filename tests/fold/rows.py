"""What every row of a table must show, whichever rule it is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
import pytest
from onnx import numpy_helper

from normfold.files.protos.convert import to_ir, to_proto
from normfold.findings.reason import Reason
from normfold.findings.rules import CONSTANT, Selection
from normfold.findings.verdict import Outcome, Verdict
from normfold.fold.cleanup.tidy import tidy
from normfold.fold.engine import find_affines, fold_affines
from tests.onnx_text import (
    Tensors,
    Values,
    assert_close,
    check,
    feeds_of,
    is_known_to_reference,
    parse,
    rounding_of,
    run_in_float64,
    run_in_ort,
    values_of,
    widened,
)
from tests.runtime_faults import run_or_skip

# Reasons that say all there is to say by their names.
SAYS_ALL = (Reason.BIAS, Reason.OWN_STATISTICS, Reason.PART_OF_ACTIVATION, Reason.SKIPPED, Reason.ROLLED_BACK)


@dataclass(frozen=True)
class Folds:
    """``text`` folds to the operators ``left``, in order; ``direction`` is that of every fold; ``kept`` what stays."""

    text: str
    left: str
    direction: str = "backward"
    kept: str = ""
    opset: int = 17
    ir_version: int = 8
    domains: str = ""
    values: Values = field(default_factory=dict)
    only_in_float32: bool = False


@dataclass(frozen=True)
class Refuses:
    """``text`` stays as it is; ``why`` is ``CODE blocking-node`` for each way that was tried, of its last affine."""

    text: str
    why: str
    site: str = ""
    opset: int = 17
    ir_version: int = 8
    domains: str = ""
    values: Values = field(default_factory=dict)


def model_of(row: Folds | Refuses) -> onnx.ModelProto:
    return parse(row.text, opset=row.opset, ir_version=row.ir_version, domains=row.domains, values=row.values)


@dataclass(frozen=True)
class Folded:
    """A folded model and what was said about each affine."""

    model: onnx.ModelProto
    verdicts: tuple[Verdict, ...]

    def sites(self, outcome: Outcome) -> list[str]:
        return [verdict.finding.site for verdict in self.verdicts if verdict.outcome is outcome]


WANTED = Selection(new_batchnorm=True)


def fold(model: onnx.ModelProto, options: Selection = WANTED) -> Folded:
    """``model`` after fold and tidy, as a model of its own."""
    inside = to_ir(model)
    verdicts = fold_affines(inside, options)
    tidy(inside, constants=options.allows(CONSTANT))
    return Folded(to_proto(inside), verdicts)


def operators(model: onnx.ModelProto) -> str:
    return " ".join(node.op_type for node in model.graph.node)


# -- the commonest texts -------------------------------------------------------------------------------------------
BN4 = "float[4] g, float[4] be, float[4] m, float[4] var"
BN8 = "float[8] g, float[8] be, float[8] m, float[8] var"


def back(shape: str, nodes: str, weights: str = BN4, *, more: str = "", outputs: str = "") -> str:
    """Return a text in which a Conv of 4 channels makes c [N,4,6,6] of x, and ``nodes`` make y [shape] of c."""
    head = f"(float[N,3,8,8] x{more}) => (float[{shape}] y{outputs}) <float[4,3,3,3] w, float[4] b, {weights}>"
    return f"{head} {{ c = Conv(x, w, b) {nodes} }}"


def ahead(
    shape: str, nodes: str, weights: str, *, more: str = "", first: str = "c = BatchNormalization(x, g, be, m, var)"
) -> str:
    """Return a text in which ``first`` makes c of x [N,4,6,6], and ``nodes`` make y [shape] of c."""
    return f"(float[N,4,6,6] x{more}) => (float[{shape}] y) <{weights}> {{ {first} {nodes} }}"


# -- what must hold for every model, folded or refused -----------------------------------------------------------
def assert_sound(model: onnx.ModelProto, *, same_decisions_in_float64: bool = True) -> Folded:
    """Every promise of the engine that does not depend on what is expected of this model."""
    before = model.SerializeToString(deterministic=True)
    result = fold(model)
    assert model.SerializeToString(deterministic=True) == before, "the caller's model was changed"
    assert_ledger(model, result)
    assert_names(model, result.model)
    if bytes_of(result.model) == bytes_of(to_proto(to_ir(model))):
        return result
    check(result.model, full=True)
    assert_provenance(model, result.model)
    assert_same_values(model, result.model)
    assert_same_algebra(model, result.model)
    if same_decisions_in_float64:
        assert_rounded_once(model, result.model)
    return result


def assert_ledger(model: onnx.ModelProto, result: Folded) -> None:
    """found = folded + kept, one verdict each; a second run folds nothing; two runs give the same bytes."""
    found = find_affines(to_ir(model))
    affines = [verdict.finding for verdict in result.verdicts if not verdict.finding.what]
    assert affines == [finding for finding in found if not finding.what]
    assert len({verdict.finding for verdict in result.verdicts}) == len(result.verdicts)
    for verdict in result.verdicts:
        assert verdict.outcome in (Outcome.FOLDED, Outcome.KEPT)
        assert bool(verdict.obstacles) == (verdict.outcome is Outcome.KEPT), f"{verdict} says why exactly if kept"
        said = " ".join(map(str, verdict.obstacles))
        assert "_folded" not in said, f"the caller has no such value: {said}"
        for obstacle in verdict.obstacles:
            assert obstacle.node, f"{obstacle} names no operator"
            assert obstacle.detail or obstacle.reason in SAYS_ALL, f"{obstacle} does not say what failed"
            assert obstacle.reason is not Reason.AXIS_STOPS or re.search(r"\d|ax[ie]s \w", obstacle.detail), obstacle
        assert bool(verdict.rule and verdict.direction) == (verdict.outcome is Outcome.FOLDED), verdict
    again = fold(result.model)
    assert not again.sites(Outcome.FOLDED), f"a second run folds {again.sites(Outcome.FOLDED)}"
    assert bytes_of(again.model) == bytes_of(result.model), "a second run changes the model"
    assert bytes_of(fold(model).model) == bytes_of(result.model), "two runs differ"


def bytes_of(model: onnx.ModelProto) -> bytes:
    return bytes(model.SerializeToString(deterministic=True))


def assert_names(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """Inputs and outputs keep names, types and shapes; no name is made twice."""
    new_inputs, old_inputs = _fed(folded), _fed(model)
    assert [value.name for value in new_inputs] == [value.name for value in old_inputs]
    assert [value.name for value in folded.graph.output] == [value.name for value in model.graph.output]
    for new, old in zip((*new_inputs, *folded.graph.output), (*old_inputs, *model.graph.output), strict=True):
        assert new.type == old.type, f"{old.name} was {old.type}, is {new.type}"
    made = [*(tensor.name for tensor in folded.graph.initializer), *values_of(folded)]
    assert len(made) == len(set(made)), f"a name is made twice: {made}"
    named = [node.name for node in folded.graph.node if node.name]
    assert len(named) == len(set(named)), f"a node name is used twice: {named}"


def _fed(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have no value of their own: before IR version 4 every initializer is an input too."""
    own = {tensor.name for tensor in model.graph.initializer} if model.ir_version < 4 else set()
    return [value for value in model.graph.input if value.name not in own]


def assert_provenance(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """A node that is new or reads other constants says by which rule and on whose behalf."""
    before = {_identity(node) for node in model.graph.node}
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in folded.graph.node:
        is_new = (node.op_type, tuple(node.output)) not in {(kind, outs) for kind, outs, _ in before}
        reads_new = any(
            tensor.name in node.input and tensor.name not in constants for tensor in folded.graph.initializer
        )
        if reads_new or (is_new and not _has_renamed_output(node, values_of(model))):
            properties = {entry.key: entry.value for entry in node.metadata_props}
            assert properties.get("normfold.rule"), f"{node.op_type} {node.output} has no rule"
            assert properties.get("normfold.from"), f"{node.op_type} {node.output} does not say from what"


def _identity(node: onnx.NodeProto) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    return node.op_type, tuple(node.output), tuple(node.input)


def _has_renamed_output(node: onnx.NodeProto, known: Sequence[str]) -> bool:
    """A carrier's output is renamed because its content changed, or takes over the name of the folded site."""
    return any(name in known or name.split("_folded")[0] in known for name in node.output)


def assert_same_values(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """Outputs, and every value that kept its name, have the same content in ONNX Runtime."""
    outputs = [value.name for value in model.graph.output]
    shared = [name for name in values_of(model) if name in set(values_of(folded)) and name not in outputs]
    for size in (1, 3):
        feeds = feeds_of(model, symbolic=size)
        wanted = run_or_skip(model, feeds, outputs + shared)
        assert_close(
            run_in_ort(folded, feeds, outputs + shared),
            wanted,
            note=f"in ONNX Runtime, symbolic size {size}",
            limit=rounding_of(model),
        )


def assert_same_algebra(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """The widened model, folded, equals the widened model in float64, where the reference knows its operators."""
    if not is_known_to_reference(model):
        return
    wide = widened(model)
    feeds = feeds_of(model)
    is_old = tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23)
    try:
        wanted = run_in_float64(wide, feeds)
    except (RuntimeError, ValueError):  # an old onnx has the operator, and not all that it can be asked for
        assert is_old, "this onnx has all of it"
        return
    if is_old and _shapes(wanted) != _shapes(run_in_ort(model, feeds, wanted)):  # as of a Conv that says VALID
        return
    assert_close(run_in_float64(fold(wide).model, feeds), wanted, note="in float64")


def _shapes(values: Tensors) -> list[tuple[int, ...]]:
    return [array.shape for array in values.values()]


def assert_rounded_once(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """Every constant equals, bit for bit, the one of the folded widened model cast once."""
    wide = fold(widened(model)).model
    if operators(wide) != operators(folded):
        kinds = {tensor.data_type for tensor in model.graph.initializer}
        assert onnx.TensorProto.FLOAT16 in kinds, f"{operators(wide)} in float64, {operators(folded)} as it is"
        return
    exact = {tensor.name: numpy_helper.to_array(tensor) for tensor in wide.graph.initializer}
    for tensor in folded.graph.initializer:
        rounded = numpy_helper.to_array(tensor)
        assert tensor.name in exact, f"{tensor.name} is not in the widened model: {sorted(exact)}"
        once = exact[tensor.name].astype(rounded.dtype)
        assert once.tobytes() == rounded.tobytes(), f"{tensor.name} was not rounded once"


# -- the two kinds of rows ---------------------------------------------------------------------------------------
def assert_folds(row: Folds) -> None:
    result = assert_sound(model_of(row), same_decisions_in_float64=not row.only_in_float32)
    assert operators(result.model) == row.left
    directions = {verdict.direction for verdict in result.verdicts if verdict.outcome is Outcome.FOLDED}
    assert directions == set(row.direction.split())
    assert " ".join(result.sites(Outcome.KEPT)) == row.kept


def assert_refuses(row: Refuses) -> None:
    model = model_of(row)
    result = assert_sound(model)
    assert not result.sites(Outcome.FOLDED)
    assert bytes_of(result.model) == bytes_of(to_proto(to_ir(model))), "a refusal leaves the model equal"
    verdict = next(v for v in result.verdicts if v.finding.site == (row.site or result.verdicts[-1].finding.site))
    said = ", ".join(f"{obstacle.reason.code} {obstacle.node}" for obstacle in verdict.obstacles)
    assert said == row.why, "\n".join(map(str, verdict.obstacles))


def assert_folds_with(text: str, options: Selection, domains: str = "") -> onnx.ModelProto:
    """Return the model of ``text`` folded as ``options`` ask, as exactly as without them."""
    model = parse(text, domains=domains)
    result = fold(model, options).model
    check(result, full=True)
    feeds, names = feeds_of(model), [value.name for value in model.graph.output]
    assert_close(run_in_ort(result, feeds, names), run_in_ort(model, feeds, names), note="in ONNX Runtime")
    wide = widened(model)
    if not domains:  # of others the reference evaluator knows nothing
        assert_close(run_in_float64(fold(wide, options).model, feeds), run_in_float64(wide, feeds), note="in float64")
    return result


def every(table: Mapping[str, Folds | Refuses]) -> Callable[[str], None]:
    """Return the test of a table: each row folds, or is refused, as it says."""

    @pytest.mark.parametrize("name", table)
    def test(name: str) -> None:
        row = table[name]
        assert_folds(row) if isinstance(row, Folds) else assert_refuses(row)

    return test
