"""Agents with a long history behind them, and what their contexts come to."""

from typing import Any

from perdure.domain.agents import Agent
from perdure.domain.compaction import CompactionRequest
from perdure.domain.errors import ContextOverflow
from perdure.domain.ids import DEFAULT_TENANT
from perdure.domain.messages import Message
from perdure.domain.requests import TurnRequest
from perdure.domain.runs import Usage
from perdure.providers.base import UsageDelta
from perdure.store import messages
from tests.runs.house import House, message_of, spoken

TOO_LONG = ContextOverflow("llm_bad_request", "prompt is too long: 9000 tokens > 8000 maximum")


def used(total: int, **fields: Any) -> UsageDelta:
    """What a provider reports of a call."""
    usage = Usage(prompt_tokens=total - 10, completion_tokens=10, total_tokens=total, step_count=1, **fields)
    return UsageDelta(usage)


async def talkative(at: House, turns: int, chars: int = 1_000, *tools: str, **fields: Any) -> Agent:
    """An agent with so many turns behind it, each of a question and an answer of this length."""
    agent = await at.agent(*tools, **fields)
    said: list[Message] = []
    for turn in range(turns):
        said.append(message_of(agent.id, f"question {turn} ".ljust(chars, "?")))
        said.append(message_of(agent.id, f"answer {turn} ".ljust(chars, "."), role="assistant"))
    await at.db.write(lambda conn: messages.append(conn, DEFAULT_TENANT, agent.conversation_id, said))
    return agent


async def in_short(at: House, agent: Agent, conversation_id: str | None = None) -> list[str]:
    """A context after its system message, each message by its role and its first two words."""
    return [brief(message) for message in (await at.context(agent, conversation_id))[1:]]


def brief(message: Message) -> str:
    text = message.summary.text if message.summary is not None else spoken(message)
    return f"{message.role}: {' '.join(text.split()[:2])}"


async def history(at: House, agent: Agent) -> list[str]:
    """The whole history after the system message, in the same way, oldest first."""
    found = await at.db.read(
        lambda conn: messages.history(
            conn, DEFAULT_TENANT, conversation_id=agent.conversation_id, newest_first=False, limit=10_000
        )
    )
    return [brief(message) for message in found[1:]]


async def summary_of(at: House, agent: Agent) -> Message:
    """The summary in the agent's context, which comes right after the system message."""
    found = (await at.context(agent))[1]
    assert found.role == "summary", found
    return found


def compact(agent: Agent, **fields: Any) -> TurnRequest:
    """A request to compact; `fields` are those of `CompactionRequest`."""
    return TurnRequest(agent_id=agent.id, input=(), compaction=CompactionRequest(**fields), run_type="compact")
