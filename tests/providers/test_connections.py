"""Connections that go wrong in every way a network knows: what each becomes, and within which limit."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from perdure.domain.errors import Invalid, ModelError
from perdure.providers.http import Endpoint, HttpClient, Limits
from perdure.providers.outbound import read_target
from tests.providers.client import asking, read
from tests.providers.scripted import (
    END,
    SSE,
    Answer,
    Asked,
    Talk,
    chunked,
    events,
    listening,
    plain,
    run,
    says,
    serving,
    streams,
)  # fmt: skip

QUICK = Limits(connect=0.3, first_byte=0.5, gap=0.8, whole=1.0)
ONE = streams(*events("one", "[DONE]"))


async def failure(url: str) -> ModelError:
    client = HttpClient(QUICK)
    try:
        with pytest.raises(ModelError) as raised:
            await read(client, Endpoint(name="box", url=url))
        return raised.value
    finally:
        await client.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(20)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def test_an_address_that_swallows_connections() -> None:
    """A queue that is full: what knocks is never answered."""

    async def go() -> ModelError:
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.socket())
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(full.getsockname())
            return await failure(f"http://127.0.0.1:{full.getsockname()[1]}")

    error = run(go())
    assert (error.error_type, error.transient) == ("llm_timeout", True)
    assert "did not accept a connection in time" in error.detail


@pytest.mark.parametrize(
    ("scheme", "talk", "error_type", "words"),
    [
        ("https", say_nothing, "llm_timeout", "did not accept a connection in time"),
        ("http", say_nothing, "llm_timeout", "did not begin to answer in time"),
        ("https", reset, "llm_error", "cannot be reached"),
        ("http", reset, "llm_error", "cannot be reached"),
    ],
    ids=["a handshake that hangs", "an answer that hangs", "a handshake that breaks", "an answer that breaks"],
)
def test_a_server_that_accepts_and_then(scheme: str, talk: Talk, error_type: str, words: str) -> None:
    async def go() -> ModelError:
        async with listening(talk) as port:
            return await failure(f"{scheme}://127.0.0.1:{port}")

    error = run(go())
    assert (error.error_type, error.transient) == (error_type, True)
    assert words in error.detail


def dripping(head: bytes, drop: bytes) -> Answer:
    """Never silent for as long as the limit, and never done."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.05)

    return answer


