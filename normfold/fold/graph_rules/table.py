"""The rules for whole regions of a graph, in the order in which they are tried."""

from __future__ import annotations

from normfold.fold.graph_rules import (
    channel_order,
    common_subexpressions,
    dead_bias,
    explicit_pad,
    hard_sigmoid,
    join_affines,
    norm_scale_shift,
    parallel_branches,
)
from normfold.fold.graph_rules.change import GraphRule, RuleStage

GRAPH_RULES = (
    GraphRule("affine", hard_sigmoid.hard_swishes, RuleStage.FIRST),
    GraphRule("branches", parallel_branches.merges),
    GraphRule("merge", join_affines.affines_together),
    GraphRule("order", channel_order.moves),
    GraphRule("affine", hard_sigmoid.hard_sigmoids),
    GraphRule("norm-affine", norm_scale_shift.norm_affines),
    GraphRule("pad", explicit_pad.paddings, RuleStage.LATE),
    GraphRule("merge", common_subexpressions.duplicates, RuleStage.LATE),
    GraphRule("dead", dead_bias.dead_biases, RuleStage.LATE),
)
