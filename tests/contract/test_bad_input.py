"""What a live server makes of input that is wrong, hostile or huge: a clear answer, a clean log, and nothing lost."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from perdure.api.not_built import NOT_BUILT
from perdure.api.routes import ROUTES
from perdure.domain.ids import example_id
from tests.contract.told import ADA
from tests.rig.answers import Answer, text
from tests.rig.http import Reply
from tests.rig.model import Asked, ModelServer, Script
from tests.rig.server import Server

MESSAGES = [{"role": "user", "content": "hi"}]
JSON = {"Content-Type": "application/json"}
PASSWORD = "correct horse"
TEN_MB = 10_000_000


class Witness:
    """An agent on a server, and what the server has logged since."""

    def __init__(self, server: Server, script: Script) -> None:
        self.server, self.script = server, script
        self.agent = server.new_agent(model=script.handle, memory_blocks=ADA)["id"]
        self.path = f"/v1/agents/{self.agent}/messages"
        self._logged = len(server.log)

    def refused(self, reply: Reply, status: int) -> str:
        """What a refusal says. It is JSON, says something, and shows nothing of the server's inside."""
        assert reply.status == status, reply.text[:2000]
        assert reply.headers["content-type"] == "application/json"
        assert "Traceback" not in reply.text
        assert 'File "' not in reply.text
        detail = reply.json["detail"]
        said = detail if isinstance(detail, str) else "; ".join(problem["msg"] for problem in detail)
        assert said.strip()
        assert len(reply.text) < 10_000
        return said

    def send(self, body: bytes, path: str = "", method: str = "POST", **headers: str) -> Reply:
        """Sends a body as it is, as a message to the agent unless to another path."""
        return self.server.request(method, path or self.path, body=body, headers={**JSON, **headers})

    def history(self) -> list[dict[str, Any]]:
        return self.server.get(self.path).json

    def check(self) -> None:
        """Nothing was kept of what was refused, the log is clean, and the agent answers as ever."""
        assert [item["message_type"] for item in self.history()] == ["system_message"]
        assert self.script.asked == []
        self.script.say("Still here.")
        reply = self.server.post(self.path, {"messages": MESSAGES})
        assert reply.json["messages"][0]["content"] == "Still here."
        assert "Traceback" not in self.server.log[self._logged :]


@pytest.fixture
def witness(server: Server, script: Script) -> Iterator[Witness]:
    """An agent that is to be none the worse for the test."""
    found = Witness(server, script)
    yield found
    found.check()


# ---- who and what is asked for


@pytest.mark.parametrize("rest", ["", "/messages", "/core-memory/blocks/human", "/tools"])
def test_an_unknown_agent(witness: Witness, rest: str) -> None:
    unknown = example_id("agent")
    assert unknown in witness.refused(witness.server.get(f"/v1/agents/{unknown}{rest}"), 404)


@pytest.mark.parametrize("path", ["/messages", "/messages/stream"])
def test_a_message_to_an_unknown_agent(witness: Witness, path: str) -> None:
    unknown = example_id("agent")
    reply = witness.server.post(f"/v1/agents/{unknown}{path}", {"messages": MESSAGES})
    assert witness.refused(reply, 404) == f"Agent with ID {unknown} not found"


@pytest.mark.parametrize("name", ["nonsense", "agent-1", "agent-123E4567-E89B-42D3-8456-426614174000", "%F0%9F%98%80"])
def test_a_malformed_id(witness: Witness, name: str) -> None:
    reply = witness.server.get(f"/v1/agents/{name}")
    assert "agent-" in witness.refused(reply, 422)
    assert reply.json["examples"] == [example_id("agent")]


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/nothing/at/all", "/v2/agents/", "/v1/agents/%2e%2e/secrets"])
def test_an_unknown_path(witness: Witness, path: str) -> None:
    witness.refused(witness.server.get(path), 404)


def test_a_method_that_is_not_possible_is_told_those_that_are(witness: Witness) -> None:
    reply = witness.server.request("PUT", f"/v1/agents/{witness.agent}")
    assert "PATCH" in witness.refused(reply, 405)
    assert "GET" in reply.headers["allow"]


