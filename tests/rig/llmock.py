"""llmock, a second model server no one here wrote: it breaks its streams on demand, in four protocols.

It speaks OpenAI's chat and Responses under `/v1`, Anthropic's messages under `/anthropic/v1` and Gemini under
`/gemini/v1beta`, and echoes what the user said unless it is told otherwise.
"""

import re
from pathlib import Path
from typing import Any

from tests.rig import http
from tests.rig.install import python_with
from tests.rig.process import Process

MODEL = "gpt-4o"
VERSION = "0.2.2"


class LlMock:
    """llmock in its own process. Use it as a context manager.

    `behave` takes its own words for behaviours, each meant for the next request that matches:
    `{"type": "reply", "text": …}`, `{"type": "reply", "tool_calls": [{"name": …, "arguments": {…}}]}`,
    `{"type": "fail", "status": 429}`, `{"type": "tool_fault", "kind": "malformed_arguments"}` and
    `{"type": "stream_fault", "kind": "disconnect" | "truncate" | "stall" | "malformed", "after_chunks": 3}`.
    """

    def __init__(self, folder: Path) -> None:
        python = python_with("llmock", f"llmock=={VERSION}")
        options = ["--host", "127.0.0.1", "--port", "0", "--response-style", "echo", "--tool-mode", "off"]
        self._process = Process([str(python.with_name("llmock")), "serve", *options], folder / "llmock.log")
        try:
            found = re.search(r"http://\S+", self._process.line_with("running on"))
            assert found is not None
            self.url = found[0]
        except BaseException:
            self._process.end()
            raise

    def __enter__(self) -> "LlMock":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to use these models."""
        return {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{self.url}/v1"}

    def behave(self, *behaviours: dict[str, Any]) -> None:
        """Queue what the next requests get."""
        reply = http.request("POST", f"{self.url}/_llmock/scenario", {"behaviors": list(behaviours)})
        assert reply.status == 201, reply.text

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last `reset`, oldest first, with its `body` and the `fault` it got."""
        return http.request("GET", f"{self.url}/_llmock/requests").json["requests"]

    def reset(self) -> None:
        """Forget what was asked and what is queued."""
        assert http.request("POST", f"{self.url}/_llmock/reset").status == 200
