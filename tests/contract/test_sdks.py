"""What programs do with the official SDKs works with all four, and each decodes every answer into its own types."""

import uuid
from typing import Any

import pytest

from tests.contract.told import (
    ADA,
    fresh_agent,
    user,
)
from tests.rig.model import Script
from tests.rig.sdks import PY0, Client, Decoded, SdkError


def test_health(client: Client) -> None:
    answer = client.one("health")
    assert answer["status"] == "ok"
    assert answer["version"]


def test_agent_from_creation_to_deletion(client: Client, script: Script) -> None:
    tag = uuid.uuid4().hex
    made = client.one("create_agent", name="Ada's agent", model=script.handle, memory_blocks=ADA, tags=[tag])
    if client.sdk.language == "py":
        assert made.cls == "AgentState"
    assert {block["label"]: block["value"] for block in made["memory"]["blocks"]} == {
        "human": "Name: Ada.",
        "persona": "I answer briefly.",
    }
    assert made["llm_config"]["model"] == script.name
    assert client.one("retrieve_agent", agent_id=made["id"])["name"] == "Ada's agent"

    updated = client.one("update_agent", agent_id=made["id"], name="Renamed", description="of Ada")
    assert (updated["name"], updated["description"]) == ("Renamed", "of Ada")
    assert updated["memory"]["blocks"], "an update forgot the blocks"

    assert [(each["id"], each["name"]) for each in client.all("list_agents", tags=[tag])] == [(made["id"], "Renamed")]
    client.one("delete_agent", agent_id=made["id"])
    assert client.all("list_agents", tags=[tag]) == []
    with pytest.raises(SdkError) as raised:
        client.one("retrieve_agent", agent_id=made["id"])
    assert raised.value.status == 404


def test_blocks_from_creation_to_deletion(client: Client, script: Script) -> None:
    label = f"notes_{uuid.uuid4().hex}"
    made = client.one("create_block", label=label, value="first", description="what was noted", limit=500)
    assert client.one("retrieve_block", block_id=made["id"])["value"] == "first"
    assert client.one("update_block", block_id=made["id"], value="second")["value"] == "second"
    assert [each["id"] for each in client.all("list_blocks", label=label)] == [made["id"]]

    agent = fresh_agent(client, script)
    attached = client.one("attach_block", agent_id=agent, block_id=made["id"])
    assert label in {block["label"] for block in attached["memory"]["blocks"]}
    assert {each["label"] for each in client.all("list_agent_blocks", agent_id=agent)} == {"human", "persona", label}
    assert client.one("update_agent_block", agent_id=agent, label=label, value="third")["value"] == "third"
    assert client.one("retrieve_block", block_id=made["id"])["value"] == "third"
    detached = client.one("detach_block", agent_id=agent, block_id=made["id"])
    assert label not in {block["label"] for block in detached["memory"]["blocks"]}

    client.one("delete_block", block_id=made["id"])
    with pytest.raises(SdkError) as raised:
        client.one("retrieve_block", block_id=made["id"])
    assert raised.value.status == 404


def every(client: Client, op: str, **query: Any) -> list[Decoded]:
    """All items of a list read two at a time: 1.x SDKs turn pages by themselves, for 0.1.x the caller does."""
    if client.sdk.generation == 1:
        return client.all(op, limit=2, **query)
    found: list[Decoded] = []
    while page := client.all(op, limit=2, **query, **({"after": found[-1]["id"]} if found else {})):
        found += page
        assert len(found) < 100, "the pages never end"
    return found


def test_pages_of_agents(client: Client, script: Script) -> None:
    tag = uuid.uuid4().hex
    made = [fresh_agent(client, script, tags=[tag]) for _ in range(5)]
    assert [each["id"] for each in every(client, "list_agents", tags=[tag])] == made[::-1]


def test_pages_of_blocks(client: Client) -> None:
    label = f"pages_{uuid.uuid4().hex}"
    made = [client.one("create_block", label=label, value=str(n))["id"] for n in range(5)]
    assert sorted(each["id"] for each in every(client, "list_blocks", label=label)) == sorted(made)


def test_pages_of_messages(new_client: Client, script: Script) -> None:
    agent = fresh_agent(new_client, script)
    for number in range(4):
        script.say(f"answer {number}")
        new_client.all("stream", agent_id=agent, messages=user(f"question {number}"))
    paged = new_client.all("list_messages", agent_id=agent, limit=2, order="asc")
    whole = new_client.all("list_messages", agent_id=agent, limit=100)
    assert [item["id"] for item in paged] == [item["id"] for item in whole]
    spoken = [item["content"] for item in paged if item.type in ("user_message", "assistant_message")]
    assert spoken == [f"{kind} {n}" for n in range(4) for kind in ("question", "answer")]
    newest_first = [item["id"] for item in new_client.all("list_messages", agent_id=agent, limit=2)]
    assert len(newest_first) == len(set(newest_first)), "the default order shows a message twice"


def test_models(client: Client, script: Script) -> None:
    found = {each["handle"]: each for each in client.all("models")}
    mine = found[script.handle]
    if client.sdk.language == "py":
        assert mine.cls == ("LlmConfig" if client.sdk.name == PY0 else "Model")
    assert mine["model"] == script.name
    assert mine["context_window"] > 0
    assert mine["model_endpoint_type"] == "openai"
