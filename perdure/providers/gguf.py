"""What a GGUF file says of itself, read from its first pages.

llama.cpp says little of files that it does not load, and ends the whole process over some.
"""

import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import msgspec

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
MOST_ENTRIES: Final = 1 << 20
"""Entries of metadata, tensors and dimensions that are believed."""
LONGEST: Final = 1 << 24
"""Bytes of one text, such as a chat template."""

_FIXED: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of values, and how `struct` names them."""
_TEXT: Final = 8
_ARRAY: Final = 9
_SHARD: Final = re.compile(r"^(.*)-\d{5}-of-(\d{5})$")


class GgufError(Exception):
    """Completes the sentence `<path> …`."""


class Gguf(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a file.

    `trained` is the context it was trained with, in tokens, `width` the floats of its vectors; 0 where it does not say.
    """

    kind: Literal["chat", "embedding"]
    name: str
    """The file's, without what marks it as one part of several."""
    architecture: str
    trained: int
    width: int
    size: int
    """Bytes, of all its parts."""
    has_template: bool
    """Whether it says how a conversation is put into words. A general form is used where it does not."""


def read_gguf(path: Path) -> Gguf:
    """What is in the file. Raises GgufError for one that cannot be run, with the reason and a remedy."""
    if path.is_dir():
        found = sorted(each.name for each in path.glob("*.gguf"))
        hint = f": name one of the files in it, such as {found[0]}" if found else ", and no GGUF file is in it"
        raise GgufError(f"is a directory{hint}")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise GgufError("is not a GGUF file")
            fields, end = _Reader(file, size).header()
    except OSError as error:
        raise GgufError(f"cannot be read: {error.strerror}") from error
    others = _other_parts(path, fields)
    if end > size:
        raise GgufError(f"is cut off after {size:,} bytes: download it again")
    return _described(path, fields, size + sum(part.stat().st_size for part in others))


def _described(path: Path, fields: dict[str, Any], size: int) -> Gguf:
    architecture, kind = str(fields.get("general.architecture")), fields.get("general.type", "model")

    def number(name: str) -> int:
        value = fields.get(f"{architecture}.{name}")
        return value if isinstance(value, int) else 0

    pooling = number("pooling_type")
    if architecture == "clip" or kind == "mmproj":
        raise GgufError("is the part of a model that looks at images (mmproj): give the file of the model itself")
    if kind != "model":
        raise GgufError(f"holds no model but a {kind}: give the file of the model itself")
    if pooling == _RANK:
        raise GgufError("is a reranker, which neither talks nor makes vectors")
    return Gguf(
        kind="embedding" if pooling or "bert" in architecture else "chat",
        name=shard[1] if (shard := _SHARD.match(path.stem)) else path.stem,
        architecture=architecture,
        trained=number("context_length"),
        width=number("embedding_length"),
        size=size,
        has_template="tokenizer.chat_template" in fields,
    )


_RANK: Final = 4
"""The kind of pooling by which a model only compares two texts."""


def _other_parts(path: Path, fields: dict[str, Any]) -> list[Path]:
    """The files beside it that are parts of the same model. Raises GgufError where one is not there."""
    number, count = fields.get("split.no", 0), fields.get("split.count", 0)
    if not count:
        return []
    shard = _SHARD.match(path.stem)
    if shard is None:
        raise GgufError(f"is part of a model in {count} files, and has to keep its name: …-00001-of-{count:05}.gguf")
    parts = [path.with_name(f"{shard[1]}-{at:05}-of-{shard[2]}.gguf") for at in range(1, count + 1)]
    if number:
        raise GgufError(f"is part {number + 1} of {count}: give the first, {parts[0].name}")
    if missing := [part.name for part in parts if not part.exists()]:
        raise GgufError(f"is the first of {count} parts, and beside it these are missing: {', '.join(missing)}")
    return parts[1:]


class _Reader:
    """Reads the header of a file of `size` bytes, at its first byte after the magic."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def header(self) -> tuple[dict[str, Any], int]:
        """The metadata without its lists, and where the last tensor begins at the earliest."""
        version = self._number("I")
        if version not in VERSIONS:
            raise GgufError("is of a version of GGUF that is not known, or damaged: download or convert it again")
        tensors, entries = self._count(), self._count()
        fields = {self._text(): self._value(self._number("I")) for _ in range(entries)}
        last = -1
        for _ in range(tensors):
            self._text()
            self._skip(self._count_of("I") * 8 + 4)
            last = max(last, self._number("Q"))
        return fields, self._file.tell() + last + 1

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text()
        if kind == _ARRAY:
            self._skip_list()
            return None
        return self._number(self._format(kind))

    def _skip_list(self) -> None:
        kind, length = self._number("I"), self._number("Q")
        if kind == _TEXT:
            for _ in range(self._believed(length)):
                self._read(self._length())
        else:
            self._skip(struct.calcsize(f"<{self._format(kind)}") * length)

    def _text(self) -> str:
        return self._read(self._length()).decode(errors="replace")

    def _length(self) -> int:
        length = int.from_bytes(self._read(8), "little")
        if length > LONGEST:
            raise _damaged()
        return length

    def _count(self) -> int:
        return self._believed(self._number("Q"))

    def _count_of(self, form: str) -> int:
        return self._believed(self._number(form))

    def _number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self._read(struct.calcsize(f"<{form}")))[0]

    def _read(self, length: int) -> bytes:
        data = self._file.read(length)
        if len(data) < length:
            raise GgufError(f"is cut off after {self._size:,} bytes: download it again")
        return data

    def _skip(self, length: int) -> None:
        if self._file.tell() + length > self._size:
            raise GgufError(f"is cut off after {self._size:,} bytes: download it again")
        self._file.seek(length, 1)

    @staticmethod
    def _format(kind: int) -> str:
        if kind not in _FIXED:
            raise _damaged()
        return _FIXED[kind]

    @staticmethod
    def _believed(count: int) -> int:
        if count > MOST_ENTRIES:
            raise _damaged()
        return count


def _damaged() -> GgufError:
    return GgufError("is damaged: download it again")
