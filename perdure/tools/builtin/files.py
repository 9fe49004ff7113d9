"""Tools with which an agent reads the files of its folders: opens them, looks for patterns, searches their text.

Texts can be long, so whatever has to walk through one does so outside of transactions and off the event loop.
"""

import asyncio
import fnmatch
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from perdure.domain.errors import Invalid, NotFound
from perdure.domain.files import AgentFile
from perdure.memory import files as shown
from perdure.memory.file_search import search_files
from perdure.memory.files import Opening
from perdure.memory.passages import Embed
from perdure.store import agent_files
from perdure.store import agents as agent_store
from perdure.store import files as file_store
from perdure.store import folders as folder_store
from perdure.store.database import Database
from perdure.tools.grep import search as grep
from perdure.tools.grep.search import Match, Matches
from perdure.tools.implementation import Acts, Arguments, Definition, Returned, ToolContext, define, parameters

MAX_PATTERN: Final = 1_000
MAX_CONTEXT: Final = 20
MAX_FILE_BYTES: Final = 50_000_000
MAX_BYTES: Final = 200_000_000
"""Of files that one grep looks through."""
DEFAULT_FOUND: Final = 5
MAX_FOUND: Final = 50
FOUND_LINES: Final = 20
"""Lines shown of each passage found."""


def file_tools(db: Database, embed: Embed) -> tuple[Definition, ...]:
    """The tools, for the files in this database."""
    tools = _FileTools(db, embed)
    return _open_files(tools), _grep_files(tools), _semantic_search_files(tools)


class _FileTools:
    """What the tools do."""

    def __init__(self, db: Database, embed: Embed) -> None:
        self._db = db
        self._embed = embed

    async def open(self, context: ToolContext, arguments: Arguments) -> Returned:
        requests: list[dict[str, Any]] = arguments["file_requests"]
        names = [request["file_name"] for request in requests]
        if len(set(names)) < len(names):
            raise Invalid("A file is asked for twice. Ask for each once, with the lines you want to see.")
        agent = context.agent

        def find(conn: Connection) -> tuple[dict[str, AgentFile], dict[str, str]]:
            known = agent_files.named(conn, agent.id, names)
            return known, dict(file_store.contents(conn, [file.file_id for file in known.values()]))

        known, texts = await self._db.read(find)
        openings: list[Opening] = []
        for request in requests:
            file = _known(known, request["file_name"])
            if file.file_id not in texts:
                raise Invalid(f"{file.name} has not been read yet, or could not be. Try again later.")
            offset, length = request.get("offset") or 0, request.get("length")
            if offset < 0 or (length is not None and length < 1):
                raise Invalid("offset counts lines from 0 on, and length has to be at least 1.")
            text = texts[file.file_id]
            openings.append(await asyncio.to_thread(shown.seen, agent, file, text, offset, length))
        lines = [f"* Opened {name}, {_lines(opening)}" for name, opening in zip(names, openings, strict=True)]

        def keep(conn: Connection) -> bool:
            held = agent_store.get(conn, context.tenant, agent.id)
            shown.open_files(conn, held, openings, close_others=arguments.get("close_all_others", False))
            return True

        if arguments.get("close_all_others"):
            lines.append("* All other files are closed")
        lines.append(
            f"At most {shown.limits(agent)[0]} files are open at a time; the one opened longest ago is closed first."
        )
        return Returned(text="\n".join(lines), keep=keep, at_once=True)

    async def grep(self, context: ToolContext, arguments: Arguments) -> Returned:
        pattern, first = arguments["pattern"], arguments.get("offset") or 0
        around = arguments.get("context_lines", 1)
        if len(pattern) > MAX_PATTERN:
            raise Invalid(f"The pattern has {len(pattern)} characters; at most {MAX_PATTERN} are possible.")
        if first < 0:
            raise Invalid(f"offset is {first}; it counts matches from 0 on.")
        if not 0 <= around <= MAX_CONTEXT:
            raise Invalid(f"context_lines is {around}; it has to be 0 to {MAX_CONTEXT}.")
        agent_id = context.agent.id
        known = await self._db.read(lambda conn: agent_files.all_of(conn, agent_id))
        wanted = [file for file in known if _included(file, arguments.get("include"))]
        if not wanted:
            raise Invalid("There is no file to look through. See the folders in your instructions for those there are.")
        skipped: list[str] = []
        found = await grep.search(pattern, self._texts(wanted, skipped), first=first, context=around)
        return Returned(text=_report(pattern, found, first, skipped))

    async def search(self, context: ToolContext, arguments: Arguments) -> Returned:
        query, limit = arguments["query"], arguments.get("limit", DEFAULT_FOUND)
        if not 1 <= limit <= MAX_FOUND:
            raise Invalid(f"limit is {limit}; it has to be 1 to {MAX_FOUND}.")
        agent_id, tenant = context.agent.id, context.tenant
        folders = await self._db.read(lambda conn: folder_store.of_agent(conn, agent_id))
        found = await search_files(self._db, self._embed, tenant, folders, query, limit)
        names = {folder.id: folder.name for folder in folders}
        passages = [f"{names[chunk.folder_id]}/{chunk.file_name}:\n{_clipped(chunk.text)}" for chunk in found]
        count = "1 passage" if len(found) == 1 else f"{len(found)} passages"
        head = f"Found {count}, best first." if found else "Nothing found. Try other words, or grep_files."
        return Returned(text="\n\n".join((head, *passages)))

    async def _texts(self, wanted: Sequence[AgentFile], skipped: list[str]) -> AsyncIterator[tuple[str, list[str]]]:
        """Names and lines of files; those that are too large go to `skipped`."""
        room = MAX_BYTES
        for file in wanted:
            text = await self._db.read(lambda conn, each=file: file_store.content(conn, each.file_id)) or ""
            if len(text) > min(MAX_FILE_BYTES, room):
                skipped.append(file.name)
                continue
            room -= len(text)
            yield file.name, await asyncio.to_thread(shown.lines, file, text)


