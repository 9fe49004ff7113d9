"""Images in messages: sent as they are, or by their web address, which is asked once, before anything is stored."""

import base64
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from perdure.providers.images import UNSEEN
from tests.contract.told import fresh_agent, said, user
from tests.contract.turns import agent_of, frames, said_in
from tests.rig.answers import call
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import PY0, PY1, Client, SdkError
from tests.rig.server import Server

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
FILES = {
    "/a.png": PNG,
    "/a.jpg": b"\xff\xd8\xff\xe0 and so on",
    "/a.gif": b"GIF89a and so on",
    "/a.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "/page.png": b"<html>not an image</html>",
    "/huge.png": PNG + bytes(3_000_000),
}
KINDS = {"/a.png": "image/png", "/a.jpg": "image/jpeg", "/a.gif": "image/gif", "/a.webp": "image/webp"}


class Pictures:
    """A web server with a few files, which says of all of them that they are plain text."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        pictures = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pictures.asked.append(self.path)
                body = FILES.get(self.path)
                self.send_response(302 if self.path == "/moved" else 404 if body is None else 200)
                if self.path == "/moved":
                    self.send_header("Location", "/a.png")
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="pictures", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    made = Pictures()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def open_server(models: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose operator allows images of this machine, and requests of two megabytes."""
    environment = {**models.environment, "PERDURE_PRIVATE_IMAGES": "1", "PERDURE_MAX_BODY": "2MiB"}
    with Server(tmp_path_factory.mktemp("images") / "data", environment) as server:
        yield server


