"""Providers that tenants added: whose they are, what they are sent, where they may be, and how soon they are seen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from perdure.domain.errors import Conflict, Invalid, ModelError, NotFound, Unavailable
from perdure.domain.ids import DEFAULT_TENANT as TENANT
from perdure.domain.providers import Provider
from perdure.providers import stored
from perdure.providers.base import Finished, ModelRequest, TextDelta
from perdure.providers.catalog import Catalog
from perdure.providers.known_providers import KNOWN_PROVIDERS
from perdure.providers.stored import kind_of
from tests.providers.cataloguing import OPENAI_LIST, Offline
from tests.providers.chat import HELLO, STOP, chunk
from tests.providers.scripted import Asked, Scripted, events, lists, plain, run, says, serving, streams
from tests.providers.test_outbound import resolving_to

OTHER = "org-other"
SECRET = "sk-the-operators-own-key-0123456789"
LISTED = {"/v1/models": {"data": [{"id": "tiny"}, {"id": "text-embedding-3-small"}]}}


class Rows:
    """What is stored, and how often it was read."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Provider]] = {}
        self.reads = 0

    def add(self, name: str, url: str | None = None, tenant: str = TENANT, **fields: Any) -> Provider:
        made = {"id": f"provider-{name}", "provider_type": "openai", "created_at": 1, "updated_at": 1, **fields}
        row = Provider(name=name, base_url=url, **made)
        self.rows.setdefault(tenant, []).append(row)
        return row

    async def read(self, tenant: str) -> list[Provider]:
        self.reads += 1
        return list(self.rows.get(tenant, ()))


@contextlib.asynccontextmanager
async def keeping(
    rows: Rows, environment: Mapping[str, str] | None = None, *, allow_private: bool = True
) -> AsyncIterator[Catalog]:
    catalog = Catalog(
        environment or {}, [Offline()], stored=rows.read, unseal=bytes.decode, allow_private=allow_private
    )
    try:
        yield catalog
    finally:
        await catalog.close()


def candidate(url: str | None, provider_type: str = "openai") -> Provider:
    return Provider(id="provider-1", name="mine", provider_type=provider_type, created_at=1, updated_at=1, base_url=url)


def test_its_models_are_listed_after_the_servers_own_and_only_for_its_tenant() -> None:
    async def go() -> tuple[list[Any], ...]:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows) as catalog:
            rows.add("mine", f"{server.url}/v1", api_key=b"own")
            mine, other = await catalog.models(TENANT), await catalog.models(OTHER)
            assert [each.handle for each in await catalog.embedding_models(TENANT)] == ["mine/text-embedding-3-small"]
            with pytest.raises(NotFound):
                await catalog.resolve(OTHER, "mine/tiny")
            model = await catalog.resolve(TENANT, "mine/tiny")
            with pytest.raises(ModelError) as raised:
                await anext(catalog.stream(OTHER, ModelRequest(model=model, messages=[HELLO])))
            assert "'mine' is not configured" in raised.value.detail
            return mine, other, server.asked

    mine, other, asked = run(go())
    assert [(each.handle, each.provider_category) for each in mine] == [("local/tiny", "base"), ("mine/tiny", "byok")]
    assert [each.handle for each in other] == ["local/tiny"]
    assert {each.headers["authorization"] for each in asked} == {"Bearer own"}


@pytest.mark.parametrize("kind", [row for row in KNOWN_PROVIDERS if not row.publisher], ids=lambda kind: kind.name)
def test_nothing_of_the_environment_is_sent_to_an_address_that_a_caller_chose(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:password@127.0.0.1:1")
    environment = dict.fromkeys((*kind.key_names, *kind.header_names.values(), f"PERDURE_PROVIDER_{kind.name}"), SECRET)

    async def go() -> list[Asked]:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows, environment) as catalog:
            rows.add("mine", server.url, provider_type=kind.name)
            with contextlib.suppress(NotFound, ModelError):
                model = await catalog.resolve(TENANT, "mine/tiny")
                async for _ in catalog.stream(TENANT, ModelRequest(model=model, messages=[HELLO])):
                    pass
            with contextlib.suppress(ModelError):
                await catalog.check(candidate(server.url, kind.name), "")
            return server.asked

    asked = run(go())
    assert asked
    for each in asked:
        said = f"{each.path} {each.headers} {each.body!r}"
        assert SECRET not in said
        assert "password" not in said


