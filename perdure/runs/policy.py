"""What the operator decided of runs, and whether they can be taken."""

from typing import Literal

import msgspec

State = Literal["ready", "draining", "storage_unavailable"]
"""Whether new runs can be taken: while the server stops, or cannot write its database, they cannot."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decided. Seconds, and hours for how long event logs are kept after a run ends.

    A request for approval that nobody answers within `approval_seconds` is denied; 0 lets it wait for ever.
    `max_queued` runs may wait for one conversation, `max_runs` may be under way in this process. A process that gives
    no sign of life for `lease_seconds` loses its runs to the others. `max_chain` runs may follow one, each started by
    the one before.
    """

    queue: bool = True
    max_queued: int = 100
    max_runs: int = 10_000
    max_chain: int = 8
    ping_seconds: float = 20.0
    drain_seconds: float = 10.0
    retention_hours: float = 24.0
    approval_seconds: float = 0.0
    lease_seconds: float = 5.0
