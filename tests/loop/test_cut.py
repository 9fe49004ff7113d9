"""Where a context is cut: whole turns first, calls with their returns, and never what was said last."""

import json
from typing import Any

import pytest

from perdure.domain.compaction import CompactionSettings
from perdure.domain.messages import ApprovalPart, Message, Role, SummaryPart, TextPart, ToolCallPart, ToolReturnPart
from perdure.loop.cut import Cut, Wanted, find_cut, wanted_by

NOTE = json.dumps({"type": "heartbeat", "reason": "go on", "time": "now"})


def said(name: str, role: Role = "user", **fields: Any) -> Message:
    parts = {"calls": fields.pop("parts", None)}["calls"] or (TextPart(text=fields.pop("text", name)),)
    return Message(id=name, agent_id="agent", role=role, parts=parts, created_at=1, **fields)


def history(*names: str) -> list[Message]:
    """Messages by their names: u said by a user, a by the assistant, c a call with r its return, n a note, q and d a
    request for approval and the decision, s a summary. What a user said in one run follows a dot: `u1.7`."""
    made: list[Message] = []
    for name in names:
        call_id = name[1:]
        match name[0]:
            case "u":
                made.append(said(name, run_id=name.partition(".")[2] or None))
            case "a":
                made.append(said(name, "assistant"))
            case "c":
                parts = (ToolCallPart(call_id=call_id, name="f", arguments="{}"),)
                made.append(said(name, "assistant", parts=parts, step_id=f"step-{call_id}"))
            case "q":
                parts = (ToolCallPart(call_id=f"{call_id}q", name="f", arguments="{}"),)
                made.append(said(name, "approval", parts=parts, step_id=f"step-{call_id}"))
            case "d":
                made.append(said(name, "approval", parts=(ApprovalPart(call_id=f"{call_id}q", approve=True),)))
            case "r":
                parts = (ToolReturnPart(call_id=call_id, name="f", status="success", text="x"),)
                made.append(said(name, "tool", parts=parts))
            case "n":
                made.append(said(name, text=NOTE))
            case _:
                made.append(said(name, "summary", parts=(SummaryPart(text="x"),)))
    return made


def cut(names: str, **wanted: Any) -> Cut | None:
    """A cut of messages of ten bytes each."""
    messages = history(*names.split())
    return find_cut(messages, [10] * len(messages), Wanted(**{"size": 1_000, "slides": True, **wanted}))


def parts(found: Cut | None) -> str:
    """What goes, then what stays, in short."""
    assert found is not None
    before, said_last, after, kept = (
        " ".join(message.id for message in part) for part in (found.before, found.said, found.after, found.kept)
    )
    assert [message.id for message in found.out] == f"{before} {after}".split()
    assert [message.id for message in found.stays] == f"{said_last} {kept}".split()
    return f"{before} | {kept}" if not said_last and not after else f"{before} | {said_last} | {after} | {kept}"


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        ("u1 a1 u2 a2 u3 a3", {"size": 40}, "u1 a1 | u2 a2 u3 a3"),
        ("u1 a1 u2 a2 u3 a3", {"size": 39}, "u1 a1 u2 a2 | u3 a3"),
        ("u1 a1 u2 a2 u3 a3", {"least": 3}, "u1 a1 u2 a2 | u3 a3"),
        ("u1 a1 u2 a2 u3 a3", {"size": 0}, "u1 a1 u2 a2 | u3 a3"),
        ("u1 a1 u2 a2 u3 a3", {"slides": False}, "u1 a1 u2 a2 | u3 a3"),
        ("u1 a1 u2 a2 u3 a3", {"messages": 4}, "u1 a1 | u2 a2 u3 a3"),
        ("u1 a1 u2 a2 u3 a3", {"messages": 0}, "u1 a1 u2 a2 | u3 a3"),
        ("s u1 a1 u2 a2", {"size": 0}, "s u1 a1 | u2 a2"),
        ("u1 a1 u2 c2 r2 c3 r3 c4 r4", {"size": 70}, "u1 a1 | u2 c2 r2 c3 r3 c4 r4"),
        ("u1 a1 u2 c2 r2 c3 r3 c4 r4", {"size": 60}, "u1 a1 | u2 | c2 r2 | c3 r3 c4 r4"),
        ("u1 a1 u2 c2 r2 c3 r3 c4 r4", {"size": 0}, "u1 a1 | u2 | c2 r2 c3 r3 | c4 r4"),
        ("u1 a1 u2 c2 r2 c3 r3 c4 r4", {"size": 60, "slides": False}, "u1 a1 | u2 | c2 r2 c3 r3 | c4 r4"),
        ("u1 a1 u2 c2 r2 c3 r3 c4 r4", {"utmost": True}, "u1 a1 | u2 | c2 r2 c3 r3 | c4 r4"),
        ("u1 a1 u2 c2 r2 n2 c3 r3 n3", {"size": 0}, "u1 a1 | u2 | c2 r2 n2 | c3 r3 n3"),
        ("u1 c1 q1 d1 r1 a1 u2 c2 q2", {"size": 0}, "u1 c1 q1 d1 r1 a1 | u2 c2 q2"),
        ("u1 c1 q1 d1 r1 c2 q2 d2 r2 a2", {"size": 60}, " | u1 | c1 q1 d1 r1 | c2 q2 d2 r2 a2"),
        ("u1.7 u2.7 a2 u3.8 u4.8 a4", {"size": 0}, "u1.7 u2.7 a2 | u3.8 u4.8 a4"),
        ("u1.7 u2.8 u3.9", {"size": 0}, "u1.7 u2.8 | u3.9"),
        ("u1.7 u2.8 u3.9", {"size": 20}, "u1.7 | u2.8 u3.9"),
        ("n1 a1 a2", {"size": 0}, " |  | n1 a1 | a2"),
        ("s a1 a2", {"size": 0}, " |  | s a1 | a2"),
    ],
)
def test_what_goes_and_what_stays(names: str, wanted: dict[str, Any], found: str) -> None:
    assert parts(cut(names, **wanted)) == found


@pytest.mark.parametrize("names", ["", "u1", "u1 a1", "s u1 a1", "s u1", "u1.7 u2.7 a2", "u1 c1 q1 d1", "a1"])
def test_where_nothing_may_go_there_is_no_cut(names: str) -> None:
    assert cut(names, size=0, utmost=True) is None


def test_settings_say_how_many_messages_slide_out_at_least() -> None:
    third = CompactionSettings(sliding_window_percentage=0.3)
    assert wanted_by(third, 10, 5) == Wanted(size=5, slides=True, least=4)
    assert wanted_by(CompactionSettings(sliding_window_percentage=1.0), 10, 5).least == 10
    assert not wanted_by(CompactionSettings(mode="self_compact_all"), 10, 5).slides
