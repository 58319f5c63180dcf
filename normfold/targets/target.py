"""Define what is said of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

AUTO, KEEP = "auto", "keep"


@dataclass(frozen=True)
class Target:
    """A runtime: the operators it has kernels for, and its best form of each norm.

    ``operators`` maps an operator to the element types of its kernel. ``rmsnorm_below_23`` says whether a
    decomposed RMSNorm should be spelled ``x / Sqrt(..)``, which the runtime fuses by itself, ``spells_rmsnorm``
    whether it should be at any operator set, because the runtime's tools find more in it.
    ``batchnorm_affine`` says whether a per-channel scale and shift that stay should be one BatchNormalization,
    ``slow_lengths`` whether ReduceL1 and ReduceL2 are slow along the last axes, and LpNormalization along all others.
    ``opset`` is the default policy, ``newest_opset`` and ``newest_ir`` the newest that it loads. ``why`` gives the
    reason for each form, ``contrib`` what is known of the operators of com.microsoft, by the operator that each
    would replace: none is written so far. ``any_activation`` says whether a spelled Gelu is executed as one however
    it is spelled; where it is not, Gelu is written as ONNX Runtime executes it. ``new_batchnorm`` says whether a
    per-channel affine is faster as a BatchNormalization also in a model without any, ``fuses_itself`` whether the
    installed ONNX Runtime's optimizer decides which folds would break a fusion of its own, ``slow_skip`` whether the
    SkipLayerNormalization that it makes takes longer than what it is made of, ``as_installed`` whether kernels are
    those of its release.
    """

    name: str
    title: str
    source: str
    operators: Mapping[str, frozenset[str]]
    why: Mapping[str, str] = field(default_factory=dict)
    contrib: Mapping[str, str] = field(default_factory=dict)
    rmsnorm_below_23: bool = False
    spells_rmsnorm: bool = False
    batchnorm_affine: bool = False
    static_groupnorm: bool = False
    slow_lengths: bool = False
    any_activation: bool = True
    new_batchnorm: bool = False
    fuses_itself: bool = False
    slow_skip: bool = False
    as_installed: bool = False
    opset: str = AUTO
    newest_opset: int = 23
    newest_ir: int = 11

    def has(self, operator: str, dtype: str) -> bool:
        """Return whether there is a kernel for ``operator`` on ``dtype``."""
        return dtype in self.operators.get(operator, frozenset())
