import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from perdure.domain.errors import Invalid, Unavailable
from perdure.providers.outbound import IMAGES, MAX_REDIRECTS, get, is_public, post, read_target

LIMIT = 10.0


class Peer:
    """An HTTP server of one answer. `heads` are the requests' heads."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self.serving: list[asyncio.Task[Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        lengths = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")]
        length = int(lengths[0]) if lengths else 0
        self.bodies.append(await reader.readexactly(length))
        if self.answer:
            writer.write(self.answer)
        else:
            await reader.read()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def peer(
    answer: bytes = b"HTTP/1.1 204 No Content\r\n\r\n", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    made = Peer(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
        await asyncio.gather(*made.serving)


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT):
            await work()

    asyncio.run(limited())


async def call(url: str, *, allow_private: bool = True, time_limit: float = 5.0) -> int:
    return await post(url, b"{}", {"X-Own": "yes"}, allow_private=allow_private, time_limit=time_limit)


def resolving_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Lets names resolve to these addresses, one answer after the other; returns the names as they are asked for."""
    asked: list[str] = []
    left = list(answers)

    async def getaddrinfo(loop: object, host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in left.pop(0)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2001:4860:4860::8888", "192.0.1.1"])
def test_the_open_internet(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
        "192.0.0.1", "192.168.1.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::",
        "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "fc00::1", "fd00::1", "fe80::1", "fe80::1%lo",
        "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_everything_else(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("http://example.com", "example.com", "/"),
        ("HTTPS://Example.COM:443/a%2Fb?c=d&e", "example.com", "/a%2Fb?c=d&e"),
        ("http://example.com:8080/#part", "example.com:8080", "/"),
        ("http://[2606:4700::1111]:81/", "[2606:4700::1111]:81", "/"),
        ("https://a_b.example-1.com./x", "a_b.example-1.com.", "/x"),
        ("http://xn--bcher-kva.example/", "xn--bcher-kva.example", "/"),
    ],
)
def test_addresses_that_can_be_called(url: str, authority: str, path: str) -> None:
    target = read_target(url, allow_private=False)
    assert (target.authority, target.path) == (authority, path)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "//example.com", "ftp://example.com", "file:///etc/passwd", "http://", "http:///path",
        "http://a b/", "http://example.com/\n", "http://example.com\x00", "http://bücher.example", "http://a\\b",
        "http://u@example.com", "http://:p@example.com", "http://@example.com", "http://example.com:0",
        "http://example.com:65536", "http://example.com:x", "http://example.com:80:80", "http://[::1", "http://[example]",
        "http://-a.example", "http://a..%00b", "http://%31%32%37.0.0.1", "http://" + "a" * 300,
        "http://e.com/" + "a" * 2048,
    ],
)  # fmt: skip
@pytest.mark.parametrize("allow_private", [True, False])
def test_what_is_no_address(url: str, allow_private: bool) -> None:
    with pytest.raises(Invalid):
        read_target(url, allow_private=allow_private)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0", "[::1]", "[fe80::1]"]
)
def test_numbers_that_name_a_private_address(host: str) -> None:
    with pytest.raises(Invalid, match="PERDURE_PRIVATE_CALLBACKS"):
        read_target(f"http://{host}:80/", allow_private=False)
    read_target(f"http://{host}:80/", allow_private=True)


def test_a_post_arrives_as_it_was_sent() -> None:
    async def go() -> None:
        async with peer() as there:
            assert await call(f"http://localhost:{there.port}/a?b=c") == 204
            lines = there.heads[0].splitlines()
            assert lines[0] == "POST /a?b=c HTTP/1.1"
            assert f"Host: localhost:{there.port}" in lines
            assert "X-Own: yes" in lines
            assert there.bodies == [b"{}"]

    run(go)


def test_a_name_is_resolved_once_and_the_address_that_was_checked_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with peer() as there:
            asked = resolving_to(monkeypatch, ["127.0.0.1"], ["127.0.0.9"])
            assert await call(f"http://rebind.example:{there.port}/") == 204
            assert asked == ["rebind.example"]
            assert f"Host: rebind.example:{there.port}" in there.heads[0].splitlines()

    run(go)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["::1"]])
def test_a_name_with_any_private_address_is_not_called(monkeypatch: pytest.MonkeyPatch, addresses: list[str]) -> None:
    async def go() -> None:
        async with peer() as there:
            resolving_to(monkeypatch, addresses)
            with pytest.raises(Invalid, match="not a public address"):
                await call(f"http://inside.example:{there.port}/", allow_private=False)
            assert there.heads == []

    run(go)


def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with peer() as there:
            resolving_to(monkeypatch, ["127.0.0.2", "127.0.0.1"])
            assert await call(f"http://two.example:{there.port}/") == 204

    run(go)


def test_redirects_are_not_followed() -> None:
    async def go() -> None:
        async with peer() as inside:
            moved = f"HTTP/1.1 308 Moved\r\nLocation: http://127.0.0.1:{inside.port}/\r\nContent-Length: 0\r\n\r\n"
            async with peer(moved.encode()) as there:
                assert await call(f"http://127.0.0.1:{there.port}/") == 308
            assert inside.heads == []

    run(go)


