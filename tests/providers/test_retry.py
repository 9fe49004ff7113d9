"""Calls repeated and handed on, as a scripted model server sees them."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest

from perdure.domain.errors import ModelError
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.providers import breaker, retry
from perdure.providers.base import (
    AnsweredBy,
    AnyDelta,
    Finished,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from perdure.providers.catalog import Catalog
from tests.providers.cataloguing import Offline
from tests.providers.chat import HELLO, STOP, chunk
from tests.providers.keeping import Rows, keeping
from tests.providers.scripted import (
    END,
    SSE,
    Answer,
    Asked,
    Scripted,
    chunked,
    events,
    plain,
    run,
    says,
    serving,
    streams,
)  # fmt: skip

GOOD = streams(*events(chunk({"content": "Hi"}), STOP, "[DONE]"))
SAID = [TextDelta("Hi"), Finished("stop")]
LISTED = json.dumps({"data": [{"id": "one"}, {"id": "two"}]}).encode()


def refusal(status: int, message: str = "busy", **headers: str) -> Answer:
    return says(plain(status, json.dumps({"error": {"message": message}}).encode(), **headers))


async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def silence(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(20)


def playing(*answers: Answer) -> Answer:
    """Plays one answer after the other, the last for ever; lists of models apart."""
    left = list(answers)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if asked.method == "GET":
            writer.write(plain(200, LISTED))
        else:
            await (left.pop(0) if len(left) > 1 else left[0])(asked, writer)

    return answer


def calls(server: Scripted) -> list[Asked]:
    return [each for each in server.asked if each.method == "POST"]


@contextlib.asynccontextmanager
async def asking(
    *answers: Answer, fall_backs: Sequence[str] = (), **environment: str
) -> AsyncIterator[tuple[Catalog, Scripted]]:
    async with serving(playing(*answers)) as server:
        sent = {"OPENAI_BASE_URL": f"{server.url}/v1", **environment}
        catalog = Catalog(sent, [Offline()], fall_backs=fall_backs)
        try:
            yield catalog, server
        finally:
            await catalog.close()


async def answer(catalog: Catalog, handle: str = "openai/one") -> list[AnyDelta]:
    model = await catalog.resolve(TENANT, handle)
    batches = [batch async for batch in catalog.stream(TENANT, ModelRequest(model=model, messages=[HELLO]))]
    return [delta for batch in batches for delta in batch]


def asked(*answers: Answer, **options: Any) -> tuple[list[AnyDelta] | ModelError, int]:
    """What came of a call, and how often the server was asked."""

    async def go() -> tuple[list[AnyDelta] | ModelError, int]:
        async with asking(*answers, **options) as (catalog, server):
            try:
                return await answer(catalog), len(calls(server))
            except ModelError as error:
                return error, len(calls(server))

    return run(go())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(retry, "LAST_PAUSE", 0.02)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_asked_again(status: int) -> None:
    assert asked(refusal(status), refusal(status), GOOD) == (SAID, 3)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 501])
def test_what_does_not_pass_is_asked_once(status: int) -> None:
    error, times = asked(refusal(status), GOOD)
    assert isinstance(error, ModelError)
    assert (error.detail, times) == ("busy", 1)


def test_an_empty_account_is_no_rate_limit() -> None:
    spent = says(plain(429, json.dumps({"error": {"message": "out", "code": "insufficient_quota"}}).encode()))
    error, times = asked(spent, GOOD)
    assert isinstance(error, ModelError)
    assert (error.error_type, times) == ("llm_insufficient_credits", 1)


@pytest.mark.parametrize(
    "broken",
    [hang_up, says(SSE), says(SSE, END), says(SSE, chunked(b'data: {"error": {"message": "x", "code": 503}}\n\n'))],
    ids=["no answer", "a lost connection", "an empty stream", "an error for a token"],
)
def test_a_stream_that_breaks_before_its_first_token_is_asked_again(broken: Answer) -> None:
    async def break_off(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await broken(asked, writer)
        writer.close()

    said, times = asked(break_off, GOOD)
    assert said == SAID
    # A kept connection that dies is tried once more by the client itself.
    assert times in (2, 3)


def test_silence_before_the_first_token_is_asked_again() -> None:
    assert asked(silence, GOOD, LETTA_LLM_REQUEST_TIMEOUT_SECONDS="0.2") == (SAID, 2)


@pytest.mark.parametrize("how", ["cut", "error"])
@pytest.mark.parametrize(
    ("piece", "said"),
    [
        ({"content": "Once"}, TextDelta("Once")),
        ({"reasoning_content": "Hm"}, ReasoningDelta("Hm")),
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "add"}}]}, ToolCallDelta(0, "", "c", "add")),
    ],
    ids=["a word", "a thought", "the name of a tool"],
)
def test_nothing_is_repeated_after_a_token(piece: Any, said: AnyDelta, how: str) -> None:
    first = chunked(events(chunk(piece))[0])
    rest = END if how == "cut" else chunked(b'data: {"error": {"message": "x", "code": 503}}\n\n')

    async def go() -> tuple[list[Any], int]:
        async with asking(says(SSE, first, rest), GOOD) as (catalog, server):
            model = await catalog.resolve(TENANT, "openai/one")
            batches = catalog.stream(TENANT, ModelRequest(model=model, messages=[HELLO]))
            shown = [*await anext(batches)]
            with pytest.raises(ModelError):
                await anext(batches)
            return shown, len(calls(server))

    assert run(go()) == ([said], 1)


def test_it_gives_up_after_five_calls_and_says_so() -> None:
    error, times = asked(refusal(503))
    assert isinstance(error, ModelError)
    assert times == 5
    assert error.detail.startswith("busy (asked 5 times in ")


@pytest.mark.parametrize(("seconds", "times"), [("0", 1), ("30", 5)])
def test_the_budget_is_a_setting(seconds: str, times: int) -> None:
    assert asked(refusal(503), PERDURE_RETRY_SECONDS=seconds)[1] == times


def test_no_call_begins_after_the_budget() -> None:
    begun = time.monotonic()
    error, times = asked(silence, LETTA_LLM_REQUEST_TIMEOUT_SECONDS="0.3", PERDURE_RETRY_SECONDS="0.5")
    assert isinstance(error, ModelError)
    assert times == 2
    assert time.monotonic() - begun < 5


def test_a_provider_that_says_when_is_waited_for_a_little_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all who were told the same moment would come at the same moment, and be refused again."""
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(retry, "LAST_PAUSE", 8.0)
    begun = time.monotonic()
    assert asked(refusal(429, Retry_After="0.3"), GOOD) == (SAID, 2)
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize("after", ["3600", "1e300"])
def test_a_provider_that_wants_more_time_than_there_is_is_not_waited_for(after: str) -> None:
    begun = time.monotonic()
    error, times = asked(refusal(429, Retry_After=after), GOOD)
    assert isinstance(error, ModelError)
    assert (error.error_type, times) == ("llm_rate_limit", 1)
    assert error.retry_after == float(after)
    assert error.detail.startswith("busy (it wants to be left alone for ")
    assert error.detail.endswith(" s, and a call is repeated for 30 s)")
    assert time.monotonic() - begun < 5