def showing(*urls: str, text: str = "What is this?") -> list[dict[str, Any]]:
    images = [{"type": "image", "source": {"type": "url", "url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]


def seen(script: Script, request: int = 0) -> list[str]:
    """The addresses of the images that the model was shown in the last message of a request."""
    content = script.asked[request].messages[-1]["content"]
    return [part["image_url"]["url"] for part in content if part["type"] == "image_url"]


def inline(path: str) -> str:
    return f"data:{KINDS[path]};base64,{base64.b64encode(FILES[path]).decode()}"


@pytest.mark.parametrize("name", [PY0, PY1])
@pytest.mark.parametrize("path", KINDS)
def test_an_image_by_its_address(
    sdks: Any, open_server: Server, script: Script, pictures: Pictures, name: str, path: str
) -> None:
    client: Client = sdks(name).at(open_server.base_url)
    script.say("An image.").say("Still the same.")
    agent = fresh_agent(client, script)
    assert said(client.all("stream", agent_id=agent, messages=showing(pictures.url + path))) == "An image."
    assert seen(script) == [inline(path)]
    asked = next(item for item in client.all("list_messages", agent_id=agent) if item.type == "user_message")
    assert asked["content"][1]["source"]["media_type"] == KINDS[path]
    client.all("stream", agent_id=agent, messages=user("And now?"))
    assert pictures.asked == [path], "history holds the image itself"


def test_every_way_to_send_a_message(open_server: Server, script: Script, pictures: Pictures) -> None:
    agent = agent_of(open_server, script)
    by_input = {"input": showing(f"{pictures.url}/moved")[0]["content"]}
    for path, body in (
        (f"/v1/agents/{agent}/messages", {"messages": showing(f"{pictures.url}/a.png")}),
        (f"/v1/agents/{agent}/messages", by_input),
        (f"/v1/agents/{agent}/messages/async", by_input),
        (f"/v1/conversations/{agent}/messages", {**by_input, "streaming": False}),
    ):
        script.say("An image.")
        assert open_server.post(path, body).status == 200
    script.wait_asked(4)
    assert [seen(script, at) for at in range(4)] == [[inline("/a.png")]] * 4


def test_images_of_openais_clients(open_server: Server, script: Script, pictures: Pictures) -> None:
    script.say("An image.")
    agent = agent_of(open_server, script)
    image = {"type": "image_url", "image_url": {"url": f"{pictures.url}/a.png", "detail": "low"}}
    body = {"model": agent, "messages": [{"role": "user", "content": [image]}]}
    assert open_server.post("/v1/chat/completions", body).status == 200
    shown = script.asked[0].messages[-1]["content"][0]["image_url"]
    assert shown == {"url": inline("/a.png"), "detail": "low"}


def test_an_address_given_twice_is_asked_once(open_server: Server, script: Script, pictures: Pictures) -> None:
    script.say("Two.")
    agent = agent_of(open_server, script)
    url = f"{pictures.url}/a.png"
    open_server.post(f"/v1/agents/{agent}/messages", {"messages": showing(url, f"{pictures.url}/a.gif", url)})
    assert seen(script) == [inline("/a.png"), inline("/a.gif"), inline("/a.png")]
    assert pictures.asked == ["/a.png", "/a.gif"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/nothing.png", "status 404"),
        ("/page.png", "no image that models can see"),
        ("/huge.png", "larger than 2097152 bytes"),
    ],
)
def test_what_is_no_image_is_refused(
    py1: Client, open_server: Server, script: Script, pictures: Pictures, path: str, why: str
) -> None:
    client = py1.sdk.at(open_server.base_url)
    agent = fresh_agent(client, script)
    for op in ("create", "stream"):
        with pytest.raises(SdkError) as raised:
            client.all(op, agent_id=agent, messages=showing(pictures.url + path))
        assert (raised.value.status, raised.value.cls) == (400, "BadRequestError")
        assert why in raised.value.body["detail"]
        assert path in raised.value.body["detail"]
    assert script.asked == []
    assert open_server.get(f"/v1/runs/?agent_id={agent}").json == []
    assert len(pictures.asked) == 2, "the SDK does not send it again"


@pytest.mark.parametrize(
    "url", ["ftp://example.com/a.png", "a.png", "http://user@example.com/a.png", "data:text/plain,x"]
)
def test_what_is_no_address_is_refused(server: Server, script: Script, url: str) -> None:
    agent = agent_of(server, script)
    reply = server.post(f"/v1/agents/{agent}/messages", {"messages": showing(url)})
    assert reply.status == (422 if url.startswith("data:") else 400)


def test_images_are_not_fetched_from_inside_the_network(server: Server, script: Script, pictures: Pictures) -> None:
    agent = agent_of(server, script)
    port = pictures.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"):
        reply = server.post(f"/v1/agents/{agent}/messages", {"messages": showing(f"http://{host}:{port}/a.png")})
        assert reply.status == 400
        assert "not a public address" in reply.json["detail"]
    assert pictures.asked == []


def test_images_sent_as_they_are(server: Server, script: Script) -> None:
    script.say("An image.")
    agent = agent_of(server, script)
    data = base64.b64encode(PNG).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data, "detail": "low"}
    content = [{"type": "image", "source": source}, *showing(inline("/a.gif"))[0]["content"]]
    assert server.post(f"/v1/agents/{agent}/messages", {"input": content}).status == 200
    assert seen(script) == [inline("/a.png"), inline("/a.gif")]
    assert server.get(f"/v1/agents/{agent}/messages").json[1]["content"][0]["source"] == source


def test_images_that_the_callers_own_tools_return(py1: Client, server: Server, script: Script) -> None:
    script.answer(call("shoot", {}, id="c1")).say("I see it.")
    agent = agent_of(server, script)
    tools = [{"name": "shoot", "description": "Takes a picture.", "parameters": {"type": "object", "properties": {}}}]
    py1.all("stream", agent_id=agent, messages=user("Take one."), client_tools=tools)
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode(), "detail": None}
    content = [{"type": "text", "text": "Taken."}, {"type": "image", "source": source}]
    returned = {"type": "tool", "tool_call_id": "c1", "status": "success", "tool_return": content}
    answer = [{"type": "approval", "approvals": [returned]}]
    items = py1.all("stream", agent_id=agent, messages=answer, client_tools=tools)
    assert said(items) == "I see it."
    *_, result, shown = script.asked[1].messages
    assert (result["role"], result["content"], shown["role"]) == ("tool", "Taken.", "user")
    assert seen(script, 1) == [inline("/a.png")]
    [told] = [item for item in py1.all("list_messages", agent_id=agent) if item.type == "tool_return_message"]
    assert told["tool_return"] == "Taken."
    text, image = told["tool_returns"][0]["tool_return"]
    assert (text["text"], image["source"]["data"]) == ("Taken.", source["data"])


def test_an_image_that_a_model_will_not_have_does_not_cost_the_conversation(server: Server, script: Script) -> None:
    """Whoever sent it is told; from then on it stays out where it is refused, and comes back where it is not."""
    agent = agent_of(server, script)
    script.refuse(400, "messages.1: image exceeds 5 MB maximum")
    [refused] = [
        frame.json
        for frame in frames(server, agent, messages=showing(inline("/a.png")))
        if frame.kind == "error_message"
    ]
    assert "image exceeds 5 MB" in refused["detail"]
    script.refuse(500, "image input is not supported by this model").say("No picture.").say("A picture.")
    assert said_in(frames(server, agent, messages=user("And now?"))) == "No picture."
    assert said_in(frames(server, agent, messages=user("Look again."))) == "A picture."
    shown = ["data:image" in str(asked.messages) for asked in script.asked]
    assert shown == [True, True, False, True]
    assert UNSEEN in str(script.asked[2].messages)
