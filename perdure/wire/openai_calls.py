"""Calls of the caller's own tools, as they are shown to OpenAI's clients: those alone are for them to carry out."""

from collections.abc import Iterator
from typing import NamedTuple

from perdure.domain import events
from perdure.domain.runs import RunError


class CallPiece(NamedTuple):
    """A fragment of call `number` (from 0) of an answer. `name` comes with its first fragment, and only then."""

    number: int
    call_id: str
    name: str | None
    arguments: str


class OwnCalls:
    """Tells the calls of the tools in `names` from those that wait for a person."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._numbers: dict[str, int] = {}
        self._others: dict[str, str] = {}

    def pieces(self, event: events.ApprovalDelta | events.ApprovalRequest) -> Iterator[CallPiece]:
        """What of the caller's own tools is in an event."""
        if isinstance(event, events.ApprovalRequest):
            for call in event.calls:
                yield from self._piece(call.call_id, call.name, call.arguments)
        else:
            yield from self._piece(event.call_id, event.name, event.arguments or "")

    def hindrance(self) -> RunError | None:
        """Why the caller cannot go on by itself, where the run has ended in a request for approval."""
        if not self._others:
            return None
        names = ", ".join(sorted(set(self._others.values())))
        text = f"The agent waits for a person to approve its call of {names}. Answer it through /v1/agents."
        return RunError(error_type="pending_approval", message=text)

    def _piece(self, call_id: str, name: str | None, arguments: str) -> Iterator[CallPiece]:
        if name is not None and name not in self._names:
            self._others[call_id] = name
        if call_id not in self._others:
            number = self._numbers.setdefault(call_id, len(self._numbers))
            yield CallPiece(number, call_id, name, arguments)
