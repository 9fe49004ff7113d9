import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection

from perdure.domain.errors import Unavailable, Unprocessable
from perdure.providers import outbound
from perdure.runs import callback
from perdure.runs.callback import Callbacks, Letter, check_callback
from perdure.store import runs as run_store
from tests.rig.stores import Place
from tests.runs.house import House, house, read, run, soon, turns

URL = "http://receiver.example/"


def letter(conn: Connection, run_id: str) -> Letter | None:
    found = run_store.find_stored(conn, run_id)
    return None if found is None else Letter(found[1].callback_url or "", run_id.encode())


class Posts:
    """Stands in for the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: int | Unavailable) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.limits: list[float] = []
        self._answers = list(answers)
        monkeypatch.setattr(outbound, "post", self._post)

    async def _post(self, url: str, body: bytes, headers: object, *, allow_private: bool, time_limit: float) -> int:
        self.sent.append((url, body))
        self.limits.append(time_limit)
        answer = self._answers.pop(0)
        if isinstance(answer, Unavailable):
            raise answer
        return answer


@contextlib.asynccontextmanager
async def telling(place: Place) -> AsyncIterator[House]:
    """A process that tells, having told what others left untold; it waits for the last of it."""
    async with house(place, recovers=False) as at:
        callbacks = Callbacks(at.db, letter, allow_private=False)
        at.runner._tell = callbacks.tell
        await at.runner.recover()
        yield at
        await callbacks.close()


def told(at: House, run_id: str) -> list[tuple[object, ...]]:
    return at.stored(
        f"SELECT callback_status_code, callback_error FROM runs WHERE id = '{run_id}' AND callback_sent_at > 0"
    )


def test_the_end_of_a_run_is_told_once_and_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = Posts(monkeypatch, 200, Unavailable("no answer"))

    async def go() -> None:
        async with telling(place) as at:
            agent = await at.agent()
            at.voice.says("one").says("two").says("three")
            first = await at.ask(agent, "1", callback_url=URL)
            assert await soon(lambda: told(at, first.run_id)) == [(200, None)]
            second = await at.ask(agent, "2", callback_url=URL)
            assert await soon(lambda: told(at, second.run_id)) == [(None, "no answer")]
            await read(await at.ask(agent, "3"))
            assert posts.sent == [(URL, first.run_id.encode()), (URL, second.run_id.encode())]
            assert posts.limits == [callback.TIME_LIMIT] * 2 == [5.0] * 2
        async with telling(place):
            pass
        assert len(posts.sent) == 2

    run(go())


def test_what_an_earlier_process_did_not_tell_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = Posts(monkeypatch, 200)

    async def go() -> None:
        async with house(place) as at:
            at.voice.says("one")
            untold = await at.ask(await at.agent(), "1", callback_url=URL)
            await read(untold)
            assert posts.sent == []
        async with telling(place):
            pass
        assert posts.sent == [(URL, untold.run_id.encode())]

    run(go())


def test_a_run_that_is_gone_is_not_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = Posts(monkeypatch)

    async def go() -> None:
        async with house(place) as at:
            callbacks = Callbacks(at.db, letter, allow_private=False)
            callbacks.tell("run-00000000-0000-4000-8000-000000000000")
            await callbacks.close()

    run(go())
    assert posts.sent == []


def test_closing_waits_for_those_under_way(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def post(*_: object, **__: object) -> int:
        asked.set()
        await answer.wait()
        return 202

    monkeypatch.setattr(outbound, "post", post)

    async def go() -> None:
        async with house(place) as at:
            at.voice.says("one")
            callbacks = Callbacks(at.db, letter, allow_private=False)
            at.runner._tell = callbacks.tell
            reader = await at.ask(await at.agent(), "1", callback_url=URL)
            await read(reader)
            await asked.wait()
            closing = asyncio.create_task(callbacks.close())
            await turns()
            assert not closing.done()
            answer.set()
            await closing
            assert told(at, reader.run_id) == [(202, None)]

    run(go())


def test_an_address_that_cannot_be_called_is_a_wrong_field() -> None:
    with pytest.raises(Unprocessable) as raised:
        check_callback("http://127.0.0.1/", allow_private=False)
    assert raised.value.problems[0]["loc"] == ["body", "callback_url"]
    check_callback("http://127.0.0.1/", allow_private=True)
    check_callback("https://example.com/", allow_private=False)
