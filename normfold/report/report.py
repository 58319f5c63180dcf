"""What happened to a model, as one value. Every format (text, JSON, ...) reads this and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import TYPE_CHECKING, Any

from normfold.findings.reason import Obstacle, Reason
from normfold.findings.verdict import Finding, Outcome, Verdict
from normfold.verify.result import Verification

if TYPE_CHECKING:  # a report that comes from the cache is shown without loading onnx
    import onnx_ir as ir

Groups = tuple[tuple[Reason, tuple[tuple[Verdict, Obstacle], ...]], ...]

SCHEMA = 2  # of the JSON form; raised when a field changes its meaning


@dataclass(frozen=True)
class Statistics:
    """Sizes of a model: nodes by operator (subgraphs and functions included), weight elements and bytes, opset."""

    operators: tuple[tuple[str, int], ...]
    parameters: int
    weight_bytes: int
    opset: int

    @property
    def nodes(self) -> int:
        """How many operators there are in all. Constant is not counted: it does nothing when the model runs."""
        return sum(count for operator, count in self.operators if operator != "Constant")


def statistics(model: ir.Model) -> Statistics:
    """Count a model. Constant nodes count as weights, so that two spellings of one model have equal sizes."""
    operators = Counter(node.op_type for node in _nodes(model))
    sizes = [(prod(tensor.shape.numpy()), tensor.nbytes) for tensor in _weights(model)]
    return Statistics(
        tuple(sorted(operators.items())),
        sum(count for count, _ in sizes),
        sum(size for _, size in sizes),
        model.opset_imports.get("", 0),
    )


def op_types(verdicts: Iterable[Verdict], *models: ir.Model) -> dict[str, str]:
    """Return the type of each operator that took over a finding, by its name."""
    from normfold.graph.reader import name_of

    wanted = {name for verdict in verdicts for name in verdict.into}
    nodes = ((name_of(node), node) for model in models if wanted for node in _nodes(model))
    return {name: node.op_type for name, node in nodes if name in wanted}


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.graph.all_nodes()


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    import onnx_ir as ir

    for graph in (model.graph, *model.graph.subgraphs()):
        tensors = (value.const_value for value in graph.initializers.values())
        yield from (tensor for tensor in tensors if tensor is not None and tensor.dtype != ir.DataType.STRING)
    for node in _nodes(model):
        attribute = node.attributes.get("value") if node.op_type == "Constant" else None
        if isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
            tensor = attribute.as_tensor()
            if tensor.dtype != ir.DataType.STRING:
                yield tensor


class Role(Enum):
    """What a box is in the story of one finding."""

    FINDING = "finding"
    INTO = "into"
    GONE = "gone"
    NEW = "new"
    OBSTACLE = "obstacle"
    EDGE = "edge"
    OTHER = ""


@dataclass(frozen=True)
class Box:
    """An operator, or an input or output of the graph (role EDGE). ``detail`` is the shape of its weight, if any."""

    operator: str
    name: str
    role: Role
    detail: str = ""


@dataclass(frozen=True)
class Drawing:
    """Boxes, and arrows between their indices."""

    boxes: tuple[Box, ...] = ()
    arrows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Problem:
    """What a check does not accept about a model.

    ``reason`` has code and remedy: why the norm stayed, or one of NF0xx. ``finding`` is the norm or affine, None where
    it is about the whole model. ``why`` says in words what makes it a problem here: a limit, or what the lock has.
    """

    reason: Reason
    finding: Finding | None = None
    why: str = ""
    obstacle: Obstacle | None = None

    @property
    def message(self) -> str:
        """One line: the norm, what is in the way, and why that is a problem. Names are untrusted text."""
        parts = []
        if self.finding is not None:
            parts.append(f"{self.finding.operator} {self.finding.name}: ")
        parts.append(f"{self.reason.code} {self.reason.obstacle}" if self.obstacle is None else str(self.obstacle))
        return "".join(parts) + (f"; {self.why}" if self.why else "")


@dataclass(frozen=True)
class Report:
    """The result of a command on one model.

    ``command`` is "optimize", "inspect" or "check". ``output`` is where the result was written, "" for nowhere.
    ``is_copy`` says that nothing was changed, so the output equals the input byte for byte. ``notes`` hold
    whatever else the user must know. ``seconds`` maps stages to wall time. ``problems`` are what a check does not
    accept: with one of them it fails. ``drawings`` show the surroundings of each verdict before and after, where
    pictures were asked for; ``op_types`` has the type of each operator in ``Verdict.into``; ``options`` are those that
    are no defaults. ``latency`` is the median of a run before and after, in milliseconds, where measured.
    """

    command: str
    version: str
    model: str
    target: str
    verdicts: tuple[Verdict, ...]
    before: Statistics
    after: Statistics
    verification: Verification | None = None
    output: str = ""
    is_copy: bool = False
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    drawings: tuple[tuple[Drawing, Drawing], ...] = ()
    latency: tuple[float, float] | None = None
    op_types: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def of(self, outcome: Outcome) -> tuple[Verdict, ...]:
        """Return the verdicts of one outcome. The three outcomes together are all verdicts."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is outcome)

    @property
    def kept(self) -> tuple[Verdict, ...]:
        """Return what stayed although it could be gone, each for a reason."""
        return tuple(verdict for verdict in self.of(Outcome.KEPT) if not verdict.is_settled)

    @property
    def settled(self) -> tuple[Verdict, ...]:
        """Return what stayed because it is as it should be: biases, parts of activations, norms in one operator."""
        return tuple(verdict for verdict in self.verdicts if verdict.is_settled)

    @property
    def kept_by_reason(self) -> Groups:
        """Return what was kept by the reason that a user can help first, the most frequent reason first."""
        return _by_reason(self.kept)

    @property
    def settled_by_reason(self) -> Groups:
        """Return what is as it should be, by reason, the most frequent reason first."""
        return _by_reason(self.settled)


def _by_reason(verdicts: Iterable[Verdict]) -> Groups:
    groups: dict[Reason, list[tuple[Verdict, Obstacle]]] = {}
    for verdict in verdicts:
        obstacle = verdict.main_obstacle
        groups.setdefault(obstacle.reason, []).append((verdict, obstacle))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0].code))
    return tuple((reason, tuple(rows)) for reason, rows in ordered)