def test_pauses_are_random_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.5)
    monkeypatch.setattr(retry, "LAST_PAUSE", 8.0)
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: drawn.append((low, high)) or 0.0)
    asked(refusal(503), PERDURE_BREAKER_FAILURES="0")
    assert drawn == [(0.0, 0.5), (0.0, 1.0), (0.0, 2.0), (0.0, 4.0)]


def test_going_away_ends_the_pause_at_once() -> None:
    async def go() -> tuple[float, int]:
        refused = asyncio.Event()

        async def refuse(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await refusal(429, Retry_After="20")(asked, writer)
            refused.set()

        async with asking(refuse) as (catalog, server):
            task = asyncio.create_task(answer(catalog))
            await refused.wait()
            left = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return time.monotonic() - left, len(calls(server))

    took, times = run(go())
    assert took < 0.1
    assert times == 1


def test_a_provider_that_keeps_failing_is_left_alone_and_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "FIRST_PAUSE", 0.3)

    async def go() -> None:
        async with asking(*[refusal(503)] * 4, GOOD, PERDURE_BREAKER_FAILURES="4") as (catalog, server):
            with pytest.raises(ModelError):
                await answer(catalog)
            assert len(calls(server)) == 4
            assert [state.provider for state in catalog.paused()] == ["openai"]
            with pytest.raises(ModelError, match="LLM") as raised:
                await answer(catalog)
            assert "openai/one failed 4 times in a row" in raised.value.detail
            assert "busy" in raised.value.detail
            assert len(calls(server)) == 4
            said = None
            while said is None:
                with contextlib.suppress(ModelError):
                    said = await answer(catalog)
                await asyncio.sleep(0.02)
            assert said == SAID
            assert len(calls(server)) == 5
            assert catalog.paused() == []

    run(go())


