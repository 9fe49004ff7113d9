import asyncio
import gc
from collections.abc import Mapping

import pytest

from perdure.domain.errors import ModelError
from perdure.providers.http import Endpoint, HttpClient, Limits
from tests.providers.client import KEY, QUICK, asking, read, refused
from tests.providers.scripted import (
    END,
    SSE,
    Answer,
    Asked,
    chunked,
    events,
    lists,
    plain,
    run,
    says,
    serving,
    streams,
)


def test_payloads_come_as_they_were_written() -> None:
    async def go() -> tuple[list[bytes], Asked]:
        async with asking(streams(b"data: one\n\nda", b"ta: two\n\n", b"data: [DONE]\n\n")) as (
            client,
            endpoint,
            server,
        ):
            return await read(client, endpoint), server.asked[0]

    payloads, asked = run(go())
    assert payloads == [b"one", b"two", b"[DONE]"]
    assert (asked.method, asked.path, asked.body) == ("POST", "/ask", b"{}")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["content-type"] == "application/json"


def test_a_stream_written_byte_by_byte_is_the_same_stream() -> None:
    whole = b"".join(events({"n": 1}, {"text": "\u00e9\U0001f600"}, "[DONE]")).replace(b"\n", b"\r\n")
    answer = says(SSE, *(chunked(whole[at : at + 1]) for at in range(len(whole))), END)

    async def go() -> list[bytes]:
        async with asking(answer) as (client, endpoint, _):
            return await read(client, endpoint)

    assert run(go()) == [b'{"n": 1}', b'{"text": "\\u00e9\\ud83d\\ude00"}', b"[DONE]"]


def test_one_connection_serves_stream_after_stream() -> None:
    async def go() -> int:
        async with asking(streams(*events("one", "[DONE]"))) as (client, endpoint, server):
            for _ in range(5):
                await read(client, endpoint)
            return server.connections

    assert run(go()) == 1


def test_a_connection_whose_end_comes_after_the_last_payload_serves_again() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE + chunked(b"data: [DONE]\n\n"))
        await read_already.wait()
        writer.write(END)

    async def go() -> int:
        async with asking(answer) as (client, endpoint, server):
            await read(client, endpoint)
            [lingering] = client._streams
            read_already.set()
            await lingering.response.content.wait_eof()
            await read(client, endpoint)
            return server.connections

    read_already = asyncio.Event()
    assert run(go()) == 1


def test_the_last_payload_ends_the_stream_though_the_connection_stays_open() -> None:
    async def go() -> list[bytes]:
        async with asking(says(SSE, chunked(b"data: a\n\ndata: [DONE]\n\n"))) as (client, endpoint, _):
            return await read(client, endpoint)

    assert run(go()) == [b"a", b"[DONE]"]


def test_closing_the_generator_hangs_up() -> None:
    async def go() -> None:
        async with asking(says(SSE, chunked(b"data: a\n\n"))) as (client, endpoint, server):
            reads = client.sse(endpoint, f"{endpoint.url}/ask", b"{}")
            assert await anext(reads) == [b"a"]
            await reads.aclose()
            await server.hung_up.wait()

    run(go())


def test_a_cancelled_reader_hangs_up() -> None:
    async def go() -> None:
        async with asking(says(SSE, chunked(b"data: a\n\n"))) as (client, endpoint, server):
            started = asyncio.Event()

            async def reading() -> None:
                async for _ in client.sse(endpoint, f"{endpoint.url}/ask", b"{}"):
                    started.set()

            task = asyncio.create_task(reading())
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.hung_up.wait()

    run(go())


