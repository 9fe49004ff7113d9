"""Fixtures of this folder."""

import pytest

from tests.runs import house


@pytest.fixture(autouse=True)
def ready_slow_tool() -> None:
    """The slow tool begins anew, and waits to be told to end."""
    house.slow_began.clear()
    house.slow_may_end.clear()