@pytest.mark.parametrize("handle", ["openai/nobody", "nowhere/gpt-4o"])
def test_an_unknown_model_handle(witness: Witness, handle: str) -> None:
    said = witness.refused(witness.server.post("/v1/agents/", {"model": handle}), 404)
    assert handle in said
    assert "'openai/scripted-" in said


def test_a_model_handle_without_a_provider(witness: Witness) -> None:
    assert "'openai/gpt-4o'" in witness.refused(witness.server.post("/v1/agents/", {"model": "gpt-4o"}), 400)


def test_an_unknown_model_for_one_request(witness: Witness) -> None:
    body = {"messages": MESSAGES, "override_model": "openai/nobody"}
    assert "openai/nobody" in witness.refused(witness.server.post(witness.path, body), 404)


# ---- bodies that cannot be worked


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "either 'input' or 'messages'"),
        ({"messages": MESSAGES, "input": "hi"}, "both 'input' and 'messages'"),
        ({"messages": None, "input": None}, "either 'input' or 'messages'"),
        ({"messages": []}, "must not be empty"),
        ({"messages": [{"role": "wizard", "content": "hi"}]}, "'user'"),
        ({"messages": [{"role": "tool", "content": "hi"}]}, "'user'"),
        ({"messages": [{"content": "hi"}]}, "required"),
        ({"messages": [{"role": "user", "content": ""}]}, "must not be empty"),
        ({"messages": [{"role": "user", "content": [{"type": "video", "url": "x"}]}]}, "video"),
        ({"messages": "hi"}, "list"),
        ({"messages": [[]]}, ""),
        ({"messages": [None]}, ""),
        ({"messages": [{"role": "user", "content": {"text": "hi"}}]}, ""),
        ({"messages": MESSAGES, "max_steps": -1}, "greater than or equal to 0"),
        ({"messages": MESSAGES, "max_steps": 10**30}, ""),
        ({"messages": MESSAGES, "stream_tokens": "perhaps"}, "boolean"),
        ({"messages": MESSAGES, "include_return_message_types": ["whispers"]}, "assistant_message"),
        ([], ""),
        ("hi", ""),
        (7, ""),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, str) else "",
)
@pytest.mark.parametrize("path", ["", "/stream"])
def test_a_body_that_cannot_be_worked(witness: Witness, path: str, body: Any, says: str) -> None:
    reply = witness.server.post(witness.path + path, body)
    assert says in witness.refused(reply, 422)
    assert {"loc", "msg", "type"} == reply.json["detail"][0].keys()
    assert reply.headers["x-should-retry"] == "false"


