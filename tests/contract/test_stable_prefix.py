"""Every request begins with the one before it, so that what a provider or a local engine has cached is used again."""

import itertools
import json
from collections.abc import Callable
from typing import Any

from tests.contract.told import ADA, user
from tests.rig.answers import call, text
from tests.rig.model import Asked, Script
from tests.rig.server import Server

SEARCH = call("conversation_search", {"query": "tea"})


def prompt(asked: Asked) -> list[str]:
    """What the model reads, in its order: tools first, as templates have it."""
    return [json.dumps(each) for each in [*asked.body["tools"], *asked.body["messages"]]]


def assert_grows(requests: list[Asked]) -> None:
    for before, after in itertools.pairwise(requests):
        assert prompt(after)[: len(prompt(before))] == prompt(before)
        assert len(prompt(after)) > len(prompt(before))


def turn(server: Server, agent: str, said: str, **options: Any) -> None:
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user(said), **options})
    assert reply.status == 200, reply.text


def test_the_prompt_only_grows_at_its_end(new_server: Callable[..., Server], script: Script) -> None:
    server = new_server().start()
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    script.answer(text("Let me see."), SEARCH).say("No tea yet.").say("Hello again.").say("Still here.")
    turn(server, agent, "Do I like tea?")
    turn(server, agent, "Hello?", streaming=True, stream_tokens=True)
    server.restart()
    turn(server, agent, "And now?")
    assert len(script.asked) == 4
    assert_grows(script.asked)


def test_a_changed_memory_changes_the_system_message_alone(server: Server, script: Script) -> None:
    agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
    memory = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
    script.answer(call("memory_insert", memory)).say("Noted.").say("Hello again.")
    turn(server, agent, "I like tea.")
    turn(server, agent, "Hello?")
    first, last = script.asked[0], script.asked[-1]
    assert "Likes tea." not in first.system
    assert "Likes tea." in last.system
    changed = [at for at, (a, b) in enumerate(zip(prompt(first), prompt(last), strict=False)) if a != b]
    assert len(changed) == 1
