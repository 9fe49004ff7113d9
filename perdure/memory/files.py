"""The files an agent can see: opened and closed within its limits."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.errors import Invalid
from perdure.domain.files import AgentFile, file_limits, form_of
from perdure.memory.views import View, lines_of, view
from perdure.store import agent_files


class Opening(msgspec.Struct, frozen=True):
    """A file to be opened, and what is to be seen of it."""

    file_id: str
    view: View


def limits(agent: Agent) -> tuple[int, int]:
    """How many files an agent may have open, and how many characters it sees of each."""
    return file_limits(agent.context_window, agent.max_files_open, agent.per_file_view_window_char_limit)


def lines(file: AgentFile, text: str) -> list[str]:
    """The lines of a file as agents count them. Takes a while for large texts: not for the event loop."""
    return lines_of(text, form_of(file.file_name, file.file_type) or "text")


def seen(agent: Agent, file: AgentFile, text: str, offset: int = 0, length: int | None = None) -> Opening:
    """What an agent would see of a file with this text. Slow as `lines`. Raises Invalid for an offset past its end."""
    return Opening(file.file_id, view(lines(file, text), limits(agent)[1], offset, length))


def open_files(
    conn: Connection, agent: Agent, wanted: Sequence[Opening], *, close_others: bool = False, make_room: bool = True
) -> list[str]:
    """Open files; where that is more than the agent may have open, those it has not asked for longest are closed.

    Returns the names of these. Without `make_room` only as many are opened as there is room for. Raises Invalid where
    more are wanted than may be open.
    """
    most, _ = limits(agent)
    if make_room and len(wanted) > most:
        raise Invalid(f"At most {most} files can be open at a time, and {len(wanted)} were asked for. Ask for fewer.")
    ids = {opening.file_id for opening in wanted}
    others = [file for file in agent_files.open_of(conn, agent.id) if file.file_id not in ids]
    if make_room:
        closed = others if close_others else others[max(0, most - len(ids)) :]
        agent_files.close(conn, agent.id, [file.file_id for file in closed])
    else:
        closed, wanted = [], wanted[: max(0, most - len(others))]
    # The first asked for is the last to be closed again.
    for opening in reversed(wanted):
        seen = opening.view
        agent_files.open_file(conn, agent.id, opening.file_id, seen.text, seen.start, seen.end)
    return [file.name for file in closed]
