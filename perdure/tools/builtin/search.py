"""The tool with which an agent searches what was said before."""

from typing import Final

from sqlalchemy import Connection

from perdure.memory import search
from perdure.store.message_search import SEARCH_TOOL
from perdure.tools.implementation import Arguments, Reads, ToolContext, define, parameters


def _search(conn: Connection, context: ToolContext, arguments: Arguments) -> str:
    return search.conversation_search(conn, context.tenant, context.agent, run_id=context.run_id, **arguments)


CONVERSATION_SEARCH: Final = define(
    SEARCH_TOOL,
    "letta_core",
    "Search everything said between you and the people you talk with, including what you no longer see. "
    "Use it before you say that you do not know or remember something. All arguments are optional; "
    "without a query you get the newest messages.",
    Reads(
        parameters(
            {
                "query": {
                    "type": "string",
                    "description": "Words to look for. A message with any of them is found, the best match first.",
                },
                "roles": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["assistant", "user", "tool"]},
                    "description": "Whose messages to search. By default those of user and assistant.",
                },
                "limit": {
                    "type": "integer",
                    "description": f"How many messages to return, 1 to {search.MAX_LIMIT}; "
                    f"{search.DEFAULT_LIMIT} by default.",
                },
                "start_date": {
                    "type": "string",
                    "description": "Only messages from this date or time on, such as 2026-11-22 or 2026-11-22T15:00.",
                },
                "end_date": {
                    "type": "string",
                    "description": "Only messages up to this date or time; a date includes its whole day.",
                },
            }
        ),
        _search,
        whole=True,
    ),
    parallel=True,
)
