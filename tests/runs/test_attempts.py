"""A request that is sent again joins the run that its first sending started, whichever process that went to."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.requests import TurnRequest
from perdure.runs import runner as runner_module
from perdure.runs.attempts import Attempt, Attempts
from perdure.runs.follower import Follower
from tests.rig.stores import Place
from tests.runs.house import House, Voice, house, message_of, read, said
from tests.runs.house import run as limited

FIRST, AGAIN = Attempt("key", again=False), Attempt("key", again=True)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await work()

    asyncio.run(limited())


def test_a_repetition_waits_until_the_run_is_known() -> None:
    async def go() -> None:
        known = Attempts()
        assert await known.run_of(AGAIN) is None
        with known.starting(FIRST) as start:
            waiting = [asyncio.create_task(known.run_of(AGAIN)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            assert await known.run_of(Attempt("other", again=True)) is None
            start("run-1")
        assert await asyncio.gather(*waiting[1:]) == ["run-1"] * 2

    run(go)


def test_a_repetition_of_what_was_refused_is_on_its_own() -> None:
    async def go() -> None:
        known = Attempts()
        with known.starting(FIRST):
            waiting = asyncio.create_task(known.run_of(AGAIN))
            await asyncio.sleep(0)
        assert await waiting is None
        assert await known.run_of(AGAIN) is None

    run(go)


async def sent(at: House, agent_id: str, attempt: Attempt, tenant: str = DEFAULT_TENANT) -> Follower:
    request = TurnRequest(agent_id=agent_id, input=(message_of(agent_id, "hi"),), stream_tokens=True)
    return await at.runner.start(tenant, request, attempt=attempt)


def test_a_repetition_joins_the_run_and_a_first_sending_never_does(place: Place) -> None:
    async def go() -> None:
        async with house(place) as at:
            agent, hold = await at.agent(), asyncio.Event()
            at.voice.says("one", hold).says("two")
            first = await sent(at, agent.id, FIRST)
            again = await sent(at, agent.id, AGAIN)
            assert again.run_id == first.run_id
            hold.set()
            assert said(await read(again)) == said(await read(first)) == "one"
            second = await sent(at, agent.id, FIRST)
            await read(second)
            assert (await sent(at, agent.id, AGAIN)).run_id == second.run_id != first.run_id
            assert len(at.voice.asked) == 2

    limited(go())


def test_a_repetition_is_known_after_a_restart(place: Place) -> None:
    async def go() -> None:
        async with house(place) as before:
            agent = await before.agent()
            before.voice.says("one")
            first = await sent(before, agent.id, FIRST)
            await read(first)
        async with house(place) as after:
            assert (await sent(after, agent.id, AGAIN)).run_id == first.run_id

    limited(go())


def test_a_while_after_the_end_a_repetition_is_a_new_request(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with house(place, Voice().says("one").says("two")) as at:
            agent = await at.agent()
            first = await sent(at, agent.id, FIRST)
            await read(first)
            monkeypatch.setattr(runner_module, "WINDOW", 0)
            again = await sent(at, agent.id, AGAIN)
            assert again.run_id != first.run_id
            await read(again)

    limited(go())
