"""What Claude models take and refuse, told by family and version in their names.

From https://platform.claude.com/docs: thinking, effort, the migration guides, structured outputs (November 2026).
"""

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")

_NAME: Final = re.compile(r"claude-(?:([a-z]+)-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)(?:-([a-z]+))?")
_LARGEST: Final = ("fable", "mythos")
_NEXT: Final = (99, 0)
"""The version of a Claude whose name tells none: asked as its newest kin are, which refuse the most."""

Version = tuple[int, int]


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How one model wants to be asked."""

    thinking: Literal["none", "budget", "adaptive"] = "none"
    """How it is told to think: not at all, with a number of tokens, or as much as it sees fit."""
    thoughtless: Literal["omit", "disabled", "between_tools", "never"] = "omit"
    """How it is told not to: by saying nothing, by a type of thinking, or not at all."""
    shows_thinking: bool = True
    """Whether it shows what it thinks without being asked to."""
    interleaved_beta: bool = False
    """Whether it thinks between tool calls only with a beta header."""
    bound: bool = False
    """Whether a thought is void once anything before it in the request has changed, which is an error unless asked."""
    sampled: bool = True
    """Whether it takes a temperature, as long as it does not think."""
    forced: bool = True
    """Whether it can be made to call a tool, as long as it does not think."""
    efforts: tuple[str, ...] = ()
    structured: bool = False
    """Whether its answer can be held to a JSON schema."""
    eager: bool = False
    """Whether it streams the arguments of calls as it writes them, where a tool asks for that."""

    def effort(self, asked: str) -> str | None:
        """The effort it takes that comes nearest to `asked` from below; None where it takes none."""
        wanted = EFFORTS.index(asked) if asked in EFFORTS else 0
        taken = [effort for effort in self.efforts if EFFORTS.index(effort) <= wanted]
        return taken[-1] if taken else None


STRANGER: Final = Manner()
"""A model of somebody else that is served in this dialect."""


@lru_cache(256)
def manner(name: str) -> Manner:
    """How the model of this name wants to be asked, on whichever cloud it is (`us.anthropic.claude-opus-5`, …)."""
    at = name.lower().find("claude")
    if at < 0:
        return STRANGER
    found = _NAME.match(name.lower(), at)
    if found is None:
        return _of("", _NEXT)
    before, major, minor, after = found.groups()
    return _of(before or after or "", (int(major), int(minor or 0)))


def unsteered(how: Manner) -> Manner:
    """The same for a model that turned out to take less than was known of it."""
    return msgspec.structs.replace(
        how, thinking="none", thoughtless="omit", bound=False, sampled=False, efforts=(), eager=False
    )


def _of(family: str, version: Version) -> Manner:
    if version < (3, 7):
        return Manner()
    if version < (4, 6):
        return Manner(
            thinking="budget",
            interleaved_beta=version >= (4, 0),
            efforts=EFFORTS[:3] if (family, version) == ("opus", (4, 5)) else (),
            structured=version >= (4, 5) or (family, version) == ("opus", (4, 1)),
            eager=version >= (4, 5),
        )
    modern = Manner(thinking="adaptive", structured=True, eager=True, efforts=EFFORTS)
    if version < (4, 7):
        efforts = (*EFFORTS[:3], "max") if family == "opus" else EFFORTS[:3]
        return msgspec.structs.replace(modern, efforts=efforts)
    largest = family in _LARGEST
    strict = version >= ((5, 1) if largest else (5, 5))
    return msgspec.structs.replace(
        modern,
        thoughtless=_thoughtless(family, version),
        shows_thinking=False,
        bound=strict and version != _NEXT,
        sampled=False,
        forced=not (largest or (strict and family != "haiku")),
    )


def _thoughtless(family: str, version: Version) -> Literal["omit", "disabled", "between_tools", "never"]:
    if version < (5, 0):
        return "omit"
    if family in _LARGEST:
        return "never"
    if version < (5, 5) or (family == "haiku" and version < (6, 0)):
        return "disabled"
    return "between_tools" if (family, version) == ("sonnet", (5, 5)) else "never"
