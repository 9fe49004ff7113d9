"""What the members of a group are told at their turns: what was asked, and what the others have said meanwhile."""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection

from perdure.domain.agents import Agent
from perdure.domain.groups import Group
from perdure.domain.ids import new_id, new_uuid
from perdure.domain.messages import VOICE, Message, TextPart
from perdure.domain.runs import Run
from perdure.runs.talk import Talk
from perdure.store import agents as agent_store
from perdure.store import messages as message_store

MOST_NEWS: Final = 100
"""Messages of others that a member is told of at a turn."""
AGAIN: Final = "It is your turn again in this group. Nobody has said anything since."
CHOOSE: Final = (
    "You decide who speaks next in this group. Its members:\n{members}\nAnswer with the name of one of them and "
    "nothing else, or with {token} if nothing is left to be said."
)
SUPERVISE: Final = (
    "You lead a group of agents. Its members:\n{members}\nUse your tools to give them work and to hear what they "
    "answer; nobody but you is asked directly."
)


def turn_input(
    conn: Connection,
    tenant: str,
    group: Group,
    run: Run,
    asked: Sequence[Message],
    talk: Talk,
    speaker: Agent,
    taken: Sequence[Run],
) -> tuple[Message, ...]:
    """What a speaker reads at its turn in a run of a group, after the turns `taken` in it.

    What was asked stands once in the history of the group itself, and in that of every member.
    """  # fmt: skip
    news = _news(conn, tenant, group, talk, speaker)
    told = [_relayed(conn, tenant, message, speaker) for message in news]
    if all(turn.agent_id != speaker.id for turn in taken):
        group_id = None if taken else group.id
        given = [
            msgspec.structs.replace(
                message, id=new_id("message"), agent_id=speaker.id, otid=message.otid if not taken else new_uuid(),
                group_id=group_id,
            )
            for message in asked
        ]  # fmt: skip
        before = sum(message.created_at < run.created_at for message in news)
        told[before:before] = given
    if speaker is talk.manager and group.manager_type in ("dynamic", "supervisor"):
        told.append(_note(speaker, _leading(group, talk)))
    return tuple(told) or (_note(speaker, AGAIN),)


def spoken(message: Message) -> str:
    """What an agent said in a message, also where it speaks through a tool."""
    words = [VOICE.words(call) for call in message.tool_calls if VOICE.speaks(call)]
    return "\n".join(text for text in (message.text, *words) if text)


def _news(conn: Connection, tenant: str, group: Group, talk: Talk, speaker: Agent) -> list[Message]:
    """What other members have said to the group since the speaker last did, oldest first."""
    own = message_store.history(conn, tenant, agent_id=speaker.id, group_id=group.id, roles=("assistant",), limit=1)
    ids = {member.id for member in talk.members} - {speaker.id}
    found = message_store.history(
        conn, tenant, group_id=group.id, after=own[0].id if own else None, newest_first=not own, limit=MOST_NEWS,
        roles=("assistant",), keep=lambda message: message.agent_id in ids and bool(spoken(message)),
    )  # fmt: skip
    return found if own else found[::-1]


def _relayed(conn: Connection, tenant: str, message: Message, speaker: Agent) -> Message:
    by = agent_store.get(conn, tenant, message.agent_id)
    text = f"[Message from {by.name}, agent with ID '{by.id}' - said to this group] {spoken(message)}"
    return msgspec.structs.replace(_note(speaker, text), name=by.name, sender_id=by.id)


def _note(speaker: Agent, text: str) -> Message:
    return Message(
        id=new_id("message"), agent_id=speaker.id, role="system", parts=(TextPart(text=text),), created_at=0,
        otid=new_uuid(),
    )  # fmt: skip


def _leading(group: Group, talk: Talk) -> str:
    members = "\n".join(f"- {each.name} ({each.id}): {each.description or 'no description'}" for each in talk.members)
    if group.manager_type == "dynamic":
        return CHOOSE.format(members=members, token=talk.token)
    return SUPERVISE.format(members=members)
