"""What to say: answers quoted from the blocks, and plain words where there is no answer."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from perdure.providers.offline.memory import Line, known_lines, said_lines, slot_of
from perdure.providers.offline.reading import HUMAN, Situation
from perdure.providers.offline.rules import slot_key

WHAT_I_AM: Final = (
    "I am Perdure's built-in offline model: a small rule-based stand-in with no language model behind it."
)
WHAT_I_DO: Final = (
    "I can note what you tell me about yourself (try: my name is Ada), answer from my memory blocks, search this "
    "conversation, and call a tool when you name it."
)
HOW_TO_DO_BETTER: Final = (
    "For a real model, set OPENAI_API_KEY, or OLLAMA_BASE_URL for models on your own machine, restart the server, and "
    "give this agent one of the handles that `perdure doctor` lists."
)
CANNOT: Final = f"{WHAT_I_AM} {WHAT_I_DO} {HOW_TO_DO_BETTER}"

MAX_QUOTE: Final = 300
"""Characters of a line, a tool's return or a search result that an answer repeats."""
MAX_QUOTES: Final = 8
MAX_QUESTION: Final = 300

_SELF: Final = re.compile(
    r"\b(?:who|what) are you\b|\byour name\b|\bwhat is yours\b|\bwhat's yours\b|\b(?:which|what) (?:language )?model\b|"
    r"\bare you (?:an? |the )?(?:ai|llm|language model|human|person|robot|bot|real|chatgpt|gpt|claude|gemini)\b"
)
_ABILITIES: Final = re.compile(r"\bwhat can you do\b|\bhow do you work\b|^help\b|\bhelp me\b|\bwhat do you do\b")
_MEMORY: Final = re.compile(r"\byour (?:core )?(?:memory|memories|memory blocks?|blocks?)\b")
_ABOUT_ME: Final = re.compile(r"\babout (?:me|myself)\b|\bwho am i\b|\bdo you (?:know|remember) me\b")
_RECALL: Final = re.compile(
    r"\bdo you (?:remember|recall) (?:when|what|the time)\b|^search\b(?!.*\b(?:web|internet|online)\b)|"
    r"^(?:look up|find)\b.*\b(?:conversation|history|messages|said)\b|"
    r"\b(?:did|have|has)\b.*\b(?:i|we|you)\b.*"
    r"\b(?:say|said|tell|told|mention|mentioned|talk|talked|discuss|discussed|ask|asked)\b"
)
_REQUEST: Final = re.compile(
    r"(?:can|could|would|will) you (?!tell me|remember|recall|say)|"
    r"(?:write|make|give|explain|translate|summari[sz]e|help|say|find|show me how)\b"
)
_TOPICS: Final = tuple(
    re.compile(rf"\b(?:{words})\b(?: you| me| us)?(?: that)?\s+(?P<topic>.+)")
    for words in ("about|regarding|concerning", "mention|mentioned|discuss|discussed", "say|said|tell|told", "for|when")
)
_SLOTS: Final = tuple(
    (re.compile(pattern), slots, sentence)
    for pattern, slots, sentence in (
        (
            r"\bmy (?:full |first |last |own )?name\b|\bwhat am i called\b|\bwhat i am called\b",
            "Name",
            "Your name is {}.",
        ),
        (
            r"\bwhere (?:do )?i live\b|\bwhere am i (?:living|based)\b|\bmy (?:home|city)\b",
            "Lives in",
            "You live in {}.",
        ),
        (r"\bwhere (?:am|do) i (?:come )?from\b|\bwhere i(?:'m| am| come) from\b", "Comes from", "You come from {}."),
        (r"\bhow old (?:am i|i am)\b|\bmy age\b", "Age", "You are {}."),
        (
            r"\bwhat (?:else )?(?:do )?i (?:hate|dislike|not like)\b|\bwhat don't i like\b",
            "Dislikes",
            "You dislike {}.",
        ),
        (r"\b(?:what|which) (?:\w+ )?(?:do )?i (?:really )?(?:like|love|enjoy)\b", "Likes", "You like {}."),
        (r"\b(?:what|which) (?:\w+ )?(?:do )?i prefer\b", "Prefers", "You prefer {}."),
        (r"\bwhere (?:do )?i work\b|\bwhat do i do\b|\bmy (?:job|work|profession)\b", "Works|Job|Is", "You work {}."),
        (r"\bwhat am i\b", "Is", "You are {}."),
    )
)
_MY_THING: Final = re.compile(r"\bmy (?P<what>[\w' -]{1,60})")
_PERSONAL: Final = re.compile(r"\b(?:i|my|me|mine|myself|i'm|i've)\b")
_WORD: Final = re.compile(r"[^\W_]{2,}")
_EMPTY_WORDS: Final = frozenset(
    _WORD.findall(
        "about am an and any are as at be been can could did do does for from had has have he her him his how in is it "
        "its know like me mine my of on or our please recall remember said say she should so tell that the their them "
        "they this to told us was we were what when where which who whose why will with would you your called ever "
        "list search find show there thing things"
    )
)


def wants_search(question: str) -> bool:
    """Whether a question asks what was said rather than what is known."""
    asked = _asked(question)
    return _RECALL.search(asked) is not None and _ABOUT_ME.search(asked) is None


def topic_of(question: str) -> str:
    """What to search the conversation for."""
    asked = _asked(question)
    found = next((match["topic"] for pattern in _TOPICS if (match := pattern.search(asked))), asked)
    return " ".join(_words(found)) or found


