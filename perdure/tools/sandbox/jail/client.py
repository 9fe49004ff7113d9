"""The way from a tool to its server, and to nothing else: connections that the server hands in when asked."""

from __future__ import annotations

import importlib.util
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHANNEL = 4
_PACKAGE = "letta_client"
ADDRESS = ("localhost", 8283)
"""What the server is called inside. No network is asked."""


def install() -> Any:
    """A client of the server, made when it is first used; None where `letta-client` is not installed.

    Whoever makes one of their own finds the server and the key in the environment.
    """
    # The key is for this server alone, whatever address the agent's secrets name.
    os.environ["LETTA_BASE_URL"] = f"http://{ADDRESS[0]}:{ADDRESS[1]}"
    channel = socket.socket(fileno=os.dup(_CHANNEL))
    connect = socket.create_connection

    def create_connection(address: tuple[str, int], *arguments: Any, **named: Any) -> socket.socket:
        if address[0] not in ("localhost", "127.0.0.1") or address[1] != ADDRESS[1]:
            return connect(address, *arguments, **named)
        channel.send(b"c")
        _, (descriptor,), _, _ = socket.recv_fds(channel, 1, 1)
        return _Handed(fileno=descriptor)

    socket.create_connection = create_connection
    return _Client() if importlib.util.find_spec(_PACKAGE) else None


class _Handed(socket.socket):
    """A connection that takes the options of one over TCP, which it has no use for."""

    def setsockopt(self, level: int, *arguments: Any) -> None:
        if level == socket.SOL_SOCKET:
            super().setsockopt(level, *arguments)


class _Client:
    """Stands in for a client until it is asked for something: loading one takes a second."""

    _made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            package = __import__(_PACKAGE)
            try:
                self._made = package.Letta(
                    base_url=os.environ["LETTA_BASE_URL"], api_key=os.environ.get("LETTA_API_KEY")
                )
            except TypeError:  # 0.1.x
                self._made = package.Letta(base_url=os.environ["LETTA_BASE_URL"], token=os.environ.get("LETTA_API_KEY"))
        return getattr(self._made, name)
