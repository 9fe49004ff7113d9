"""The tools with which an agent puts something into its long-term memory, and finds it again."""

from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection

from perdure.domain.errors import Invalid
from perdure.memory import passages
from perdure.memory.passages import DEFAULT_FOUND, Embed, Wanted
from perdure.memory.periods import local, period
from perdure.store import archives as archive_store
from perdure.store.database import Database
from perdure.tools.implementation import (
    Acts,
    Arguments,
    Definition,
    Returned,
    ToolContext,
    Writes,
    define,
    parameters,
)

MOST_FOUND: Final = 50
MOST_TAGS: Final = 50
TAG_CHARS: Final = 255

_TAGS: Final = {"type": "array", "items": {"type": "string"}}


def _insert(conn: Connection, context: ToolContext, arguments: Arguments) -> tuple[str, bool]:
    tags = arguments.get("tags") or []
    if len(tags) > MOST_TAGS or any(not 0 < len(tag) <= TAG_CHARS for tag in tags):
        raise Invalid(f"A passage has at most {MOST_TAGS} tags, each of 1 to {TAG_CHARS} characters.")
    archive = passages.archive_of(conn, context.tenant, context.agent)
    new = passages.new_passage(arguments["content"], tags=tags)
    (stored,) = passages.insert(conn, context.tenant, archive, [new])
    return f"Stored as {stored.id}.", True


ARCHIVAL_MEMORY_INSERT: Final = define(
    "archival_memory_insert",
    "letta_core",
    "Put something into your archive, which holds any amount and is not in view: facts, events, notes, documents that "
    "may matter some day. Write it so that it can be understood on its own, with names and dates. You find it again "
    "with archival_memory_search.",
    Writes(
        parameters(
            {
                "content": {"type": "string", "description": "The text to keep, one subject at a time."},
                "tags": {
                    **_TAGS,
                    "description": "Words to sort it by, such as a project or a person. May be left out.",
                },
            },
            required=("content",),
        ),
        _insert,
    ),
)


_SEARCH: Final = parameters(
    {
        "query": {"type": "string", "description": "What to look for, as a question or in a few words."},
        "tags": {**_TAGS, "description": "Only what has one of these tags."},
        "tag_match_mode": {
            "type": "string",
            "enum": ["any", "all"],
            "description": "With all, only what has every one of the tags.",
        },
        "top_k": {
            "type": "integer",
            "description": f"How many to return, 1 to {MOST_FOUND}; {DEFAULT_FOUND} by default.",
        },
        "start_datetime": {
            "type": "string",
            "description": "Only from this date or time on, such as 2026-11-22 or 2026-11-22T15:00.",
        },
        "end_datetime": {
            "type": "string",
            "description": "Only up to this date or time; a date includes its whole day.",
        },
    },
    required=("query",),
)


def archival_memory_search(db: Database, embed: Embed) -> Definition:
    """The tool that searches an agent's archives. `embed` turns its query into a vector where they have a model."""

    async def run(context: ToolContext, arguments: Arguments) -> Returned:
        zone = ZoneInfo(context.agent.timezone)
        names = ("start_datetime", "end_datetime")
        start, end = period(arguments.get(names[0]), arguments.get(names[1]), zone, names)
        limit = arguments.get("top_k", DEFAULT_FOUND)
        if limit < 1:
            raise Invalid(f"top_k is {limit}; it has to be 1 to {MOST_FOUND}.")
        if not arguments["query"].strip():
            return Returned(text="[]")
        wanted = Wanted(
            query=arguments["query"], limit=min(limit, MOST_FOUND), tags=tuple(arguments.get("tags") or ()),
            every_tag=arguments.get("tag_match_mode") == "all", start=start, end=end,
        )  # fmt: skip
        archives = await db.read(lambda conn: archive_store.of_agent(conn, context.agent.id))
        found = await passages.search_passages(db, embed, context.tenant, archives, wanted)
        results: list[dict[str, Any]] = [
            {
                "id": each.id, "timestamp": local(each.created_at, zone), "content": each.text,
                "tags": list(each.tags), "relevance": round(score, 3),
            }
            for each, score in found
        ]  # fmt: skip
        return Returned(text=msgspec.json.encode(results).decode())

    return define(
        "archival_memory_search",
        "letta_core",
        "Search your archive for what you put there. The best match comes first; what was written shortly before or "
        "after a match may be found with it. Ask again in other words before you conclude that it holds nothing.",
        Acts(
            parameters=_SEARCH,
            run=run,
            whole=True,
            repeatable=True,
        ),
        parallel=True,
    )
