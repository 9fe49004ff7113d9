"""Where a run stands whose process is gone, read from what it committed: going on continues exactly there."""

from collections.abc import Sequence

import msgspec

from perdure.domain.errors import MODEL_ERROR_TEXT
from perdure.domain.messages import Message
from perdure.domain.runs import COMPACTION, RunError, Step, Usage
from perdure.loop.manner import NO_CALL
from perdure.loop.tool_rules import ToolRules
from perdure.loop.turn import End
from perdure.loop.verdict import Called, Verdict, called_since_input, judge


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run came: steps taken and what they cost, what was called, what follows; `end` where it was over."""

    steps: int
    usage: Usage
    called: Called
    verdict: Verdict
    end: End | None


def standing(steps: Sequence[Step], messages: Sequence[Message], rules: ToolRules) -> Standing:
    """By the steps a run recorded and the messages in context. A call that was begun has no step yet.

    What a compaction asked of models costs, and is no step of the agent's.
    """
    usage = Usage()
    for step in steps:
        usage = usage.plus(step.usage)
    steps = [step for step in steps if COMPACTION not in step.tags]
    called = called_since_input(messages)
    last, end, verdict = messages[-1], None, Verdict(None)
    if steps and steps[-1].stop_reason is not None and last.step_id == steps[-1].id:
        stop, error = steps[-1].stop_reason, steps[-1].error
        end = End(stop, usage, no_call() if stop == "no_tool_call" else error)
    elif last.role == "assistant" and not last.tool_calls and steps and last.step_id == steps[-1].id:
        verdict = judge(rules, called, None)
    return Standing(steps=len(steps), usage=usage, called=called, verdict=verdict, end=end)


def no_call() -> RunError:
    """The error of a step that called no tool where it had to."""
    return RunError(error_type="llm_error", message=MODEL_ERROR_TEXT["llm_error"], detail=NO_CALL)
