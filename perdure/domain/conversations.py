"""A conversation is one thread of an agent's messages. Every agent has a default one."""

from typing import Any

import msgspec


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One thread. The default one is addressed through its agent and never shown under its own id."""

    id: str
    agent_id: str
    created_at: int
    updated_at: int
    is_default: bool = False
    summary: str | None = None
    description: str | None = None
    model: str | None = None
    model_settings: dict[str, Any] | None = None
    context_window_limit: int | None = None
    archived_at: int | None = None
    last_message_at: int | None = None
    hidden: bool = False
