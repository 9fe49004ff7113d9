"""What a vendor sealed comes back to it word for word, whatever happens to the conversation meanwhile.

The judges of both scripted vendors compare every seal with the words under it. On PostgreSQL seals outlive a restart in
`test_gemini.py` and `test_scenarios_dialects.py`.
"""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.told import ADA, user
from tests.rig import gemini
from tests.rig.answers import LIMIT, Hold, Raw, call, parallel, reasoning, text
from tests.rig.model import Asked, ModelServer, Script
from tests.rig.server import Server

TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}
AGENT: dict[str, Any] = {
    "memory_blocks": ADA,
    "tools": ["weather", "fail", "memory_insert"],
    "tool_rules": [{"type": "requires_approval", "tool_name": "weather"}],
    "include_base_tool_rules": False,
}
YES = {"type": "approval", "approvals": [{"type": "approval", "tool_call_id": "waits", "approve": True}]}
OVERLOADED = {
    "anthropic": b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
    "google_ai": b'{"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}}',
}
REFUSED = {"anthropic": "refusal", "google_ai": "SAFETY"}


class House:
    """An agent on a server that can ask models of three vendors."""

    def __init__(self, server: Server, model: Script, vendor: str) -> None:
        settings = {"provider_type": vendor, "parallel_tool_calls": True}
        self.server = server
        self.agent = server.new_agent(model=model.handle, model_settings=settings, **AGENT)["id"]

    def say(self, *messages: dict[str, Any]) -> str:
        """Says hi, or these messages; how the turn ended."""
        body = {"messages": list(messages) or user("hi"), "stream_tokens": True}
        with self.server.stream(f"/v1/agents/{self.agent}/messages/stream", body) as stream:
            return next(frame.json["stop_reason"] for frame in stream.read() if frame.kind == "stop_reason")

    def cancel_at(self, hold: Hold) -> None:
        """Says hi, and cancels once the model has come to `hold`."""
        ends: list[str] = []
        turn = threading.Thread(target=lambda: ends.append(self.say()))
        turn.start()
        hold.wait_reached()
        assert self.server.post(f"/v1/agents/{self.agent}/messages/cancel").status == 200
        turn.join(LIMIT)
        hold.release()
        assert ends == ["cancelled"]

    def change(self, model: Script) -> None:
        assert self.server.request("PATCH", f"/v1/agents/{self.agent}", {"model": model.handle}).status == 200


def of_claude(asked: Asked) -> list[list[str]]:
    """What Claude is shown of its own answers: thoughts in quotes, calls by their tools, text as it is."""
    said = [turn["content"] for turn in asked.messages if turn["role"] == "assistant"]
    return [
        [f"'{b['thinking']}'" if b["type"] == "thinking" else b.get("name") or b["text"] for b in each] for each in said
    ]


def of_gemini(asked: Asked) -> list[list[str]]:
    """The same of Gemini, whose calls are sealed: by itself (+), or as those of strangers are (-)."""
    marks = {None: "", gemini.UNSEALED: "-"}

    def shown(part: dict[str, Any]) -> str:
        made = part.get("functionCall")
        return f"{made['name']}{marks.get(part.get('thoughtSignature'), '+')}" if made else part["text"]

    return [[shown(p) for p in each["parts"]] for each in asked.body["contents"] if each["role"] == "model"]


CLAUDES = [
    ["'One.'", "memory_insert", "weather"], ["'Two.'", "fail"], ["'Three.'", "Again.", "memory_insert"],
    ["'Four.'", "Done."], ["memory_insert"], ["Ok."], ["memory_insert"], ["Ok."], ["Back."],
    ["'Six.'", "memory_insert"], ["'Seven.'", "Well"], ["'Nine.'", "memory_insert"], ["'Ten.'", "memory_insert"],
]  # fmt: skip
"""What Claude was shown in the end. Of its fifth and eighth answers nothing but a thought came, which is of no use."""
GEMINIS = [
    ["weather+", "memory_insert"], ["fail+"], ["Again.", "memory_insert+"], ["Done."], ["memory_insert-"], ["Ok."],
    ["memory_insert-"], ["Ok."], ["Back."], ["memory_insert+"], ["Well"], ["memory_insert+"],
    ["memory_insert+"],
]  # fmt: skip


