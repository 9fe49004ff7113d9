"""A job is background work that outlives the request that asked for it, and the process that began it."""

from typing import Any, Final, Literal

import msgspec

JobStatus = Literal["created", "running", "completed", "failed", "cancelled"]
UNFINISHED: Final[tuple[JobStatus, ...]] = ("created", "running")


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Work of a `kind` on the thing with the id `subject`.

    `metadata` tells callers what it is about, `error` why it failed; `attempts` is how often it was taken up.
    """

    id: str
    kind: str
    created_at: int
    updated_at: int
    subject: str | None = None
    job_type: str = "job"
    status: JobStatus = "created"
    metadata: dict[str, Any] = {}
    error: str | None = None
    completed_at: int | None = None
    attempts: int = 0
