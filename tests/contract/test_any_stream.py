"""Whatever a model answers and a caller does: streams are whole, equal history, and leave a valid conversation."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.told import user
from tests.rig.answers import Answer, Call, Cut, Piece, call, parallel, reasoning, text
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.server import Server
from tests.rig.whole import told

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


def calls() -> st.SearchStrategy[Call]:
    weather = st.builds(lambda city: call("weather", {"city": city}), WORDS)
    insert = st.builds(lambda said: call("memory_insert", {"label": "human", "new_string": said}), WORDS)
    odd = st.sampled_from(["fail", "launch", "conversation_search"]).flatmap(
        lambda name: st.sampled_from(['{"reason": "no"}', "{", "[]", ""]).map(lambda raw: call(name, raw))
    )
    return st.one_of(weather, insert, odd)


def pieces() -> st.SearchStrategy[list[Piece]]:
    one = st.one_of(
        st.lists(WORDS, min_size=1, max_size=3).map(lambda deltas: text(*deltas)),
        st.lists(WORDS, min_size=1, max_size=3).map(lambda deltas: reasoning(*deltas)),
        calls(),
        st.lists(calls(), min_size=2, max_size=3).map(lambda several: parallel(*several)),
    )
    return st.lists(one, max_size=3)


ANSWERS = st.lists(
    st.tuples(pieces(), st.sampled_from(["whole", "whole", "whole", "cut", "length", "refused"])), max_size=4
)
OPTIONS = st.fixed_dictionaries({"stream_tokens": st.booleans(), "max_steps": st.integers(1, 5)})
CALLER = st.sampled_from(["reads", "reads", "leaves", "cancels"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANSWERS, OPTIONS, CALLER, st.booleans(), st.booleans(), st.booleans())
def test_any_stream(
    server: Server, script: Script, answers: list[Any], options: dict[str, Any], caller: str,
    careful: bool, several: bool, approve: bool,
) -> None:  # fmt: skip
    script.forget()
    for said, how in answers:
        if how == "refused":
            script.refuse(400, "the script says no")
        else:
            whole = [*said, Cut()] if how == "cut" else said
            script.answer(*whole, finish="length" if how == "length" else "as made")
    script.otherwise(lambda asked: Answer((text("Done."),)))
    rules = [{"type": "requires_approval", "tool_name": "weather"}] if careful else []
    agent = server.new_agent(
        model=script.handle, tools=["weather", "fail"], tool_rules=rules, include_base_tool_rules=False,
        memory_blocks=[{"label": "human", "value": "Ada."}],
        model_settings={"provider_type": "openai", "parallel_tool_calls": several},
    )["id"]  # fmt: skip

    found = turn(server, agent, user("hi"), options, caller)
    check(server, agent, found)
    for _ in range(6):
        pending = server.get(f"/v1/agents/{agent}").json["pending_approval"]
        if pending is None:
            break
        decisions = [
            {"type": "approval", "tool_call_id": each["tool_call_id"], "approve": approve}
            for each in pending["tool_calls"]
        ]
        check(server, agent, turn(server, agent, [{"type": "approval", "approvals": decisions}], options, caller))
    script.otherwise(lambda asked: Answer((text("Done."),)))
    while script.left:
        check(server, agent, turn(server, agent, user("more"), {"max_steps": 1}, "reads", refused_is_fine=True))
        if server.get(f"/v1/agents/{agent}").json["pending_approval"] is not None:
            server.post(f"/v1/agents/{agent}/messages/cancel", {})
    last = turn(server, agent, user("and now?"), {}, "reads")
    assert "Done." in [frame.json.get("content") for frame in last[:-1]]


def turn(
    server: Server, agent: str, messages: list[dict[str, Any]], options: dict[str, Any], caller: str,
    *, refused_is_fine: bool = False,
) -> list[Frame]:  # fmt: skip
    """All frames of a turn, as its log has them: a caller who leaves reads it again from the start."""
    path = f"/v1/agents/{agent}/messages"
    with server.stream(f"{path}/stream", {"messages": messages, **options}) as stream:
        if refused_is_fine and stream.status != 200:
            return []
        assert stream.status == 200
        run_id = stream.until("ping").json["run_id"]
        if caller == "reads":
            return stream.read()
        if caller == "cancels":
            server.post(f"{path}/cancel", {"run_ids": [run_id]})
            return stream.read()
    with server.stream(f"/v1/runs/{run_id}/stream", {}) as again:
        return again.read()


def check(server: Server, agent: str, found: list[Frame]) -> None:
    """The stream is whole, and all it said stands in history under the same ids."""
    if not found:
        return
    kinds = [frame.kind for frame in found]
    assert kinds[-1] == "[DONE]"
    assert [kinds.count(kind) for kind in ("stop_reason", "usage_statistics", "[DONE]")] == [1, 1, 1]
    assert [frame.json["seq_id"] for frame in found[:-1]] == list(range(1, len(found)))
    ending = kinds[kinds.index("stop_reason") :]
    assert ending in (
        ["stop_reason", "usage_statistics", "[DONE]"], ["stop_reason", "usage_statistics", "error_message", "[DONE]"],
    )  # fmt: skip
    history = told(server.get(f"/v1/agents/{agent}/messages?limit=1000").json)
    for key, said in told([frame.json for frame in found[:-1]]).items():
        assert history[key] == said, key
