"""How one server is reached on behalf of one agent."""

import msgspec

from perdure.domain.mcp_servers import ServerType


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` are as they are sent, and like `arguments` and `variables` of a command filled from an agent's secrets.

    Two that are equal lead to the same place with the same rights, so that a connection can serve both. `server_id` and
    `version` say of which server, as it was configured when.
    """

    server_id: str
    version: int
    name: str
    server_type: ServerType
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    command: str = ""
    arguments: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Reach({self.name!r})"
