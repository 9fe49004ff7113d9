import asyncio
from collections.abc import Awaitable, Callable

import pytest

from perdure.runs import attempts
from perdure.runs.attempts import Attempt, Attempts

FIRST, AGAIN = Attempt(b"key", again=False), Attempt(b"key", again=True)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await work()

    asyncio.run(limited())


def started(known: Attempts, run_id: str, attempt: Attempt = FIRST) -> None:
    with known.starting(attempt) as start:
        start(run_id)


def test_a_repetition_finds_the_run_and_a_first_sending_never_does() -> None:
    async def go() -> None:
        known = Attempts(lambda run_id: False)
        assert await known.run_of(AGAIN) is None
        started(known, "run-1")
        assert await known.run_of(FIRST) is None
        assert await known.run_of(AGAIN) == "run-1"
        assert await known.run_of(Attempt(b"other", again=True)) is None
        started(known, "run-2")
        assert await known.run_of(AGAIN) == "run-2"

    run(go)


def test_a_repetition_waits_until_the_run_is_known() -> None:
    async def go() -> None:
        known = Attempts(lambda run_id: False)
        with known.starting(FIRST) as start:
            waiting = [asyncio.create_task(known.run_of(AGAIN)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            start("run-1")
        assert await asyncio.gather(*waiting[1:]) == ["run-1"] * 2

    run(go)


def test_a_repetition_of_what_was_refused_is_on_its_own() -> None:
    async def go() -> None:
        known = Attempts(lambda run_id: False)
        with known.starting(FIRST):
            waiting = asyncio.create_task(known.run_of(AGAIN))
            await asyncio.sleep(0)
        assert await waiting is None
        assert await known.run_of(AGAIN) is None

    run(go)


def test_after_ten_minutes_only_a_run_under_way_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        moment = 1000.0
        monkeypatch.setattr(attempts.time, "monotonic", lambda: moment)
        known = Attempts(lambda run_id: run_id == "run-long")
        started(known, "run-short")
        started(known, "run-long", Attempt(b"long", again=False))
        moment += 599
        assert await known.run_of(AGAIN) == "run-short"
        moment += 599
        assert await known.run_of(AGAIN) == "run-short", "counted from when it was last sent"
        moment += 601
        assert await known.run_of(AGAIN) is None
        assert await known.run_of(Attempt(b"long", again=True)) == "run-long"

    run(go)


def test_the_oldest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        monkeypatch.setattr(attempts, "MOST", 2)
        known = Attempts(lambda run_id: False)
        for number in range(3):
            started(known, f"run-{number}", Attempt(bytes([number]), again=False))
        found = [await known.run_of(Attempt(bytes([number]), again=True)) for number in range(3)]
        assert found == [None, "run-1", "run-2"]

    run(go)