async def fetch(url: str, *, allow_private: bool = True, time_limit: float = 5.0, most: int = 100) -> bytes:
    found = await get(url, allow_private=allow_private, setting=IMAGES, time_limit=time_limit, most=most)
    return found.body


def says(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_what_lies_at_an_address_is_fetched() -> None:
    async def go() -> None:
        async with peer(says(b"here")) as there:
            assert await fetch(f"http://localhost:{there.port}/a?b=c") == b"here"
            lines = there.heads[0].splitlines()
            assert lines[0] == "GET /a?b=c HTTP/1.1"
            assert f"Host: localhost:{there.port}" in lines
            assert "Accept-Encoding: identity" in lines

    run(go)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 There", "308 Moved"])
def test_a_redirect_is_followed_and_may_be_relative(status: str) -> None:
    async def go() -> None:
        async with (
            peer(says(b"here")) as second,
            peer(says(b"", status, Location=f"http://127.0.0.1:{second.port}/b/c")) as first,
        ):
            assert await fetch(f"http://127.0.0.1:{first.port}/a") == b"here"
            assert second.heads[0].startswith("GET /b/c ")
        async with peer(says(b"", status, Location="../up")) as first:
            with pytest.raises(Unavailable, match="redirects once more"):
                await fetch(f"http://127.0.0.1:{first.port}/a/b")
            assert [head.split()[1] for head in first.heads] == ["/a/b", *["/up"] * MAX_REDIRECTS]

    run(go)


def test_a_redirect_into_the_network_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with peer(says(b"secret")) as inside:
            for location in (
                f"http://127.0.0.1:{inside.port}/",
                f"http://inside.example:{inside.port}/",
                "file:///etc",
            ):
                async with peer(says(b"", "302 Found", Location=location)) as there:
                    resolving_to(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
                    monkeypatch.setattr("perdure.providers.outbound.is_public", seen_as_public())
                    with pytest.raises(Invalid):
                        await fetch(f"http://outside.example:{there.port}/", allow_private=False)
            assert inside.heads == []

    run(go)


def seen_as_public() -> Callable[[object], bool]:
    """Lets the first address that is asked about pass for one of the open internet."""
    answers = iter([True])
    return lambda address: next(answers, False)


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}], ids=["announced", "chunked"])
def test_more_than_is_wanted_is_not_read(headers: dict[str, str]) -> None:
    body = b"40\r\n" + b"x" * 64 + b"\r\n40\r\n" + b"x" * 64 + b"\r\n0\r\n\r\n" if headers else b"x" * 101
    answer = says(body, **headers)
    if headers:
        answer = answer.replace(f"Content-Length: {len(body)}\r\n".encode(), b"")

    async def go() -> None:
        async with peer(answer) as there:
            with pytest.raises(Invalid, match="larger than 100 bytes"):
                await fetch(f"http://127.0.0.1:{there.port}/")

    run(go)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(b"no", "404 Not Found"), "status 404"),
        (says(b"", "304 Not Modified"), "status 304"),
        (says(b"", "302 Found"), "status 302"),
        (says(b"half").replace(b"4", b"9"), "cannot be reached"),
        (b"", "did not answer within 0.2 seconds"),
    ],
)
def test_nothing_to_be_had(answer: bytes, said: str) -> None:
    async def go() -> None:
        async with peer(answer) as there:
            with pytest.raises(Unavailable, match=said):
                await fetch(f"http://127.0.0.1:{there.port}/", time_limit=5.0 if answer else 0.2)

    run(go)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with peer() as there, peer() as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            assert await call(f"http://127.0.0.1:{there.port}/") == 204
            assert proxy.heads == []

    run(go)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "did not answer within 0.2 seconds"), (b"not HTTP\r\n\r\n", "cannot be reached")],
    ids=["silence", "nonsense"],
)
def test_a_receiver_that_gives_no_answer(answer: bytes, said: str) -> None:
    async def go() -> None:
        async with peer(answer) as there:
            with pytest.raises(Unavailable, match=said):
                await call(f"http://127.0.0.1:{there.port}/", time_limit=0.2 if not answer else 5.0)

    run(go)


def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> list[Any]:
        raise socket.gaierror("no such name")

    async def go() -> None:
        with pytest.raises(Unavailable, match="no such name"):
            await call("http://nowhere.example/", allow_private=False)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", fail)
    run(go)


def test_the_certificate_must_be_that_of_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names: list[str | None] = []
    tls = self_signed("inside.example", tmp_path)
    tls.sni_callback = lambda _, name, __: names.append(name)

    async def go() -> None:
        async with peer(tls=tls) as there:
            resolving_to(monkeypatch, ["127.0.0.1"])
            with pytest.raises(Unavailable, match="certificate"):
                await call(f"https://inside.example:{there.port}/")
            assert (names, there.heads) == (["inside.example"], [])

    run(go)


def self_signed(name: str, folder: Path) -> ssl.SSLContext:
    """What a server needs to show a certificate for `name` that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file = folder / "server.pem"
    file.write_bytes(key.private_bytes(pem, *plain) + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
