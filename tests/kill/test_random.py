from pathlib import Path

from tests.kill.random_kills import kills
from tests.rig.model import ModelServer

COUNT = 20


def test_killed_at_random_under_load(tmp_path: Path, models: ModelServer) -> None:
    found = [each for wrong in kills(tmp_path, models, COUNT, seed=20) for each in wrong]
    assert found == []