def half_closed(head: bytes) -> Answer:
    """Says that there is no more to come in the middle, and goes on listening."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        writer.write_eof()

    return answer


@pytest.mark.parametrize(
    ("answer", "error_type", "words"),
    [
        (dripping(b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n"), "llm_timeout", "did not begin to answer in time"),
        (dripping(SSE, chunked(b": ping\n\n")), "llm_timeout", "took longer than 1 seconds"),
        (dripping(SSE + chunked(b"data: x"), chunked(b"x")), "llm_timeout", "took longer than 1 seconds"),
        (dripping(SSE, chunked(b"\n")), "llm_timeout", "fell silent"),
        (half_closed(SSE + chunked(b"data: a\n\n") + b"20\r\ndata: h"), "llm_error", "lost the connection"),
        (half_closed(SSE.replace(b"Transfer-Encoding: chunked", b"Content-Length: 99")), "llm_error", "lost the conn"),
        (says(SSE + b"zz\r\n"), "llm_error", "other than HTTP"),
        (says(SSE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + chunked(b"data: a\n\n")),
         "llm_error", "lost the connection"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000), "llm_error", "Too many headers"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000), "llm_error", "other than HTTP"),
        (says(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "llm_error", "101"),
    ],
    ids=["headers that never end", "pings for ever", "an event that never ends", "blank lines for ever",
         "half closed in a chunk", "half closed before the length", "no chunk", "no gzip", "5,000 headers",
         "a header of 100 kB", "another protocol"],
)  # fmt: skip
def test_an_answer_that_is(answer: Answer, error_type: str, words: str) -> None:
    async def go() -> ModelError:
        async with serving(answer) as server:
            return await failure(server.url)

    error = run(go())
    assert error.error_type == error_type
    assert words in error.detail


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\ndata: [DONE]\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SSE
        + chunked(b"data: one\n\ndata: [DONE]\n\n") + END,
        SSE.replace(b"text/event-stream", b"TEXT/Event-Stream; charset=UTF-16")
        + chunked(b"\xef\xbb\xbf") + chunked(b"data: one\r\rdata: [DONE]\r\r") + END,
    ],
    ids=["HTTP/1.0 without a length", "1xx first", "a byte order mark by itself"],
)  # fmt: skip
def test_an_answer_is_read_though_it_is_odd(answer: bytes) -> None:
    async def go() -> list[bytes]:
        async with asking(says(answer)) as (client, endpoint, _):
            return await read(client, endpoint)

    assert run(go()) == [b"one", b"[DONE]"]


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example", "no-such-host.invalid", "exa mple"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    error = run(failure(f"http://{host}"))
    assert (error.error_type, error.transient) == ("llm_error", False)
    assert "cannot be reached" in error.detail


@pytest.mark.parametrize("host", ["a..b", ".a", "x" * 70 + ".example", "a-.example", "a." * 130])
def test_no_caller_can_name_such_a_host(host: str) -> None:
    with pytest.raises(Invalid, match="does not name a host"):
        read_target(f"http://{host}/", allow_private=False)


def test_ipv6_and_two_hundred_calls_at_once() -> None:
    async def go() -> None:
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(SSE + chunked(b"data: [DONE]\n\n") + END)

        client = HttpClient()
        async with listening(one, "::1") as port:
            assert await read(client, Endpoint(name="box", url=f"http://[::1]:{port}")) == [b"[DONE]"]
        async with serving(ONE) as server:
            endpoint = Endpoint(name="box", url=server.url)
            for _ in range(2):
                got = await asyncio.gather(*(read(client, endpoint) for _ in range(200)))
                assert got == [[b"one", b"[DONE]"]] * 200
            assert server.connections == 200
        await client.close()

    run(go())


ASK = """
import asyncio, sys
from perdure.providers.http import Endpoint, HttpClient
async def go():
    client = HttpClient()
    print(await client.get_json(Endpoint(name="box", url=sys.argv[1]), sys.argv[1]))
    await client.close()
asyncio.run(go())
"""


def test_a_proxy_for_https_and_a_certificate_of_ones_own(tmp_path: Path) -> None:
    """As processes find them: by HTTPS_PROXY and SSL_CERT_FILE."""
    certificate = own_certificate(tmp_path)
    tunnels: list[bytes] = []

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tunnels.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.start_tls(server_context(tmp_path))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain(200, b'"through"'))
        await writer.drain()

    async def go(**environment: str) -> str:
        async with listening(tunnel) as port:
            environment |= {"HTTPS_PROXY": f"http://me:p%40ss@127.0.0.1:{port}", "PYTHONPATH": ":".join(sys.path)}
            asking = [sys.executable, "-c", ASK, "https://models.invalid/v1"]
            done = await asyncio.to_thread(subprocess.run, asking, env=environment, capture_output=True, timeout=20)
            return (done.stdout + done.stderr).decode()

    assert run(go(SSL_CERT_FILE=str(certificate))) == "through\n"
    assert tunnels[0].startswith(b"CONNECT models.invalid:443 ")
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in tunnels[0]
    assert "CERTIFICATE_VERIFY_FAILED" in run(go())


def own_certificate(folder: Path) -> Path:
    """A certificate for models.invalid that nobody else signed; its key lies beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "models.invalid")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("models.invalid"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "own.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "own.pem").write_bytes(made.public_bytes(pem))
    return folder / "own.pem"


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem", folder / "own.key")
    return context