BROKEN = {
    "empty": b"",
    "cut off": b'{"messages": [{"role": "user", "content": "hi"}',
    "not JSON": b"hello",
    "two values": b'{"input": "a"} {"input": "b"}',
    "single quotes": b"{'input': 'hi'}",
    "trailing comma": b'{"input": "hi",}',
    "a byte order mark": b'\xef\xbb\xbf{"input": "hi"}',
    "not UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-16": '{"input": "hi"}'.encode("utf-16"),
    "an encoded surrogate": b'{"input": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"input": "\\ud800"}',
    "surrogates in the wrong order": b'{"input": "\\udc00\\ud800"}',
    "a surrogate as a key": b'{"input": "hi", "\\ud800": 1}',
    "an escaped NUL": b'{"input": "a\\u0000b"}',
    "a bare NUL": b'{"input": "a\x00b"}',
    "a control character": b'{"input": "a\x01b"}',
    "NaN": b'{"input": "hi", "max_steps": NaN}',
    "Infinity": b'{"input": "hi", "client_tools": [{"x": Infinity}]}',
    "a number beyond all bounds": b'{"input": "hi", "client_tools": [{"x": 1e999}]}',
    "nested lists": b'{"input": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "nested objects": b'{"client_tools": [' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b'], "input": "hi"}',
    "nested and cut off": b"[" * 10_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_json_that_is_broken_or_hostile(witness: Witness, name: str) -> None:
    witness.refused(witness.send(BROKEN[name]), 422)
    witness.refused(witness.send(BROKEN[name], f"{witness.path}/stream"), 422)


@pytest.mark.parametrize("depth", [100, 200, 300, 500, 700, 800, 900, 950, 1000])
def test_json_nested_as_deep_as_may_be_is_kept_or_refused(witness: Witness, depth: int) -> None:
    value = b'{"a":' * depth + b"1" + b"}" * depth
    reply = witness.send(b'{"metadata": ' + value + b"}", f"/v1/agents/{witness.agent}", "PATCH")
    if reply.status == 200:
        assert b'"metadata":' + value in witness.server.get(f"/v1/agents/{witness.agent}").body
        assert witness.server.get("/v1/agents/?limit=1").status == 200
    else:
        witness.refused(reply, 422)
    assert witness.server.request("PATCH", f"/v1/agents/{witness.agent}", {"metadata": {}}).status == 200


@pytest.mark.parametrize("bad", ["\\u0000", "\\ud800"], ids=["NUL", "surrogate"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/agents/", '{"name": "a%sb"}'),
        ("POST", "/v1/agents/", '{"system": "a%sb"}'),
        ("POST", "/v1/agents/", '{"tags": ["a%sb"]}'),
        ("POST", "/v1/agents/", '{"metadata": {"a%sb": 1}}'),
        ("POST", "/v1/agents/", '{"memory_blocks": [{"label": "human", "value": "a%sb"}]}'),
        ("PATCH", "/v1/agents/{agent}", '{"description": "a%sb"}'),
        ("PATCH", "/v1/agents/{agent}/core-memory/blocks/human", '{"value": "a%sb"}'),
        ("POST", "/v1/blocks/", '{"label": "a%sb", "value": ""}'),
    ],
)
def test_text_that_cannot_be_stored(witness: Witness, method: str, path: str, body: str, bad: str) -> None:
    before = [witness.server.get(each).json for each in ("/v1/agents/count", "/v1/blocks/count")]
    witness.refused(witness.send((body % bad).encode(), path.format(agent=witness.agent), method), 422)
    assert [witness.server.get(each).json for each in ("/v1/agents/count", "/v1/blocks/count")] == before
    block = witness.server.get(f"/v1/agents/{witness.agent}/core-memory/blocks/human").json
    assert block["value"] == "Name: Ada."


@pytest.mark.parametrize(
    "path", ["/v1/agents/?name=a%00b", "/v1/agents/?tags=%00", "/v1/blocks/?label=a%00b", "/v1/agents/a%00b"]
)
def test_nul_in_an_address(witness: Witness, path: str) -> None:
    witness.refused(witness.server.get(path), 422)


@pytest.mark.parametrize("path", ["/v1/agents/?name=%ff%fe", "/v1/agents/?tags=%ed%a0%80", "/v1/blocks/?label=%f0%28"])
def test_an_address_that_is_not_utf_8_finds_nothing(witness: Witness, path: str) -> None:
    assert witness.server.get(path).json == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_a_wrong_content_type_is_told_the_right_one(witness: Witness, kind: str) -> None:
    reply = witness.send(json.dumps({"messages": MESSAGES}).encode(), **{"Content-Type": kind})
    assert "Content-Type: application/json" in witness.refused(reply, 422)


# ---- huge bodies


@pytest.mark.parametrize("tokens", [True, False], ids=["tokens", "steps"])
def test_ten_megabytes_are_stored_and_streamed_back_whole(server: Server, script: Script, tokens: bool) -> None:
    said = "".join(f"{number:07} tea \U0001f375\n" for number in range(TEN_MB // 17))
    assert len(said.encode()) > TEN_MB - 17
    size = 10_000

    def echo(asked: Asked) -> Answer:
        # The model itself was shown as much of it as its window holds.
        return Answer((text(*(said[at : at + size] for at in range(0, len(said), size))),))

    script.otherwise(echo)
    witness = Witness(server, script)
    body = {"messages": [{"role": "user", "content": said}], "stream_tokens": tokens}
    with server.stream(f"{witness.path}/stream", body) as stream:
        frames = stream.read()
    shown = "".join(frame.json["content"] for frame in frames if frame.kind == "assistant_message")
    assert shown == said
    asked, answered = witness.history()[-2:]
    assert (asked["content"], answered["content"]) == (said, said)


def test_a_body_of_ten_megabytes_that_is_wrong_is_refused(witness: Witness) -> None:
    body = json.dumps({"messages": [{"role": "wizard", "content": "x" * TEN_MB}]}).encode()
    witness.refused(witness.send(body), 422)
    witness.refused(witness.send(b"[" * TEN_MB), 422)


def pieces(total: int, chunked: bool) -> Iterator[bytes]:
    """A body of so many bytes, in pieces, each with its length before it where they are chunks."""
    piece = b" " * 1_000_000
    for _ in range(total // len(piece)):
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    if chunked:
        yield b"0\r\n\r\n"


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_hundred_megabytes_are_refused(witness: Witness, chunked: bool) -> None:
    total = 100_000_000
    parts = urlsplit(witness.server.base_url)
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
    head = [f"POST {witness.path} HTTP/1.1".encode(), f"Host: {parts.netloc}".encode(), length]
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as sock:
        sock.sendall(b"\r\n".join([*head, b"Content-Type: application/json", b"", b""]))
        sent = 0
        try:
            for piece in pieces(total, chunked):
                sock.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            assert sent < total, "the server took all of it"
        response = http.client.HTTPResponse(sock)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        said = witness.refused(Reply(response.status, headers, response.read()), 413)
    assert "67108864 bytes" in said
    assert headers["connection"] == "close"


# ---- who asks


@pytest.fixture(scope="module")
def guarded(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a password."""
    folder = tmp_path_factory.mktemp("guarded")
    with Server(folder / "data", {**models.environment, "PERDURE_PASSWORD": PASSWORD}) as running:
        yield running


def sample() -> list[tuple[str, str]]:
    """One operation of each router that is built, one of each that is not, and paths that are not there."""
    found: dict[tuple[str, bool], tuple[str, str]] = {}
    for operation in (*ROUTES, *NOT_BUILT):
        if not operation.is_open:
            found.setdefault((operation.path.split("/")[2], operation.handler is None), operation[:2])
    return [*found.values(), ("GET", "/v1/nothing/here"), ("DELETE", "/v1/agents/"), ("GET", "/latest/agents/")]


WRONG: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "no key": lambda path: (path, {}),
    "a wrong key": lambda path: (path, {"Authorization": "Bearer wrong"}),
    "a wrong scheme": lambda path: (path, {"Authorization": f"Basic {PASSWORD}"}),
    "an empty key": lambda path: (path, {"Authorization": "Bearer "}),
    "part of the key": lambda path: (path, {"Authorization": f"Bearer {PASSWORD[:-1]}"}),
    "the key in the query": lambda path: (
        f"{path}?api_key=correct%20horse&token=correct%20horse&password=correct%20horse", {}
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize(("method", "path"), sample(), ids=lambda value: value)
def test_nobody_gets_in_without_the_key(guarded: Server, method: str, path: str, how: str) -> None:
    target, headers = WRONG[how](path.replace("{agent_id}", example_id("agent")))
    reply = guarded.request(method, target, headers={**JSON, **headers}, body=b"{broken")
    assert reply.status == 401
    if path in {operation.path for operation in ROUTES if operation.like_openai}:
        assert reply.json["error"]["code"] == "invalid_api_key"
    else:
        assert reply.json == {"detail": "Unauthorized"}
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "Traceback" not in guarded.log


def test_with_the_key_everything_is_as_it_is(guarded: Server) -> None:
    key = {"Authorization": f"Bearer {PASSWORD}"}
    assert guarded.get("/v1/agents/", headers=key).json == []
    assert guarded.get("/v1/nothing/here", headers=key).status == 404
    lacking = guarded.get("/v1/templates", headers=key)
    assert lacking.status == 501
    assert "GET /v1/templates" in lacking.json["detail"]
    assert guarded.get("/v1/health/").status == 200
    assert PASSWORD not in guarded.log
