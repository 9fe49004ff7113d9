"""A conversation is one thread of an agent's messages. Every agent has a default one."""

from typing import Any, Final

import msgspec

from perdure.domain.agents import Agent, window_with
from perdure.domain.models import Model

DEFAULT_CONVERSATION: Final = "default"
"""What an agent's default conversation is called outside, where its own id is never shown."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One thread. The default one is addressed through its agent and never shown under its own id.

    `model`, `model_settings` and `context_window_limit` (tokens) are what it overrides of its agent; `model_settings`
    are as they were sent, `settings` are the fields of `ModelSettings` that they name.
    """

    id: str
    agent_id: str
    created_at: int
    updated_at: int
    is_default: bool = False
    summary: str | None = None
    description: str | None = None
    model: Model | None = None
    model_settings: dict[str, Any] | None = None
    settings: dict[str, Any] = {}
    context_window_limit: int | None = None
    archived_at: int | None = None
    last_message_at: int | None = None
    hidden: bool = False


class ConversationDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with its relations, as the API shows it."""

    conversation: Conversation
    message_ids: tuple[str, ...] = ()
    isolated_block_ids: tuple[str, ...] = ()


def agent_in(agent: Agent, conversation: Conversation) -> Agent:
    """The agent as it works in one of its conversations: what that overrides wins."""
    model = conversation.model or agent.model
    sent = conversation.settings
    if "extra" in sent:
        sent = {**sent, "extra": {**agent.settings.extra, **sent["extra"]}}
    return msgspec.structs.replace(
        agent,
        model=model,
        settings=msgspec.structs.replace(agent.settings, **sent),
        context_window=conversation.context_window_limit or window_with(agent, model),
    )
