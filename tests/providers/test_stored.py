"""Providers that tenants added: whose they are, what they are sent, where they may be, and how soon they are seen."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec
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
from tests.providers.keeping import LISTED, Rows, candidate, keeping
from tests.providers.scripted import Asked, events, lists, run, serving, streams

OTHER = "org-other"
SECRET = "sk-the-operators-own-key-0123456789"


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
                await catalog.check(candidate(server.url, kind.name), {"api_key": ""})
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
        assert "vertex" in kind.name or kind_of(kind.name) is kind
    with pytest.raises(Invalid, match="'bogus' are not supported"):
        kind_of("bogus")


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
            await catalog.check(candidate(server.url), {"api_key": "right"})
            with pytest.raises(ModelError) as raised:
                await catalog.check(candidate(server.url), {"api_key": "sk-wrong-and-rather-long"})
            return raised.value

    error = run(go())
    assert error.error_type == "llm_authentication"


def test_a_provider_that_lists_models_to_anyone_is_asked_for_something_else() -> None:
    async def go() -> str:
        async with serving(lists({"/v1/models": {"data": []}, "/v1/key": 401})) as server, keeping(Rows()) as catalog:
            with pytest.raises(ModelError) as raised:
                await catalog.check(candidate(server.url, "openrouter"), {"api_key": "wrong"})
            return raised.value.error_type

    assert run(go()) == "llm_authentication"


AWS = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.mark.parametrize("access_key", [b"", b"AKIAOWN"])
def test_a_tenants_own_account_with_aws(access_key: bytes) -> None:
    async def go() -> Asked:
        rows = Rows()
        async with serving(lists({})) as server, keeping(rows, AWS) as catalog:
            fields = {"provider_type": "bedrock", "region": "us-east-1", "api_key": b"own", "access_key": access_key}
            rows.add("aws", server.url, **fields)
            model = await catalog.resolve(TENANT, "aws/anthropic.claude-haiku-4-5-v1:0")
            with pytest.raises(ModelError):
                await anext(catalog.stream(TENANT, ModelRequest(model=model, messages=[HELLO])))
            return server.asked[-1]

    asked = run(go())
    signed = asked.headers["authorization"]
    assert signed == "Bearer own" if not access_key else "Credential=AKIAOWN/" in signed
    assert access_key == b"" or "/us-east-1/bedrock/" in signed
    assert SECRET not in f"{asked.headers} {asked.body!r}"


@pytest.mark.parametrize("region", [None, "", "x.evil.example/#", "127.0.0.1:80/"])
def test_an_account_with_aws_needs_a_region_that_is_one(region: str | None) -> None:
    async def go() -> None:
        async with keeping(Rows(), AWS) as catalog:
            with pytest.raises(Invalid, match="region"):
                await catalog.vet(msgspec.structs.replace(candidate(None, "bedrock"), region=region))

    run(go())


@pytest.mark.parametrize("provider_type", ["google_vertex", "anthropic_vertex"])
def test_an_account_with_googles_cloud_is_the_operators(provider_type: str) -> None:
    with pytest.raises(Invalid, match="not supported"):
        kind_of(provider_type)
