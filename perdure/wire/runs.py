"""Runs and steps as callers see them."""

from typing import Any

from perdure.domain.runs import Run
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
