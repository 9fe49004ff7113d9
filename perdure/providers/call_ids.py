"""Ids of tool calls: the provider's own where it is of use, else one made up, and none ever twice in a history."""

import uuid
from collections.abc import Sequence
from typing import Final

from perdure.domain.messages import Message
from perdure.providers.text import is_storable

MAX_ID_CHARS: Final = 200


class CallIds:
    """Gives the calls of one answer their ids. `history` is what the model was shown, whose ids are taken."""

    __slots__ = ("_history", "_taken")

    def __init__(self, history: Sequence[Message]) -> None:
        self._history = history
        self._taken: set[str] | None = None

    def take(self, given: str) -> str:
        """The provider's id, or one of our own where it gave none or one that answers to another call."""
        if self._taken is None:
            self._taken = {call.call_id for message in self._history for call in message.tool_calls}
        call_id = given
        if not given or len(given) > MAX_ID_CHARS or not is_storable(given):
            call_id = _made_up()
        while call_id in self._taken:
            call_id = _made_up()
        self._taken.add(call_id)
        return call_id


def _made_up() -> str:
    return f"call_{uuid.uuid4().hex[:8]}"
