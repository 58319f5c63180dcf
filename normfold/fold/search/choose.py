"""The decision: which plan for a chain of affines leaves the fewest operators, or what stood in the way of each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from normfold.algebra.affine import Affine
from normfold.findings.reason import Obstacle, Reason, Refusal
from normfold.fold.affines import AffineChain, AffineIndex
from normfold.fold.search.backward import plan_backward
from normfold.fold.search.extra_channel import plan_extra_channel
from normfold.fold.search.forward import plan_forward
from normfold.fold.search.plan import FoldPlan, obstacle_of
from normfold.fold.search.remainder import operators_for, require_chain_fits
from normfold.graph.display_names import display_name, name_of
from normfold.graph.reader import GraphReader

_Attempt = tuple[str, Callable[[], FoldPlan]]  # a direction, and the search for a plan
_MOST_NAMES = 3  # names in one sentence
_LONGEST_TO_PART = 8  # operators in a row: each way to part them is a search
_EXPLAINS_LITTLE = (Reason.GRAPH_INPUT, Reason.NO_CONSUMER, Reason.GRAPH_OUTPUT)


def _explanation_order(chain: AffineChain, obstacle: Obstacle) -> int:
    """Return the order in which obstacles are named: being a bias explains a shift, a border of the graph little."""
    if obstacle.reason is Reason.BIAS:
        return 0 if chain.affine.has_no_scale else 2
    return 2 if obstacle.reason in _EXPLAINS_LITTLE else 1


def decide(
    reader: GraphReader,
    affines: AffineIndex,
    chain: AffineChain,
    *,
    extra_channel: bool = False,
    objection: Callable[[FoldPlan], Obstacle | None] = lambda plan: None,
) -> tuple[FoldPlan | None, tuple[Obstacle, ...]]:
    """Return the best plan for a chain without an ``objection``, or None and the obstacle met in each direction.

    Best is what leaves the fewest operators, then what changes the fewest weights, then backward.
    """
    found, obstacles = _tried(_whole(reader, affines, chain))
    if not found and any(obstacle.reason is Reason.ZERO_PADDING for obstacle in obstacles):
        found, why = _tried([("forward", partial(plan_extra_channel, reader, chain, always=extra_channel))])
        obstacles = tuple(_not_by_one_more_channel(obstacle, why) for obstacle in obstacles)
    plans = [plan for plan in found if objection(plan) is None]
    if not plans:
        parts, _ = _tried(itertools.chain(_partial(reader, affines, chain), _parts(reader, affines, chain)))
        found, plans = found + parts, [plan for plan in parts if objection(plan) is None]
        for merged in _merges(reader, chain):
            found.append(merged)
            if objection(merged) is None:
                plans.append(merged)
                break
    others = [plan for merged in plans for plan in _from_the_other_end(reader, affines, merged)]
    plans += [plan for plan in others if objection(plan) is None]
    worth = [plan for plan in plans if _is_worth_it(reader, plan)]
    if not worth:
        obstacles += tuple(_costs_more(reader, plan) for plan in plans if plan.direction != "merge")
        worth = [plan for plan in found if _is_worth_it(reader, plan)]
        obstacles = tuple(filter(None, map(objection, worth))) or obstacles
        return None, tuple(sorted(obstacles, key=partial(_explanation_order, chain)))
    return min(
        worth, key=lambda plan: (-plan.operators_saved(reader), _norms_left(reader, plan), plan.weights_changed)
    ), ()


def decide_rescaling_addends(reader: GraphReader, affines: AffineIndex, chain: AffineChain) -> FoldPlan | None:
    """Return a plan forward that gives the inverse scale to the other addends of sums on the way, or None."""
    way = partial(plan_forward, reader, affines, chain, chain.affine, _nothing(chain), rescale_addends=True)
    plans, _ = _tried([("forward", way)])
    return plans[0] if plans and plans[0].operators_saved(reader) > 0 else None


def _tried(attempts: Iterable[_Attempt]) -> tuple[list[FoldPlan], tuple[Obstacle, ...]]:
    plans, obstacles = [], []
    for direction, search in attempts:
        try:
            plans.append(search())
        except (Refusal, ValueError) as error:
            obstacles.append(replace(obstacle_of(error), direction=direction))
    return plans, tuple(obstacles)


def _from_the_other_end(reader: GraphReader, affines: AffineIndex, plan: FoldPlan) -> Iterator[FoldPlan]:
    """Where a plan ends in another chain, that one may instead come to this, and be written with fewer operators."""
    if len(plan.merged) != 1 or plan.rewrites or not plan.remaining.is_identity:
        return
    ((other, _),) = plan.merged
    way = plan_backward if plan.direction == "forward" else plan_forward
    yield from _tried([("", partial(way, reader, affines, other, other.affine, _nothing(other)))])[0]


def _whole(reader: GraphReader, affines: AffineIndex, chain: AffineChain) -> Iterator[_Attempt]:
    """Try the whole affine, one way or the other."""
    if chain.affine.is_identity:
        yield "removal", partial(_removal, reader, chain)
        return
    yield "backward", partial(plan_backward, reader, affines, chain, chain.affine, _nothing(chain))
    yield "forward", partial(plan_forward, reader, affines, chain, chain.affine, _nothing(chain))


def _removal(reader: GraphReader, chain: AffineChain) -> FoldPlan:
    """Remove an affine that does nothing, unless it is what gives an output its own name."""
    entry = chain.input
    if chain.output.is_graph_output() and (not reader.holds(entry.producer()) or entry.is_graph_output()):
        detail = f"output {display_name(chain.output)}, and what it is made of has a name of its own"
        raise Refusal(Reason.GRAPH_OUTPUT, name_of(chain.nodes[-1]), display_name(chain.output), detail)
    return FoldPlan(chain, "removal", chain.affine)


def _partial(reader: GraphReader, affines: AffineIndex, chain: AffineChain) -> Iterator[_Attempt]:
    """Try the scale alone; the shift stays as one Add: s*x + t, or s*(x + t/s) when the scale goes forward.

    A BatchNormalization is as cheap as an Add, so it is parted only where the Add goes the other way, or is the bias
    of a MatMul, which runtimes execute with it.
    """
    affine = chain.affine
    if affine.has_no_scale or affine.has_no_shift:
        return
    ahead = affine.shift_only
    if not chain.has_batchnorm or _is_bias(chain) or _goes(partial(plan_forward, reader, affines, chain, ahead, ahead)):
        yield "backward", partial(plan_backward, reader, affines, chain, affine.scale_only, ahead)
    if affine.scale.all():
        rest = Affine.of(1.0, affine.shift / affine.scale, affine.rank)
        if not chain.has_batchnorm or _goes(partial(plan_backward, reader, affines, chain, rest, rest)):
            yield "forward", lambda: _fitting(reader, plan_forward(reader, affines, chain, affine.scale_only, rest))


def _parts(reader: GraphReader, affines: AffineIndex, chain: AffineChain) -> Iterator[_Attempt]:
    """Try the first operators backward, or the last forward: a norm before a LayerScale that float16 cannot fold."""
    if len(chain.members) > _LONGEST_TO_PART:
        return
    for at in range(len(chain.members) - 1, 0, -1):
        first = AffineChain(chain.members[:at])
        yield "backward", partial(plan_backward, reader, affines, first, first.affine, _nothing(first))
    for at in range(1, len(chain.members)):
        last = AffineChain(chain.members[at:])
        yield "forward", partial(plan_forward, reader, affines, last, last.affine, _nothing(last))


def _merges(reader: GraphReader, chain: AffineChain) -> Iterator[FoldPlan]:
    """Write the chain, or as much of its end as keeps its digits, as one affine where it stands; the longest first."""
    last = min(len(chain.members), _LONGEST_TO_PART) - 1
    together = [AffineChain(chain.members[last:]).affine]  # of the operators from each place on, the last place first
    for member in reversed(chain.members[:last]):
        together.append(member.affine.then(together[-1]))
    for at, affine in enumerate(reversed(together[1:])):
        plan = FoldPlan(AffineChain(chain.members[at:]), "merge", affine)
        yield from _tried([("merge", partial(_fitting, reader, plan))])[0]


def _nothing(chain: AffineChain) -> Affine:
    return Affine.identity(chain.affine.rank)


def _fitting(reader: GraphReader, plan: FoldPlan) -> FoldPlan:
    require_chain_fits(reader, plan.chain, plan.remaining)
    return plan


def _is_worth_it(reader: GraphReader, plan: FoldPlan) -> bool:
    """Return whether fewer operators are left, or as many with an Add where a BatchNormalization was."""
    saved = plan.operators_saved(reader)
    return saved > 0 or (saved == 0 and _norms_left(reader, plan) < 0)


def _costs_more(reader: GraphReader, plan: FoldPlan) -> Obstacle:
    before = plan.chain.input.producer()
    if (
        plan.chain.affine.has_no_scale
        and plan.direction == "backward"
        and any(rewrite.node is before and rewrite.operators_added for rewrite in plan.rewrites)
    ):
        return Obstacle(Reason.BIAS, ", ".join(plan.into), direction=plan.direction)
    return Obstacle(
        Reason.COSTS_MORE,
        _some(plan.into) or name_of(plan.chain.nodes[-1]),
        detail="; ".join(_costs(reader, plan)),
        direction=plan.direction,
    )


def _costs(reader: GraphReader, plan: FoldPlan) -> Iterator[str]:
    """Yield what would be there afterwards that is not there now, and why."""
    added = [name_of(rewrite.node) for rewrite in plan.rewrites if rewrite.operators_added]
    stays = operators_for(reader, plan.chain, plan.remaining)
    if stays:
        yield f"{' and '.join(stays)} would stay"
    if added:
        yield f"an Add would come behind {_some(added)}"
    for node, why in plan.kept_shifts[:_MOST_NAMES]:
        detail = f", {why.detail}" if why.detail else ""
        yield f"the shift behind {name_of(node)} stops at {why.node}: {why.reason.obstacle}{detail}"


def _some(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _not_by_one_more_channel(obstacle: Obstacle, why: Sequence[Obstacle]) -> Obstacle:
    """Return a shift that meets zero padding, with what kept it from going through by a channel of its own."""
    if obstacle.reason is not Reason.ZERO_PADDING or obstacle.direction != "forward" or not why:
        return obstacle
    return replace(obstacle, detail=f"{obstacle.detail}; as one more channel: {why[0].detail} at {why[0].node}")


def _goes(search: Callable[[], FoldPlan]) -> bool:
    """Return whether there is such a plan."""
    return bool(_tried([("", search)])[0])


def _is_bias(chain: AffineChain) -> bool:
    """Return whether an Add in the place of ``chain`` would be the bias of a MatMul."""
    before = chain.input.producer()
    return before is not None and before.op_type == "MatMul"


def _norms_left(reader: GraphReader, plan: FoldPlan) -> int:
    """How many more BatchNormalizations there are afterwards, less those that were there: below 0 some are gone.

    One that comes up at another chain instead would go back from there in the next pass, for ever.
    """
    left = [(plan.chain, plan.remaining), *plan.merged]
    after = sum(operators_for(reader, chain, affine).count("BatchNormalization") for chain, affine in left)
    return after - sum(node.op_type == "BatchNormalization" for chain, _ in left for node in chain.nodes)
