"""Messages that a search found, in the form of either SDK generation."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from perdure.domain.messages import Message
from perdure.wire.generations import Generation
from perdure.wire.messages import public
from perdure.wire.overview import stored_message
from perdure.wire.times import precise

Wire = dict[str, Any]

_SAID: Final = ("user_message", "assistant_message", "tool_return_message")
"""The public messages whose text is searched, of those that one stored message may be."""


def found_messages(found: Iterable[tuple[Message, float]], conversations: Mapping[int, str]) -> list[Wire]:
    """As 1.x reads them: one item for each message, told apart by its type; `conversations` go by their seqs."""
    return [
        {
            "message_type": said["message_type"], "message_id": message.id, "agent_id": message.agent_id,
            "conversation_id": conversations.get(message.seq), "created_at": precise(message.created_at),
            "content": _text(said), "score": score,
        }
        for message, score in found
        for said in _said(message)[:1]
    ]  # fmt: skip


def ranked_messages(found: Iterable[tuple[Message, float]]) -> list[Wire]:
    """As 0.1.x reads them: whole messages with their ranks."""
    return [
        {
            "embedded_text": "\n".join(map(_text, _said(message))), "message": stored_message(message),
            "fts_rank": rank if score else None, "vector_rank": None, "rrf_score": score,
        }
        for rank, (message, score) in enumerate(found, 1)
    ]  # fmt: skip


def _said(message: Message) -> list[Wire]:
    return [each for each in public(message, Generation.V1) if each["message_type"] in _SAID]


def _text(said: Wire) -> str:
    content = said.get("content", said.get("tool_return"))
    if isinstance(content, list):
        return "\n".join(str(item.get("text", "")) for item in content)  # pyright: ignore[reportUnknownVariableType]
    return str(content)
