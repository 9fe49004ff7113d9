"""A conversation far longer than its window: it is compacted as it goes, every request stays valid, nothing is lost.

`make bench` talks for 5,000 turns and says what they cost.
"""

import json

from tests.contract.told import ADA, user
from tests.rig.answers import Answer, call, text
from tests.rig.model import Asked, Script
from tests.rig.server import Server

TURNS = 300
WINDOW = 5_000


def room(turn: int) -> str:
    """A word that is said in one turn and never again."""
    return f"room{turn:04}"


def test_a_conversation_far_longer_than_its_window(server: Server, script: Script) -> None:
    summaries: list[int] = []
    sizes: list[int] = []

    def answer(asked: Asked) -> Answer:
        sizes.append(len(json.dumps(asked.messages)))
        if "<transcript>" not in asked.said:
            return Answer((text(f"Noted: {asked.said[-40:]}"),))
        summaries.append(len(asked.said))
        return Answer((text(f"They talked of rooms, summed up {len(summaries)} times. ", "Rooms and rooms. " * 10),))

    script.otherwise(answer)
    agent = server.new_agent(model=script.handle, memory_blocks=ADA, context_window_limit=WINDOW)["id"]
    for turn in range(TURNS):
        said = f"The key of {room(turn)} lies under stone {turn}. {'It rains. ' * 25}Keep that for {room(turn)}!"
        reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user(said)})
        assert reply.status == 200, reply.text
        assert reply.json["stop_reason"]["stop_reason"] == "end_turn"
        assert room(turn) in reply.json["messages"][0]["content"]
    assert len(summaries) > TURNS / 50
    assert max(summaries) < WINDOW * 3
    assert max(sizes[-100:]) < 1.1 * max(sizes[:100])
    found = server.get(f"/v1/agents/{agent}/context").json
    assert found["num_messages"] < 60
    assert found["num_recall_memory"] == 2 * TURNS + 1 + len(summaries)
    assert f"summed up {len(summaries)} times" in found["summary_memory"]
    script.answer(call("conversation_search", {"query": room(7)})).say("Under stone 7.")
    server.post(f"/v1/agents/{agent}/messages", {"messages": user("Where is that key?")})
    (returned,) = [each["content"] for each in script.asked[-1].messages if each["role"] == "tool"]
    assert f"The key of {room(7)} lies under stone 7" in returned
    assert "earlier messages are outside this context" in script.asked[-1].system
