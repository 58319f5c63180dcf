"""The quick promises to a new user; `python -m tests.sweeps.friendly` walks all of them."""

from __future__ import annotations

import pytest

from tests.sweeps.friendly.walk import PROMISES, QUICK, Promise, holds


@pytest.mark.parametrize("promise", QUICK, ids=lambda promise: promise.__name__)
def test_a_promise_is_kept(promise: Promise) -> None:
    assert holds(promise), promise.__doc__


def test_each_promise_says_what_it_promises() -> None:
    assert all((promise.__doc__ or "").splitlines()[0].endswith(".") for promise in PROMISES)
    assert set(QUICK) <= set(PROMISES)
