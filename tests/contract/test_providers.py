"""Providers added through the SDKs that can, used by agents; keys and addresses stay where they belong."""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.told import said, user
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS0, PY0, Client, Sdk, SdkError
from tests.rig.server import Server

LIMIT = 10.0


@pytest.fixture(scope="module")
def allowing(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that lets callers add providers on this machine, and knows no model of its own."""
    data = tmp_path_factory.mktemp("allowing") / "data"
    with Server(data, {"PERDURE_PRIVATE_PROVIDERS": "1"}) as running:
        yield running


@pytest.fixture(params=[PY0, JS0])
def adder(request: pytest.FixtureRequest, sdks: Callable[[str], Sdk], allowing: Server) -> Client:
    """Each SDK that can add providers: those of 0.1.x."""
    return sdks(request.param).at(allowing.base_url)


def added(client: Client, models: ModelServer, **fields: Any) -> Any:
    asked = {"provider_type": "openai", "api_key": canary(), "base_url": f"{models.url}/v1", **fields}
    return client.one("create_provider", name=f"mine-{uuid.uuid4().hex[:8]}", **asked)


def canary() -> str:
    return f"sk-canary-{uuid.uuid4().hex}"


def test_from_adding_to_deletion(adder: Client, models: ModelServer) -> None:
    made = added(adder, models, region="eu", api_version="2026-01-01")
    assert (made["provider_type"], made["provider_category"]) == ("openai", "byok")
    assert (made["base_url"], made["region"], made["api_version"]) == (f"{models.url}/v1", "eu", "2026-01-01")
    if adder.sdk.language == "py":
        assert made.cls == "Provider"
        assert adder.one("retrieve_provider", provider_id=made["id"])["name"] == made["name"]
    listed = adder.all("list_providers", name=made["name"])
    assert [each["id"] for each in listed] == [made["id"]]
    assert made["id"] in [each["id"] for each in adder.all("list_providers", provider_type="openai", limit=50)]
    changed = adder.one("update_provider", provider_id=made["id"], api_key=canary(), region="us")
    assert (changed["region"], changed["base_url"]) == ("us", made["base_url"])
    adder.one("delete_provider", provider_id=made["id"])
    assert adder.all("list_providers", name=made["name"]) == []
    with pytest.raises(SdkError) as raised:
        adder.one("delete_provider", provider_id=made["id"])
    assert raised.value.status == 404


def test_an_agent_uses_its_models_and_its_key(adder: Client, models: ModelServer, script: Script) -> None:
    key = canary()
    made = added(adder, models, api_key=key)
    handle = f"{made['name']}/{script.name}"
    agent = adder.one("create_agent", model=handle, memory_blocks=[])
    assert agent["llm_config"]["provider_category"] == "byok"
    script.say("Hello", " there.")
    assert said(adder.all("stream", agent_id=agent["id"], messages=user("hi"))) == "Hello there."
    assert script.asked[0].headers["Authorization"] == f"Bearer {key}"
    newer = canary()
    adder.one("update_provider", provider_id=made["id"], api_key=newer)
    script.say("Again.")
    adder.all("stream", agent_id=agent["id"], messages=user("hi"))
    assert script.asked[1].headers["Authorization"] == f"Bearer {newer}"
    adder.one("delete_provider", provider_id=made["id"])
    ended = adder.all("stream", agent_id=agent["id"], messages=user("hi"))
    assert ended[-2]["stop_reason"] == "llm_api_error"
    assert len(script.asked) == 2


def test_every_sdk_lists_its_models_among_the_others(
    sdk: Sdk, allowing: Server, models: ModelServer, script: Script
) -> None:
    name = f"mine-{uuid.uuid4().hex[:8]}"
    body = {"name": name, "provider_type": "openai", "api_key": canary(), "base_url": f"{models.url}/v1"}
    assert allowing.post("/v1/providers/", body).status == 200
    listed = sdk.at(allowing.base_url).all("models", provider_name=name)
    mine = next(each for each in listed if each["handle"] == f"{name}/{script.name}")
    assert (mine["provider_name"], mine["provider_category"]) == (name, "byok")
    assert {each["provider_name"] for each in listed} == {name}
    categories = {
        category: {each["provider_name"] for each in allowing.get(f"/v1/models/?provider_category={category}").json}
        for category in ("base", "byok")
    }
    assert name in categories["byok"]
    assert name not in categories["base"]


def test_a_key_is_checked(adder: Client, models: ModelServer) -> None:
    asked = {"provider_type": "openai", "api_key": canary()}
    adder.one("check_provider", base_url=f"{models.url}/v1", **asked)
    with pytest.raises(SdkError) as raised:
        adder.one("check_provider", base_url=f"{models.url}/nowhere", **asked)
    assert raised.value.status == 400
    assert asked["api_key"] not in str(raised.value)


def test_keys_are_in_no_answer_no_log_line_and_no_file(allowing: Server, models: ModelServer, script: Script) -> None:
    key, access = canary(), canary()
    name = f"mine-{uuid.uuid4().hex[:8]}"
    fields = {"provider_type": "openai", "api_key": key, "access_key": access, "base_url": f"{models.url}/v1"}
    said = [allowing.post("/v1/providers/", {"name": name, **fields})]
    provider_id = said[0].json["id"]
    assert (said[0].json["api_key"], said[0].json["access_key"]) == (None, None)
    said += [allowing.get("/v1/providers/"), allowing.get(f"/v1/providers/{provider_id}"), allowing.get("/v1/models/")]
    said.append(allowing.post("/v1/providers/", {"name": name, **fields}))
    assert said[-1].status == 409
    said.append(allowing.request("PATCH", f"/v1/providers/{provider_id}", {"region": "eu", "api_key": f"{key}\n"}))
    assert said[-1].status == 422
    said.append(allowing.post("/v1/providers/check", {**fields, "base_url": "http://127.0.0.1:9"}))
    agent = allowing.new_agent(model=f"{name}/{script.name}")["id"]
    # A provider that repeats the key in its error.
    script.refuse(401, f"Incorrect API key provided: {key}")
    said.append(allowing.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}))
    assert said[-1].status == 401
    assert "Incorrect API key provided" in said[-1].text
    said += [allowing.get(f"/v1/steps/?agent_id={agent}"), allowing.get(f"/v1/runs/?agent_id={agent}")]
    for secret in (key, access):
        assert [reply.text for reply in said if secret in reply.text] == []
        assert secret not in allowing.log
        for file in allowing.data.rglob("*"):
            assert not file.is_file() or secret.encode() not in file.read_bytes(), file


def test_a_stored_key_is_not_sent_to_a_new_address(allowing: Server, models: ModelServer) -> None:
    fields = {"name": f"mine-{uuid.uuid4().hex[:8]}", "provider_type": "openai", "api_key": canary()}
    made = allowing.post("/v1/providers/", {**fields, "base_url": f"{models.url}/v1"}).json
    path = f"/v1/providers/{made['id']}"
    refused = allowing.request("PATCH", path, {"base_url": "http://127.0.0.1:9/v1"})
    assert refused.status == 400
    assert "api_key" in refused.json["detail"]
    assert allowing.get(path).json["base_url"] == made["base_url"]
    assert allowing.request("PATCH", path, {"base_url": made["base_url"], "region": "x"}).status == 200
    moved = allowing.request("PATCH", path, {"base_url": "http://127.0.0.1:9/v1", "api_key": canary()})
    assert moved.json["base_url"] == "http://127.0.0.1:9/v1"


@pytest.mark.parametrize("method", ["POST", "PATCH", "check"])
def test_a_private_address_is_refused_by_default(server: Server, models: ModelServer, method: str) -> None:
    fields = {"provider_type": "openai", "api_key": canary(), "base_url": f"{models.url}/v1"}
    name = f"mine-{uuid.uuid4().hex[:8]}"
    if method == "check":
        refused = server.post("/v1/providers/check", fields)
    elif method == "POST":
        refused = server.post("/v1/providers/", {"name": name, **fields})
    else:
        made = server.post("/v1/providers/", {"name": name, "provider_type": "groq", "api_key": canary()}).json
        refused = server.request("PATCH", f"/v1/providers/{made['id']}", fields)
        assert server.request("DELETE", f"/v1/providers/{made['id']}").status == 200
    assert refused.status == 400
    assert "PERDURE_PRIVATE_PROVIDERS=1" in refused.json["detail"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "a/b"}, 422),
        ({"name": " "}, 422),
        ({"name": "x" * 256}, 422),
        ({"name": "line\nbreak"}, 422),
        ({"api_key": "new\r\nline"}, 422),
        ({"api_key": "schlüssel"}, 422),
        ({"api_key": "k" * 10_000}, 422),
        ({"provider_type": "bogus"}, 400),
        ({"provider_type": None}, 422),
        ({"provider_type": "ollama", "base_url": None}, 400),
        ({"base_url": "ftp://example.com"}, 400),
        ({"base_url": "http://user:pass@127.0.0.1/v1"}, 400),
        ({"name": "perdure"}, 409),
    ],
)
def test_what_makes_no_sense_is_refused(
    allowing: Server, models: ModelServer, fields: dict[str, Any], status: int
) -> None:
    sent = {"name": "fine", "provider_type": "openai", "api_key": canary(), "base_url": f"{models.url}/v1", **fields}
    refused = allowing.post("/v1/providers/", sent)
    assert refused.status == status, refused.text
    assert sent["api_key"] not in json.dumps(refused.json)
    assert allowing.get("/v1/providers/?name=fine").json == []


def test_it_survives_a_restart(new_server: Callable[..., Server], models: ModelServer, script: Script) -> None:
    server = new_server({"PERDURE_PRIVATE_PROVIDERS": "1"}).start()
    key = canary()
    fields = {"name": "mine", "provider_type": "openai", "api_key": key, "base_url": f"{models.url}/v1"}
    server.post("/v1/providers/", fields)
    agent = server.new_agent(model=f"mine/{script.name}")["id"]
    server.restart()
    script.say("Still here.")
    assert server.post(f"/v1/agents/{agent}/messages", {"messages": user("hi")}).status == 200
    assert script.asked[0].headers["Authorization"] == f"Bearer {key}"


def test_what_another_process_stored_is_seen_within_seconds(allowing: Server, models: ModelServer) -> None:
    """The row is written behind the server's back, as another process on the same database would."""
    name = f"mine-{uuid.uuid4().hex[:8]}"
    assert allowing.get(f"/v1/models/?provider_name={name}").json == []
    with sqlite3.connect(allowing.data / "perdure.db") as conn:
        conn.execute(
            "INSERT INTO providers (id, tenant_id, name, provider_type, base_url, created_at, updated_at) "
            "SELECT ?, id, ?, 'openai', ?, 1, 1 FROM tenants",
            (f"provider-{uuid.uuid4()}", name, f"{models.url}/v1"),
        )
    conn.close()
    deadline = time.monotonic() + LIMIT
    while not allowing.get(f"/v1/models/?provider_name={name}").json:
        assert time.monotonic() < deadline
        time.sleep(0.05)
