"""Where a context may be cut: what leaves it and what stays, decided by sizes alone.

What belongs together stays together: a call with its decisions and returns, a note of the server with what it is about.
What somebody said last always stays, and so does the last thing that followed.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

from perdure.domain.compaction import CompactionSettings
from perdure.domain.messages import Message, envelope_in

MORE: Final = 0.1
"""Sliding takes out the share of messages that is set, and this much more."""


class Cut(msgspec.Struct, frozen=True):
    """A context divided: what goes, what was said last (which stays, and stands first), and what else stays."""

    before: list[Message]
    """Goes: older than what was said last."""
    said: list[Message]
    """What was said last, where more goes than what is older; else empty, and it is in `kept`."""
    after: list[Message]
    """Goes: what came of it first."""
    kept: list[Message]

    @property
    def out(self) -> list[Message]:
        """All that goes."""
        return self.before + self.after

    @property
    def stays(self) -> list[Message]:
        return self.said + self.kept


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a cut is to achieve: what stays weighs no more than `size`, in at most `messages`.

    With `slides`, at least `least` messages go; without, all before the newest turn. With `utmost`, all that may.
    """

    size: int
    slides: bool
    least: int = 0
    messages: int | None = None
    utmost: bool = False


class _Unit(NamedTuple):
    messages: list[Message]
    size: int
    is_input: bool
    begins: bool
    """Whether a turn begins here: with the first of what was said at once."""


class _Place(NamedTuple):
    """A cut by the index of units: from `start` on stays; with `resume`, of that only what was said, and from there."""

    start: int
    resume: int
    size: int
    """Of what stays."""
    staying: int
    """Messages that stay."""


def wanted_by(settings: CompactionSettings, messages: int, size: int) -> Wanted:
    """What an agent's settings want of a context of so many messages, of which so many bytes may stay."""
    least = math.ceil(messages * (settings.sliding_window_percentage + MORE))
    return Wanted(size=size, slides=settings.slides, least=min(least, messages))


def find_cut(messages: Sequence[Message], sizes: Sequence[int], wanted: Wanted) -> Cut | None:
    """The least cut that achieves what is wanted, or the most that can be; None where nothing may go.

    `messages` are a context without its system message, `sizes` their bytes.
    """
    units = _units(messages, sizes)
    turn, end = _newest_turn(units)
    places = _places(units, turn, end)
    if not places:
        return None
    chosen = places[-1] if wanted.utmost else _choose(places, wanted, turn, len(messages))
    inside = chosen.resume > chosen.start
    return Cut(
        before=_joined(units[: chosen.start]),
        said=_joined(units[turn : end + 1]) if inside else [],
        after=_joined(units[end + 1 : chosen.resume]) if inside else [],
        kept=_joined(units[max(chosen.start, chosen.resume) :]),
    )


def _choose(places: Sequence[_Place], wanted: Wanted, turn: int, total: int) -> _Place:
    """Whole turns before parts of one, and no more than is wanted."""
    least = wanted.least if wanted.slides else 0
    for place in places:
        enough = place.size <= wanted.size and total - place.staying >= least
        # Without sliding it is all before the newest turn, or all of that, too.
        fits = wanted.slides or (place.start == place.resume == turn)
        if enough and fits and (wanted.messages is None or place.staying <= wanted.messages):
            return place
    return places[-1]


def _units(messages: Sequence[Message], sizes: Sequence[int]) -> list[_Unit]:
    units: list[_Unit] = []
    for message, size in zip(messages, sizes, strict=True):
        last = units[-1] if units else None
        if last is not None and _belongs(message, last):
            last.messages.append(message)
            units[-1] = last._replace(size=last.size + size)
            continue
        is_input = message.role in ("user", "system") and not _is_note(message)
        follows = last is not None and last.is_input and message.run_id is not None
        at_once = follows and last is not None and last.messages[0].run_id == message.run_id
        units.append(_Unit([message], size, is_input, is_input and not at_once))
    return units


def _belongs(message: Message, unit: _Unit) -> bool:
    """Whether a message cannot be parted from the unit before it."""
    first = unit.messages[0]
    if message.role == "tool" or _is_note(message):
        return first.role != "summary"
    if message.role == "approval":
        # A request belongs to the answer it was part of, a decision to the request.
        return not message.tool_calls or (first.role == "assistant" and first.step_id == message.step_id)
    return False


def _is_note(message: Message) -> bool:
    """Whether this is a note of the server's own in the form of something said."""
    if message.role != "user":
        return False
    envelope = envelope_in(message.text)
    return envelope is not None and envelope.type != "user_message"


def _newest_turn(units: Sequence[_Unit]) -> tuple[int, int]:
    """The first and the last unit of what was said last; (0, -1) where nobody said anything."""
    end = max((at for at, unit in enumerate(units) if unit.is_input), default=-1)
    return max((at for at, unit in enumerate(units) if unit.begins), default=0), end


def _places(units: Sequence[_Unit], turn: int, end: int) -> list[_Place]:
    """All places for a cut, from the least to the most. Each lets something go that is not a summary already."""
    sizes = [0, *accumulate(unit.size for unit in units)]
    counts = [0, *accumulate(len(unit.messages) for unit in units)]
    spent = [0, *accumulate(unit.messages[0].role != "summary" for unit in units)]
    places = [
        _Place(at, at, sizes[-1] - sizes[at], counts[-1] - counts[at])
        for at in range(1, turn + 1)
        if units[at].begins and spent[at]
    ]
    said_size, said_count = sizes[end + 1] - sizes[turn], counts[end + 1] - counts[turn]
    places += [
        _Place(turn, at, said_size + sizes[-1] - sizes[at], said_count + counts[-1] - counts[at])
        for at in range(end + 2, len(units))
        if spent[turn] + spent[at] - spent[end + 1]
    ]
    return places


def _joined(units: Iterable[_Unit]) -> list[Message]:
    return [message for unit in units for message in unit.messages]