def test_its_type_decides_how_it_is_spoken_to() -> None:
    assert kind_of("openai").name == "openai"
    assert kind_of("lmstudio_openai").name == kind_of("lmstudio").name == "lmstudio"
    assert kind_of("llamacpp").name == "llamacpp"
    for kind in KNOWN_PROVIDERS:
        assert kind.publisher or kind_of(kind.name) is kind
    with pytest.raises(Invalid, match="'bogus' are not supported"):
        kind_of("bogus")


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


def test_a_type_without_an_address_of_its_own_needs_one() -> None:
    async def go() -> None:
        async with keeping(Rows()) as catalog:
            await catalog.vet(candidate(None, "groq"))
            with pytest.raises(Invalid, match="needs a base_url"):
                await catalog.vet(candidate(None, "ollama"))

    run(go())


def test_the_names_of_the_servers_own_providers_are_taken() -> None:
    async def go() -> None:
        async with keeping(Rows(), {"GROQ_API_KEY": "x"}) as catalog:
            for name in ("groq", "local", "openai-proxy"):
                with pytest.raises(Conflict, match=name):
                    catalog.vet_name(name)
            catalog.vet_name("openai")

    run(go())


def test_a_name_that_leads_somewhere_private_later_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is stored, private when it is asked."""

    async def go() -> tuple[Exception, list[Asked]]:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows, allow_private=False) as catalog:
            port = server.url.rpartition(":")[2]
            row = rows.add("mine", f"http://rebound.example:{port}/v1", api_key=b"own")
            asked = resolving_to(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
            with pytest.raises(ModelError) as raised:
                await catalog.check(row, "own")
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
                await catalog.check(row, "own")
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
                    await catalog.check(candidate(server.url), "own")
                return raised.value.detail, target.asked

    detail, asked = run(go())
    assert "redirects" in detail
    assert asked == []


def test_a_change_in_the_store_is_seen_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "READ_SECONDS", 0.05)

    async def go() -> None:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows) as catalog:

            async def handles() -> list[str]:
                return [each.handle for each in await catalog.models(TENANT)]

            async def until(expected: list[str], key: str) -> None:
                seen = None
                while seen != (expected, key):
                    seen = await handles(), server.asked[-1].headers["authorization"] if server.asked else ""
                    await asyncio.sleep(0.01)

            await until(["local/tiny"], "")
            rows.add("mine", f"{server.url}/v1", api_key=b"first")
            await until(["local/tiny", "mine/tiny"], "Bearer first")
            rows.rows[TENANT] = []
            rows.add("mine", f"{server.url}/v1", api_key=b"second", updated_at=2)
            await until(["local/tiny", "mine/tiny"], "Bearer second")
            rows.rows[TENANT] = []
            await until(["local/tiny"], "Bearer second")

    run(go())


def test_what_was_read_is_kept_for_a_while_and_forgotten_on_demand() -> None:
    async def go() -> list[int]:
        rows = Rows()
        async with serving(lists(LISTED)) as server, keeping(rows) as catalog:
            rows.add("mine", f"{server.url}/v1")
            await asyncio.gather(*(catalog.models(TENANT) for _ in range(10)))
            first = rows.reads
            catalog.forget(TENANT)
            catalog.forget("org-unknown")
            await catalog.models(TENANT)
            assert len([each for each in server.asked if each.path == "/v1/models"]) == 1
            return [first, rows.reads]

    assert run(go()) == [1, 2]


def test_what_is_forgotten_while_it_is_read_is_read_again() -> None:
    async def go() -> list[str]:
        rows, gate, begun = Rows(), asyncio.Event(), asyncio.Event()

        async def slowly(tenant: str) -> list[Provider]:
            found = await rows.read(tenant)
            begun.set()
            await gate.wait()
            return found

        async with serving(lists(LISTED)) as server:
            catalog = Catalog({}, [Offline()], stored=slowly, unseal=bytes.decode, allow_private=True)
            early = asyncio.create_task(catalog.models(TENANT))
            await begun.wait()
            rows.add("mine", f"{server.url}/v1")
            catalog.forget(TENANT)
            gate.set()
            await early
            try:
                return [each.handle for each in await catalog.models(TENANT)]
            finally:
                await catalog.close()

    assert run(go()) == ["local/tiny", "mine/tiny"]


def test_one_that_cannot_be_used_says_why_and_leaves_the_others_alone(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    def unseal(blob: bytes) -> str:
        raise Unavailable("A stored secret cannot be opened: it was sealed with another key.")

    async def go() -> tuple[list[str], str]:
        rows = Rows()
        rows.add("locked", api_key=b"sealed")
        rows.add("gone", provider_type="of-another-release")
        catalog = Catalog({}, [Offline()], stored=rows.read, unseal=unseal)
        try:
            handles = [each.handle for each in await catalog.models(TENANT)]
            with pytest.raises(NotFound) as raised:
                await catalog.resolve(TENANT, "locked/gpt-4o")
            return handles, raised.value.message
        finally:
            await catalog.close()

    handles, why = run(go())
    assert handles == ["local/tiny"]
    assert "sealed with another key" in why
    reasons = {line["provider"]: line["reason"] for line in logged() if line["event"] == "provider_left_out"}
    assert "sealed with another key" in reasons["locked"]
    assert "of-another-release" in reasons["gone"]


def test_a_tenants_own_comes_before_the_servers_of_the_same_name() -> None:
    async def go() -> tuple[list[Any], list[Any]]:
        rows = Rows()
        answer = streams(*events(chunk({"content": "mine"}), STOP, "[DONE]"))
        async with (
            serving(answer) as theirs,
            serving(lists(OPENAI_LIST)) as server,
            keeping(rows, {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": SECRET}) as catalog,
        ):
            rows.add("openai", f"{theirs.url}/v1", api_key=b"own")
            model = await catalog.resolve(TENANT, "openai/tiny")
            batches = [b async for b in catalog.stream(TENANT, ModelRequest(model=model, messages=[HELLO]))]
            assert {each.headers["authorization"] for each in theirs.asked} == {"Bearer own"}
            return [delta for batch in batches for delta in batch], server.asked

    said, asked = run(go())
    assert said == [TextDelta("mine"), Finished("stop")]
    assert asked == []


def test_checking_a_key_says_what_the_provider_says() -> None:
    def answered(asked: Asked) -> Any:
        return {"data": []} if asked.headers.get("authorization") == "Bearer right" else 401

    async def go() -> ModelError:
        async with serving(lists({"/v1/models": answered})) as server, keeping(Rows()) as catalog:
            await catalog.check(candidate(server.url), "right")
            with pytest.raises(ModelError) as raised:
                await catalog.check(candidate(server.url), "sk-wrong-and-rather-long")
            return raised.value

    error = run(go())
    assert error.error_type == "llm_authentication"


def test_a_provider_that_lists_models_to_anyone_is_asked_for_something_else() -> None:
    async def go() -> str:
        async with serving(lists({"/v1/models": {"data": []}, "/v1/key": 401})) as server, keeping(Rows()) as catalog:
            with pytest.raises(ModelError) as raised:
                await catalog.check(candidate(server.url, "openrouter"), "wrong")
            return raised.value.error_type

    assert run(go()) == "llm_authentication"
