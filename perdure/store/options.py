"""How a database is to be used, as the operator decided."""

import msgspec


class PostgresOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a PostgreSQL database. `listen_url` leads to it past a `pooler`, which keeps no one listening.

    `seconds` is how long a statement may take, and how long a unit may wait for one of so many `connections`.
    """

    url: str
    listen_url: str | None = None
    pooler: bool = False
    connections: int = 10
    seconds: float = 30.0
