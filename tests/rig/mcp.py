"""The MCP servers of `mcp_peer`, started in a process of their own."""

import json
import sys
from pathlib import Path
from typing import Any

from tests.rig import http
from tests.rig.process import Process


class McpPeer:
    """They live until `end`. `tricky`, `older` and `rough` are their base URLs."""

    def __init__(self, log_file: Path) -> None:
        self._process = Process([sys.executable, "-m", "tests.rig.mcp_peer"], log_file)
        ports = json.loads(self._process.line_with("ports ").removeprefix("ports "))
        self.tricky, self.older, self.rough = (
            f"http://127.0.0.1:{ports[name]}" for name in ("tricky", "older", "rough")
        )

    @property
    def url(self) -> str:
        """Where the one of streamable HTTP is."""
        return f"{self.tricky}/mcp"

    def state(self, **changes: Any) -> dict[str, Any]:
        """Changes what they do, and tells what they counted."""
        return http.request("POST", f"{self.tricky}/state", changes).json

    def end(self) -> None:
        self._process.end()
