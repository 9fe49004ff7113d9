"""The same from a second mock that no one here wrote: refusals and cuts after any event in each dialect, an image."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.test_every_dialect import DIALECTS, PIXEL, STATUSES, error_of, responses_at, said, turn
from tests.rig.aimock import MODEL, AiMock
from tests.rig.http import Frame
from tests.rig.server import Server

HANDLES = {
    "openai_chat": f"openai/{MODEL}",
    "openai_responses": f"responses/{MODEL}",
    "anthropic": "anthropic/claude-3-5-sonnet-20241022",
    "gemini": "google_ai/gemini-2.5-pro",
}
TEXT = "one two three four five six"
MOST_EVENTS = 20
FIXTURES: list[dict[str, Any]] = [
    *(
        {
            "match": {"userMessage": f"refuse {status}"},
            "response": {"error": {"message": "no", "type": "refused"}, "status": status},
        }
        for status in STATUSES
    ),
    *(
        {
            "match": {"userMessage": f"cut after {number:02}"},
            "response": {"content": TEXT},
            "chunkSize": 5,
            "latency": 10,
            "truncateAfterChunks": number,
        }
        for number in range(1, MOST_EVENTS)
    ),
    {"match": {"userMessage": "say it"}, "response": {"content": TEXT}, "chunkSize": 5},
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AiMock]:
    with AiMock(tmp_path_factory.mktemp("aimock"), FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def aimock_server(aimock: AiMock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    environment = {
        **aimock.environment, **responses_at(f"{aimock.url}/v1"),
        "ANTHROPIC_API_KEY": "none", "ANTHROPIC_BASE_URL": aimock.url,
        "GEMINI_API_KEY": "none", "GEMINI_BASE_URL": aimock.url,
    }  # fmt: skip
    with Server(tmp_path_factory.mktemp("aimocks") / "data", environment) as server:
        yield server


def ask(server: Server, dialect: str, words: Any) -> tuple[str, list[Frame]]:
    """A turn of a new agent: what others were asked before must not reach the model, which answers by the words."""
    agent = server.new_agent(model=HANDLES[dialect])["id"]
    return agent, turn(server, agent, words)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_refusal_has_its_name(aimock_server: Server, dialect: str) -> None:
    found = {status: error_of(ask(aimock_server, dialect, f"refuse {status}")[1]) for status in STATUSES}
    assert found == STATUSES


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_disconnect_after_any_event_keeps_what_was_shown(aimock_server: Server, dialect: str) -> None:
    shown: list[str] = []
    for number in range(1, MOST_EVENTS):
        agent, frames = ask(aimock_server, dialect, f"cut after {number:02}")
        shown.append(said(frames))
        if error_of(frames) is None:
            break
        history = aimock_server.get(f"/v1/agents/{agent}/messages?limit=1").json
        assert not shown[-1] or history[-1]["content"] == shown[-1]
    assert shown[-1] == TEXT, "it was never let finish"
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    assert len(set(shown)) > 3


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_image_is_taken(aimock: AiMock, aimock_server: Server, dialect: str) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    _, frames = ask(aimock_server, dialect, [{"type": "text", "text": "say it"}, image])
    assert said(frames) == TEXT
    if dialect == "openai_chat":  # of requests in the other dialects its journal keeps no images
        assert PIXEL in str(aimock.journal()[-1])
