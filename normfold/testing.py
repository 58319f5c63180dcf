"""Assertions for the tests of a project that ships models: ``normfold.testing.assert_equivalent(a, b)``."""

from __future__ import annotations

from normfold.option_declaration import accepting
from normfold.verify import ModelOrResult, VerifyArguments, prove_models


@accepting(VerifyArguments)
def assert_equivalent(a: ModelOrResult, options: VerifyArguments) -> None:
    """Raise AssertionError with the whole table unless the model ``b`` computes what ``a`` computes.

    The arguments are those of ``normfold.verify``; an inconclusive comparison is an error too.
    """
    verification = prove_models(a, options)
    if not verification:
        raise AssertionError(str(verification))
