"""Which values of a region are rewritten, by which form, and whether that saves anything.

Pure: a plan is data, and only ``normfold.fuse.engine`` carries one out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from normfold.findings.reason import Reason
from normfold.fuse.forms.layer_norm import gives_statistics, grown_bytes
from normfold.fuse.forms.table import FORMS
from normfold.fuse.forms.writer import (
    GROUPNORM,
    INSTANCENORM,
    LAYERNORM,
    LAYOUT,
    LPNORM,
    PASS,
    RMSNORM,
    SMALL,
    Form,
    NormContext,
    varies_within,
)
from normfold.fuse.recognize.candidates import Norm, norms_of
from normfold.fuse.recognize.division import before_centring
from normfold.fuse.recognize.norm_operators import is_norm_operator
from normfold.fuse.recognize.polynomial import Kind, Monomial
from normfold.fuse.recognize.polynomial import M as MEAN
from normfold.fuse.recognize.published import OF_THE_BATCH, STANDARDIZATION
from normfold.fuse.recognize.reductions import REDUCERS
from normfold.fuse.recognize.region import Logarithm, Partial, Region, Tracked
from normfold.fuse.recognize.surroundings import conditional_name, is_made_from, is_of_groups, is_thresholded
from normfold.fuse.recognize.views import count_of
from normfold.graph.display_names import name_of
from normfold.operators.table import RESHAPES
from normfold.targets.target import Target

_EXPANDED = 30.0  # what a runtime does with a norm operator that it has no kernel for
_OTHER_DECOMPOSITION = 0.1  # what the runtime's own decomposition of the same operators is worth
_LEAST = 0.05
_LENGTH = "LpNormalization"
_BETWEEN_TRANSPOSES = 3  # operators: a norm and two Transposes
_LAYOUT_OPERATORS = RESHAPES | {"Identity", "Dropout", "Shape"}
_NEWEST = 1 << 30


@dataclass(frozen=True, eq=False)
class NormPlan:
    """The norms of a region to be written as ``form``, and what that saves in passes over the data.

    ``statistics`` are values that the first norm gives as well: its mean (0) and inverse deviation (1).
    """

    context: NormContext
    form: Form
    norms: tuple[Norm, ...]
    dead: tuple[ir.Node, ...]
    saved: float
    statistics: tuple[tuple[ir.Value, int], ...] = ()

    @property
    def is_worth_it(self) -> bool:
        """Say whether the plan saves more than the least that counts."""
        return self.saved > _LEAST

    @property
    def region(self) -> Region:
        """Return the region of the norms."""
        return self.context.region

    def form_name(self, norm: Norm) -> str:
        """Name what is written for one of the norms."""
        name = self.form.name(self.context, norm)
        return f"Transpose-{name}-Transpose" if self.context.order else name


@dataclass(frozen=True, eq=False)
class Kept:
    """A region with norms that are not rewritten, and why."""

    context: NormContext
    norms: tuple[Norm, ...]
    reason: Reason
    detail: str = ""

    @property
    def region(self) -> Region:
        """Return the region of the norms."""
        return self.context.region


def decide(
    anchor: ir.Node, regions: Iterable[Region], target: Target, opset: int, spare: float
) -> tuple[NormPlan | Kept | None, list[Region]]:
    """Return the best plan for the norms that a reduction is part of, or why they stay; and the regions it may be in.

    None says that there is no norm. The parameters of a norm may grow by ``spare`` bytes. Where plans save the same,
    the one with the nearest root is best.
    """
    met = list(regions)
    best: NormPlan | None = None
    kept: Kept | None = None
    for region in met:
        norms = {value: norm for value, norm in norms_of(region).items() if anchor in slice_of(region, [norm])}
        if not norms:
            continue
        context = NormContext(region, target, opset, spare=spare)
        plans = [*_plans(context, norms), *_transposed_plans(context, norms)]
        for plan in plans:
            if best is None or plan.saved > best.saved + 1e-9:
                best = plan
        if kept is None:
            kept = _why_kept(context, norms, plans)
    if best is not None and best.is_worth_it:
        return best, met
    return kept, met


def _gives_zero(region: Region, norm: Norm) -> bool:
    """Say whether a norm is zero where all data is, as LpNormalization is; all other forms divide by zero."""
    return any(node.op_type == _LENGTH for node in slice_of(region, [norm]))


def _transposed_plans(context: NormContext, norms: Mapping[ir.Value, Norm]) -> Iterator[NormPlan]:
    """Yield plans with the forms over channels between Transposes, where the channels come last."""
    first = context.channels_first()
    if first is not None:
        plans = _plans(first, {value: norm.transposed(first.order) for value, norm in norms.items()})
        yield from (plan for plan in plans if len(plan.dead) >= _BETWEEN_TRANSPOSES * len(plan.norms))


def _plans(context: NormContext, norms: Mapping[ir.Value, Norm]) -> Iterator[NormPlan]:
    lengths = {value for value, norm in norms.items() if _gives_zero(context.region, norm)}
    for form in FORMS:
        possible = {
            value: norm
            for value, norm in norms.items()
            if form.holds(context, norm) and (form.operator == _LENGTH or value not in lengths)
        }
        if form.opset > context.opset or not possible:
            continue
        chosen = _needed(context.region, _exits(context.region, possible))
        if not chosen:
            continue
        first = next(iter(chosen.values()))
        statistics = _statistics(context, first) if gives_statistics(context, form, first) else {}
        alive = _alive(context.region, {**chosen, **dict.fromkeys(statistics, first)})
        dead = tuple(node for node in context.region.nodes if node not in alive)
        written = sum(form.cost(context, norm) + context.transposes for norm in chosen.values())
        saved = sum(_cost(context, node) for node in dead) - written
        decomposition = form.decomposition(context, first) if form.decomposition else ()
        if decomposition and Counter(decomposition) != Counter(node.op_type for node in dead):
            saved += _OTHER_DECOMPOSITION
        yield NormPlan(context, form, tuple(chosen.values()), dead, saved, tuple(statistics.items()))


def _statistics(context: NormContext, norm: Norm) -> dict[ir.Value, int]:
    """Find values that are the mean or the inverse deviation, float32, and only read after the norm or outside."""
    region = context.region
    wanted = (MEAN, Monomial(denominators=((norm.denominator, -1),)))
    shape = tuple(None if axis in (context.axes or ()) else axis for axis in region.whole(0))
    last = norm.site.producer()
    found: dict[ir.Value, int] = {}
    for value, tracked in region.tracked.items():
        if (
            not isinstance(tracked, Tracked)
            or tracked.view != 0
            or tracked.axes != shape
            or len(tracked.poly.terms) != 1
        ):
            continue
        ((term, array),) = tracked.poly.terms.items()
        if term not in wanted or not (array == 1).all() or region.reader.dtype(value) is not ir.DataType.FLOAT:
            continue
        readers = [node for node, _ in value.uses() if node not in region.nodes]
        is_late = all(
            region.reader.holds(node) and last is not None and region.reader.order(node) > region.reader.order(last)
            for node in readers
        )
        if is_read_outside(region, value) and is_late and wanted.index(term) not in found.values():
            found[value] = wanted.index(term)
    return found


# -- what is read from outside -----------------------------------------------------------------------------------
def is_read_outside(region: Region, value: ir.Value) -> bool:
    """Say whether a value is a graph output, or has a reader that is no operator of the region."""
    return value.is_graph_output() or any(
        node not in region.nodes and not _asks_only_shape(region, node, value) for node, _ in value.uses()
    )


def _asks_only_shape(region: Region, node: ir.Node, value: ir.Value) -> bool:
    """Say whether a Shape can as well read the root, because both have the same shape."""
    tracked = region.tracked.get(value)
    is_like_root = isinstance(tracked, Tracked) and tracked.view == 0 and region.is_whole(tracked)
    return is_like_root and node in region.shape_readers


def _exits(region: Region, possible: Mapping[ir.Value, Norm]) -> dict[ir.Value, Norm]:
    """Return the norms that something needs: read outside, or by an operator that makes no norm of it.

    One that is an operator away from another, or adds to it what is made from it, is left to these operators.
    """
    exits: dict[ir.Value, Norm] = {}
    for value, norm in possible.items():
        readers = [node for node, _ in value.uses() if node in region.nodes]
        is_needed = any(not any(output in possible for output in node.outputs) for node in readers)
        if not (is_needed or is_read_outside(region, value)) or _steps_from(region, value, exits) == 1:
            continue
        parameters = [each.value for each in (norm.gamma_parameter, norm.beta_parameter) if each is not None]
        if not any(is_made_from(region.reader, parameter, exits) for parameter in parameters):
            exits[value] = norm
    return exits


def _needed(region: Region, exits: Mapping[ir.Value, Norm]) -> dict[ir.Value, Norm]:
    """Drop the norms that only operators read which another exit makes dead."""
    alive = _alive(region, exits)
    return {
        value: norm
        for value, norm in exits.items()
        if is_read_outside(region, value) or any(node in alive for node, _ in value.uses())
    }


def _steps_from(region: Region, value: ir.Value, exits: Mapping[ir.Value, Norm]) -> int | None:
    """Return how many operators on one value each lead from an earlier exit to ``value``; None where none does."""
    for steps in range(1, len(region.nodes)):
        node = value.producer()
        if node is None or node not in region.nodes:
            return None
        sources = [operand for operand in node.inputs if operand in region.tracked]
        if len(sources) != 1 or sources[0] is None:
            return None
        value = sources[0]
        if value in exits:
            return steps
    return None


def _alive(region: Region, chosen: Mapping[ir.Value, Norm]) -> set[ir.Node]:
    """Return the operators that are still needed when the chosen values come from elsewhere."""
    outputs = (value for node in region.nodes for value in node.outputs)
    return _upstream(region, [v for v in outputs if v not in chosen and is_read_outside(region, v)], chosen)


def _upstream(region: Region, values: list[ir.Value], stop: Mapping[ir.Value, Norm]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    while values:
        node = values.pop().producer()
        if node is None or node not in region.nodes or node in found:
            continue
        found.add(node)
        values.extend(v for v in node.inputs if v is not None and v in region.tracked and v not in stop)
    return found


def slice_of(region: Region, norms: Iterable[Norm]) -> set[ir.Node]:
    """Return the operators that the norms are made of."""
    return _upstream(region, [norm.site for norm in norms], {})


def _cost(context: NormContext, node: ir.Node) -> float:
    region = context.region
    if node.op_type in _LAYOUT_OPERATORS:
        return LAYOUT
    if is_norm_operator(node):
        dtype = region.reader.dtype(node.outputs[0])
        has_kernel = dtype is None or context.target.has(node.op_type, dtype.name)
        return PASS if has_kernel else _EXPANDED
    if node.op_type in REDUCERS:
        further = node.inputs[0] is not None and isinstance(region.tracked.get(node.inputs[0]), Partial)
        return SMALL if further else context.reduction_cost(node.op_type)
    found = region.tracked.get(node.outputs[0])
    tracked = found.tracked if isinstance(found, (Partial, Logarithm)) else found
    return SMALL if isinstance(tracked, Tracked) and not region.is_full(tracked) else PASS


# -- why not -----------------------------------------------------------------------------------------------------
def _why_kept(context: NormContext, norms: Mapping[ir.Value, Norm], plans: list[NormPlan]) -> Kept | None:
    region = context.region
    if plans:
        best = max(plans, key=lambda plan: plan.saved)
        made_of = slice_of(region, best.norms)
        if any(norm.denominator.lower_bound for norm in best.norms):
            return Kept(context, best.norms, Reason.CLIPPED, _bound(best.norms[0]))
        if any(is_norm_operator(node) for node in made_of):
            reason = Reason.OWN_STATISTICS
        elif best.form.decomposition:
            reason = Reason.FUSED_BY_RUNTIME
        else:
            is_whole = made_of <= set(best.dead)
            reason = Reason.COSTS_MORE if is_whole else Reason.READ_ELSEWHERE
        return Kept(context, best.norms, reason)
    exits = tuple(_exits(region, norms).values()) or tuple(norms.values())[-1:]
    if any(is_norm_operator(node) for node in slice_of(region, exits)):
        return Kept(context, exits, Reason.OWN_STATISTICS)
    return Kept(context, exits, *_missing(context, norms))


def _missing(context: NormContext, norms: Mapping[ir.Value, Norm]) -> tuple[Reason, str]:
    """Return which condition no form met."""
    newest = replace(context, opset=_NEWEST, order=())
    for form in FORMS:
        if any(form.holds(newest, norm) for norm in norms.values()):
            return Reason.NEEDS_OPSET, f"{form.operator} needs operator set {form.opset}"
    norm = list(norms.values())[-1]
    if any(form.holds(replace(newest, spare=math.inf), norm) for form in FORMS):
        return Reason.GROWTH, f"by {grown_bytes(newest, norm):,} bytes, of {int(context.spare):,} allowed"
    if norm.denominator.lower_bound:
        return Reason.CLIPPED, _bound(norm)
    if norm.denominator.outer_eps and norm.denominator.kind is Kind.MAGNITUDE:
        return Reason.NO_FORM, f"{norm.denominator.outer_eps:g} is added to the mean magnitude"
    if norm.denominator.outer_eps:
        return Reason.EPSILON_OUTSIDE_ROOT, f"{norm.denominator.outer_eps:g}"
    axes = context.axes or ()
    if axes and axes[0] == 0 and context.sizes[0] != 1 and len(axes) < context.rank:
        return Reason.BATCH_STATISTICS, f"axes {list(axes)}"
    unknown = [axis for axis in axes if not isinstance(context.sizes[axis], int)]
    if context.types(norm) is None or unknown:
        return Reason.UNKNOWN_SHAPE, f"axes {unknown}" if unknown else "the element type is not known"
    operator = OPERATOR_OF[rule_of(context, norm)]
    if not context.target.operators.get(operator) or context.working_type(norm, operator) is None:
        return Reason.NO_KERNEL, context.target.why.get(operator, f"{context.target.title}: {operator}")
    return Reason.NO_FORM, f"axes {list(axes)}"


def _bound(norm: Norm) -> str:
    kind = "the mean magnitude" if norm.denominator.kind is Kind.MAGNITUDE else "the root of the mean square"
    return f"where {kind} is below {norm.denominator.lower_bound:.3g}, the operator would still divide by it"


# -- words -------------------------------------------------------------------------------------------------------
OPERATOR_OF = {
    LAYERNORM: "LayerNormalization",
    RMSNORM: "RMSNormalization",
    INSTANCENORM: "InstanceNormalization",
    GROUPNORM: "GroupNormalization",
    LPNORM: "LpNormalization",
}


def rule_of(context: NormContext, norm: Norm) -> str:
    """Return the rule that a norm belongs to, whatever it is written as."""
    if norm.denominator.kind is Kind.MAGNITUDE:
        return LPNORM
    if not norm.is_centred:
        return RMSNORM if norm.denominator.eps or norm.denominator.outer_eps else LPNORM
    first = context.channels_first()
    if first is not None:
        return rule_of(first, norm.transposed(first.order))
    if context.axes is None:
        return GROUPNORM
    is_spatial = context.rank >= 3 and context.axes == tuple(range(2, context.rank))
    along_channels = max(norm.gamma.shape[1], norm.beta.shape[1]) > 1 if context.rank >= 2 else False
    if context.groups == 1 and context.rank >= 3 and along_channels and varies_within(norm, (1,)):
        return GROUPNORM
    return INSTANCENORM if is_spatial and (along_channels or context.rank >= 4) else LAYERNORM


def operator_of(context: NormContext, norm: Norm, reason: Reason | None) -> str:
    """Name the operator that a norm is: the one that it already is, where that is why it stays."""
    made_of = [node for node in slice_of(context.region, [norm]) if is_norm_operator(node)]
    return made_of[0].op_type if reason is Reason.OWN_STATISTICS and made_of else OPERATOR_OF[rule_of(context, norm)]


def statistics_of(region: Region, norm: Norm) -> tuple[str, ...]:
    """Name the operators of a norm that work on its statistics: an epsilon is no affine of its own."""
    made_of = slice_of(region, [norm])
    found = ((node, region.tracked.get(node.outputs[0])) for node in region.nodes if node in made_of)
    return tuple(name_of(node) for node, value in found if isinstance(value, Tracked) and not region.is_whole(value))


def published_name(context: NormContext, norm: Norm, operator: str) -> str:
    """Return the name that a norm has in the literature, where that is not the name of the operator."""
    region, axes = context.region, context.axes
    if axes and axes[0] == 0 and context.sizes[0] != 1 and norm.is_centred and len(axes) < context.rank:
        return OF_THE_BATCH
    if operator == OPERATOR_OF[INSTANCENORM] and is_of_groups(region.reader, region.root):
        return "GroupNorm"
    name = conditional_name(region.reader, norm.site, operator)
    if norm.denominator.kind is Kind.SQUARE:
        if context.rank >= 4 and axes == tuple(range(2, context.rank)):
            return "FilterResponseNorm with TLU" if is_thresholded(norm.site) else "FilterResponseNorm"
        if axes is None and context.region.reduction.grouping.groups is not None:
            return "RMSNorm in groups"
        if operator == OPERATOR_OF[LPNORM] and norm.gamma.size == 1 and not _is_length(context, norm):
            return "ScaleNorm" if before_centring(region.reader, region.root) is None else STANDARDIZATION
    return name


def _is_length(context: NormContext, norm: Norm) -> bool:
    """Say whether data is divided by its length and nothing else: the root of a sum, and not of a mean."""
    count = count_of([context.sizes[axis] for axis in context.axes or ()])
    plain = 1.0 if count is None else count**-0.5
    return norm.n_half_powers == (-1 if count is None else 0) and bool(np.isclose(norm.gamma, plain, rtol=1e-6).all())


def describe(context: NormContext, norm: Norm, operator: str) -> str:
    """Describe a norm in words: its kind, axes, epsilon, affine, and decomposition."""
    nodes = [node for node in context.region.nodes if node in slice_of(context.region, [norm])]
    grouping = context.region.reduction.grouping
    last = " of the last axis" if grouping.channel != 1 else ""
    where = f"in {grouping.groups} groups{last}" if grouping.axes is None else f"over axes {list(grouping.axes)}"
    gamma = norm.gamma_parameter is not None or not (norm.gamma == 1).all()
    beta = norm.beta_parameter is not None or bool(norm.beta.any())
    affine = {(True, True): "gamma and beta", (True, False): "gamma", (False, True): "beta"}.get(
        (gamma, beta), "no affine"
    )
    decomposition = ", ".join(node.op_type for node in nodes)
    epsilon = (
        f"epsilon {norm.denominator.eps:g}"
        + (f" and {norm.denominator.outer_eps:g} outside the root" if norm.denominator.outer_eps else "")
        + (f", bounded from below by {norm.denominator.lower_bound:g}" if norm.denominator.lower_bound else "")
    )
    name = published_name(context, norm, operator)
    return f"{f'{name}: ' if name else ''}{operator} {where}, {epsilon}, {affine}, decomposed as {decomposition}"


def finding_name(region: Region, norms: tuple[Norm, ...], index: int) -> str:
    """Return the norm operator's own name where there is one, else that of the operator that first makes a norm.

    That is never a constant affine, which would be a finding of its own.
    """
    made_of = slice_of(region, [norms[index]])
    operators = [node for node in region.nodes if node in made_of and is_norm_operator(node)]
    if operators and index == 0:
        return name_of(operators[0])
    if index == 0:
        every = norms_of(region)
        first = next((value for value in every if value.producer() in made_of), norms[index].site)
        return _producer_name(first)
    return _producer_name(norms[index].site)


def _producer_name(value: ir.Value) -> str:
    node = value.producer()
    return name_of(node) if node is not None else value.name or ""
