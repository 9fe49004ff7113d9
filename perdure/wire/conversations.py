"""Conversations as callers make, change and see them."""

from datetime import datetime
from typing import Any, Final

from pydantic import Field

from perdure.domain.conversations import DEFAULT_CONVERSATION, Conversation, ConversationDetails
from perdure.domain.ids import now
from perdure.wire.model_settings import ModelSettingsBody, Tokens
from perdure.wire.models import settings_type
from perdure.wire.requests import SendMessageBody
from perdure.wire.text import Body, Text
from perdure.wire.times import microseconds, precise

MAX_LABELS: Final = 1000
MAX_OTID: Final = 1000

Wire = dict[str, Any]


class ConversationBody(Body):
    """What both bodies share."""

    summary: Text | None = None
    description: Text | None = None
    model: Text | None = None
    model_settings: ModelSettingsBody | None = None
    context_window_limit: Tokens | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of `Conversation` that were sent; `model` is still a handle."""
        sent = {name: getattr(self, name) for name in ConversationBody.model_fields if name in self.model_fields_set}
        if self.model_settings is not None:
            sent["model_settings"] = self.model_settings.sent()
        return sent


class CreateConversationBody(ConversationBody):
    """A conversation to be made. `isolated_block_labels` are blocks of the agent that it shall have for itself."""

    hidden: bool | None = None
    isolated_block_labels: list[Text] | None = Field(default=None, max_length=MAX_LABELS)

    def fields(self) -> dict[str, Any]:
        return {**super().fields(), "hidden": bool(self.hidden)}


class UpdateConversationBody(ConversationBody):
    """Changes of a conversation. What is left out stays; null clears, and what was overridden is the agent's again."""

    archived: bool | None = None
    last_message_at: datetime | None = None

    def fields(self) -> dict[str, Any]:
        fields = super().fields()
        if self.archived is not None:
            fields["archived_at"] = now() if self.archived else None
        if "last_message_at" in self.model_fields_set:
            said = self.last_message_at
            fields["last_message_at"] = None if said is None else microseconds(said)
        return fields


class ConversationMessageBody(SendMessageBody):
    """Messages for a conversation, answered by a stream unless that is turned off."""

    agent_id: Text | None = None
    streaming: bool = True


class RecompileBody(Body):
    """Whose conversation to recompile. What older servers were told here about compaction is ignored."""

    agent_id: Text | None = None


class FollowConversationBody(Body):
    """Which run of a conversation to follow, and from where. How to poll is ignored, since nothing is polled."""

    agent_id: Text | None = None
    run_id: Text | None = None
    otid: Text | None = Field(default=None, max_length=MAX_OTID)
    starting_after: int = Field(default=0, ge=0)
    include_pings: bool | None = None


def conversation(details: ConversationDetails) -> Wire:
    """A conversation with its relations."""
    shown = details.conversation
    return {
        "id": DEFAULT_CONVERSATION if shown.is_default else shown.id,
        "agent_id": shown.agent_id,
        "summary": shown.summary,
        "description": shown.description,
        "model": None if shown.model is None else shown.model.handle,
        "model_settings": _model_settings(shown),
        "context_window_limit": shown.context_window_limit,
        "archived": shown.archived_at is not None,
        "archived_at": precise(shown.archived_at),
        "last_message_at": precise(shown.last_message_at),
        "hidden": shown.hidden,
        "in_context_message_ids": list(details.message_ids),
        "isolated_block_ids": list(details.isolated_block_ids),
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def _model_settings(shown: Conversation) -> Wire | None:
    """The settings as they were sent; SDKs choose the class for them by the kind of provider."""
    if shown.model_settings is None:
        return None
    kind = "openai" if shown.model is None else settings_type(shown.model)
    return {"provider_type": kind, **shown.model_settings}
