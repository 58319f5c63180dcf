"""The rules by name: which findings a user leaves alone, and what is said of a name that is none."""

from __future__ import annotations

import pytest

from normfold.errors import UsageError
from normfold.findings.reason import Reason
from normfold.findings.rules import RULE_NAMES, Selection, check_names

NAMES = frozenset({"bn1"})
SELECTIONS = [
    (Selection(), None),
    (Selection(skip=NAMES), Reason.SKIPPED),
    (Selection(skip=frozenset({"batchnorm"})), Reason.SKIPPED),
    (Selection(skip=frozenset({"affine"})), None),
    (Selection(only=NAMES), None),
    (Selection(only=frozenset({"batchnorm"})), None),
    (Selection(only=frozenset({"affine"})), Reason.SKIPPED),
    (Selection(exclude={"bn1": Reason.GROWTH}), Reason.GROWTH),
    (Selection(exclude={"bn1": Reason.ROLLED_BACK}, skip=NAMES), Reason.ROLLED_BACK),
]


@pytest.mark.parametrize(("selection", "reason"), SELECTIONS)
def test_what_is_left_alone_and_why(selection: Selection, reason: Reason | None) -> None:
    assert selection.reason_to_leave("bn1", "batchnorm") is reason


def test_a_rule_for_regions_may_take_what_only_does_not_name() -> None:
    selection = Selection(only=frozenset({"pad"}))
    assert selection.reason_to_leave("bn1", "batchnorm") is Reason.SKIPPED
    assert selection.reason_to_leave("bn1", "batchnorm", is_in_only=True) is None


def test_a_name_that_is_no_rule_is_refused_with_a_suggestion() -> None:
    check_names(RULE_NAMES)
    check_names(["block1*"], ["block1.bn"])
    with pytest.raises(UsageError, match="expected a rule, got 'batchnrom'; did you mean batchnorm"):
        check_names(["batchnrom"], option="only")
