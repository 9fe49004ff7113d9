"""A streamed turn, as an SDK's user sees it and as raw frames, for the tests of the acceptance scenarios."""

from typing import Any

from tests.contract.told import ADA, SAID, user
from tests.rig.http import Frame
from tests.rig.model import Script
from tests.rig.sdks import Client, Decoded
from tests.rig.server import Server

ENDING = ["stop_reason", "usage_statistics"]
TEA = {"label": "human", "new_string": "Likes tea.", "insert_line": -1}


def agent_of(server: Server, script: Script, **fields: Any) -> str:
    """An agent with two blocks, asked of the scripted model. Returns its id."""
    return server.new_agent(model=script.handle, memory_blocks=ADA, **fields)["id"]


def turn(client: Client, agent: str, what: str = "hi", **options: Any) -> list[Decoded]:
    """A streamed turn, pings included."""
    return client.all("stream", agent_id=agent, messages=user(what), **options)


def tail(items: list[Decoded]) -> tuple[str, int]:
    """How the stream ended: the stop reason and the number of model calls."""
    stop, usage = items[-2:]
    assert [stop.type, usage.type] == ENDING
    return stop["stop_reason"], usage["step_count"]


def parts(items: list[Decoded]) -> list[tuple[str, str, str]]:
    """Type, id and otid of each logical part, in order of appearance."""
    seen = {(item.type, item["id"], item["otid"]): None for item in items if item.type in SAID}
    return list(seen)


def part_index(otid: str) -> int:
    """Which part of its message an otid names: its low 7 bits."""
    return int(otid[-2:], 16) & 0x7F


def of_type(items: list[Decoded], kind: str) -> list[Decoded]:
    return [item for item in items if item.type == kind]


def frames(server: Server, agent: str, **body: Any) -> list[Frame]:
    """The raw frames of a streamed turn, [DONE] included."""
    body.setdefault("messages", user("hi"))
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return stream.read()


def kinds(found: list[Frame]) -> list[str]:
    return [frame.kind for frame in found]


def said_in(found: list[Frame]) -> str:
    """All text of the assistant messages among raw frames."""
    return "".join(frame.json["content"] for frame in found if frame.kind == "assistant_message")
