"""The rules by name, for ``--skip`` and ``--only``: one line a rule, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from normfold.errors import UsageError, known_names
from normfold.findings.reason import Reason
from normfold.options import RewriteOptions

BATCHNORM, AFFINE, MERGE, CONSTANT, NORM_AFFINE = "batchnorm", "affine", "merge", "constant", "norm-affine"

RULES: tuple[tuple[str, str], ...] = (
    (BATCHNORM, "carry a BatchNormalization into a linear operator before or after it"),
    (AFFINE, "carry Mul, Add, Sub, Div, Neg by constants, or a depthwise Conv of 1x1, into a linear operator"),
    (MERGE, "merge neighbouring affines, or an affine into the gamma and beta of a norm"),
    ("branches", "merge parallel linear branches of one input into one operator"),
    ("order", "move a fixed order of channels (RGB to BGR) into the weights behind or before it"),
    ("pad", "let the convolutions and pools behind a Pad of zeros pad themselves"),
    (CONSTANT, "evaluate a norm of constants, as in weight standardization"),
    ("dead", "drop a bias that the norm behind it subtracts again"),
    (NORM_AFFINE, "carry gamma and beta of LayerNorm and RMSNorm into all MatMuls behind, with --fold-norm-scale"),
    ("layernorm", "write a decomposed LayerNorm in the form that the target runs best"),
    ("rmsnorm", "write a decomposed RMSNorm in the form that the target runs best"),
    ("instancenorm", "write a decomposed InstanceNorm in the form that the target runs best"),
    ("groupnorm", "write a GroupNorm, decomposed or not, in the form that the target runs best"),
    ("gelu", "write a Gelu of several operators in the form that the target executes as one"),
    ("center", "write LayerNorm as RMSNorm, its mean into the weights before the residual stream, with --center"),
    ("lpnorm", "write a decomposed Lp normalization in the form that the target runs best"),
)
RULE_NAMES = tuple(name for name, _ in RULES)


def rule_of(operator: str) -> str:
    """Return the name of the rule that folds a constant affine."""
    return BATCHNORM if operator == "BatchNormalization" else AFFINE


@dataclass(frozen=True, kw_only=True)
class Selection(RewriteOptions):
    """What is wanted of a rewrite: its options, and the findings that were undone (``exclude``), each with the reason.

    ``skip`` leaves the rules and findings that it names, ``only`` leaves everything else.
    """

    exclude: Mapping[str, Reason] = field(default_factory=dict)

    def reason_to_leave(self, name: str, rule: str, *, is_in_only: bool = False) -> Reason | None:
        """Return why the finding ``name`` of a rule is left alone, or None. ``is_in_only``: ``only`` means it too."""
        if name in self.exclude:
            return self.exclude[name]
        named = {name, rule}
        if named & self._skipped or (self.only and not named & self._only and not is_in_only):
            return Reason.SKIPPED
        return None

    def allows(self, rule: str, name: str = "") -> bool:
        """Return whether a rule that is no affine's own is switched on (for the operator ``name``)."""
        if rule == NORM_AFFINE and not self.fold_norm_scale:
            return False
        wanted = not self.only or rule in self.only
        return wanted and not {rule, name} & self._skipped and name not in self.exclude

    def permits(self, rule: str, *, is_merge: bool) -> bool:
        """Return whether a fold is wanted that is reported under ``rule``; ``is_merge``: it changes only affines."""
        rules = {rule, MERGE} if is_merge else {rule}
        return (not self.only or bool(rules & self._only)) and not (is_merge and MERGE in self.skip)

    @cached_property
    def _skipped(self) -> frozenset[str]:
        return frozenset(self.skip)

    @cached_property
    def _only(self) -> frozenset[str]:
        return frozenset(self.only)


def check_names(names: Iterable[str], node_names: Collection[str] = (), option: str = "skip") -> None:
    """Raise UsageError for a name that is neither a rule nor a pattern that matches one of ``node_names``."""
    for name in names:
        if name in RULE_NAMES or name in node_names or any(fnmatchcase(node, name) for node in node_names):
            continue
        nodes = " or a node of the model" if option == "skip" else ""
        raise UsageError(f"expected a rule{nodes}, got {name!r}; {known_names(name, RULE_NAMES, 'rules')}", option)
