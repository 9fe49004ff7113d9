"""Jobs as 0.1.x reads them."""

from typing import Any

from perdure.domain.jobs import Job
from perdure.wire.times import precise

Wire = dict[str, Any]


def job(shown: Job) -> Wire:
    """A job; why it failed stands in its metadata, since the contract has no field for that."""
    began, ended = shown.created_at, shown.completed_at
    return {
        "id": shown.id,
        "job_type": shown.job_type,
        "status": shown.status,
        "metadata": {"type": shown.kind, **shown.metadata, **({"error": shown.error} if shown.error else {})},
        "created_at": precise(began),
        "updated_at": precise(shown.updated_at),
        "completed_at": precise(ended),
        "stop_reason": None,
        "background": True,
        "agent_id": None,
        "callback_url": None,
        "callback_sent_at": None,
        "callback_status_code": None,
        "callback_error": None,
        "ttft_ns": None,
        "total_duration_ns": None if ended is None else (ended - began) * 1000,
        "created_by_id": None,
        "last_updated_by_id": None,
        "user_id": None,
    }