def test_a_failing_fall_free_model_is_never_answered_by_another() -> None:
    async def go() -> int:
        async with serving(playing(GOOD)) as other:
            environment = {"VLLM_API_BASE": other.url, "PERDURE_RETRY_SECONDS": "0"}
            async with asking(refusal(503), **environment) as (catalog, _):
                with pytest.raises(ModelError):
                    await answer(catalog)
            return len(calls(other))

    assert run(go()) == 0


@pytest.mark.parametrize("status", [401, 402, 429, 503])
def test_a_fall_back_answers_and_is_named(status: int, logged: Callable[[], list[dict[str, Any]]]) -> None:
    async def go() -> tuple[list[AnyDelta], int, Any]:
        async with (
            serving(playing(GOOD)) as other,
            asking(refusal(status), fall_backs=["vllm/two"], VLLM_API_BASE=other.url) as (catalog, server),
        ):
            return await answer(catalog), len(calls(server)), calls(other)[0].json["model"]

    said, times, model = run(go())
    first = said[0]
    assert isinstance(first, AnsweredBy)
    assert (first.model.handle, said[1:], model) == ("vllm/two", SAID, "two")
    assert times == (1 if status in (401, 402) else 2)
    told = next(line for line in logged() if line["event"] == "model_fell_back")
    assert (told["level"], told["to"], told["reason"].startswith("busy")) == ("warning", "vllm/two", True)


@pytest.mark.parametrize("status", [400, 413])
def test_a_request_that_is_refused_falls_back_to_nobody(status: int) -> None:
    assert asked(refusal(status), fall_backs=["local/tiny"])[1] == 1


def test_fall_backs_are_asked_in_order_and_the_first_error_stays() -> None:
    error, times = asked(
        refusal(503, "first"), refusal(503, "first"), refusal(503, "second"), fall_backs=["openai/two"]
    )
    assert isinstance(error, ModelError)
    assert error.detail.startswith("first (asked 2 times")
    assert "The fall-backs failed, too: second (asked 5 times" in error.detail
    assert times == 7


@pytest.mark.parametrize("fall_back", ["none/such", "openai/none", "no-handle"])
def test_a_fall_back_that_is_not_there_is_passed_over_and_logged(
    fall_back: str, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    said, _ = asked(refusal(503), refusal(503), GOOD, fall_backs=[fall_back, "openai/two"])
    assert isinstance(said, list)
    assert said[1:] == SAID
    assert [line["model"] for line in logged() if line["event"] == "fall_back_passed_over"] == [fall_back]


def test_a_fall_back_too_small_for_the_request_is_passed_over(logged: Callable[[], list[dict[str, Any]]]) -> None:
    windows: Mapping[str, str] = {"PERDURE_PROVIDER_OPENAI_CONTEXT_WINDOW": "2"}
    error, times = asked(refusal(503), fall_backs=["openai/two"], **windows)
    assert isinstance(error, ModelError)
    assert times == 2
    assert "it holds 2" in next(line for line in logged() if line["event"] == "fall_back_passed_over")["reason"]


def test_what_a_tenant_asks_of_a_provider_of_their_own_falls_back_to_nobody() -> None:
    async def go() -> ModelError:
        rows = Rows()
        patience = {"PERDURE_RETRY_SECONDS": "0"}
        async with (
            serving(playing(refusal(503))) as theirs,
            keeping(rows, patience, fall_backs=["local/tiny"]) as catalog,
        ):
            rows.add("mine", f"{theirs.url}/v1", api_key=b"own")
            with pytest.raises(ModelError) as raised:
                await answer(catalog, "mine/one")
            return raised.value

    assert run(go()).detail == "busy"


def test_two_who_were_told_the_same_moment_come_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same provider, two agents: each waits as long as it was told, and a little of its own."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.4)
    monkeypatch.setattr(retry, "LAST_PAUSE", 8.0)
    drawn = iter([0.0, 0.3])
    monkeypatch.setattr(retry.random, "uniform", lambda low, high: next(drawn))
    came: list[float] = []

    async def note(asked: Asked, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await (refusal(429, Retry_After="0.2") if len(came) <= 2 else GOOD)(asked, writer)

    async def go() -> list[Any]:
        async with asking(note) as (catalog, _):
            return await asyncio.gather(answer(catalog), answer(catalog))

    assert run(go()) == [SAID, SAID]
    assert came[3] - came[2] > 0.2


def test_the_model_itself_is_no_fall_back() -> None:
    assert asked(refusal(503), fall_backs=["openai/one"])[1] == 5
