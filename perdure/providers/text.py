"""Text from outside, made fit to be stored and shown."""

from typing import Any, Generic, TypeVar, cast

REPLACEMENT = "\ufffd"

_Channel = TypeVar("_Channel")


def storable(text: str) -> str:
    """`text` with the halves of surrogate pairs joined, and lone surrogates and NUL replaced by U+FFFD."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", REPLACEMENT)


def storable_json(value: Any) -> Any:
    """JSON with all its text storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [storable_json(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {storable(name): storable_json(each) for name, each in cast("dict[str, Any]", value).items()}
    return value


def is_storable(text: str) -> bool:
    """Whether `storable` would leave `text` as it is."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Halves(Generic[_Channel]):
    """Text that comes in fragments on several channels, made storable; a surrogate pair cut between two is joined."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half: tuple[_Channel, str] | None = None

    @property
    def waiting(self) -> bool:
        """Whether half a pair is kept back, so that the next fragment must come here too."""
        return self._half is not None

    def add(self, channel: _Channel, text: str) -> list[tuple[_Channel, str]]:
        """What can be passed on now that `text`, which is not empty, has come on `channel`."""
        whole: list[tuple[_Channel, str]] = []
        if self._half is not None:
            if self._half[0] == channel:
                text = self._half[1] + text
                self._half = None
            else:
                whole = self.flush()
        if "\ud800" <= text[-1] <= "\udbff":
            self._half = (channel, text[-1])
            text = text[:-1]
        if text:
            whole.append((channel, text if is_storable(text) else storable(text)))
        return whole

    def flush(self) -> list[tuple[_Channel, str]]:
        """Gives up on half a pair whose other half did not come."""
        if self._half is None:
            return []
        channel, self._half = self._half[0], None
        return [(channel, REPLACEMENT)]
