"""Counts what fills an agent's context."""

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from sqlalchemy import Connection

from perdure.domain.conversations import Conversation, agent_in
from perdure.domain.messages import Message, TextPart
from perdure.domain.models import Model
from perdure.domain.overview import Overview, Share
from perdure.domain.requests import TurnRequest
from perdure.loop import context
from perdure.loop.room import Room
from perdure.providers.estimate import size_of
from perdure.store import agents as agent_store
from perdure.store import archives as archive_store
from perdure.store import messages as message_store
from perdure.store import passages as passage_store
from perdure.store import tools as tool_store


def overview(
    conn: Connection, tenant: str, conversation: Conversation, estimate: Callable[[Model, int], int]
) -> Overview:
    """What the next model call in a conversation would be sent, without what its request adds.

    The system message is compiled for that and not stored. `estimate` turns bytes into a model's tokens.
    """
    agent = agent_in(agent_store.get(conn, tenant, conversation.agent_id), conversation)
    tools = tool_store.of_agent(conn, agent.id)
    stored = message_store.context(conn, conversation.id)
    sections = context.sections(conn, agent, conversation.id)
    system = msgspec.structs.replace(stored[0], parts=(TextPart(text=sections.under(agent.system)),))
    about_tools = size_of((), [tool.json_schema for tool in tools])
    room = Room(
        window=agent.context_window, holds=agent.context_window, answer=agent.settings.max_output_tokens or 0,
        tools=about_tools, estimate=partial(estimate, agent.model),
    )  # fmt: skip
    # As it would be sent: what is too large by itself is cut.
    sent = room.capped(context.assemble(agent, TurnRequest(agent_id=agent.id, input=()), [system, *stored[1:]]))

    def share(text: str, beside: int = 0) -> Share:
        return Share(text, room.estimate(beside + len(text.encode("utf-8", "surrogatepass"))))

    def tokens(messages: Sequence[Message]) -> int:
        return room.estimate(size_of(messages))

    around = size_of(sent[:1]) - sum(len(part.encode("utf-8", "surrogatepass")) for part in (agent.system, *sections))
    summaries = [message for message in sent if message.role == "summary"]
    return Overview(
        window=agent.context_window,
        system=share(agent.system, max(0, around)),
        blocks=share(sections.blocks),
        rules=share(sections.rules),
        directories=share(sections.directories),
        facts=share(sections.facts),
        summary=Share("\n\n".join(message.text for message in summaries), tokens(summaries)),
        tools=tools,
        tools_tokens=room.estimate(about_tools),
        messages=(system, *stored[1:]),
        messages_tokens=tokens([message for message in sent[1:] if message.role != "summary"]),
        recalled=message_store.count(conn, conversation.id),
        archived=passage_store.count(conn, [each.id for each in archive_store.of_agent(conn, agent.id)]),
    )
