"""Conversations over HTTP, with a real data file behind them and no runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.api.application import create_application
from perdure.domain.errors import NotFound
from perdure.domain.ids import example_id
from tests.agents.studio import KnownModels, Studio
from tests.api.in_process import BEARER, JSON, Answer, call, server
from tests.rig.stores import SqlitePlace

Ask = Callable[..., Answer]


class IdleRunner:
    """Has no runs to cancel, and none to follow."""

    async def cancel(self, tenant: str, **which: Any) -> list[str]:
        return []

    async def follow(self, tenant: str, run_id: str, after: int) -> None:
        raise NotFound(f"Run with ID {run_id} not found")


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    with Studio(SqlitePlace(tmp_path)) as studio:
        parts = {"catalog": KnownModels(), "vault": studio.vault, "runner": IdleRunner()}
        app = create_application(server(db=studio.db, max_body=1_000_000, **parts))

        def ask(method: str, path: str, body: Any = None) -> Answer:
            sent = b"" if body is None else json.dumps(body).encode()
            return call(app, method, path, (("host", "x"), BEARER, JSON), sent)

        yield ask


@pytest.fixture
def agent(ask: Ask) -> str:
    made = ask("POST", "/v1/agents/", {"memory_blocks": [{"label": "human", "value": "Bob"}]})
    return made.json["id"]


def opened(ask: Ask, agent: str, **body: Any) -> dict[str, Any]:
    made = ask("POST", f"/v1/conversations/?agent_id={agent}", body)
    assert made.status == 200, made.body
    return made.json


def test_the_life_of_a_conversation(ask: Ask, agent: str) -> None:
    made = opened(ask, agent)
    path = f"/v1/conversations/{made['id']}"
    assert (made["agent_id"], made["archived"], made["model"]) == (agent, False, None)
    assert len(made["in_context_message_ids"]) == 1
    assert ask("GET", path).json == made
    assert ask("GET", f"/v1/conversations/?agent_id={agent}").json == [made]
    changed = ask("PATCH", path, {"summary": "s", "archived": True, "last_message_at": "2026-01-02T03:04:05Z"}).json
    assert (changed["summary"], changed["archived"]) == ("s", True)
    assert changed["last_message_at"].startswith("2026-01-02T03:04:05")
    assert ask("GET", "/v1/conversations/").json == []
    assert ask("GET", "/v1/conversations/?archive_status=archived&order_by=last_message_at").json == [changed]
    assert len(ask("GET", "/v1/conversations/?archive_status=all&summary_search=S").json) == 1
    assert ask("PATCH", path, {"summary": None, "archived": False}).json["summary"] is None
    assert ask("DELETE", path).json == {"message": f"Conversation {made['id']} deleted"}
    assert ask("DELETE", path).status == 404
    assert ask("GET", path).status == 404


def test_a_model_of_its_own(ask: Ask, agent: str) -> None:
    settings = {"provider_type": "anthropic", "max_output_tokens": 9}
    body = {"model": "anthropic/claude", "model_settings": settings, "context_window_limit": 5000}
    made = opened(ask, agent, **body)
    assert {name: made[name] for name in body} == body
    path = f"/v1/conversations/{made['id']}"
    assert ask("PATCH", path, {"model": "nobody/x"}).status == 404
    assert ask("PATCH", path, {"description": "d"}).json["model"] == "anthropic/claude"
    cleared = ask("PATCH", path, dict.fromkeys(body)).json
    assert {name: cleared[name] for name in body} == dict.fromkeys(body)


def test_blocks_of_its_own(ask: Ask, agent: str) -> None:
    made = opened(ask, agent, isolated_block_labels=["human"], hidden=True)
    (block_id,) = made["isolated_block_ids"]
    copy = ask("GET", f"/v1/blocks/{block_id}").json
    assert (copy["label"], copy["value"], copy["hidden"]) == ("human", "Bob", True)
    assert block_id not in [each["id"] for each in ask("GET", "/v1/blocks/").json]
    assert ask("GET", "/v1/conversations/").json == []
    ask("PATCH", f"/v1/blocks/{block_id}", {"value": "Ada"})
    assert "Ada" in ask("GET", f"/v1/conversations/{made['id']}/messages").json[0]["content"]
    assert "Ada" not in ask("GET", f"/v1/agents/{agent}/messages").json[0]["content"]


def test_a_default_conversation_goes_by_its_agent(ask: Ask, agent: str) -> None:
    shown = ask("GET", f"/v1/conversations/{agent}").json
    assert shown["id"] == "default"
    assert ask("GET", f"/v1/conversations/default?agent_id={agent}").json == shown
    assert ask("GET", "/v1/conversations/default").json["detail"][0]["loc"] == ["agent_id"]
    assert ask("PATCH", f"/v1/conversations/{agent}", {"summary": "s"}).status == 400
    assert ask("DELETE", f"/v1/conversations/{agent}").status == 400
    listed = ask("GET", f"/v1/conversations/default/messages?agent_id={agent}").json
    assert listed == ask("GET", f"/v1/agents/{agent}/messages").json
    fork = ask("POST", f"/v1/conversations/default/fork?agent_id={agent}&hidden=true").json
    assert (fork["agent_id"], fork["hidden"]) == (agent, True)
    assert fork["id"].startswith("conv-")


def test_a_system_message_compiled_anew(ask: Ask, agent: str) -> None:
    made = opened(ask, agent)
    path = f"/v1/conversations/{made['id']}"
    text = ask("POST", f"{path}/recompile?dry_run=true").json
    assert f"CONVERSATION_ID: {made['id']}" in text
    assert "CONVERSATION_ID: default" in ask("POST", "/v1/conversations/default/recompile", {"agent_id": agent}).json
    stored = ask("POST", f"{path}/recompile", {}).json
    assert ask("GET", f"{path}/messages?order=asc").json[0]["content"] == stored


def test_pages_of_conversations(ask: Ask, agent: str) -> None:
    made = [opened(ask, agent)["id"] for _ in range(3)]
    first = [each["id"] for each in ask("GET", "/v1/conversations/?limit=2").json]
    rest = [each["id"] for each in ask("GET", f"/v1/conversations/?limit=2&after={first[-1]}").json]
    assert first + rest == made[::-1]
    assert [each["id"] for each in ask("GET", "/v1/conversations/?order=asc").json] == made


def test_nothing_to_follow_or_cancel(ask: Ask, agent: str) -> None:
    path = f"/v1/conversations/{opened(ask, agent)['id']}"
    followed = ask("POST", f"{path}/stream")
    assert followed.status == 400
    assert followed.json["detail"] == "INVALID_ARGUMENT: No active runs found for this conversation."
    assert ask("POST", f"{path}/stream", {"otid": "unheard of"}).status == 404
    assert ask("POST", f"{path}/stream", {"run_id": example_id("run")}).status == 404
    cancelled = ask("POST", f"{path}/cancel")
    assert cancelled.status == 409
    assert cancelled.json["detail"].startswith("CONFLICT: No active runs to cancel")


NOBODY, NOTHING = example_id("agent"), example_id("conv")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/conversations/conv-1", None, 422),
        ("GET", f"/v1/conversations/{NOTHING}", None, 404),
        ("PATCH", f"/v1/conversations/{NOTHING}", {}, 404),
        ("DELETE", f"/v1/conversations/{NOTHING}", None, 404),
        ("POST", f"/v1/conversations/{NOTHING}/fork", None, 404),
        ("POST", f"/v1/conversations/{NOTHING}/recompile", {}, 404),
        ("POST", f"/v1/conversations/{NOTHING}/cancel", None, 404),
        ("POST", f"/v1/conversations/{NOTHING}/stream", {}, 404),
        ("GET", f"/v1/conversations/{NOTHING}/messages", None, 404),
        ("POST", f"/v1/conversations/{NOTHING}/messages", {"input": "hi"}, 404),
        ("POST", f"/v1/conversations/{NOBODY}/messages", {"input": "hi"}, 404),
        ("POST", "/v1/conversations/default/messages", {"input": "hi", "agent_id": NOBODY}, 404),
        ("POST", "/v1/conversations/default/messages", {"input": "hi"}, 422),
        ("POST", f"/v1/conversations/{NOTHING}/messages", {"messages": []}, 422),
        ("POST", f"/v1/conversations/?agent_id={NOBODY}", {}, 404),
        ("POST", "/v1/conversations/", {}, 422),
        ("GET", f"/v1/conversations/?after={NOTHING}", None, 404),
        ("GET", "/v1/conversations/?order_by=name", None, 422),
        ("GET", "/v1/conversations/?archive_status=lost", None, 422),
        ("POST", f"/v1/conversations/{NOTHING}/compact", {}, 404),
    ],
)
def test_what_is_wrong_or_missing(ask: Ask, method: str, path: str, body: Any, status: int) -> None:
    assert ask(method, path, body).status == status


def test_what_is_unknown_within_a_conversation(ask: Ask, agent: str) -> None:
    path = f"/v1/conversations/{opened(ask, agent)['id']}"
    assert ask("GET", f"{path}?agent_id={NOBODY}").status == 404
    assert ask("GET", f"{path}/messages?after={example_id('message')}").status == 404
    assert ask("POST", f"{path}/fork?message_id={example_id('message')}").status == 404
    assert ask("POST", f"/v1/conversations/?agent_id={agent}", {"isolated_block_labels": ["pet"]}).status == 404
    assert ask("POST", f"/v1/conversations/?agent_id={agent}", {"summary": "\0"}).status == 422
