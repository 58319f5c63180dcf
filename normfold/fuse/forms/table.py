"""The forms that a norm can be written as, in one table."""

from __future__ import annotations

from normfold.fuse.forms.group_norm import (
    cost_reshaped,
    holds_groupnorm,
    holds_instancenorm,
    holds_reshaped,
    name_reshaped,
    write_groupnorm,
    write_instancenorm,
    write_reshaped,
)
from normfold.fuse.forms.layer_norm import (
    cost_division,
    cost_over_axes,
    decomposition_division,
    holds_division,
    holds_layernorm,
    holds_mvn,
    holds_rmsnorm,
    name_over_axes,
    write_division,
    write_mvn,
    write_over_axes,
)
from normfold.fuse.forms.lp_norm import (
    cost_length,
    cost_lpnorm,
    holds_length,
    holds_lpnorm,
    name_length,
    write_length,
    write_lpnorm,
)
from normfold.fuse.forms.writer import GROUPNORM, INSTANCENORM, LAYERNORM, LPNORM, RMSNORM, Form, cost_plain, plain

_LN, _RMS, _GN, _IN = "LayerNormalization", "RMSNormalization", "GroupNormalization", "InstanceNormalization"
_DIV = "Pow-ReduceMean-Sqrt-Div"
_LP, _MVN, _LENGTH = "LpNormalization", "MeanVarianceNormalization", "ReduceL2-Max-Div"

# In the order of preference where the costs are equal.
FORMS: tuple[Form, ...] = (
    Form(_IN, INSTANCENORM, 6, holds_instancenorm, cost_plain(_IN), write_instancenorm, plain(_IN)),
    Form(_LN, LAYERNORM, 17, holds_layernorm, cost_over_axes(_LN), write_over_axes(_LN), name_over_axes(_LN)),
    Form(_GN, GROUPNORM, 21, holds_groupnorm, cost_plain(_GN), write_groupnorm, plain(_GN)),
    Form(_IN, GROUPNORM, 6, holds_reshaped, cost_reshaped, write_reshaped, name_reshaped),
    Form(_LP, LPNORM, 1, holds_lpnorm, cost_lpnorm, write_lpnorm, plain(_LP)),
    Form(_LENGTH, LPNORM, 8, holds_length, cost_length, write_length, name_length),
    Form(_RMS, RMSNORM, 23, holds_rmsnorm, cost_over_axes(_RMS), write_over_axes(_RMS), name_over_axes(_RMS)),
    Form(_DIV, RMSNORM, 1, holds_division, cost_division, write_division, plain(_DIV), decomposition_division),
    Form(_MVN, LAYERNORM, 13, holds_mvn, cost_plain(_MVN), write_mvn, plain(_MVN)),
)
