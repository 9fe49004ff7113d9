"""Compaction shortens history that no longer fits: how an agent wants it done, and what was done."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from perdure.domain.model_settings import settings_named
from perdure.domain.models import ModelSettings

Mode = Literal["sliding_window", "all", "self_compact_sliding_window", "self_compact_all"]
Trigger = Literal["context_window_exceeded", "post_step_context_check", "manual"]

SUMMARY_CHARS: Final = 50_000
"""The longest summary where nobody says otherwise."""


class CompactionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to compact.

    The sliding modes take out the oldest part, so that at most 1 - `sliding_window_percentage` of the window is used
    afterwards; the others take out all but the newest turn. In the `self_compact` modes the agent's own model sums up
    what it has before it, as one more message of its conversation; in the others `model` (a handle; None is the
    agent's own) is shown a transcript. `prompt` of None means the one of the mode. `clip_chars` bounds the summary;
    None lets it be as long as the window allows.
    """

    mode: Mode = "sliding_window"
    model: str | None = None
    settings: ModelSettings = ModelSettings()
    prompt: str | None = None
    prompt_acknowledgement: bool = False
    clip_chars: int | None = SUMMARY_CHARS
    sliding_window_percentage: float = 0.3

    @property
    def by_itself(self) -> bool:
        """Whether the agent's own model sums up, in its own context."""
        return self.mode.startswith("self_compact")

    @property
    def slides(self) -> bool:
        """Whether only the oldest part is taken out."""
        return self.mode.endswith("sliding_window")


class CompactionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A compaction that somebody asked for: settings laid over the agent's, as they were sent.

    No more than `max_messages` stay in context, if that is given and the newest turn can do with so few.
    """

    settings: dict[str, Any] = {}
    max_messages: int | None = None


class CompactionStats(msgspec.Struct, frozen=True, kw_only=True):
    """What a compaction did. Token counts are estimates, of the context with the tools; messages are all in context."""

    trigger: Trigger
    context_tokens_before: int
    context_tokens_after: int
    context_window: int
    messages_count_before: int
    messages_count_after: int


def merged(kept: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over others, field by field. Another mode drops the prompt, which was written for the one before.

    A null leaves a field as it is.
    """
    given = {name: value for name, value in sent.items() if value is not None}
    if given.get("mode", kept.get("mode")) != kept.get("mode"):
        kept = {name: value for name, value in kept.items() if name != "prompt"}
    return {**kept, **given}


def settings_of(stored: Mapping[str, Any]) -> CompactionSettings:
    """What settings mean, as an agent keeps them. Null is no setting, except for `clip_chars`: it lifts the bound."""
    fields = {name: stored[name] for name in _PLAIN if stored.get(name) is not None}
    if "clip_chars" in stored:
        fields["clip_chars"] = stored["clip_chars"]
    fields["settings"] = ModelSettings(**settings_named(stored.get("model_settings") or {}))
    return CompactionSettings(**fields)


_PLAIN: Final = ("mode", "model", "prompt", "prompt_acknowledgement", "sliding_window_percentage")
