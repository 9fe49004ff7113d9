"""Thoughts that a model writes between tags at the start of its answer, where its server does not tell them apart."""

from typing import Final, Literal

_TAGS: Final = {"<think>": "</think>", "[THINK]": "[/THINK]"}

_State = Literal["beginning", "thinking", "between", "answering"]


class ThinkTags:
    """Sorts the text of one answer, in whatever fragments it comes. Tags further on are text like any other."""

    __slots__ = ("_end", "_kept", "_state")

    def __init__(self) -> None:
        self._state: _State = "beginning"
        self._kept = ""
        self._end = ""

    @property
    def done(self) -> bool:
        """Whether all that follows is the answer."""
        return self._state == "answering"

    def feed(self, text: str) -> list[tuple[Literal["text", "reasoning"], str]]:
        """What can be passed on now; what may belong to a tag is kept back."""
        found: list[tuple[Literal["text", "reasoning"], str]] = []
        text, self._kept = self._kept + text, ""
        if self._state == "beginning":
            text = self._begun(text)
        if self._state == "thinking":
            thought, tag, rest = text.partition(self._end)
            if not tag:
                self._kept = _beginning_of(self._end, thought)
                thought = thought[: len(thought) - len(self._kept)]
            if thought:
                found.append(("reasoning", thought))
            self._state, text = ("between", rest) if tag else ("thinking", "")
        if self._state == "between" and (text := text.lstrip()):
            self._state = "answering"
        if self._state == "answering" and text:
            found.append(("text", text))
        return found

    def flush(self) -> list[tuple[Literal["text", "reasoning"], str]]:
        """What was kept back, now that something else follows, or nothing."""
        kept, self._kept = self._kept, ""
        thinking, self._state = self._state == "thinking", "answering"
        return [("reasoning" if thinking else "text", kept)] if kept else []

    def _begun(self, text: str) -> str:
        """What follows the tag that opens the thoughts, if it is clear that there is one, or none."""
        said = text.lstrip()
        for begin, end in _TAGS.items():
            if said.startswith(begin):
                self._state, self._end = "thinking", end
                return said[len(begin) :]
            if begin.startswith(said):
                self._kept = text
                return ""
        self._state = "answering"
        return text


def _beginning_of(tag: str, text: str) -> str:
    """The end of `text` that may be the beginning of `tag`."""
    return next((tag[:size] for size in range(len(tag) - 1, 0, -1) if text.endswith(tag[:size])), "")
