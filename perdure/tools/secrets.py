"""What a tool may know of an agent's secrets: their values, read when it runs."""

from collections.abc import Awaitable, Callable, Mapping

from perdure.store import secrets as secret_store
from perdure.store.database import Database
from perdure.store.secrets import Vault

Secrets = Callable[[str], Awaitable[Mapping[str, str]]]
"""Gives the secrets of the agent with this id, by their keys. Raises Unavailable where they cannot be opened."""


def secrets_in(db: Database, vault: Vault) -> Secrets:
    """The secrets of agents as they are stored now."""

    async def read(agent_id: str) -> Mapping[str, str]:
        found = await db.read(lambda conn: secret_store.of_agent(conn, agent_id, vault))
        return {secret.key: secret.value for secret in found}

    return read