def answer(question: str, situation: Situation) -> str:
    """An answer to one question, quoting where it comes from; where there is none, that it is so and why."""
    asked = _asked(question)
    if _SELF.search(asked):
        return _about_itself(situation)
    if _ABILITIES.search(asked):
        return f"{WHAT_I_AM} {WHAT_I_DO} {HOW_TO_DO_BETTER}"
    lines = known_lines(situation)
    if _ABOUT_ME.search(asked):
        about = [line for line in lines if line.label == HUMAN] or list(said_lines(situation))
        return _listed("This is what I know about you", about)
    if _MEMORY.search(asked):
        return _listed("This is what stands in my memory blocks", lines)
    found = _slot_answer(asked, lines) or _slot_answer(asked, list(said_lines(situation)))
    if found:
        return found
    matching = _matching(asked, lines)
    if _REQUEST.match(asked):
        return f"I cannot do that. {CANNOT}"
    if not _PERSONAL.search(asked):
        quoted = f"{_listed('My memory blocks mention it', matching)} More I cannot say." if matching else ""
        return f"{quoted or 'I cannot answer that.'} {CANNOT}"
    if matching:
        return _listed("I find this in my memory blocks", matching)
    return f"I have nothing about that in my memory blocks. {WHAT_I_AM}"


def search_answer(question: str, text: str, failed: bool) -> str:
    """What a search of the conversation found, in its own words."""
    topic = topic_of(question)
    if failed:
        return f'I searched this conversation for "{topic}", but the search failed: {clipped(text)}'
    results = _results(text)
    if results is None:
        return f'I searched this conversation for "{topic}" and got: "{clipped(text)}"'
    asked = _asked(question)
    # What the person said comes first; the question itself, which is in history by now, is no answer to it.
    others = [item for item in results if asked not in str(item.get("content", "")).casefold()]
    quotes = [_result(item) for item in sorted(others, key=lambda item: item.get("role") != "user")]
    if not quotes:
        return f'I searched this conversation for "{topic}" and found nothing.'
    return f'I searched this conversation for "{topic}" and found: {"; ".join(quotes[:3])}.'


def clipped(text: str, limit: int = MAX_QUOTE) -> str:
    """The text on one line, cut to `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def spoken_list(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _asked(question: str) -> str:
    """A question as the patterns want it. They look back and forth, so a very long one is cut."""
    return question[:MAX_QUESTION].casefold().strip(" ?.!")


def _about_itself(situation: Situation) -> str:
    persona = situation.block("persona")
    quoted = f' My `persona` block says: "{clipped(persona.value)}"' if persona and persona.value.strip() else ""
    return f"{WHAT_I_AM}{quoted} {HOW_TO_DO_BETTER}"


def _listed(intro: str, lines: Sequence[Line]) -> str:
    if not lines:
        return "My memory blocks hold nothing yet that I could quote."
    quotes = [f'"{clipped(line.text)}" ({line.source})' for line in lines[:MAX_QUOTES]]
    more = f" (and {len(lines) - MAX_QUOTES} more lines)" if len(lines) > MAX_QUOTES else ""
    return f"{intro}: {'; '.join(quotes)}{more}."


def _slot_answer(asked: str, lines: Sequence[Line]) -> str | None:
    for pattern, slots, sentence in _SLOTS:
        if pattern.search(asked):
            found = _in_slots({slot_key(slot) for slot in slots.split("|")}, lines)
            return _sourced(sentence, found) if found else None
    thing = _MY_THING.search(asked)
    if thing is None:
        return None
    for words in _shorter(thing["what"].split()):
        found = _in_slots({slot_key(" ".join(words)), slot_key(" ".join(words) + "s")}, lines)
        if found:
            return _sourced("Your " + " ".join(words) + " is {}.", found)
    return None


def _shorter(words: list[str]) -> Iterator[list[str]]:
    """The words, then the words without the last one, and so on."""
    return (words[:count] for count in range(len(words), 0, -1))


def _in_slots(keys: set[str], lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if slot_key(slot_of(line.text)[0]) in keys and slot_of(line.text)[1]]


def _sourced(sentence: str, lines: Sequence[Line]) -> str:
    values = [clipped(slot_of(line.text)[1]) for line in lines[:MAX_QUOTES]]
    quotes = "; ".join(f'from {line.source}: "{clipped(line.text)}"' for line in lines[:MAX_QUOTES])
    return f"{sentence.format(spoken_list(values))} (F{quotes[1:]}.)"


def _matching(asked: str, lines: Sequence[Line]) -> list[Line]:
    """The lines that share words with a question, best first."""
    words = {word.removesuffix("s") for word in _words(asked)}
    scored = [
        (len(words & {word.removesuffix("s") for word in _WORD.findall(line.text.casefold())}), line) for line in lines
    ]
    return [line for score, line in sorted(scored, key=lambda pair: -pair[0]) if score][:MAX_QUOTES]


def _words(text: str) -> list[str]:
    return [word for word in _WORD.findall(text.casefold()) if word not in _EMPTY_WORDS]


def _results(text: str) -> list[dict[str, Any]] | None:
    """The result list of a conversation search, or None where its return is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    items = value.get("results") if isinstance(value, dict) else value
    if not isinstance(items, list):
        return None
    return [item for item in items if isinstance(item, dict)]


def _result(item: dict[str, Any]) -> str:
    who = "you" if item.get("role") == "user" else "I" if item.get("role") == "assistant" else "somebody"
    when = f" on {item['timestamp']}" if item.get("timestamp") else ""
    return f'{who} said{when}: "{clipped(str(item.get("content", "")))}"'
