"""Killed at random instants under load. `python -m tests.kill` does more of it."""

from pathlib import Path

import pytest

from tests.kill.random_kills import kills
from tests.kill.workload import STORES
from tests.rig.model import ModelServer

COUNT = 12


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", STORES)
def test_killed_at_random_under_load(store: str, tmp_path: Path, models: ModelServer) -> None:
    done = list(kills(tmp_path, models, store, COUNT, seed="20"))
    assert [(each.number, each.violations) for each in done if each.violations] == []
    assert sum(each.unfinished for each in done) > COUNT / 2
