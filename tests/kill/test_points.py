"""The kill matrix: the server is killed at every named point, and what it had promised holds afterwards."""

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.kill import workload
from tests.kill.checker import looked_at, violations
from tests.kill.points import POINTS
from tests.rig.model import ModelServer

MOMENTS = ("before", "after")
NUMBERS = {
    "accept": (5,), "enter": (3,), "commit": (1, 4, 9), "model answer": (2,), "effect": (1, 3, 4),
    "returns kept": (1, 4), "events": (1, 12), "finish": (6,), "chunks": (1, 2),
}  # fmt: skip
"""Which calls of a point snap, where it is not the first alone."""
AT_START = ("take up", "migration", "index")
IN_BACKGROUND = ("custom tool", "custom tool kept", "job", "job claimed", "file piece", "chunks", "job end")
ELSEWHERE = ("MCP tool",)


def traps(points: Iterable[str]) -> list[str]:
    return [
        f"{point} {moment} {number}" for point in points for number in NUMBERS.get(point, (1,)) for moment in MOMENTS
    ]


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize(
    "trap", traps(point for point in POINTS if point not in (*AT_START, *IN_BACKGROUND, *ELSEWHERE))
)
def test_killed_at(trap: str, store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(trap, workload.scenario, store, tmp_path, models)


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize("trap", traps(IN_BACKGROUND))
def test_killed_beside_a_turn_at(trap: str, store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(trap, workload.background, store, tmp_path, models)


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize("trap", traps(ELSEWHERE))
def test_killed_in_a_call_of_another_server_at(trap: str, store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(trap, workload.elsewhere, store, tmp_path, models)


def kill_at(
    trap: str, scenario: Callable[[workload.Home], None], store: str, folder: Path, models: ModelServer
) -> None:
    with workload.made(folder, models, store) as home:
        home.start(trap)
        home.populate(1)
        scenario(home)
        assert home.server.wait() == -9, "the trap did not snap"
        assert looked_at(home.settings).faults == []
        home.start()
        assert violations(home) == []


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_again_while_it_takes_up_what_was_left(
    moment: str, store: str, tmp_path: Path, models: ModelServer
) -> None:
    with workload.made(tmp_path, models, store) as home:
        home.start("effect after 1")
        home.populate(1)
        home.armed.touch()
        workload.scenario(home)
        assert home.server.wait() == -9
        with contextlib.suppress(AssertionError):  # before it serves, where nobody else may have the runs
            home.start(f"take up {moment} 1")
        assert home.server.wait() == -9
        assert looked_at(home.settings).faults == []
        home.start()
        assert violations(home) == []
