"""Identities: whom agents and blocks are for, by keys of the caller's own."""

import uuid
from typing import Any

import pytest

from tests.rig.sdks import PY0, Client, SdkError
from tests.rig.server import Server

PLACE = {"key": "place", "value": "Turin", "type": "string"}
AGE = {"key": "age", "value": 36, "type": "number"}
NOBODY = "identity-00000000-0000-4000-8000-000000000000"


def key() -> str:
    return f"user-{uuid.uuid4().hex}"


def test_an_identity_has_agents_blocks_and_properties(server: Server, old_client: Client) -> None:
    agent = server.new_agent(model="perdure/offline", memory_blocks=[{"label": "human", "value": "Ada"}])
    block, name = agent["blocks"][0]["id"], key()
    made = old_client.one(
        "create_identity", identifier_key=name, name="Ada", identity_type="user", agent_ids=[agent["id"]],
        block_ids=[block], properties=[PLACE],
    )  # fmt: skip
    assert (made["agent_ids"], made["block_ids"], made["properties"]) == ([agent["id"]], [block], [PLACE])
    own = made["id"]
    if old_client.sdk.name == PY0:
        assert [each["id"] for each in old_client.all("list_identity_agents", identity_id=own)] == [agent["id"]]
        assert [each["id"] for each in old_client.all("list_identity_blocks", identity_id=own)] == [block]
    old_client.one("set_properties", identity_id=own, properties=[AGE])
    again = old_client.one("upsert_identity", identifier_key=name, name="Ada L.", identity_type="user", block_ids=[])
    assert (again["id"], again["name"], again["agent_ids"], again["block_ids"]) == (own, "Ada L.", [agent["id"]], [])
    assert again["properties"] == [PLACE, AGE]
    changed = old_client.one("update_identity", identity_id=own, properties=[AGE], identity_type="other")
    assert (changed["properties"], changed["identity_type"]) == ([AGE], "other")
    assert [each["id"] for each in old_client.all("list_identities", identifier_key=name)] == [own]
    old_client.all("delete_identity", identity_id=own)
    assert old_client.all("list_identities", identifier_key=name) == []
    assert server.get(f"/v1/agents/{agent['id']}").json["identity_ids"] == []


def test_agents_are_found_by_identity(server: Server, new_client: Client) -> None:
    first, second = (identity(server, identifier_key=key()) for _ in range(2))
    agent = server.new_agent(model="perdure/offline", identity_ids=[first["id"]])
    shown = new_client.one("retrieve_agent", agent_id=agent["id"])
    assert [each["id"] for each in shown["identities"]] == [first["id"]]
    assert shown["identities"][0]["agent_ids"] == [agent["id"]]
    if new_client.sdk.language == "py":
        for _ in range(2):
            new_client.all("attach_identity", agent_id=agent["id"], identity_id=second["id"])
        assert identities_of(server, agent) == [first["id"], second["id"]]
        new_client.all("detach_identity", agent_id=agent["id"], identity_id=first["id"])
        assert identities_of(server, agent) == [second["id"]]
    else:
        server.request("PATCH", f"/v1/agents/{agent['id']}", {"identity_ids": [second["id"]]})
    query = f"identity_id={second['id']}&identifier_keys={second['identifier_key']}"
    assert [each["id"] for each in server.get(f"/v1/agents/?{query}").json] == [agent["id"]]
    assert server.get(f"/v1/agents/?identity_id={first['id']}").json == []
    counted = server.get("/v1/identities/count").json
    assert counted >= 2


@pytest.mark.stores("sqlite")
def test_wrong_identities_are_refused(server: Server, py1: Client) -> None:
    known = identity(server, identifier_key=key())
    twice = server.post("/v1/identities/", fields(identifier_key=known["identifier_key"]))
    assert (twice.status, known["identifier_key"] in twice.json["detail"]) == (409, True)
    for wrong in ({"agent_ids": ["agent-nope"]}, {"block_ids": ["block-nope"]}):
        refused = server.post("/v1/identities/", fields(identifier_key=key(), **wrong))
        assert (refused.status, "nope" in refused.json["detail"]) == (404, True)
    assert server.post("/v1/identities/", fields(identity_type="robot")).status == 422
    assert server.get(f"/v1/identities/{NOBODY}").status == 404
    with pytest.raises(SdkError) as lacking:
        py1.all("attach_identity", agent_id=server.new_agent(model="perdure/offline")["id"], identity_id=NOBODY)
    assert lacking.value.status == 404


def fields(**changed: Any) -> dict[str, Any]:
    return {"identifier_key": "ada", "name": "Ada", "identity_type": "user", **changed}


def identity(server: Server, **changed: Any) -> dict[str, Any]:
    made = server.post("/v1/identities/", fields(**changed))
    assert made.status == 200, made.text
    return made.json


def identities_of(server: Server, agent: dict[str, Any]) -> list[str]:
    return server.get(f"/v1/agents/{agent['id']}").json["identity_ids"]
