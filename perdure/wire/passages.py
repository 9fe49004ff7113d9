"""Passages as the API says them, and searches for them."""

from collections.abc import Iterable
from datetime import tzinfo
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from perdure.domain.passages import Passage
from perdure.wire.blocks import Tags
from perdure.wire.text import Body, Text
from perdure.wire.times import End, Moment, local, microseconds, precise

Wire = dict[str, Any]

MAX_BATCH: Final = 1_000
"""Passages that one request may add."""
MAX_RESULTS: Final = 100
MatchMode = Literal["any", "all"]


class CreatePassageBody(Body):
    """A passage to be added. `created_at` is when it was written, now by default; without an offset it is UTC."""

    text: Text
    tags: Tags | None = None
    metadata: dict[str, Any] | None = None
    created_at: Moment | None = None

    def at(self) -> int | None:
        """When it was written."""
        return None if self.created_at is None else microseconds(self.created_at)


class CreatePassagesBody(Body):
    """Several passages to be added, all or none."""

    passages: Annotated[list[CreatePassageBody], Field(max_length=MAX_BATCH)]


class UpdatePassageBody(Body):
    """Changes of a passage; null leaves a field as it is."""

    text: Text | None = None
    tags: Tags | None = None
    metadata: dict[str, Any] | None = None
    created_at: Moment | None = None

    def changes(self) -> dict[str, Any]:
        """The fields of `Passage` to replace."""
        sent = self.model_dump(exclude_none=True)
        if self.tags is not None:
            sent["tags"] = tuple(sorted(set(self.tags)))
        if self.created_at is not None:
            sent["created_at"] = microseconds(self.created_at)
        return sent


class SearchPassagesBody(Body):
    """What is looked for in archives; without a query the newest passages. Dates are both included."""

    query: Text | None = None
    agent_id: str | None = None
    archive_id: str | None = None
    tags: Tags | None = None
    tag_match_mode: MatchMode = "any"
    limit: int = Field(default=50, ge=1, le=MAX_RESULTS)
    start_date: Moment | None = None
    end_date: End | None = None


class SearchMessagesBody(Body):
    """What is looked for in what was said. Every mode searches by words: messages have no vectors."""

    query: Text | None = None
    search_mode: Literal["vector", "fts", "hybrid"] = "hybrid"
    agent_id: str | None = None
    conversation_id: str | None = None
    roles: list[Literal["user", "assistant", "tool", "system", "approval", "summary"]] | None = None
    limit: int = Field(default=50, ge=1, le=MAX_RESULTS)
    start_date: Moment | None = None
    end_date: End | None = None


def passage(shown: Passage) -> Wire:
    """A passage for both SDK generations."""
    return {
        "id": shown.id,
        "archive_id": shown.archive_id,
        "text": shown.text,
        "tags": list(shown.tags),
        "metadata": shown.metadata,
        "embedding": None,
        "embedding_config": None,
        "embedding_model": shown.embedding_model,
        "source_id": None,
        "file_id": None,
        "file_name": None,
        "is_deleted": False,
        "created_at": precise(shown.created_at),
        "updated_at": precise(shown.updated_at),
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def found_passages(found: Iterable[tuple[Passage, float]], zone: tzinfo) -> Wire:
    """What an agent's own search finds, with times as the agent has them."""
    results = [
        {"id": each.id, "timestamp": local(each.created_at, zone), "content": each.text, "tags": list(each.tags)}
        for each, _ in found
    ]
    return {"results": results, "count": len(results)}


def scored_passages(found: Iterable[tuple[Passage, float]]) -> list[Wire]:
    """What a search over archives finds."""
    return [{"passage": passage(each), "score": score, "metadata": {}} for each, score in found]