@pytest.mark.parametrize(
    ("vendor", "shown", "expected"), [("anthropic", of_claude, CLAUDES), ("google_ai", of_gemini, GEMINIS)]
)
@pytest.mark.stores("sqlite")
def test_seals_outlive_all_that_can_happen(
    models: ModelServer,
    new_server: Callable[..., Server],
    vendor: str,
    shown: Callable[[Asked], list[list[str]]],
    expected: list[list[str]],
) -> None:
    environment = {**models.environment, **models.claude_environment, **models.gemini_environment}
    server = new_server(environment, tools=("tests.rig.tools:weather", "tests.rig.tools:fail")).start()
    claude, google, other = models.claude(), models.gemini(), models.script()
    model, rival = (claude, google) if vendor == "anthropic" else (google, claude)
    house = House(server, model, vendor)
    worked = 4

    # Three steps of one turn: parallel calls of which one awaits a person's yes, over a restart; a tool that fails; a
    # change of memory, which is part of the system prompt.
    waiting, inserting = call("weather", {"city": "Oslo"}, id="waits"), call("memory_insert", TEA, id="goes")
    model.answer(reasoning("One."), parallel(waiting, inserting))
    assert house.say() == "requires_approval"
    server.restart()
    model.answer(reasoning("Two."), call("fail", {"reason": "rain"}))
    model.answer(reasoning("Three."), text("Again."), call("memory_insert", TEA))
    model.answer(reasoning("Four."), text("Done."))
    assert house.say(YES) == "end_turn"
    assert shown(model.asked[-1]) == expected[: worked - 1]

    # Models of other families work on the same conversation, and it comes back.
    for stranger in (other, rival):
        stranger.answer(reasoning("Hm."), call("memory_insert", TEA, id=f"functions.{stranger.name}:0")).say("Ok.")
        house.change(stranger)
        assert house.say() == "end_turn"
    house.change(model)
    model.say("Back.")
    assert house.say() == "end_turn"

    # Answers that break off: in a thought, in a call, by an error of the vendor's, and at their limit in both.
    for pieces in ((reasoning("Fi", "ve."),), (reasoning("Six."), call("memory_insert", TEA))):
        hold = Hold()
        model.answer(*pieces, hold)
        house.cancel_at(hold)
    model.answer(reasoning("Seven."), text("Well"), Raw(b"data: " + OVERLOADED[vendor] + b"\n\n"))
    assert house.say() == "llm_api_error"
    model.answer(reasoning("Eight."), finish="length")
    assert house.say() == "max_tokens_exceeded"
    model.answer(reasoning("Nine."), call("memory_insert", TEA), finish="length")
    assert house.say() == "max_tokens_exceeded"
    # And where the vendor withholds the rest of it: nobody knows what the call was to be.
    model.answer(reasoning("Ten."), call("memory_insert", TEA), finish=REFUSED[vendor])
    assert house.say() == "llm_api_error"
    model.say("Eleven.")
    assert house.say() == "end_turn"
    assert shown(model.asked[-1]) == expected

    said = server.get(f"/v1/agents/{house.agent}/messages").json
    outcomes = [each["status"] for each in said if each["message_type"] == "tool_return_message"]
    assert outcomes[-3:] == ["error"] * 3, "a call was run that was not complete"

    # What a summary leaves of it is still a history that vendors take.
    model.say("So far.").say("Twelve.")
    assert server.post(f"/v1/agents/{house.agent}/summarize", {}).status == 200
    assert house.say() == "end_turn"
    assert [script.violations for script in (claude, google, other)] == [[], [], []]
