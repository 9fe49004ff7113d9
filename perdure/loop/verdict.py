"""Whether a run goes on after a step, and how the model is told where it wanted to stop."""

from collections.abc import Sequence
from typing import Final

import msgspec

from perdure.domain.ids import new_id, now
from perdure.domain.messages import Message, TextPart, ToolReturnPart
from perdure.domain.runs import StopReason
from perdure.loop.context import local_time
from perdure.loop.tool_rules import REFUSED, ToolRules
from perdure.loop.turn import Turn

HIDDEN: Final = "[This is an automated system message hidden from the user] "
"""How the reason of a heartbeat begins; clients know by it what not to show."""


class Called(msgspec.Struct, frozen=True):
    """What ran in a request so far: the names of the calls in order, and the text that the last of them returned.

    Calls that were refused are not among them.
    """

    names: tuple[str, ...] = ()
    last_return: str | None = None


def called_since_input(messages: Sequence[Message]) -> Called:
    """What ran since somebody last spoke, by the returns in history."""
    parts: list[ToolReturnPart] = []
    for message in messages:
        if message.role == "user":
            parts.clear()
        parts += [part for part in message.tool_returns if not part.text.startswith(REFUSED)]
    return Called(tuple(part.name for part in parts), parts[-1].text) if parts else Called()


class Verdict(msgspec.Struct, frozen=True):
    """Why the run stops, or None where it goes on.

    `missing` are tools without which it was not allowed to stop. With a `nudge` the model is told why it goes on.
    """

    stop: StopReason | None
    missing: tuple[str, ...] = ()
    nudge: str | None = None


def judge(
    rules: ToolRules,
    called: Called,
    ran: Sequence[str] | None,
    *,
    cut: bool = False,
    misfit: bool = False,
    heartbeat: bool | None = None,
) -> Verdict:
    """What follows from a step. `called` holds its own calls too.

    `ran` are the calls of this step that ran, None where the model called nothing. `cut` says that its answer hit the
    token limit; `misfit`, that the arguments the rules give for a call do not fit its tool. `heartbeat` is None for
    agents that go on after every call; for others, whether another step was asked for.
    """
    if misfit:
        return Verdict("invalid_tool_call")
    if ran is None and cut:
        return Verdict("max_tokens_exceeded")
    ended = ran is None or any(rules.is_terminal(name) for name in ran)
    if not ended and heartbeat is None:
        return Verdict(None)
    if not ended and (reason := _goes_on(rules, ran or (), asked=bool(heartbeat))):
        return Verdict(None, nudge=reason)
    missing = rules.missing(called.names)
    if missing:
        names = " and ".join(missing)
        reason = (
            f"You cannot finish yet: the rules of your tools want {names} to be called first. Call what is missing."
        )
        return Verdict(None, missing, reason)
    return Verdict("tool_rule" if ran is not None and ended and heartbeat is not False else "end_turn")


def _goes_on(rules: ToolRules, ran: Sequence[str], *, asked: bool) -> str | None:
    """Why an older agent gets another step after its call, or None where its turn is over."""
    if not ran:
        return "Your call was not allowed. Its return says what is."
    if any(rules.continues(name) for name in ran):
        return "Your turn goes on after this tool. Act on what it returned, or speak."
    return "You asked for another step. Go on." if asked else None


def heartbeat(turn: Turn, reason: str) -> Message:
    """A message of the server that gives the model another turn. It stands in history, and streams do not show it."""
    at = now()
    note = {"type": "heartbeat", "reason": HIDDEN + reason, "time": local_time(at, turn.agent.timezone)}
    return Message(
        id=new_id("message"), agent_id=turn.agent.id, role="user", created_at=at, run_id=turn.run_id,
        parts=(TextPart(text=msgspec.json.encode(note).decode()),),
    )  # fmt: skip
