"""Nothing runs twice: a request that is sent again is answered by the run it started when it came first."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.told import ADA, fresh_agent, said, told, types
from tests.rig.answers import Answer, Hold, text
from tests.rig.http import Frame, Reply
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import JS1, PY1, Client
from tests.rig.server import Server

LIMIT = 20.0
STAINLESS = {"X-Stainless-Package-Version": "1.12.1"}


def agent_of(server: Server, script: Script) -> str:
    return server.new_agent(model=script.handle, memory_blocks=ADA)["id"]


def named(*otids: str, what: str = "hi") -> list[dict[str, Any]]:
    return [{"role": "user", "content": what, "otid": otid} for otid in otids]


def streamed(server: Server, agent: str, messages: list[dict[str, Any]], **options: Any) -> list[Frame]:
    body = {"messages": messages, "stream_tokens": True, **options}
    with server.stream(f"/v1/agents/{agent}/messages/stream", body) as stream:
        return stream.read()


def post(server: Server, agent: str, body: dict[str, Any], *, retry: int | None = None, **headers: str) -> Reply:
    sent = {**STAINLESS, **headers}
    if retry is not None:
        sent["X-Stainless-Retry-Count"] = str(retry)
    return server.post(f"/v1/agents/{agent}/messages", body, headers=sent)


def run_of(reply: Reply) -> str:
    return reply.json["messages"][0]["run_id"]


def test_s56_the_same_otids_replay_their_run(client: Client, server: Server, script: Script) -> None:
    script.say("On", "ce.")
    agent = fresh_agent(client, script)
    fields = {"agent_id": agent, "messages": named("first"), "stream_tokens": True}
    items, again = client.all("stream", **fields), client.all("stream", **fields)
    assert [item.fields for item in again] == [item.fields for item in items]
    whole = client.all("create", agent_id=agent, messages=named("first"))
    assert types(whole) == ["assistant_message", "stop_reason", "usage_statistics"]
    assert told(whole) == told(items)
    run = client.one("create_async", agent_id=agent, messages=named("first"))
    assert (run["id"], run["status"]) == (items[0]["run_id"], "completed")
    assert len(script.asked) == 1
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["content"] for item in history[1:]] == ["hi", "Once."]


def test_a_replay_joins_a_run_under_way(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half"), hold, text(" of it."))
    agent = agent_of(server, script)
    path = f"/v1/agents/{agent}/messages"
    body = {"messages": named("a"), "stream_tokens": True}
    with server.stream(f"{path}/stream", body) as one, server.stream(f"{path}/stream", body) as two:
        for stream in (one, two):
            stream.until("assistant_message")
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(server.post, path, {"messages": named("a")})
            hold.release()
            assert [frame.raw for frame in one.read()] == [frame.raw for frame in two.read()]
            assert [item["content"] for item in waiting.result(LIMIT).json["messages"]] == ["Half of it."]
    assert len(script.asked) == 1


def test_on_conversations_too_where_another_message_is_refused(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(text("Half"), hold, text(" of it."))
    path = f"/v1/conversations/{agent_of(server, script)}/messages"
    body = {"messages": named("a"), "stream_tokens": True}
    with server.stream(path, body) as one:
        run_id = one.until("assistant_message").json["run_id"]
        assert server.post(path, {"messages": named("b")}).status == 409
        with server.stream(path, body) as two:
            two.until("assistant_message")
            hold.release()
            assert [frame.raw for frame in one.read()] == [frame.raw for frame in two.read()]
    whole = server.post(path, {"messages": named("a"), "streaming": False}).json
    assert [(item["run_id"], item["content"]) for item in whole["messages"]] == [(run_id, "Half of it.")]
    assert len(script.asked) == 1


def test_many_at_the_same_moment_start_one_run(server: Server, script: Script) -> None:
    script.say("Once.")
    agent = agent_of(server, script)
    with ThreadPoolExecutor(20) as pool:
        runs = list(pool.map(lambda _: streamed(server, agent, named("b"))[0].json["run_id"], range(40)))
    assert len(set(runs)) == 1
    assert len(script.asked) == 1


def test_a_replay_after_a_restart(new_server: Callable[..., Server], script: Script) -> None:
    script.say("Once.")
    server = new_server().start()
    agent = agent_of(server, script)
    frames = streamed(server, agent, named("c"))
    server.kill()
    server.start()
    assert [frame.raw for frame in streamed(server, agent, named("c"))] == [frame.raw for frame in frames]
    assert [item["content"] for item in post(server, agent, {"messages": named("c")}).json["messages"]] == ["Once."]
    assert len(script.asked) == 1


def test_a_run_that_failed_is_replayed_as_it_failed(server: Server, script: Script) -> None:
    script.refuse(401, "that key is wrong")
    agent = agent_of(server, script)
    replies = [post(server, agent, {"messages": named("d")}) for _ in range(2)]
    assert [reply.status for reply in replies] == [401, 401]
    assert replies[0].json == replies[1].json
    assert len(script.asked) == 1


def test_otids_belong_to_their_agent(server: Server, script: Script) -> None:
    script.say("one").say("two")
    said = [streamed(server, agent_of(server, script), named("e"))[0].json["run_id"] for _ in range(2)]
    assert len(set(said)) == 2


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "hi"}],
        [*named("f"), {"role": "user", "content": "and"}],
        [{"role": "user", "content": "hi", "otid": None}],
    ],
    ids=["none", "not all", "null"],
)
def test_without_a_name_for_each_message_every_request_is_new(
    server: Server, script: Script, messages: list[dict[str, Any]]
) -> None:
    script.say("one").say("two")
    agent = agent_of(server, script)
    assert len({streamed(server, agent, messages)[0].json["run_id"] for _ in range(2)}) == 2


def test_names_that_mean_something_else_now_are_refused(server: Server, script: Script) -> None:
    script.say("one")
    agent = agent_of(server, script)
    first = streamed(server, agent, named("g"))[0].json["run_id"]
    refused = server.post(f"/v1/agents/{agent}/messages", {"messages": named("g", what="something new")})
    assert refused.status == 422
    assert first in refused.json["detail"][0]["msg"]
    assert len(script.asked) == 1


def test_names_may_be_long_and_odd(server: Server, script: Script) -> None:
    script.say("one").say("two").say("three")
    agent = agent_of(server, script)
    rows = [named("x|y"), named("x", "y"), named("é" * 50_000)]
    runs = [streamed(server, agent, row)[0].json["run_id"] for row in [*rows, *rows]]
    assert runs[:3] == runs[3:]
    assert len(set(runs)) == 3


def test_names_are_free_again_when_the_log_is_dropped(
    models: ModelServer, new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_RETENTION_HOURS": "0"}).start()
    script.say("one").say("two")
    agent = agent_of(server, script)
    first = streamed(server, agent, named("h"))[0].json["run_id"]
    server.restart()
    deadline = time.monotonic() + LIMIT
    while server.get(f"/v1/runs/{first}/stream").status != 410:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    again = streamed(server, agent, named("h"))
    assert again[0].json["run_id"] != first
    assert "".join(frame.json["content"] for frame in again if frame.kind == "assistant_message") == "two"


def test_a_deleted_run_is_not_replayed(server: Server, script: Script) -> None:
    script.say("one").say("two")
    agent = agent_of(server, script)
    first = streamed(server, agent, named("i"))[0].json["run_id"]
    assert server.request("DELETE", f"/v1/runs/{first}").status == 200
    assert streamed(server, agent, named("i"))[0].json["run_id"] != first


def test_an_sdks_own_retry_joins_the_run(server: Server, script: Script) -> None:
    hold = Hold()
    script.answer(hold, text("Once."))
    agent = agent_of(server, script)
    body = {"messages": [{"role": "user", "content": "hi"}]}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(post, server, agent, body, retry=0)
        hold.wait_reached()
        second = pool.submit(post, server, agent, body, retry=1)
        third = pool.submit(post, server, agent, body, retry=2)
        hold.release()
        replies = [reply.result(LIMIT) for reply in (first, second, third)]
    late = post(server, agent, body, retry=1)
    assert [reply.json for reply in replies] == [late.json] * 3
    assert len(script.asked) == 1


def test_a_retry_of_a_stream_reads_it_from_the_start(server: Server, script: Script) -> None:
    script.say("On", "ce.")
    agent = agent_of(server, script)
    path = f"/v1/agents/{agent}/messages/stream"
    raw: list[list[bytes]] = []
    for count in ("0", "1"):
        headers = {**STAINLESS, "X-Stainless-Retry-Count": count}
        with server.stream(path, {"messages": [{"role": "user", "content": "hi"}]}, headers=headers) as stream:
            raw.append([frame.raw for frame in stream.read()])
    assert raw[0] == raw[1]
    assert len(script.asked) == 1


def test_only_the_same_request_is_joined(
    new_server: Callable[..., Server], models: ModelServer, script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_PASSWORD": "one password"}).start()
    script.otherwise(lambda asked: Answer((text("ok"),)))
    keys = {"Authorization": "Bearer one password"}
    others = {"X-BARE-PASSWORD": "password one password"}
    created = server.post("/v1/agents/", {"model": script.handle}, headers=keys).json
    other = server.post("/v1/agents/", {"model": script.handle}, headers=keys).json
    body = {"messages": [{"role": "user", "content": "hi"}]}
    first = run_of(post(server, created["id"], body, retry=0, **keys))
    new = [
        post(server, created["id"], {"messages": [{"role": "user", "content": "hi "}]}, retry=1, **keys),
        post(server, other["id"], body, retry=1, **keys),
        post(server, created["id"], body, retry=1, **others),
        post(server, created["id"], body, retry=0, **keys),
        post(server, created["id"], body, **keys),
    ]
    runs = [run_of(reply) for reply in new]
    assert len({first, *runs}) == 6
    assert run_of(post(server, created["id"], body, retry=1, **keys)) == runs[3], "the newest sending that was counted"


def test_a_retry_of_what_was_refused_is_a_new_try(
    models: ModelServer, new_server: Callable[..., Server], script: Script
) -> None:
    server = new_server({**models.environment, "PERDURE_BUSY": "reject"}).start()
    hold = Hold()
    script.answer(hold, text("first")).say("second")
    agent = agent_of(server, script)
    body = {"messages": [{"role": "user", "content": "2"}]}
    with ThreadPoolExecutor() as pool:
        first = pool.submit(post, server, agent, {"messages": [{"role": "user", "content": "1"}]}, retry=0)
        hold.wait_reached()
        busy = post(server, agent, body, retry=0)
        assert (busy.status, busy.headers["retry-after"]) == (409, "2")
        hold.release()
        assert first.result(LIMIT).status == 200
    assert [item["content"] for item in post(server, agent, body, retry=1).json["messages"]] == ["second"]


@pytest.mark.parametrize("name", [PY1, JS1])
def test_an_sdk_that_gives_up_waiting_gets_the_answer_all_the_same(
    sdks: Any, server: Server, script: Script, name: str
) -> None:
    hold = Hold()
    script.answer(hold, text("Worth the wait."))
    client = sdks(name).at(server.base_url)
    agent = fresh_agent(client, script)
    release = threading.Timer(1.5, hold.release)
    release.start()
    items = client.all("create_impatiently", agent_id=agent, messages=[{"role": "user", "content": "hi"}], seconds=1)
    assert said(items) == "Worth the wait."
    assert len(script.asked) == 1
    history = server.get(f"/v1/agents/{agent}/messages").json
    assert [item["content"] for item in history[1:]] == ["hi", "Worth the wait."]
