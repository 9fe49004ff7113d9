"""The kill matrix: the server is killed at every named point, and what it had promised holds afterwards."""

import contextlib
from collections.abc import Callable, Sequence
from itertools import zip_longest
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
WITHIN_ONE_COMMIT = (
    "accept", "enter", "calls kept", "answer kept", "request kept", "own tool", "returns kept", "summary kept",
    "context left", "events", "refusal", "block edit", "finish", "hand over", "custom tool kept", "job", "job claimed",
    "file piece", "chunks", "job end",
)  # fmt: skip
"""Where before and after leave the same, since both are undone: one store is killed before, the other after."""
AT_START = ("take up", "migration", "index")
IN_BACKGROUND = ("custom tool", "custom tool kept", "job", "job claimed", "file piece", "chunks", "job end")
ELSEWHERE = ("MCP tool",)
WITH_COMPANION = (
    "companion due before 2",
    "companion due after 2",
    "companion begun before 2",
    "model answer after 15",  # in the answer after which it is due: what takes the run up ends it, and begins the other
    "own tool after 2",  # its own edit
)
AMONG_AGENTS = ("message to an agent after 1", "finish after 1")
APART = (
    *AT_START, *IN_BACKGROUND, *ELSEWHERE, "companion due", "companion begun", "message to an agent",
)  # fmt: skip


def traps(store: str, *points: str) -> list[str]:
    return [
        f"{point} {moment} {number}"
        for point in points
        for number in NUMBERS.get(point, (1,))
        for moment in ((MOMENTS[workload.STORES.index(store)],) if point in WITHIN_ONE_COMMIT else MOMENTS)
    ]


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize("point", [point for point in POINTS if point not in APART])
def test_killed_at(point: str, store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(traps(store, point), workload.scenario, store, tmp_path, models)


@pytest.mark.parametrize("store", workload.STORES)
@pytest.mark.parametrize("point", IN_BACKGROUND)
def test_killed_beside_a_turn_at(point: str, store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(traps(store, point), workload.background, store, tmp_path, models)


@pytest.mark.parametrize("store", workload.STORES)
def test_killed_in_a_call_of_another_server(store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(traps(store, *ELSEWHERE), workload.elsewhere, store, tmp_path, models)


@pytest.mark.parametrize("store", workload.STORES)
def test_killed_while_a_companion_is_due_or_works(store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(WITH_COMPANION, workload.companions, store, tmp_path, models)


@pytest.mark.parametrize("store", workload.STORES)
def test_killed_while_an_agent_waits_for_another(store: str, tmp_path: Path, models: ModelServer) -> None:
    kill_at(AMONG_AGENTS, workload.talk, store, tmp_path, models)


def kill_at(
    traps: Sequence[str], scenario: Callable[[workload.Home], None], store: str, folder: Path, models: ModelServer
) -> None:
    """Has a server walk into one trap after the other, on the same data; each start takes up what was left."""
    with workload.made(folder, models, store) as home:
        home.start(traps[0])
        for trap, following in zip_longest(traps, traps[1:]):
            home.populate(1)
            scenario(home)
            assert home.server.wait() == -9, f"{trap}: it did not snap"
            home.armed.unlink()
            assert looked_at(home.settings).faults == [], trap
            home.start(following)
            assert violations(home) == [], trap
            home.forget()


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