def _known(known: dict[str, AgentFile], name: str) -> AgentFile:
    if name not in known:
        raise NotFound(
            f"There is no file {name[:200]!r}. Names are those in your instructions: folder, slash, file name."
        )
    return known[name]


def _lines(opening: Opening) -> str:
    view = opening.view
    return "which is empty" if view.end < view.start else f"lines {view.start} to {view.end}"


def _included(file: AgentFile, include: str | None) -> bool:
    return not include or any(
        fnmatch.fnmatch(name.casefold(), include.casefold()) for name in (file.name, file.file_name)
    )


def _report(pattern: str, found: Matches, first: int, skipped: Sequence[str]) -> str:
    last = first + len(found.shown)
    if not found.total:
        lines = [f"Nothing matches {pattern!r}."]
    elif not found.shown:
        lines = [f"There are {found.total} matches, none from offset {first} on."]
    else:
        total = f"the first {found.total}" if found.more else str(found.total)
        lines = [f"Matches {first + 1} to {last} of {total}:"]
    lines += [part for match in found.shown for part in _shown(match)]
    if last < found.total and found.shown:
        lines.append(f"\nUse offset={last} to see more.")
    if found.more:
        lines.append("There are more than are counted. Use a narrower pattern.")
    if skipped:
        lines.append(f"Not looked through, since they are too large: {', '.join(skipped)}.")
    return "\n".join(lines)


def _shown(match: Match) -> list[str]:
    numbered = enumerate(match.lines, match.start)
    return [
        f"\n{match.file}:",
        *(f"{'>' if number == match.line else ' '} {number}: {line}" for number, line in numbered),
    ]


def _clipped(text: str) -> str:
    """The first lines of a passage."""
    lines = text.split("\n")
    more = len(lines) - FOUND_LINES
    return "\n".join(lines[:FOUND_LINES]) + (f"\n[{more} more lines]" if more > 0 else "")


def _open_files(tools: _FileTools) -> Definition:
    return define(
        "open_files",
        "letta_files_core",
        "Open files of your folders, so that you see their text with numbered lines in your instructions from the next "
        "step on. Use it on a file that is closed, or to move to other lines of one that is open. "
        "Files you have not asked for longest are closed when there are too many.",
        Acts(
            parameters=parameters(
                {
                    "file_requests": {
                        "type": "array",
                        "description": "The files to open.",
                        "items": {
                            "type": "object",
                            "properties": {
                                "file_name": {
                                    "type": "string",
                                    "description": "The name as your instructions show it: folder, slash, file name.",
                                },
                                "offset": {
                                    "type": "integer",
                                    "description": "How many lines to pass over; none by default.",
                                },
                                "length": {
                                    "type": "integer",
                                    "description": "How many lines to show; by default as many as fit.",
                                },
                            },
                            "required": ["file_name"],
                        },
                    },
                    "close_all_others": {
                        "type": "boolean",
                        "description": "Close every other file. False by default.",
                    },
                },
                required=("file_requests",),
            ),
            run=tools.open,
            repeatable=True,
        ),
    )


def _grep_files(tools: _FileTools) -> Definition:
    return define(
        "grep_files",
        "letta_files_core",
        "Look for a pattern in all files of your folders, open or not. Use it for exact words, names and numbers. "
        f"Returns the lines that match, {grep.PAGE} at a time, with their numbers, which open_files takes.",
        Acts(
            parameters=parameters(
                {
                    "pattern": {
                        "type": "string",
                        "description": "A regular expression, as Python has them. Upper and lower case are the same.",
                    },
                    "include": {
                        "type": "string",
                        "description": "Only files whose name fits this, such as *.py or manuals/*.",
                    },
                    "context_lines": {
                        "type": "integer",
                        "description": "Lines to show before and after each match; 1 by default.",
                    },
                    "offset": {
                        "type": "integer",
                        "description": "How many matches to pass over, to see those after them.",
                    },
                },
                required=("pattern",),
            ),
            run=tools.grep,
            repeatable=True,
        ),
        parallel=True,
    )


def _semantic_search_files(tools: _FileTools) -> Definition:
    return define(
        "semantic_search_files",
        "letta_files_core",
        "Search the files of your folders, open or not, for passages that answer a question. Use it when you do not "
        "know the exact words; grep_files is for those. Returns the best passages with the names of their files.",
        Acts(
            parameters=parameters(
                {
                    "query": {"type": "string", "description": "What you want to know, as a question or in keywords."},
                    "limit": {
                        "type": "integer",
                        "description": f"How many passages to return, 1 to {MAX_FOUND}; {DEFAULT_FOUND} by default.",
                    },
                },
                required=("query",),
            ),
            run=tools.search,
            repeatable=True,
        ),
        parallel=True,
    )
