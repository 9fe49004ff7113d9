"""The tools that look at the web: a page read, a search with a stand-in for Exa, and what is refused."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.contract.turns import agent_of, frames
from tests.rig.answers import call
from tests.rig.model import ModelServer, Script
from tests.rig.server import Server

PAGE = b"<title>Tea</title><nav>Menu</nav><h1>Tea</h1><p>Steep it <a href='/long'>long</a>.<script>no()</script>"
HITS = [
    {
        "id": "1", "title": "Tea", "url": "https://tea.example/", "publishedDate": "2026-01-02", "author": "Ada",
        "text": "All about tea.", "highlights": ["about tea"], "score": 0.9,
    },
    {"id": "2", "title": None, "url": "https://two.example/"},
]  # fmt: skip


class Web:
    """A web server with one page, which is also Exa as its public reference has it. `asked` are the searches."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/moved":
                    self.answer(302, "text/plain", b"", Location="/page")
                else:
                    self.answer(200, "text/html", PAGE)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                web.asked.append((self.headers["x-api-key"], body))
                if self.path != "/search" or self.headers["x-api-key"] == "wrong":
                    self.answer(401, "application/json", b'{"error": "Invalid API key wrong"}')
                else:
                    self.answer(200, "application/json", json.dumps({"requestId": "r", "results": HITS}).encode())

            def answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    made = Web()
    yield made
    made.stop()


def returned(server: Server, script: Script, tool: str, arguments: dict[str, Any], **fields: Any) -> tuple[str, str]:
    """Status and text of what an agent gets that calls the tool."""
    script.answer(call(tool, arguments)).say("Done.")
    found = frames(server, agent_of(server, script, tools=[tool], include_base_tools=False, **fields))
    (part,) = [frame.json for frame in found if frame.kind == "tool_return_message"]
    return part["status"], part["tool_return"]


@pytest.mark.stores("sqlite")
def test_pages_are_read_and_the_web_is_searched(
    new_server: Callable[..., Server], models: ModelServer, script: Script, web: Web
) -> None:
    settings = {"PERDURE_PRIVATE_PAGES": "1", "PERDURE_EXA_URL": web.url, "EXA_API_KEY": "the server's"}
    server = new_server(models.environment | settings).start()
    status, text = returned(server, script, "fetch_webpage", {"url": f"{web.url}/moved"})
    assert status == "success"
    assert text == f"URL: {web.url}/page\nTitle: Tea\n\n# Tea\n\nSteep it [long]({web.url}/long)."

    wanted = {"query": "tea?", "num_results": 500, "include_text": True, "include_domains": ["tea.example"]}
    status, text = returned(server, script, "web_search", wanted)
    assert status == "success"
    assert json.loads(text) == {
        "query": "tea?",
        "results": [
            {
                "title": "Tea", "url": "https://tea.example/", "published_date": "2026-01-02", "author": "Ada",
                "highlights": ["about tea"], "text": "All about tea.",
            },
            {"title": None, "url": "https://two.example/", "published_date": None, "author": None},
        ],
    }  # fmt: skip
    contents = {"highlights": True, "text": {"maxCharacters": 400}}
    asked = {
        "query": "tea?",
        "type": "auto",
        "numResults": 100,
        "contents": contents,
        "includeDomains": ["tea.example"],
    }
    assert web.asked == [("the server's", asked)]

    status, text = returned(server, script, "web_search", {"query": "tea"}, secrets={"EXA_API_KEY": "wrong"})
    assert (status, web.asked[-1][0]) == ("error", "wrong")
    assert "The search failed." in text
    assert "wrong" not in text


def test_what_is_missing_or_inside_is_refused_with_what_to_do(server: Server, script: Script, web: Web) -> None:
    listed = {tool["name"]: tool["tool_type"] for tool in server.get("/v1/tools/?limit=100").json}
    assert listed["web_search"] == listed["fetch_webpage"] == "letta_builtin"
    status, text = returned(server, script, "web_search", {"query": "tea"})
    assert status == "error"
    assert "EXA_API_KEY: it is a secret of this agent" in text
    status, text = returned(server, script, "fetch_webpage", {"url": f"{web.url}/page"})
    assert status == "error"
    assert "PERDURE_PRIVATE_PAGES=1" in text
