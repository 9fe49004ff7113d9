"""What stands in an agent's history before its first request."""

import json
import uuid
from collections.abc import Sequence
from typing import Final

import msgspec

from perdure.domain.agents import Agent
from perdure.domain.ids import new_id
from perdure.domain.messages import AnyPart, Message, Role, TextPart, ToolCallPart, ToolReturnPart
from perdure.domain.tools import Tool
from perdure.loop.context import local_time

SPOKEN_BY_TOOL: Final = frozenset({"memgpt_agent", "memgpt_v2_agent", "split_thread_agent", "voice_convo_agent"})
"""Agent types whose voice is the send_message tool; text they write beside it is thought."""

_VOICE: Final = "send_message"
_GREETING: Final = "I am here, and I will remember."
_SENT: Final = "Sent message successfully."


def opening(agent: Agent, tools: Sequence[Tool], given: Sequence[Message] | None, at: int) -> list[Message]:
    """The first messages after the system message: those given, or what the agent's type begins with.

    `at` is when the last of them is dated, in microseconds UTC.
    """
    spoken = agent.agent_type in SPOKEN_BY_TOOL and any(tool.name == _VOICE for tool in tools)
    made: list[Message] = []
    if given is None:
        if spoken:
            made = [*_said(agent, _GREETING), _login(agent, at)]
    else:
        for message in given:
            if spoken and message.role == "assistant":
                made += _said(agent, message.text)
            else:
                made.append(message)
    first = at - len(made) + 1
    return [
        msgspec.structs.replace(message, agent_id=agent.id, created_at=first + index)
        for index, message in enumerate(made)
    ]


def _said(agent: Agent, text: str) -> list[Message]:
    """A sentence of an agent that speaks by tool: the call, and its return."""
    call_id = f"call_{uuid.uuid4().hex[:24]}"
    arguments = json.dumps({"message": text}, ensure_ascii=False)
    call = ToolCallPart(call_id=call_id, name=_VOICE, arguments=arguments)
    done = ToolReturnPart(call_id=call_id, name=_VOICE, status="success", text=_SENT)
    return [_message(agent, "assistant", call), _message(agent, "tool", done)]


def _login(agent: Agent, at: int) -> Message:
    event = {"type": "login", "last_login": "Never (first login)", "time": local_time(at, agent.timezone)}
    return _message(agent, "user", TextPart(text=json.dumps(event)))


def _message(agent: Agent, role: Role, part: AnyPart) -> Message:
    return Message(id=new_id("message"), agent_id=agent.id, role=role, parts=(part,), created_at=0)
