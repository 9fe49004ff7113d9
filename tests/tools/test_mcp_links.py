"""Connections to MCP servers that hang, die, pack, redirect and flood: each has its time, and says what is wrong."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from perdure.domain.errors import NotBuilt, Unavailable
from perdure.providers.breaker import FIRST_PAUSE
from perdure.tools.mcp import links as rooms
from perdure.tools.mcp.links import Limits, Links
from perdure.tools.mcp.reach import Reach
from tests.providers.test_outbound import resolving_to
from tests.rig.mcp import McpPeer

SOON = Limits(connect=1.0, list=1.0, call=1.0)
PATIENT = Limits(connect=20.0, list=20.0, call=20.0)


def reach(url: str, **fields: Any) -> Reach:
    given = {"server_id": "mcp_server-1", "server_type": fields.pop("kind", "streamable_http"), **fields}
    return Reach(version=1, name="peer", url=url, **given)


def run(work: Callable[[Links], Awaitable[None]], limits: Limits = PATIENT, *, allow_private: bool = True) -> None:
    async def limited() -> None:
        made = Links(limits, allow_private=allow_private)
        async with asyncio.timeout(60):
            try:
                await work(made)
            finally:
                await made.close()
                others = asyncio.all_tasks() - {asyncio.current_task()}
                assert [task for task in others if "MCP" in task.get_name()] == []

    asyncio.run(limited())


@pytest.mark.parametrize("where", ["connect", "list", "call"])
def test_attack_11_a_server_that_hangs_has_its_time(mcp_peer: McpPeer, where: str) -> None:
    async def work(made: Links) -> None:
        there = reach(f"{mcp_peer.rough}/silence" if where == "connect" else mcp_peer.url)
        if where == "call":
            await made.definitions(there)
        with pytest.raises(Unavailable, match="within 1 seconds"):
            await (made.call(there, "hang", {}) if where == "call" else made.definitions(there))

    mcp_peer.state(tools="hang" if where == "list" else "good", cancelled=0)
    run(work, SOON)
    if where == "call":
        assert until(lambda: mcp_peer.state()["cancelled"] == 1)


def until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nobody", "wants to know who asks .status 401"), ("/packed", "packs its answers"),
        ("/nowhere", "answered with status 404"),
        ("/elsewhere?to=http://169.254.169.254/", "redirects to http://169.254.169.254/, which is not followed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(mcp_peer: McpPeer, path: str, said: str) -> None:
    async def work(made: Links) -> None:
        for kind in ("streamable_http", "sse"):
            with pytest.raises(Unavailable, match=said):
                await made.definitions(reach(f"{mcp_peer.rough}{path}", kind=kind))

    run(work)


def test_attack_6_servers_inside_are_not_asked(mcp_peer: McpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(made: Links) -> None:
        port = mcp_peer.tricky.rpartition(":")[2]
        before = mcp_peer.state()["listed"]
        for host in ("127.0.0.1", "localhost", "0x7f.1"):
            for kind in ("streamable_http", "sse"):
                with pytest.raises(Unavailable, match="PERDURE_PRIVATE_MCP=1"):
                    await made.definitions(reach(f"http://{host}:{port}/mcp", kind=kind))
        asked = resolving_to(monkeypatch, ["203.0.114.1"], *[["127.0.0.1"]] * 9)
        for said in ("within 3 seconds|cannot be reached", "PERDURE_PRIVATE_MCP=1"):
            with pytest.raises(Unavailable, match=said):
                await made.definitions(reach(f"http://rebind.example:{port}/mcp"))
        assert asked == ["rebind.example"] * 2
        monkeypatch.undo()
        assert mcp_peer.state()["listed"] == before

    run(work, Limits(connect=3.0, list=3.0, call=3.0), allow_private=False)


def test_attack_11_a_result_of_100_mb_is_not_taken(mcp_peer: McpPeer) -> None:
    async def work(made: Links) -> None:
        with pytest.raises(Unavailable, match="its answer is larger than 8388608 bytes"):
            await made.call(reach(mcp_peer.url), "huge", {})
        assert (await made.call(reach(mcp_peer.url), "echo", {"text": "a"})).content[0]["text"] == 'echo: {"text": "a"}'

    run(work)


def test_a_list_of_all_sorts_loses_only_what_is_bad(mcp_peer: McpPeer) -> None:
    async def work(made: Links) -> None:
        listed = await made.definitions(reach(f"{mcp_peer.rough}/by_hand"))
        assert [each.get("name") if isinstance(each, dict) else each for each in listed] == [
            "fine", "fine", None, "list", "text", "nonsense", "bare", "typeless"
        ]  # fmt: skip
        with pytest.raises(Unavailable, match="answer cannot be understood"):
            await made.call(reach(f"{mcp_peer.rough}/by_hand"), "fine", {})
        mcp_peer.state(tools="many")
        assert len(await made.definitions(reach(mcp_peer.url))) == 10_000

    run(work)


def test_a_connection_serves_the_next_call_and_calls_at_once(mcp_peer: McpPeer) -> None:
    async def work(made: Links) -> None:
        there = reach(mcp_peer.url, headers=(("x-agent-id", "a"),))
        results = await asyncio.gather(*(made.call(there, "echo", {"text": str(n)}) for n in range(8)))
        assert [json.loads(each.content[0]["text"][6:])["text"] for each in results] == [str(n) for n in range(8)]
        assert len(made._links) == 1
        other = reach(mcp_peer.url, headers=(("x-agent-id", "b"),))
        assert '"x-agent-id": "b"' in (await made.call(other, "seen", {})).content[0]["text"]
        assert '"x-agent-id": "a"' in (await made.call(there, "seen", {})).content[0]["text"]
        older = reach(f"{mcp_peer.older}/sse", kind="sse")
        assert (await made.call(older, "shout", {"text": "hi"})).content[0]["text"] == "HI"

    run(work)


def test_no_more_connections_than_there_may_be(mcp_peer: McpPeer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "MOST_LINKS", 2)

    async def work(made: Links) -> None:
        there = [reach(mcp_peer.url, headers=(("x-agent-id", str(n)),)) for n in range(4)]
        for each in there:
            await made.call(each, "echo", {"text": "a"})
        held = [asyncio.create_task(made.call(each, "hang", {})) for each in there[:2]]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="2 MCP servers are being asked"):
            await made.call(there[2], "echo", {"text": "a"})
        for task in held:
            task.cancel()
        await asyncio.wait(held)

    run(work)


def test_a_server_that_dies_mid_call_is_left_alone_for_a_while(tmp_path: Path) -> None:
    peer = McpPeer(tmp_path / "peer.log")

    async def work(made: Links) -> None:
        there, older = reach(peer.url), reach(f"{peer.older}/sse", kind="sse", server_id="mcp_server-2")
        stalled = asyncio.create_task(made.call(older, "stall", {}))
        assert await asyncio.to_thread(until, lambda: peer.state()["started"] == 1)
        for call in (made.call(there, "die", {}), stalled):
            with pytest.raises(Unavailable, match="did not answer the call of"):
                await call
        for _ in range(rooms.FAILURES - 1):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await made.call(there, "echo", {"text": "a"})
        with pytest.raises(Unavailable, match="failed 3 times in a row and is left alone; it is asked again in"):
            await made.call(there, "echo", {"text": "a"})
        state = made.state(there.server_id)
        assert state is not None
        assert (state.failures, 0 < state.seconds <= FIRST_PAUSE) == (3, True)
        made.forget(there.server_id)
        assert made.state(there.server_id) is None

    try:
        run(work)
    finally:
        peer.end()


def test_a_session_that_the_server_forgot_is_made_anew(mcp_peer: McpPeer) -> None:
    async def work(made: Links) -> None:
        there = reach(f"{mcp_peer.rough}/forgetful")
        for session in ("1", "1", "2", "2"):
            mcp_peer.state(session=session)
            called = await made.call(there, "fine", {})
            assert called.content[0]["text"] == f"in session {session}"
        assert mcp_peer.state(session="1")["greeted"] == 2

    mcp_peer.state(greeted=0, session="1")
    run(work)


def test_without_the_sdk_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "perdure.tools.mcp.session", raising=False)
    monkeypatch.setitem(sys.modules, "mcp.client.session", None)

    async def work(made: Links) -> None:
        with pytest.raises(NotBuilt, match=r"pip install 'perdure\[mcp\]'"):
            await made.definitions(reach("http://127.0.0.1:1/mcp"))

    run(work)
