"""Define what is said of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

AUTO, KEEP = "auto", "keep"


@dataclass(frozen=True)
class Group:
    """Operators that a runtime executes as one.

    ``operator`` is what its optimizer makes of them. ``example`` is a graph in ONNX text of operator set ``opset``, on
    which that can be seen; ``since`` is the first release, as (major, minor), that does it.
    """

    name: str
    operator: str
    example: str
    opset: int = 17
    since: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Target:
    """A runtime: the operators it has kernels for, and its best form of each norm.

    ``operators`` maps an operator to the element types of its kernel. ``rmsnorm_below_23`` says whether a decomposed
    RMSNorm should be spelled ``x / Sqrt(..)``, which the runtime fuses by itself. ``batchnorm_affine`` says whether a
    per-channel scale and shift that stay should be one BatchNormalization, ``slow_lengths`` whether ReduceL1
    and ReduceL2 are slow, and LpNormalization along axes other than the last. ``opset`` is the default policy,
    ``newest_opset`` and ``newest_ir`` the newest that it loads. ``why`` gives the reason for each form, ``contrib``
    what is known of the operators of com.microsoft, by the operator that each would replace: none is written so far.
    ``any_activation`` says whether a spelled Gelu is executed as one however it is spelled; where it is
    not, ``groups`` says which groups of operators are, each with an example that the installed runtime is tested on.
    """

    name: str
    title: str
    source: str
    operators: Mapping[str, frozenset[str]]
    why: Mapping[str, str] = field(default_factory=dict)
    contrib: Mapping[str, str] = field(default_factory=dict)
    rmsnorm_below_23: bool = False
    batchnorm_affine: bool = False
    instancenorm_rank: int = 5
    static_groupnorm: bool = False
    slow_lengths: bool = False
    any_activation: bool = True
    groups: tuple[Group, ...] = ()
    opset: str = AUTO
    newest_opset: int = 23
    newest_ir: int = 11

    def has(self, operator: str, dtype: str) -> bool:
        """Return whether there is a kernel for ``operator`` on ``dtype``."""
        return dtype in self.operators.get(operator, frozenset())
