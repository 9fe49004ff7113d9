"""The offline model sums up, too: what people said stays word for word, as the loop asks for it."""

from perdure.domain.messages import Message, SummaryPart, ToolCallPart, ToolReturnPart
from perdure.loop.summary import PROMPT, PROMPT_BY_ITSELF
from perdure.loop.transcript import transcript
from tests.loop.test_context import message
from tests.providers.test_offline import ask

TALK = [
    message("user", "My name is Ada."),
    message("assistant", "Noted.", ToolCallPart(call_id="1", name="memory_insert", arguments='{"label": "human"}')),
    message("tool", ToolReturnPart(call_id="1", name="memory_insert", status="success", text="Name: Ada, he said")),
    message("user", "I like tea.", name="Ada"),
    message("user", "It rains. " * 100),
]


def summed_up(*talk: Message) -> str:
    """Its summary of a transcript."""
    answer = ask([message("system", PROMPT), message("user", transcript(talk, (), "UTC", 20_000))], tools=())
    assert answer.tool is None
    return answer.text


def test_what_people_said_is_listed() -> None:
    lines = summed_up(*TALK).splitlines()
    assert lines[:3] == ["What was said so far:", "- My name is Ada.", "- I like tea."]
    assert lines[3].startswith("- It rains.")
    assert len(lines) == 4


def test_an_earlier_summary_is_kept() -> None:
    before = summed_up(*TALK)
    again = summed_up(message("summary", SummaryPart(text=before)), message("user", "I live in Kyiv."))
    assert again == f"{before}\n- I live in Kyiv."


def test_of_a_long_conversation_the_newest_is_kept() -> None:
    lines = summed_up(*(message("user", f"Fact {number}.") for number in range(100))).splitlines()
    assert (lines[1], lines[-1]) == ("- Fact 60.", "- Fact 99.")


def test_it_sums_up_its_own_conversation() -> None:
    answer = ask([message("system", "You help."), *TALK, message("user", PROMPT_BY_ITSELF)], choice="none")
    assert answer.text.splitlines()[:2] == ["What was said so far:", "- My name is Ada."]
    assert answer.tool is None
