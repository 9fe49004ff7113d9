"""A file is a text that came as a document; a chunk is a piece of it that search can find."""

import math
import mimetypes
import re
import unicodedata
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from perdure.domain.folders import Folder

FileStatus = Literal["pending", "parsing", "embedding", "completed", "error"]
Form = Literal["text", "lines", "html", "pdf", "docx", "pptx", "xlsx"]
"""How text is got out of a file. `lines` is text that lines mean something in: code and data."""
DuplicateHandling = Literal["skip", "error", "suffix", "replace"]

MAX_NAME_BYTES: Final = 200
MAX_TEXT: Final = 50_000_000
"""Characters of text that one file may hold."""

_ENDINGS: Final[Mapping[Form, str]] = {
    "text": "txt text md markdown mdx rst adoc asciidoc log org tex eml",
    "lines": "bash bat c cc cfg clj conf cpp cs css csv cxx dart diff env erl ex exs fish go gradle graphql h hpp hs "
    "ini ipynb java jl js json jsonl jsx kt less lua m makefile ndjson patch php pl proto ps1 py pyi r rb rs scala "
    "scss sh sql srt svelte swift tf toml ts tsv tsx vb vtt vue xml yaml yml zig zsh",
    "html": "html htm xhtml",
    "pdf": "pdf",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
}
_FORMS: Final[Mapping[str, Form]] = {ending: form for form, endings in _ENDINGS.items() for ending in endings.split()}
_FORMS_BY_TYPE: Final[Mapping[str, Form]] = {
    "application/json": "lines", "application/x-ndjson": "lines", "application/jsonl": "lines",
    "application/xml": "lines", "application/yaml": "lines", "application/x-yaml": "lines", "application/toml": "lines",
    "application/javascript": "lines", "application/x-sh": "lines", "application/sql": "lines",
    "text/csv": "lines", "text/html": "html", "application/xhtml+xml": "html", "application/pdf": "pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
}  # fmt: skip
_NOT_IN_NAMES: Final = re.compile(r'[<>"|?*:&]')
_NO_TYPE: Final = ("", "application/octet-stream", "binary/octet-stream")


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file without its text. `chunks_embedded` counts those that are searchable by now."""

    id: str
    folder_id: str
    file_name: str
    created_at: int
    updated_at: int
    original_file_name: str | None = None
    file_type: str | None = None
    file_size: int | None = None
    status: FileStatus = "pending"
    error_message: str | None = None
    total_chunks: int | None = None
    chunks_embedded: int | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a file's text, the `position`th, counted from 0."""

    id: str
    file_id: str
    file_name: str
    folder_id: str
    position: int
    text: str
    created_at: int


class AgentFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file as an agent has it. Open, its `view` stands in the agent's system message: lines `start` to `end`.

    Lines count from 1, both included; `opened_at` is when the agent last asked for it, in microseconds UTC.
    """

    file_id: str
    file_name: str
    file_type: str | None
    folder_id: str
    folder_name: str
    created_at: int
    is_open: bool = False
    start_line: int | None = None
    end_line: int | None = None
    view: str | None = None
    opened_at: int | None = None

    @property
    def name(self) -> str:
        """What the agent calls it."""
        return f"{self.folder_name}/{self.file_name}"


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """A folder as an agent sees it: the files that are open or listed, and how many more there are."""

    folder: Folder
    files: tuple[AgentFile, ...] = ()
    more: int = 0


class FolderStats(msgspec.Struct, frozen=True, kw_only=True):
    """A folder and the sizes, in bytes, of what it holds."""

    folder: Folder
    files: tuple[File, ...] = ()


def file_limits(window: int, max_open: int | None, view_chars: int | None) -> tuple[int, int]:
    """How many files an agent with this context window (tokens) may have open, and characters shown of each.

    What the agent itself says goes before what its window allows.
    """
    _, files, chars = next(limit for limit in _LIMITS if window <= limit[0])
    return max_open or files, view_chars or chars


_LIMITS: Final = (
    (8_000, 3, 5_000),
    (32_000, 5, 15_000),
    (128_000, 10, 25_000),
    (200_000, 10, 40_000),
    (math.inf, 15, 40_000),
)


def form_of(file_name: str, content_type: str | None) -> Form | None:
    """How text is got out of a file with this name, sent with this MIME type. None where nobody knows."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    known = _FORMS.get(_extension(file_name)) or _FORMS_BY_TYPE.get(kind)
    if known is None and kind.startswith("text/"):
        known = "text"
    return known


def type_of(file_name: str, content_type: str | None) -> str:
    """The MIME type to remember: as sent where that says something, else what the name suggests."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in _NO_TYPE:
        return kind
    return mimetypes.guess_type(file_name)[0] or "text/plain"


def safe_name(sent: str) -> str:
    """The name a file is kept under: the last part of the path sent, without anything that could mislead.

    Nothing that is shown to nobody or turns text round (controls, bidi marks), nothing that ends a tag in a system
    message. Empty where nothing is left.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", sent))[-1]
    shown = "".join(char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
    name = _NOT_IN_NAMES.sub("_", shown).strip(" .") if shown.strip(" .") else ""
    return _shortened(f".{name}" if shown.lstrip().startswith(".") and name else name)


def numbered_name(name: str, number: int) -> str:
    """The name of a file whose own is taken: `report.txt` becomes `report_(1).txt`."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    tail = f"_({number}){dot}{extension}"
    return _clipped(stem, MAX_NAME_BYTES - len(tail.encode())) + tail


def _shortened(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    tail = f"{dot}{extension}" if stem and len(extension) <= 16 else ""
    return _clipped(name.removesuffix(tail), MAX_NAME_BYTES - len(tail.encode())) + tail


def _clipped(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


def _extension(name: str) -> str:
    return name.lower().rpartition(".")[2]
