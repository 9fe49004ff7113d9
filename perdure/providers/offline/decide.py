"""What to do next: one tool call, or the words of an answer."""

import json
import re
from typing import Any, Final

import msgspec

from perdure.providers.base import ModelRequest
from perdure.providers.offline import answers
from perdure.providers.offline.arguments import completed
from perdure.providers.offline.memory import WRITERS, next_edit, standing
from perdure.providers.offline.reading import HUMAN, Situation, read_situation
from perdure.providers.offline.rules import Fact, facts_in, questions_in
from perdure.providers.offline.summary import is_to_sum_up, summary_of

SEND: Final = "send_message"
SEARCH: Final = "conversation_search"

_GREETING: Final = re.compile(
    r"\W*(?:hi|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day))\b.{0,40}", re.I
)
_THANKS: Final = re.compile(
    r"\W*(?:thanks|thank you|thx|cheers|great|nice|cool|ok|okay|bye|goodbye|see you)\b.{0,40}", re.I
)
_SEES_NOTHING: Final = "I cannot see images: " + answers.WHAT_I_AM
_UNDERSTOOD_NOTHING: Final = (
    f'I found nothing in that to note about you. {answers.WHAT_I_AM} Say "remember that …" and I keep it, or ask me '
    f"what I know about you. {answers.HOW_TO_DO_BETTER}"
)


class Action(msgspec.Struct, frozen=True):
    """What to do, and why in a sentence or two. With a `tool` it is a call, otherwise `text` is said."""

    thought: str
    text: str = ""
    tool: str | None = None
    arguments: dict[str, Any] = {}


def decide(request: ModelRequest) -> Action:
    """The next action. Any request has one."""
    situation = read_situation(request)
    if is_to_sum_up(situation.text):
        return Action("I am asked for a summary, so I list what people said.", summary_of(situation))
    facts, questions = facts_in(situation.text), questions_in(situation.text)
    wanted = _edit(facts, situation) or _named_tool(situation) or _nudged(situation) or _search(questions, situation)
    named = request.tool_choice if request.tool_choice in situation.tools else None
    if wanted is not None and named in (None, wanted.tool):
        return _complete(wanted, situation, go_on=True)
    if named is not None:
        return _forced(named, facts, questions, situation)
    speech = Action(_thought_before_speaking(facts, questions, situation), _reply(facts, questions, situation))
    if request.tool_choice in ("required", "any") and situation.tools:
        return _as_call(speech, situation)
    return speech


def _edit(facts: list[Fact], situation: Situation) -> Action | None:
    edit = next_edit(facts, situation)
    if edit is None:
        return None
    told = "; ".join(fact.line for fact in edit.facts)
    if edit.replaces:
        plan = f'My `{HUMAN}` block says "{edit.replaces}", so I replace that'
    else:
        plan = f"My `{HUMAN}` block has no line for that, so I add it"
    return Action(f"I was told: {told}. {plan} with {edit.tool}.", tool=edit.tool, arguments=edit.arguments)


def _named_tool(situation: Situation) -> Action | None:
    """A call of a tool that the person asks for by its name, with the JSON arguments given, if any."""
    called = {call.name for call in situation.done}
    for name in situation.tools:
        if name in called or not name:
            continue
        asked = re.search(rf"\b(?:call|use|run|invoke|try)\b[^.\n]{{0,40}}?\b{re.escape(name)}\b", situation.text, re.I)
        if asked:
            arguments = _json_after(situation.text, asked.end())
            return Action(f"I was asked to call {name}, so I do.", tool=name, arguments=arguments)
    return None


def _nudged(situation: Situation) -> Action | None:
    """A call that a note of the server asks for, such as one that its tool rules want made before the end."""
    called = {call.name for call in situation.done}
    for name in situation.tools:
        if name and name not in called and any(name in note for note in situation.nudges):
            return Action(f"The server asks for {name} before I end, so I call it.", tool=name)
    return None


def _search(questions: list[str], situation: Situation) -> Action | None:
    if SEARCH not in situation.tools or any(call.name == SEARCH for call in situation.done):
        return None
    question = next((question for question in questions if answers.wants_search(question)), None)
    if question is None:
        return None
    topic = answers.topic_of(question)
    return Action(
        f'I am asked about something said before. I search this conversation for "{topic}".',
        tool=SEARCH,
        arguments={"query": topic},
    )


