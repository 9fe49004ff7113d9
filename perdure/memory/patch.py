"""Patches of memory blocks, as models write them: hunks of lines that go and come, for one block or for several.

@@ anything                     *** Add Block: plans            *** Update Block: human
 a line that stays              Description: What comes next.   *** Move to: person
-a line that goes               +First line.                    -Likes tea.
+a line that comes              *** Delete Block: old           +Likes coffee.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from perdure.domain.errors import Invalid

HUNK: Final = "@@"
QUOTED: Final = 80
"""Characters of a line that an error shows."""
LISTED: Final = 20
"""Places that an error lists."""

Kind = Literal["add", "delete", "update"]

_AROUND: Final = frozenset({"*** Begin Patch", "*** End Patch", "*** End of File"})
_HEADERS: Final[Mapping[str, Kind]] = {
    "*** Add Block:": "add",
    "*** Delete Block:": "delete",
    "*** Update Block:": "update",
}
_MOVE: Final = "*** Move to:"
_DESCRIPTION: Final = "Description:"
_NO_NEWLINE: Final = "\\ No newline at end of file"


class Change(NamedTuple):
    """What a patch of several blocks does to one of them. `lines` are those of its hunks, or of its first text."""

    kind: Kind
    label: str
    lines: list[str]
    new_label: str | None = None
    description: str | None = None

    @property
    def text(self) -> str:
        """The text of a block to be added. Raises Invalid for a line without its +."""
        for line in self.lines:
            if not line.startswith("+"):
                raise Invalid(f"In the new block {self.label!r} the line {_quoted(line)} does not begin with +.")
        return "\n".join(line[1:] for line in self.lines)


class _Hunk(NamedTuple):
    """Lines in a row, and what stands there afterwards."""

    old: list[str]
    new: list[str]


def changes_in(patch: str) -> list[Change] | None:
    """What a patch does to which blocks; None where it has no headers, so that it is for one block alone.

    Raises Invalid for lines that are out of place.
    """
    lines = [line.removesuffix("\r") for line in patch.strip("\r\n").split("\n")]
    lines = [line for line in lines if line.strip() not in _AROUND]
    if not any(line.startswith("*** ") for line in lines):
        return None
    changes: list[Change] = []
    for line in lines:
        header = next((header for header in _HEADERS if line.startswith(header)), None)
        if header is not None:
            changes.append(Change(_HEADERS[header], _named(line, header), []))
        elif not changes:
            if line.strip():
                raise Invalid(f"The line {_quoted(line)} stands before the first *** header of the patch.")
        else:
            changes[-1] = _with(changes[-1], line)
    return [change._replace(lines=_trimmed(change.lines)) for change in changes]


def _with(change: Change, line: str) -> Change:
    """The change with one more line of the patch."""
    if line.startswith(_MOVE) and change.kind == "update" and not change.lines:
        return change._replace(new_label=_named(line, _MOVE))
    if line.startswith(_DESCRIPTION) and change.kind == "add" and not change.lines:
        return change._replace(description=line.removeprefix(_DESCRIPTION).strip())
    if line.startswith("*** "):
        raise Invalid(
            f"The line {_quoted(line)} is out of place. A patch of several blocks has *** Add Block:, *** Delete "
            "Block: and *** Update Block:, each with a label, and *** Move to: right after an update's header."
        )
    if change.kind == "delete" and line.strip():
        raise Invalid(f"Nothing may follow *** Delete Block: {change.label}, but {_quoted(line)} does.")
    change.lines.append(line)
    return change


def _named(line: str, header: str) -> str:
    label = line.removeprefix(header).strip()
    if not label:
        raise Invalid(f"{header} needs the label of a block.")
    return label


def apply(value: str, patch: str | Sequence[str]) -> str:
    """`value` with the hunks of a patch for one block applied: all of them, or none.

    A hunk says what stands in the block now; it has to stand there in exactly one place. One that has lines with +
    only goes to the end. Raises Invalid naming the line or the hunk that does not fit.
    """
    lines = patch.strip("\r\n").split("\n") if isinstance(patch, str) else patch
    hunks = _hunks([line.removesuffix("\r") for line in lines])
    if not any(hunk.old != hunk.new for hunk in hunks):
        raise Invalid("The patch changes nothing. Begin lines to remove with - and lines to add with +.")
    standing = value.split("\n") if value else []
    # Places are those in the text as it is, so that no hunk meets what another one adds.
    placed = [(_place(standing, hunk, number), hunk) for number, hunk in enumerate(hunks, 1)]
    placed.sort(key=lambda each: each[0])
    result: list[str] = []
    done = 0
    for place, hunk in placed:
        if place < done:
            raise Invalid(f"Two hunks of the patch overlap on line {place + 1}. Write them as one.")
        result += standing[done:place] + hunk.new
        done = place + len(hunk.old)
    return "\n".join(result + standing[done:])


def _hunks(lines: Sequence[str]) -> list[_Hunk]:
    """The hunks of a patch for one block; the file headers of a real diff are passed over."""
    if len(lines) > 2 and lines[0].startswith("--- ") and lines[1].startswith("+++ ") and lines[2].startswith(HUNK):
        lines = lines[2:]
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.startswith(HUNK):
            parts.append([])
        elif line != _NO_NEWLINE:
            parts[-1].append(line)
    return [_hunk(trimmed) for part in parts if (trimmed := _trimmed(part))]


def _hunk(lines: Sequence[str]) -> _Hunk:
    old: list[str] = []
    new: list[str] = []
    for line in lines:
        # Models leave out the space before an empty line.
        mark, text = (line[0], line[1:]) if line else (" ", "")
        if mark not in " -+":
            raise Invalid(
                f"The line {_quoted(line)} of the patch begins with none of the three marks: a space for a line that "
                "stays, - for one that goes, + for one that comes."
            )
        if mark != "+":
            old.append(text)
        if mark != "-":
            new.append(text)
    return _Hunk(old, new)


def _place(standing: Sequence[str], hunk: _Hunk, number: int) -> int:
    """The index of the line at which a hunk begins."""
    if not hunk.old:
        return len(standing)
    places = _places("\n".join(["", *standing, ""]), "\n".join(["", *hunk.old, ""]))
    if len(places) == 1:
        return places[0]
    first = _quoted(hunk.old[0])
    if not places:
        raise Invalid(
            f"Hunk {number} of the patch fits nowhere: the {len(hunk.old)} line(s) it is about, from {first} on, do "
            "not stand in this block like that. Lines with a space or - have to be exact copies, one after the other."
        )
    listed = ", ".join(str(place + 1) for place in places)
    raise Invalid(
        f"Hunk {number} of the patch fits in several places, beginning on lines {listed}. Add lines around it that "
        "stay, so that it fits once."
    )


def _places(text: str, wanted: str) -> list[int]:
    """The indexes of the lines where `wanted` begins, the first few of them. Both are lines between line breaks."""
    places: list[int] = []
    at, line, counted = text.find(wanted), 0, 0
    while at >= 0 and len(places) < LISTED:
        line += text.count("\n", counted, at)
        places.append(line)
        counted = at
        at = text.find(wanted, at + 1)
    return places


def _trimmed(lines: Sequence[str]) -> list[str]:
    """Without the empty lines around, which are there for looks."""
    start, end = 0, len(lines)
    while start < end and not lines[start]:
        start += 1
    while end > start and not lines[end - 1]:
        end -= 1
    return list(lines[start:end])


def _quoted(line: str) -> str:
    return repr(line if len(line) <= QUOTED else f"{line[:QUOTED]}…")
