"""No test of the checks reads what another one has cached."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(cache_home: Path) -> None:
    """Each test has a cache of its own, with or without a command."""
