"""Runs as callers see them, and what one came to."""

from collections.abc import Sequence
from typing import Any

from perdure.domain.runs import Logprobs, Run, Step, StopReason, Usage
from perdure.wire.messages import Public, usage_statistics
from perdure.wire.times import precise


def run(run: Run, *, is_default_conversation: bool = True) -> dict[str, Any]:
    """A run with the keys of both generations. The default conversation has no id of its own outside."""
    return {
        "id": run.id,
        "agent_id": run.agent_id,
        "conversation_id": None if is_default_conversation else run.conversation_id,
        "status": run.status,
        "stop_reason": run.stop_reason,
        "background": run.background,
        "created_at": precise(run.created_at),
        "updated_at": precise(run.completed_at or run.created_at),
        "completed_at": precise(run.completed_at),
        "metadata": run.metadata,
        "request_config": run.request_config,
        "base_template_id": None,
        "callback_url": run.callback_url,
        "callback_sent_at": precise(run.callback_sent_at),
        "callback_status_code": run.callback_status_code,
        "callback_error": run.callback_error,
        "ttft_ns": run.ttft_ns,
        "total_duration_ns": run.total_duration_ns,
        "job_type": "run",
        "created_by_id": None,
        "last_updated_by_id": None,
    }


def run_metrics(run: Run, steps: Sequence[Step], tool_ids: Sequence[str]) -> dict[str, Any]:
    """How long a run took, in nanoseconds, and what it used."""
    return {
        "id": run.id,
        "agent_id": run.agent_id,
        "run_start_ns": run.created_at * 1000,
        "run_ns": run.total_duration_ns,
        "ttft_ns": run.ttft_ns,
        "num_steps": len(steps),
        "tools_used": list(tool_ids),
        "template_id": None,
        "base_template_id": None,
        "project_id": None,
    }


def letta_response(
    messages: Sequence[Public], stop_reason: StopReason | None, usage: Usage, logprobs: Logprobs | None = None
) -> dict[str, Any]:
    """What a run came to, as one object."""
    return {
        "messages": list(messages),
        "stop_reason": {"message_type": "stop_reason", "stop_reason": stop_reason},
        "usage": usage_statistics(usage),
        "logprobs": logprobs,
        "turns": None,
    }


def callback(run: Run, response: dict[str, Any]) -> dict[str, Any]:
    """What a run's `callback_url` is told."""
    return {
        "run_id": run.id,
        "status": run.status,
        "completed_at": precise(run.completed_at),
        "metadata": {**run.metadata, "result": response},
    }
