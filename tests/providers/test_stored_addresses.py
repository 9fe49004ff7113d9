"""Where a provider that a caller added may be: on the open internet, whatever its address is made to look like."""

from typing import Any

import pytest

from perdure.domain.errors import Invalid, ModelError
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.providers.base import ModelRequest
from tests.providers.chat import HELLO
from tests.providers.keeping import LISTED, Rows, candidate, keeping
from tests.providers.scripted import Asked, Scripted, lists, plain, run, says, serving
from tests.providers.test_outbound import resolving_to

PRIVATE = [
    "http://127.0.0.1:11434", "http://localhost:11434", "http://[::1]:11434", "http://0.0.0.0", "http://2130706433/v1",
    "http://0x7f000001", "http://0177.0.0.1", "http://127.1", "http://[::ffff:127.0.0.1]/v1", "http://10.0.0.5/v1",
    "http://192.168.1.1", "http://172.16.0.1", "http://169.254.169.254/latest/meta-data", "http://[fd00::1]",
    "http://[fe80::1]", "http://[64:ff9b::a9fe:a9fe]", "http://100.64.0.1",
]  # fmt: skip
SENSELESS = [
    "file:///etc/passwd", "gopher://example.com", "example.com", "http://", "http://user:pw@example.com/v1",
    "http://example.com\\@127.0.0.1/", "http://example.com/v1?x=1", "http://example.com/v1#x", "http://exa mple.com",
    "http://127.0.0.1%2f@example.com", "http://example.com:0/", "http://example.com/\r\nX: y", "//example.com",
]  # fmt: skip


def vetted(url: str, *, allow_private: bool = False) -> Exception | None:
    async def go() -> Exception | None:
        async with keeping(Rows(), allow_private=allow_private) as catalog:
            try:
                await catalog.vet(candidate(url))
            except Invalid as error:
                return error
            return None

    return run(go())


@pytest.mark.parametrize("url", PRIVATE)
def test_a_private_address_is_refused_unless_the_operator_allows_it(url: str) -> None:
    error = vetted(url)
    assert "PERDURE_PRIVATE_PROVIDERS=1" in str(error)
    assert vetted(url, allow_private=True) is None


@pytest.mark.parametrize("url", SENSELESS)
def test_what_is_no_address_is_refused_whoever_asks(url: str) -> None:
    assert vetted(url) is not None
    assert vetted(url, allow_private=True) is not None


def test_a_name_that_leads_somewhere_private_later_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is stored, private when it is asked."""

    async def go() -> tuple[Exception, list[Asked]]:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows, allow_private=False) as catalog:
            port = server.url.rpartition(":")[2]
            row = rows.add("mine", f"http://rebound.example:{port}/v1", api_key=b"own")
            asked = resolving_to(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
            with pytest.raises(ModelError) as raised:
                await catalog.check(row, {"api_key": "own"})
            assert asked == ["rebound.example"] * 2
            return raised.value, server.asked

    error, asked = run(go())
    assert isinstance(error, ModelError)
    assert "PERDURE_PRIVATE_PROVIDERS=1" in error.detail
    assert asked == []


def test_a_number_that_became_private_by_the_setting_is_not_asked() -> None:
    async def go() -> tuple[list[str], str, list[Asked]]:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows, allow_private=False) as catalog:
            row = rows.add("mine", f"{server.url}/v1", api_key=b"own")
            with pytest.raises(Invalid, match="PERDURE_PRIVATE_PROVIDERS"):
                await catalog.check(row, {"api_key": "own"})
            model = await catalog_of_all(rows, server)
            with pytest.raises(ModelError) as raised:
                await anext(catalog.stream(TENANT, ModelRequest(model=model, messages=[HELLO])))
            return [each.handle for each in await catalog.models(TENANT)], raised.value.detail, server.asked

    async def catalog_of_all(rows: Rows, server: Scripted) -> Any:
        async with keeping(rows) as allowing:
            model = await allowing.resolve(TENANT, "mine/tiny")
            server.asked.clear()
            return model

    handles, detail, asked = run(go())
    assert handles == ["local/tiny"]
    assert "PERDURE_PRIVATE_PROVIDERS=1" in detail
    assert asked == []


def test_redirects_are_not_followed() -> None:
    async def go() -> tuple[str, list[Asked]]:
        rows = Rows()
        async with serving(lists(LISTED)) as target:
            head = plain(307, b"", Location=f"{target.url}/v1/models")
            async with serving(says(head)) as server, keeping(rows) as catalog:
                with pytest.raises(ModelError) as raised:
                    await catalog.check(candidate(server.url), {"api_key": "own"})
                return raised.value.detail, target.asked

    detail, asked = run(go())
    assert "redirects" in detail
    assert asked == []