def _forced(name: str, facts: list[Fact], questions: list[str], situation: Situation) -> Action:
    """A call of the one tool that is allowed, whatever was said."""
    given: dict[str, Any] = {}
    if name == SEND:
        given = {"message": _reply(facts, questions, situation)}
    elif name == SEARCH:
        given = {"query": answers.topic_of(questions[0] if questions else situation.text)}
    elif name in WRITERS:
        given = {"label": situation.blocks[0].label if situation.blocks else HUMAN}
    forced = Action(f"I must call {name} now.", tool=name, arguments=given)
    return _complete(forced, situation, go_on=name != SEND)


def _as_call(speech: Action, situation: Situation) -> Action:
    """Speech where only a tool call is allowed: through `send_message`, else the call that does least."""
    if SEND in situation.tools:
        call = Action(speech.thought, tool=SEND, arguments={"message": speech.text})
        return _complete(call, situation, go_on=False)
    simplest = min(situation.tools, key=lambda name: len(completed({}, situation.tools[name], "", go_on=False)))
    call = Action("I have nothing more to do, but must call a tool.", tool=simplest)
    return _complete(call, situation, go_on=False)


def _complete(action: Action, situation: Situation, *, go_on: bool) -> Action:
    tool = situation.tools.get(action.tool or "", {})
    arguments = completed(action.arguments, tool, answers.clipped(situation.text), go_on=go_on)
    return msgspec.structs.replace(action, arguments=arguments)


def _reply(facts: list[Fact], questions: list[str], situation: Situation) -> str:
    parts = [_SEES_NOTHING] if situation.images else []
    parts += _on_facts(facts, situation)
    parts += [_on_question(question, situation) for question in questions]
    parts += [
        f'{call.name} {"failed" if call.failed else "returned"}: "{answers.clipped(call.text)}"'
        for call in situation.done
        if call.name not in (SEND, SEARCH) and not (call.name in WRITERS and facts)
    ]
    if not parts:
        parts.append(_small_talk(situation))
    return "\n\n".join(dict.fromkeys(parts))


def _on_facts(facts: list[Fact], situation: Situation) -> list[str]:
    """What became of the facts, those with the same fate in one sentence."""
    by_fate: dict[str, list[str]] = {}
    for fact in facts:
        fate, words = standing(fact, situation)
        by_fate.setdefault(_FATES[fate].format(answers.clipped(words)), []).append(f'"{fact.line}"')
    return [fate.replace(_WHAT, answers.spoken_list(lines)) for fate, lines in by_fate.items()]


_WHAT: Final = "\0"
_FATES: Final = {
    "noted": f"I noted {_WHAT} in my `{HUMAN}` block.",
    "failed": f"I could not note {_WHAT} in my `{HUMAN}` block: {{}}",
    "known": f'My `{HUMAN}` block already says "{{}}".',
    "pending": f"I heard {_WHAT}, but have not noted it yet.",
    "no block": f"I heard {_WHAT}, but I have no `{HUMAN}` block to note it in, so it stays in this conversation only.",
    "read-only": f"I heard {_WHAT}, but my `{HUMAN}` block is read-only, so I cannot note it.",
    "no tool": f"I heard {_WHAT}, but I have no tool to write it to my `{HUMAN}` block, so it stays in this "
    "conversation only.",
}


def _on_question(question: str, situation: Situation) -> str:
    if answers.wants_search(question):
        searched = next((call for call in situation.done if call.name == SEARCH), None)
        if searched is not None:
            return answers.search_answer(question, searched.text, searched.failed)
    return answers.answer(question, situation)


def _small_talk(situation: Situation) -> str:
    if not situation.text.strip():
        return f"There was no text in that. {answers.WHAT_I_DO}"
    if _GREETING.fullmatch(situation.text.strip()):
        return f"Hello! {answers.WHAT_I_AM} {answers.WHAT_I_DO}"
    if _THANKS.fullmatch(situation.text.strip()):
        return "All right. Tell me more about yourself, or ask me what I know about you."
    return _UNDERSTOOD_NOTHING


def _thought_before_speaking(facts: list[Fact], questions: list[str], situation: Situation) -> str:
    if situation.done:
        failed = any(call.failed for call in situation.done)
        return "A tool call failed; I say so." if failed else "The tool has answered; I say what came of it."
    if facts:
        known = all(standing(fact, situation)[0] == "known" for fact in facts)
        return "I was told what I already know." if known else "I was told something that I cannot write down."
    if questions:
        labels = ", ".join(f"`{block.label}`" for block in situation.blocks) or "none"
        return f"I am asked something. I look in the blocks I can see ({labels})."
    return "My rules find no fact and no question in that."


def _json_after(text: str, start: int) -> dict[str, Any]:
    """The JSON object that follows in the text, or no arguments."""
    begin = text.find("{", start)
    try:
        value, _ = json.JSONDecoder().raw_decode(text, begin) if begin >= 0 else ({}, 0)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
