"""The recorded streams, and what the framing and the reader of their dialect make of them."""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.domain.errors import ModelError
from perdure.providers import anthropic_events, gemini_chunks, openai_responses_events
from perdure.providers.aws_event_stream import AwsEventParser
from perdure.providers.base import (
    AnyDelta,
    Finished,
    HiddenReasoningDelta,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from perdure.providers.event_stream import EventParser, Framing
from perdure.providers.http import Endpoint, HttpClient
from perdure.providers.openai_chat import EventsOrWhole
from perdure.providers.openai_chunks import ChunkReader
from perdure.providers.remote import RemoteProvider
from tests.providers.chat import HELLO, KINDS, SYSTEM
from tests.rig.recording import STREAMS

_MADE_UP = re.compile(r"call_[0-9a-f]{8}")

ENDPOINT = Endpoint(name="box", url="http://127.0.0.1:1")
REQUEST = ModelRequest(
    model=RemoteProvider(HttpClient(), ENDPOINT, KINDS["openai"]).model("gpt-5"), messages=(SYSTEM, HELLO)
)
FILES = {f"{file.parent.name}/{file.stem}": file for file in sorted(STREAMS.glob("*/*.*"))}


class Read(NamedTuple):
    """What came of a stream: its deltas, and the error it ended with."""

    deltas: list[AnyDelta]
    error: ModelError | None


def framing(dialect: str) -> Framing:
    return {"bedrock": AwsEventParser, "openai_chat": EventsOrWhole}.get(dialect, EventParser)()


def payloads(dialect: str, pieces: Iterable[bytes]) -> list[list[bytes]]:
    """The payloads that each piece completes, and those that the end does."""
    parser = framing(dialect)
    return [*map(parser.feed, pieces), parser.finish()]


def read(dialect: str, groups: Iterable[Sequence[bytes]]) -> Read:
    """What the dialect's reader makes of payloads that come in these groups. Only ModelError is caught."""
    out: list[AnyDelta] = []
    try:
        for deltas in _deltas(dialect, [group for group in groups if group]):
            out += deltas
    except ModelError as error:
        return Read(out, error)
    return Read(out, None)


def _deltas(dialect: str, groups: Iterable[Sequence[bytes]]) -> Iterator[list[AnyDelta]]:
    reader = _reader(dialect)
    for group in groups:
        yield reader.read(group)
        if reader.failure:
            raise reader.failure
        if reader.done:
            return
    if isinstance(reader, ChunkReader):
        rest: list[AnyDelta] = []
        reader.end(rest)
        yield rest
    elif isinstance(reader, gemini_chunks.ChunkReader):
        yield reader.end()
    else:
        raise reader.cut()


def _reader(dialect: str) -> Any:
    match dialect:
        case "openai_chat":
            return ChunkReader(ENDPOINT, (), hidden_reasoning=False)
        case "openai_responses":
            return openai_responses_events.EventReader(ENDPOINT, REQUEST)
        case "gemini":
            return gemini_chunks.ChunkReader(ENDPOINT, "google_ai", ())
        case _:
            return anthropic_events.EventReader(ENDPOINT, (), "claude-opus-5")


def shown(deltas: Sequence[AnyDelta]) -> str:
    """What the deltas say: thoughts in angle brackets, calls in square ones, `<>` for a thought that is not shown."""
    said = [delta for delta in deltas if not isinstance(delta, UsageDelta | Finished)]
    return "".join(_part(channel, list(part)) for channel, part in itertools.groupby(_in_order(said), _channel))


def _in_order(deltas: Sequence[AnyDelta]) -> list[AnyDelta]:
    """The fragments of each call together, in the place of its first."""
    firsts = {each.index: at for at, each in reversed([*enumerate(deltas)]) if isinstance(each, ToolCallDelta)}
    places = [firsts[each.index] if isinstance(each, ToolCallDelta) else at for at, each in enumerate(deltas)]
    return [deltas[at] for at in sorted(range(len(deltas)), key=lambda at: (places[at], at))]


def _channel(delta: AnyDelta) -> Any:
    return delta.index if isinstance(delta, ToolCallDelta) else type(delta)


def _part(channel: Any, part: list[Any]) -> str:
    if channel is TextDelta:
        return "".join(each.text for each in part)
    if channel is ReasoningDelta:
        return f"<{''.join(each.text for each in part)}>"
    if channel is HiddenReasoningDelta:
        return "<>" * len(part)
    return f"[{part[0].name} {''.join(each.arguments for each in part)}]"


def told(deltas: Sequence[AnyDelta]) -> tuple[list[Any], UsageDelta | None]:
    """The deltas to compare: usage comes when it is known, of which the last counts, and made-up ids are all alike."""
    usage = [delta for delta in deltas if isinstance(delta, UsageDelta)]
    kept = [_without_made_up_id(delta) for delta in deltas if not isinstance(delta, UsageDelta)]
    return kept, usage[-1] if usage else None


def _without_made_up_id(delta: AnyDelta) -> AnyDelta:
    if isinstance(delta, ToolCallDelta) and _MADE_UP.fullmatch(delta.call_id or ""):
        return msgspec.structs.replace(delta, call_id="made up")
    return delta


def raw(name: str) -> bytes:
    return FILES[name].read_bytes()
