"""How callers ask for a compaction, and what they are told of it."""

from typing import Any

from perdure.domain.compaction import CompactionRequest
from perdure.domain.requests import TurnRequest
from perdure.wire.model_settings import CompactionBody
from perdure.wire.text import Body, Text

RUN_TYPE = "compact"


class CompactBody(Body):
    """Settings for this once, laid over the agent's own."""

    compaction_settings: CompactionBody | None = None


class CompactConversationBody(CompactBody):
    """The same for a conversation, which may be some agent's default one."""

    agent_id: Text | None = None


def compaction_request(
    body: CompactBody | None, agent_id: str, *, max_messages: int | None = None, project: str | None
) -> TurnRequest:
    """The domain's reading of a request to compact."""
    settings = body.compaction_settings.sent() if body is not None and body.compaction_settings is not None else {}
    return TurnRequest(
        agent_id=agent_id,
        input=(),
        compaction=CompactionRequest(settings=settings, max_messages=max_messages),
        run_type=RUN_TYPE,
        project=project,
    )


def compaction_response(summary: str, before: int, after: int) -> dict[str, Any]:
    """What a compaction came to."""
    return {"summary": summary, "num_messages_before": before, "num_messages_after": after}
