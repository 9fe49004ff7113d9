"""What a sentence says about the person who wrote it, or asks about them. Patterns, not understanding."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

MAX_VALUE: Final = 120
"""Characters of a name, a place, a liking; longer ones are prose, not facts."""
MAX_NOTE: Final = 1_000
"""Characters of something the person asks to have remembered."""


class Fact(msgspec.Struct, frozen=True):
    """One thing to note, kept as the line `slot: value`. A `single` slot holds one value, so a new one replaces it."""

    slot: str
    value: str
    single: bool = False

    @property
    def line(self) -> str:
        return f"{self.slot}: {self.value}"


_LEAD: Final = re.compile(
    r"(?:hi|hello|hey|ok|okay|yes|no|well|oh|so|also|and|but|actually|sorry|please|by the way|btw|fyi|now|then|"
    r"for the record|just so you know|you should know(?: that)?|thanks|thank you)(?: there)?[\s,.:!-]+",
    re.IGNORECASE,
)
_SENTENCE_END: Final = re.compile(r"(?<!\bSt\.)(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<=[.!?;])\s+|\n+")
_CLAUSE_END: Final = re.compile(
    r"(?:,?\s+(?:and|but)|,)\s+(?=(?:i|i'm|i've|i'd|my|call me|you can call me|what|what's|where|who|how|do you|"
    r"can you|please remember|remember)\b)",
    re.IGNORECASE,
)
_VERB_AFTER_AND: Final = re.compile(r"\s+and\s+(?=(?:live|like|love|hate|work|prefer|enjoy)\b)", re.IGNORECASE)
_REMEMBER: Final = re.compile(
    r"(?:can you |could you |i want you to |i'd like you to )?(?:please )?"
    r"(?:remember|note|don't forget|do not forget|keep in mind|make a note)(?: that|:)\s+(?P<value>.+)",
    re.IGNORECASE | re.DOTALL,
)
_QUESTION: Final = re.compile(
    r"(?:what|what's|whats|where|where's|who|who's|whom|whose|when|why|how|which|do|does|did|can|could|would|will|is|"
    r"are|am|was|were|has|have i|have we|have you|should|may|tell me|show me|list|search|find|look up|remind me|say|"
    r"write|make|give|explain|translate|summari[sz]e|help)\b",
    re.IGNORECASE,
)

_FLAGS: Final = re.IGNORECASE
_I_AM: Final = r"i(?:'m| am)"
_STATEMENTS: Final[tuple[tuple[str, bool, re.Pattern[str]], ...]] = tuple(
    (slot, single, re.compile(pattern, _FLAGS))
    for slot, single, pattern in (
        ("Name", True, rf"(?:my (?:full )?name(?:'s| is)|{_I_AM} called|i go by) (?P<value>.+)"),
        ("Name", True, r"(?:you can |just )?call me (?P<value>(?!later|tomorrow|back|when|if|at |in |on |a |an ).+)"),
        ("Age", True, rf"{_I_AM} (?P<value>\d{{1,3}})(?: years? old)?"),
        ("Lives in", True, r"i (?:now |currently )?live (?:in|at|near) (?P<value>.+)"),
        ("Lives in", True, rf"{_I_AM} (?:now |currently )?(?:living|based) in (?P<value>.+)"),
        ("Lives in", True, r"i(?:'ve| have)? (?:just |recently )?moved to (?P<value>.+)"),
        ("Comes from", True, rf"(?:{_I_AM}|i come) (?:originally )?from (?P<value>.+)"),
        ("Works", False, r"i work (?P<value>(?:as|at|for|in|with|on) .+)"),
        ("Dislikes", False, r"i (?:really )?(?:hate|dislike|can't stand|cannot stand) (?P<value>.+)"),
        ("Dislikes", False, r"i (?:don't|do not) (?:really )?(?:like|love|enjoy) (?P<value>.+)"),
        ("Likes", False, r"i (?:really |also |absolutely )*(?:like|love|enjoy|adore) (?P<value>.+)"),
        ("Prefers", False, r"i (?:really |much )?prefer (?P<value>.+)"),
        ("Has", False, r"i have (?P<value>(?:an?|one|two|three|four|five|\d{1,3}) .+)"),
        ("Is", False, rf"{_I_AM} (?P<value>(?:an?|the) .+)"),
        ("Is", False, rf"{_I_AM} (?P<value>(?:allergic to .+|married|single|vegetarian|vegan|retired|left-handed))"),
    )
)
_MY_THING: Final = re.compile(r"my (?P<what>[^\W\d_][\w' -]{0,40}?) (?:is|are) (?P<value>.+)", _FLAGS)
_MY_THINGS: Final = re.compile(r"my (?P<what>[^\W\d_][\w -]{0,40}?)'s (?P<value>.+)", _FLAGS)
_I_AM_CAPITAL: Final = re.compile(r"[Ii](?:'m| am) (?P<value>[^\W\d_]\S*(?: [^\W\d_]\S*){0,2})")
_GREETED: Final = re.compile(r"\W*(?:hi|hello|hey|good (?:morning|afternoon|evening)|greetings)\b", _FLAGS)

_NOT_A_THING: Final = re.compile(
    r"(?:\w+ )*(?:questions?|problems?|point|guess|advice|answer|idea|bad|turn|god|apologies|understanding)", _FLAGS
)
_NOT_LIKED: Final = re.compile(r"(?:it|this|that|these|those|you|them|him|her|how|what|when|where|your)\b", _FLAGS)
_NOT_HELD: Final = re.compile(
    r"(?:an?|one|two|three|\d+) (?:\w+ )?(?:questions?|problems?|ideas?|issues?|requests?|lot|bit|feeling|minutes?)\b",
    _FLAGS,
)
_NOT_BEING: Final = re.compile(r"an? (?:bit|little|lot|few|while)\b", _FLAGS)
_NOT_NAMES: Final = frozenset(
    {"fine", "good", "ok", "okay", "sorry", "here", "happy", "sad", "tired", "back", "done", "ready", "sure", "well"}
)
_AFTER_NAME: Final = re.compile(r"[^\w.)>]{1,20}\Z")
"""An emoji behind a name is no part of it."""
_TRAILING: Final = re.compile(r"\s(?:please|too|by the way|btw|actually|though|now)\Z", _FLAGS)


def sentences(text: str) -> list[str]:
    """The sentences of a text, with plain apostrophes and single spaces."""
    text = text.replace("\u2019", "'").replace("\u2018", "'")
    parts = (" ".join(part.split()) for part in _SENTENCE_END.split(text) if part)
    return [part for part in parts if part]


def clauses(sentence: str) -> list[str]:
    """The clauses of a sentence that can each be a statement or a question, without words that only lead in."""
    found: list[str] = []
    for part in _CLAUSE_END.split(sentence):
        while lead := _LEAD.match(part):
            part = part[lead.end() :]
        first, *rest = _VERB_AFTER_AND.split(part)
        if rest and first[:2].lower() == "i ":
            found += [first, *(f"I {verb}" for verb in rest)]
        elif part:
            found.append(part)
    return found


def facts_in(text: str) -> list[Fact]:
    """What a text says about its writer, in order. Of several values for a single slot the last one counts."""
    found: dict[str, Fact] = {}
    greeted = _GREETED.match(text) is not None
    for sentence in sentences(text):
        for fact in _facts_of(sentence, greeted):
            key = slot_key(fact.slot) if fact.single else fact.line.casefold()
            found.pop(key, None)
            found[key] = fact
    return list(found.values())


def questions_in(text: str) -> list[str]:
    """The clauses of a text that ask for something, in order."""
    return [
        clause
        for sentence in sentences(text)
        if _note(sentence) is None
        for clause in clauses(sentence)
        if is_question(clause)
    ]


def is_question(clause: str) -> bool:
    return clause.endswith("?") or _QUESTION.match(clause) is not None


def slot_key(slot: str) -> str:
    """What a slot is compared by, whatever its case and spelling."""
    return slot.casefold().replace("favorite", "favourite").replace("color", "colour").strip(" -*")


def _facts_of(sentence: str, greeted: bool) -> Iterator[Fact]:
    note = _note(sentence)
    if note is None:
        yield from (fact for clause in clauses(sentence) if (fact := _fact(clause, greeted)))
        return
    facts = [_fact(clause, greeted) for clause in clauses(note)]
    whole = [fact for fact in facts if fact is not None]
    if len(whole) == len(facts):
        yield from whole
    elif len(note) <= MAX_NOTE:
        yield Fact("Note", _trimmed(note))


def _note(sentence: str) -> str | None:
    """What a sentence asks to have remembered, or None."""
    while lead := _LEAD.match(sentence):
        sentence = sentence[lead.end() :]
    match = _REMEMBER.fullmatch(sentence)
    if match is None or re.match(r"(?:when|what|how|where|who|if)\b", match["value"], _FLAGS):
        return None
    return match["value"].rstrip("?") or None


def _fact(clause: str, greeted: bool) -> Fact | None:
    """The fact in a clause. After a greeting, "I'm Ada" gives a name; otherwise it may as well be "I'm German"."""
    if is_question(clause):
        return None
    clause = _trimmed(clause)
    for slot, single, pattern in _STATEMENTS:
        match = pattern.fullmatch(clause)
        if match is not None:
            value = _value(match["value"])
            value = _AFTER_NAME.sub("", value) if slot == "Name" else value
            return Fact(slot, value, single) if value and _makes_sense(slot, value) else None
    capital = _I_AM_CAPITAL.fullmatch(_AFTER_NAME.sub("", clause))
    if capital is not None and all(word[0].isupper() for word in capital["value"].split()):
        if capital["value"].casefold() in _NOT_NAMES:
            return None
        return Fact("Name", capital["value"], True) if greeted else Fact("Is", capital["value"])
    thing = _MY_THING.fullmatch(clause) or _MY_THINGS.fullmatch(clause)
    if thing is None or _NOT_A_THING.fullmatch(thing["what"]):
        return None
    value = _value(thing["value"])
    return Fact(thing["what"][0].upper() + thing["what"][1:], value, True) if value else None


def _trimmed(text: str) -> str:
    """The text without closing punctuation and the small words that follow a statement."""
    text = text.rstrip(" ,.!;:")
    while len(text) <= MAX_NOTE and (match := _TRAILING.search(text)):
        text = text[: match.start()].rstrip(" ,.!;:")
    return text


def _value(text: str) -> str:
    """A value without quotes and trailing words; empty where it is too long to be one."""
    value = _trimmed(text).strip(" \"'\u201c\u201d*_`")
    return value if len(value) <= MAX_VALUE else ""


def _makes_sense(slot: str, value: str) -> bool:
    match slot:
        case "Name":
            return len(value.split()) <= 4
        case "Likes" | "Dislikes" | "Prefers":
            return _NOT_LIKED.match(value) is None
        case "Has":
            return _NOT_HELD.match(value) is None
        case "Is":
            return _NOT_BEING.match(value) is None
        case _:
            return True
