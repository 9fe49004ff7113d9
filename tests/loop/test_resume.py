"""Where a run stands follows from what it committed, whatever moment its process ended at."""

import pytest

from perdure.domain.ids import new_id
from perdure.domain.messages import Message, Role, TextPart, ToolCallPart, ToolReturnPart
from perdure.domain.runs import RunError, Step, StopReason, Usage
from perdure.loop.resume import Standing, standing
from perdure.loop.tool_rules import ToolRules

TOOLS = ["look", "end"]
RULES = ToolRules(({"type": "exit_loop", "tool_name": "end"},), TOOLS)
LAX = ToolRules((), TOOLS)
STRICT = ToolRules(({"type": "required_before_exit", "tool_name": "look"},), TOOLS)


def step(stop: StopReason | None = None, error: RunError | None = None) -> Step:
    return Step(
        id=new_id("step"), run_id="run-1", agent_id="agent-1", status="success", created_at=1, stop_reason=stop,
        error=error, usage=Usage(total_tokens=10, step_count=1),
    )  # fmt: skip


def message(role: Role, *parts: TextPart | ToolCallPart | ToolReturnPart, of: Step | None = None) -> Message:
    return Message(
        id=new_id("message"), agent_id="agent-1", role=role, parts=parts, created_at=1, step_id=of.id if of else None
    )


def asked() -> Message:
    return message("user", TextPart(text="hi"))


def call(of: Step, name: str = "look") -> Message:
    return message("assistant", ToolCallPart(call_id="c", name=name, arguments="{}"), of=of)


def returned(of: Step, name: str = "look") -> Message:
    return message("tool", ToolReturnPart(call_id="c", name=name, status="success", text="seen"), of=of)


def spoke(of: Step) -> Message:
    return message("assistant", TextPart(text="Well."), of=of)


def end_of(stood: Standing) -> StopReason | None:
    return stood.end.stop_reason if stood.end else None


def test_before_the_first_answer_everything_is_still_to_be_done() -> None:
    stood = standing([], [asked()], LAX)
    assert (stood.steps, stood.usage, end_of(stood), stood.verdict.stop) == (0, Usage(), None, None)


def test_a_last_word_without_an_end_ends_the_run() -> None:
    last = step("end_turn")
    stood = standing([last], [asked(), spoke(last)], LAX)
    assert (end_of(stood), stood.usage.total_tokens) == ("end_turn", 10)


def test_a_call_of_a_tool_that_ends_the_turn_ends_the_run() -> None:
    last = step("tool_rule")
    assert end_of(standing([last], [asked(), call(last, "end"), returned(last, "end")], RULES)) == "tool_rule"


def test_after_returns_the_run_goes_on_and_knows_what_was_called() -> None:
    first, second = step(), step()
    messages = [asked(), call(first), returned(first), call(second), returned(second)]
    stood = standing([first, second], messages, LAX)
    assert (stood.steps, end_of(stood), stood.verdict.stop, stood.called.names) == (2, None, None, ("look", "look"))


def test_calls_that_were_begun_are_not_an_end() -> None:
    first, begun = step(), step()
    stood = standing([first], [asked(), call(first), returned(first), call(begun)], LAX)
    assert (stood.steps, end_of(stood), stood.verdict.stop) == (1, None, None)


def test_who_may_not_stop_yet_is_told_so_again() -> None:
    last = step()
    stood = standing([last], [asked(), spoke(last)], STRICT)
    assert end_of(stood) is None
    assert "look" in (stood.verdict.nudge or "")


@pytest.mark.parametrize("stop", ["llm_api_error", "max_tokens_exceeded", "cancelled"])
def test_a_broken_step_is_an_end_with_its_error(stop: StopReason) -> None:
    last = step(stop, RunError(error_type="llm_error", message="no"))
    stood = standing([last], [asked(), spoke(last)], LAX)
    assert (end_of(stood), stood.end.error if stood.end else None) == (stop, last.error)


def test_an_older_agent_that_called_nothing_is_told_so() -> None:
    last = step("no_tool_call")
    stood = standing([last], [asked(), spoke(last)], LAX)
    assert stood.end is not None
    assert stood.end.error is not None
    assert "call a tool" in (stood.end.error.detail or "")
