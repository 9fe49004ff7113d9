"""Attack 6 of users.md: whatever address a caller, a model or a redirect names, nothing inside is asked.

Through the one way out that images, callbacks, web pages and MCP servers share.
"""

import gzip
import zlib
from collections.abc import Callable

import pytest

from perdure.domain.errors import Invalid, Unavailable
from perdure.providers.outbound import PAGES, Found, get
from perdure.tools.builtin.web import page_text
from tests.providers.test_outbound import peer, resolving_to, run, says, seen_as_public

HOSTS = (
    "127.0.0.1", "127.1", "0.0.0.0", "0", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "[::1]",
    "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "169.254.169.254", "[fd00:ec2::254]", "[fd00::1]",
    "[fe80::1]", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "inside.example",
)  # fmt: skip
"""Ways to write an address that is not public; the last is a name that leads to one."""

OTHERS = (
    "file:///etc/passwd", "gopher://127.0.0.1:{port}/", "ftp://127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "http://outside.example@127.0.0.1:{port}/", "http://127.0.0.1:{port}@outside.example/",
    "http://outside.example\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\.outside.example/",
    "http://outside.example#@127.0.0.1:{port}/ ", "http://127.0.0.1:{port}\t/", "http://①②⑦.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/",
    "http://[::1]:{port}:80/", "http://127.0.0.1%00.outside.example:{port}/",
)  # fmt: skip
"""Other schemes, and what one parser takes for a host and another one does not."""


async def fetch(url: str) -> Found:
    return await get(url, allow_private=False, setting=PAGES, time_limit=1.0, most=1000)


@pytest.mark.parametrize("url", [*(f"http://{host}:{{port}}/" for host in HOSTS), *OTHERS])
def test_attack_6_nothing_inside_is_asked(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Neither when it is named, nor when somebody outside redirects there."""

    async def go() -> None:
        async with peer(says(b"secret")) as inside:
            address = url.format(port=inside.port)
            resolving_to(monkeypatch, *[["127.0.0.1"]] * 3)
            with pytest.raises(Invalid):
                await fetch(address)
            if address.isascii() and address.isprintable():
                async with peer(says(b"", "302 Found", Location=address)) as outside:
                    monkeypatch.setattr("perdure.providers.outbound.is_public", seen_as_public())
                    resolving_to(monkeypatch, *[["127.0.0.1"]] * 9)
                    with pytest.raises((Invalid, Unavailable)):
                        await fetch(f"http://outside.example:{outside.port}/")
            assert inside.heads == []

    run(go)


def test_attack_6_a_name_that_leads_elsewhere_after_it_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with peer(says(b"secret")) as inside:
            asked = resolving_to(monkeypatch, ["203.0.114.1"], ["127.0.0.1"])
            with pytest.raises(Unavailable):
                await fetch(f"http://rebind.example:{inside.port}/")
            assert (len(asked), inside.heads) == (1, [])

    run(go)


def bomb(pack: Callable[[bytes], bytes]) -> bytes:
    return pack(bytes(100_000_000))


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (says(bytes(2000)), Invalid, "larger than 1000 bytes"),
        (says(bomb(gzip.compress), **{"Content-Encoding": "gzip"}), Invalid, "larger than 1000 bytes"),
        (says(bomb(zlib.compress)[:900], **{"Content-Encoding": "deflate"}), Invalid, "larger than 1000 bytes"),
        (says(b"x", **{"Content-Encoding": "br"}), Unavailable, "'br', which was not asked for"),
        (says(b"no gzip", **{"Content-Encoding": "gzip"}), Unavailable, "cannot be unpacked"),
        (says(b"half").replace(b"4", b"9", 1), Unavailable, "cannot be reached"),
        (b"", Unavailable, "did not answer within 1 seconds"),
    ],
    ids=["giant", "gzip bomb", "deflate bomb", "unknown packing", "broken packing", "cut", "slow"],
)
def test_attack_6_bodies_that_never_end(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, error: type[Exception], said: str
) -> None:
    async def go() -> None:
        async with peer(answer) as there:
            resolving_to(monkeypatch, ["127.0.0.1"])
            monkeypatch.setattr("perdure.providers.outbound.is_public", lambda _: True)
            with pytest.raises(error, match=said):
                await fetch(f"http://outside.example:{there.port}/")

    run(go)


def test_a_body_that_is_packed_unasked_is_unpacked() -> None:
    async def go() -> None:
        packed = says(gzip.compress(b"tea" * 300), **{"Content-Encoding": "gzip", "Content-Type": "text/plain"})
        async with peer(packed) as there:
            found = await get(
                f"http://127.0.0.1:{there.port}/a", allow_private=True, setting=PAGES, time_limit=5.0, most=1000
            )
            assert found == (f"http://127.0.0.1:{there.port}/a", "text/plain", b"tea" * 300)

    run(go)


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("text/html; charset=iso-8859-1", b"<title>T</title><p>caf\xe9", "URL: u\nTitle: T\n\ncafé"),
        ("text/html", '<meta charset="windows-1251"><p>чай'.encode("cp1251"), "URL: u\n\nчай"),
        ("text/html; charset=rot13", "<p>tea €".encode(), "URL: u\n\ntea €"),
        ("text/html", b"<script>x()</script>", "URL: u\n\n(This page shows no text without running its scripts.)"),
        ("", b"\xef\xbb\xbfplain \xff", "URL: u\n\nplain \ufffd"),
        ("", b"<!DOCTYPE html><h1>H", "URL: u\n\n# H"),
        ("application/problem+json", b'{"a": 1}', 'URL: u\n\n{"a": 1}'),
        ("application/pdf", b"%PDF-1.7", "PDF file"),
        ("", b"%PDF-1.7", "PDF file"),
        ("image/png", b"\x89PNG", "'image/png', which holds no text"),
        ("", b"\0\1", "holds no text"),
    ],
)
def test_attack_6_content_of_any_type(kind: str, body: bytes, shown: str) -> None:
    found = Found("u", kind, body)
    if shown.startswith("URL"):
        assert page_text(found) == shown
    else:
        with pytest.raises(Invalid, match=shown):
            page_text(found)