def dies_when_reused(partial: bytes = b"") -> Answer:
    """Keeps a connection, then closes it at the second request on it, after `partial`."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        if answered.count(asked.connection):
            writer.write(partial)
            writer.close()
            return
        answered.append(asked.connection)
        await streams(*events("one", "[DONE]"))(asked, writer)

    answered: list[int] = []
    return answer


def test_a_kept_connection_that_died_is_replaced_once() -> None:
    async def go() -> tuple[list[bytes], int, int]:
        async with asking(dies_when_reused()) as (client, endpoint, server):
            await read(client, endpoint)
            return await read(client, endpoint), server.connections, len(server.asked)

    assert run(go()) == ([b"one", b"[DONE]"], 2, 3)


@pytest.mark.parametrize("partial", [b"HTTP/1.1 200 OK\r\nContent-Ty", SSE])
def test_a_connection_that_died_after_a_first_byte_is_not_asked_again(partial: bytes) -> None:
    async def go() -> int:
        async with asking(dies_when_reused(partial)) as (client, endpoint, server):
            await read(client, endpoint)
            with pytest.raises(ModelError):
                await read(client, endpoint)
            return len(server.asked)

    assert run(go()) == 2


def test_a_fresh_connection_that_dies_is_an_error() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def go() -> tuple[ModelError, int]:
        async with asking(answer) as (client, endpoint, server):
            with pytest.raises(ModelError) as raised:
                await read(client, endpoint)
            return raised.value, len(server.asked)

    error, times = run(go())
    assert (error.error_type, times) == ("llm_error", 1)
    assert "cannot be reached" in error.detail


def test_nobody_listening_is_said_with_the_address() -> None:
    async def go() -> ModelError:
        client = HttpClient()
        with pytest.raises(ModelError) as raised:
            await read(client, Endpoint(name="box", url="http://127.0.0.1:1"))
        await client.close()
        return raised.value

    error = run(go())
    assert error.error_type == "llm_error"
    assert error.detail == "box at http://127.0.0.1:1 cannot be reached: Connection refused"


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream"])
def test_a_stream_under_another_name_is_still_a_stream(content_type: str) -> None:
    head = SSE.replace(b"text/event-stream", content_type.encode())

    async def go() -> list[bytes]:
        async with asking(says(head, chunked(b"d"), chunked(b"ata: a\n\n"), END)) as (client, endpoint, _):
            return await read(client, endpoint)

    assert run(go()) == [b"a"]


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (SSE,),
        (SSE, chunked(b"data: a\n\n")),
        (SSE, chunked(b"data: a\n\n"), chunked(b"data: b")),
    ],
    ids=["before headers", "before the first byte", "between events", "inside an event"],
)
def test_silence_ends_in_a_timeout(pieces: tuple[bytes, ...]) -> None:
    assert refused(says(*pieces), QUICK).error_type == "llm_timeout"


def test_bytes_that_are_no_events_count_as_life() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        for _ in range(10):
            writer.write(chunked(b": still thinking\n\n"))
            await asyncio.sleep(0.06)
        writer.write(chunked(b"data: a\n\n") + END)

    async def go() -> list[bytes]:
        async with asking(answer, QUICK) as (client, endpoint, _):
            return await read(client, endpoint)

    assert run(go()) == [b"a"]


def test_a_slow_reader_is_not_taken_for_a_silent_provider() -> None:
    async def go() -> list[bytes]:
        async with asking(says(SSE, chunked(b"data: a\n\n")), QUICK) as (client, endpoint, _):
            reads = client.sse(endpoint, f"{endpoint.url}/ask", b"{}")
            first = await anext(reads)
            await asyncio.sleep(QUICK.gap * 3)
            with pytest.raises(ModelError):
                await anext(reads)
            return first

    assert run(go()) == [b"a"]


def test_many_streams_have_one_watchdog() -> None:
    async def go() -> list[str]:
        async with asking(says(SSE, chunked(b"data: a\n\n")), QUICK) as (client, endpoint, _):
            reads = [client.sse(endpoint, f"{endpoint.url}/ask", b"{}") for _ in range(20)]
            for each in reads:
                await anext(each)
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert names.count("provider stream watchdog") == 1
            results = await asyncio.gather(*(anext(each) for each in reads), return_exceptions=True)
            return [result.error_type for result in results if isinstance(result, ModelError)]

    assert run(go()) == ["llm_timeout"] * 20


@pytest.mark.parametrize(
    "pieces",
    [
        (SSE, chunked(b"data: a\n\n")),
        (SSE, chunked(b"data: a\n\n"), b"40\r\ndata: cu"),
        (SSE, chunked(b"data: a\n\n"), b"not a chunk size\r\n"),
    ],
    ids=["between chunks", "inside a chunk", "garbage"],
)
def test_a_connection_lost_in_the_middle_is_an_error_after_what_came(pieces: tuple[bytes, ...]) -> None:
    got: list[bytes] = []

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await says(*pieces)(asked, writer)
        await received.wait()
        writer.close()

    async def go() -> ModelError:
        async with asking(answer) as (client, endpoint, _):
            reads = client.sse(endpoint, f"{endpoint.url}/ask", b"{}")
            got.extend(await anext(reads))
            received.set()
            with pytest.raises(ModelError) as raised:
                await anext(reads)
            return raised.value

    received = asyncio.Event()
    error = run(go())
    assert error.error_type == "llm_error"
    assert "lost the connection" in error.detail
    assert got == [b"a"]


def test_a_stream_that_ends_with_its_connection_is_no_error_here() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: a\n\ndata: b\n")
        writer.close()

    async def go() -> list[bytes]:
        async with asking(answer) as (client, endpoint, _):
            return await read(client, endpoint)

    assert run(go()) == [b"a", b"b"]


def test_an_endless_event_is_refused() -> None:
    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE)
        while True:
            writer.write(chunked(b"data: " + b"x" * 200_000))
            await writer.drain()

    assert "one event of more than 8388608 bytes" in refused(answer).detail


def test_closing_the_client_ends_open_streams() -> None:
    async def go() -> ModelError:
        async with asking(says(SSE, chunked(b"data: a\n\n"))) as (client, endpoint, _):
            reads = client.sse(endpoint, f"{endpoint.url}/ask", b"{}")
            await anext(reads)
            waiting = asyncio.ensure_future(anext(reads))
            await asyncio.sleep(0)
            await client.close()
            with pytest.raises(ModelError) as raised:
                await waiting
            with pytest.raises(ModelError, match="LLM"):
                await client.get_json(endpoint, endpoint.url)
            return raised.value

    assert run(go()).error_type == "llm_error"


def test_json_is_fetched_and_sent() -> None:
    async def go() -> tuple[object, object, Asked]:
        async with asking(lists({"/a": {"n": 1}, "/b": lambda asked: asked.json})) as (client, endpoint, server):
            got = await client.get_json(endpoint, f"{endpoint.url}/a")
            sent = await client.post_json(endpoint, f"{endpoint.url}/b", {"x": [1]})
            return got, sent, server.asked[1]

    got, sent, asked = run(go())
    assert (got, sent) == ({"n": 1}, {"x": [1]})
    assert asked.method == "POST"


@pytest.mark.parametrize(("body", "words"), [(b"<html>", "other than JSON"), (b"[" * 100_000, "other than JSON")])
def test_json_that_is_none_is_named(body: bytes, words: str) -> None:
    async def go() -> ModelError:
        async with asking(says(plain(200, body))) as (client, endpoint, _):
            with pytest.raises(ModelError) as raised:
                await client.get_json(endpoint, endpoint.url)
            return raised.value

    assert words in run(go()).detail


def test_json_that_never_comes_is_a_timeout() -> None:
    async def go() -> ModelError:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"
        async with asking(says(head), QUICK) as (client, endpoint, _):
            with pytest.raises(ModelError) as raised:
                await client.get_json(endpoint, endpoint.url)
            return raised.value

    assert run(go()).error_type == "llm_timeout"


def proxied(monkeypatch: pytest.MonkeyPatch, url: str, variables: Mapping[str, str]) -> tuple[list[Asked], bool]:
    """What a proxy was asked when `url` was fetched, and whether that worked."""

    async def go() -> tuple[list[Asked], bool]:
        async with serving(says(plain(200, b"{}"))) as proxy:
            for name, value in variables.items():
                monkeypatch.setenv(name, value.format(proxy=proxy.url.removeprefix("http://")))
            client = HttpClient(Limits(connect=2.0, first_byte=2.0))
            try:
                await client.get_json(Endpoint(name="box", url=url), url)
                return proxy.asked, True
            except ModelError:
                return proxy.asked, False
            finally:
                await client.close()

    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return run(go())


def test_a_proxy_of_the_environment_is_used_with_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, worked = proxied(monkeypatch, "http://models.invalid/v1", {"http_proxy": "http://me:p%40ss@{proxy}"})
    assert worked
    assert asked[0].path == "http://models.invalid/v1"
    assert asked[0].headers["proxy-authorization"] == "Basic bWU6cEBzcw=="


def test_loopback_and_no_proxy_hosts_are_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    through = {"http_proxy": "http://{proxy}", "no_proxy": "models.invalid"}
    for url in ("http://127.0.0.1:1/v1", "http://localhost:1/v1", "http://[::1]:1/v1", "http://models.invalid/v1"):
        assert proxied(monkeypatch, url, through) == ([], False)


def test_nothing_is_left_open() -> None:
    async def go() -> int:
        async with asking(streams(*events("one", "[DONE]"))) as (client, endpoint, _):
            await read(client, endpoint)
        gc.collect()
        return len([task for task in asyncio.all_tasks() if "watchdog" in task.get_name()])

    assert run(go()) == 0
