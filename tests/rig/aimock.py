"""aimock, a model server no one here wrote, as a second opinion on the protocols perdure speaks to models."""

import json
import re
from pathlib import Path
from typing import Any

from tests.rig import http
from tests.rig.install import npm_with, program
from tests.rig.process import Process

MODEL = "gpt-4o"
PACKAGE = "@copilotkit/aimock"
VERSION = "1.43.0"


class AiMock:
    """aimock in its own process, answering by `fixtures` (its own format). Use it as a context manager."""

    def __init__(self, folder: Path, fixtures: list[dict[str, Any]]) -> None:
        script = npm_with(f"aimock-{VERSION}", f"{PACKAGE}@{VERSION}") / "node_modules" / PACKAGE / "dist" / "cli.js"
        file = folder / "fixtures.json"
        file.write_text(json.dumps({"fixtures": fixtures}))
        command = [program("node"), str(script), "--host", "127.0.0.1", "--port", "0", "--fixtures", str(file)]
        self._process = Process([*command, "--validate-on-load"], folder / "aimock.log")
        try:
            found = re.search(r"http://\S+", self._process.line_with("listening"))
            assert found is not None
            self.url = found[0]
        except BaseException:
            self._process.end()
            raise

    def __enter__(self) -> "AiMock":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end()

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs in its environment to use these models."""
        return {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{self.url}/v1"}

    def journal(self) -> list[dict[str, Any]]:
        """Every request it received, oldest first."""
        reply = http.request("GET", f"{self.url}/__aimock/journal")
        assert reply.status == 200, reply.text
        return reply.json
