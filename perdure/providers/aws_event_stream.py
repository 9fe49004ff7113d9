"""The binary framing in which AWS streams (`application/vnd.amazon.eventstream`), read into the payloads it carries.

A message is a prelude (its length, the length of its headers, a checksum), headers, a payload and a checksum of it all:
https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html. Bedrock puts a model's chunks in it as base64.
"""

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from perdure.domain.errors import ModelError
from perdure.providers.event_stream import MAX_EVENT_BYTES
from perdure.providers.refusals import decoded, message_in
from perdure.providers.text import storable

_PRELUDE: Final = struct.Struct(">III")
_CHECKSUM: Final = struct.Struct(">I")
_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of header values by their type. Types 6 and 7, bytes and text, say how long they are."""
_TEXT: Final = 7


class AwsEventParser:
    """A `Framing` that gives each chunk's own bytes. What AWS reports instead becomes a chunk that reports an error."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = bytearray()

    def begins(self, head: bytes, content_type: str) -> bool:
        """Whether an answer that begins with `head` can be such a stream."""
        return bool(head) and content_type == "application/vnd.amazon.eventstream"

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that `data` completes. Raises ModelError for a message over the limit, or damaged."""
        left = self._left
        left += data
        payloads: list[bytes] = []
        at = 0
        while len(left) - at >= _PRELUDE.size:
            size, header_size, checksum = _PRELUDE.unpack_from(left, at)
            if size > MAX_EVENT_BYTES or header_size > size - _PRELUDE.size - _CHECKSUM.size:
                raise ModelError("llm_error", f"AWS sent a message of {size} bytes, which makes no sense.")
            if binascii.crc32(left[at : at + 8]) != checksum:
                raise ModelError("llm_error", "AWS sent a damaged message.")
            if len(left) - at < size:
                break
            payloads += _payload(bytes(left[at : at + size]), header_size)
            at += size
        del left[:at]
        return payloads

    def finish(self) -> list[bytes]:
        """Nothing: a message cut off is dropped."""
        return []


def _payload(message: bytes, header_size: int) -> list[bytes]:
    """The payload of one message as a chunk; none for what is no chunk."""
    if binascii.crc32(message[: -_CHECKSUM.size]) != _CHECKSUM.unpack_from(message, len(message) - 4)[0]:
        raise ModelError("llm_error", "AWS sent a damaged message.")
    start = _PRELUDE.size + header_size
    headers, payload = _headers(message[_PRELUDE.size : start]), message[start : -_CHECKSUM.size]
    if headers.get(":message-type") != "event":
        return [_reported(headers, payload)]
    if headers.get(":event-type") != "chunk":
        return []
    fields = decoded(payload)
    chunk = cast("dict[str, Any]", fields).get("bytes") if isinstance(fields, dict) else None
    if chunk is None:
        return [payload]  # Servers that imitate Bedrock send a model's chunk as it is.
    try:
        return [base64.b64decode(str(chunk), validate=True)]
    except ValueError:
        raise ModelError("llm_error", f"AWS sent a chunk without bytes: {payload[:200]!r}") from None


def _reported(headers: Mapping[str, str], payload: bytes) -> bytes:
    """An exception or error of AWS, in the words of an error in a stream of Anthropic's."""
    kind = headers.get(":exception-type") or headers.get(":error-code") or "unknown"
    message = message_in(decoded(payload)) or headers.get(":error-message") or f"Bedrock reports {kind}."
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": storable(message)}})


def _headers(data: bytes) -> dict[str, str]:
    """The headers that are text."""
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name, kind = data[at + 1 : name_end].decode(), data[name_end]
            at = name_end + 1
            if kind in _FIXED_SIZES:
                at += _FIXED_SIZES[kind]
                continue
            (size,) = struct.unpack_from(">H", data, at)
            if kind == _TEXT:
                headers[name] = data[at + 2 : at + 2 + size].decode()
            at += 2 + size
    except (IndexError, struct.error, UnicodeDecodeError):
        raise ModelError("llm_error", "AWS sent a message with damaged headers.") from None
    return headers
