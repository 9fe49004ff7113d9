"""An MCP server whose one tool leaves a mark: in a process of its own, which outlives the server that calls it."""

import asyncio
import atexit
import functools
import os
import sys
import tempfile
from pathlib import Path

from tests.kill.points import EFFECTS, leave_mark
from tests.rig.process import Process

NAME = "stamps"


class Stamps:
    """It runs: where it is reached, and the file in which its marks are."""

    def __init__(self, folder: Path) -> None:
        self.effects = folder / "stamps"
        self.effects.touch()
        environment = {**os.environ, EFFECTS: str(self.effects)}
        self._process = Process([sys.executable, "-m", "tests.kill.stamps"], folder / "log", environment)
        self.url = f"http://127.0.0.1:{self._process.line_with('port ').split()[1]}/mcp"

    def end(self) -> None:
        self._process.end()


@functools.cache
def stamps() -> Stamps:
    """That of this test process."""
    folder = tempfile.TemporaryDirectory()
    started = Stamps(Path(folder.name))
    atexit.register(folder.cleanup)
    atexit.register(started.end)
    return started


async def main() -> None:
    import uvicorn
    from mcp.server.mcpserver import MCPServer

    server = MCPServer(NAME)

    @server.tool()
    def stamp(number: str) -> str:
        """Leaves a mark elsewhere."""
        leave_mark(f"stamp {number}")
        return f"stamped {number}"

    http = uvicorn.Server(uvicorn.Config(server.streamable_http_app(), port=0, log_level="error"))
    serving = asyncio.create_task(http.serve())
    while not http.started:  # noqa: ASYNC110 uvicorn has no event
        await asyncio.sleep(0.01)
    print(f"port {http.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
