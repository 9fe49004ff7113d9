"""What agents know from elsewhere, as agent files hold it: folders in the contract's spelling, archives in our own."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from perdure.domain.agent_file import Library, Packed, Shelved, Stock
from perdure.domain.errors import Invalid
from perdure.domain.files import File, safe_name, type_of
from perdure.domain.ids import new_id, now
from perdure.domain.passages import MAX_BYTES, Passage
from perdure.wire import files as file_wire
from perdure.wire import folders as folder_wire
from perdure.wire.archives import CreateArchiveBody
from perdure.wire.archives import archive as archive_wire
from perdure.wire.filing import Names, body, listed, maps, texts
from perdure.wire.passages import CreatePassageBody
from perdure.wire.text import Body, Text
from perdure.wire.times import precise

Wire = dict[str, Any]


class FiledFileBody(Body):
    """A file with its text, if the agent file has that."""

    file_name: Text | None = None
    original_file_name: Text | None = None
    file_type: Text | None = None
    file_size: int | None = None
    content: Text | None = None

    def shelved(self, key: str) -> Shelved:
        """The file, in no folder yet."""
        name = safe_name(self.file_name or self.original_file_name or "")
        if not name:
            raise Invalid("file_name: a file needs a name")
        at = now()
        file = File(
            id=new_id("file"), folder_id="", file_name=name, original_file_name=self.original_file_name,
            file_type=type_of(name, self.file_type), file_size=self.file_size, status="parsing", created_at=at,
            updated_at=at,
        )  # fmt: skip
        return Shelved(file, self.content, key)


def sources(libraries: Iterable[Library], name: Names) -> list[Wire]:
    """The folders of a file."""
    return [
        {**_unplaced(folder_wire.folder(each.folder)), "id": name("source", each.folder.id)} for each in libraries
    ]  # fmt: skip


def files(libraries: Iterable[Library], name: Names) -> list[Wire]:
    """The files of a file, each with the id of its folder there."""
    return [
        {
            **file_wire.file(shelved.file, shelved.text),
            "id": name("file", shelved.file.id),
            "source_id": name("source", library.folder.id),
            "folder_id": name("source", library.folder.id),
        }
        for library in libraries
        for shelved in library.files
    ]


def files_of(packed: Packed, name: Names) -> list[Wire]:
    """Which files an agent has, and what it sees of them."""
    return [
        {
            "id": name("file_agent", f"{packed.details.agent.id} {each.file_id}"),
            "agent_id": name("agent", packed.details.agent.id),
            "file_id": name("file", each.file_id),
            "source_id": name("source", each.folder_id),
            "file_name": each.name,
            "is_open": each.is_open,
            "visible_content": each.view,
            "last_accessed_at": precise(each.opened_at),
        }
        for each in packed.files
    ]


def closed(wires: Any) -> frozenset[str]:
    """The ids of the files that an agent in a file does not have open."""
    return frozenset(texts([each.get("file_id") for each in maps(wires) if each.get("is_open") is False]))


def archives(stocks: Iterable[Stock]) -> list[Wire]:
    """An agent's archives with their passages, without their vectors."""
    return [
        {
            **_unplaced(archive_wire(each.archive)),
            "id": None,
            "passages": [
                {
                    "text": passage.text,
                    "tags": list(passage.tags),
                    "metadata": passage.metadata,
                    "created_at": precise(passage.created_at),
                }
                for passage in each.passages
            ],
        }
        for each in stocks
    ]


def _unplaced(wire: Wire) -> Wire:
    """Without where its embedding model is served."""
    config = wire.get("embedding_config")
    return wire if config is None else {**wire, "embedding_config": {**config, "embedding_endpoint": None}}


def libraries(file: Mapping[str, Any]) -> dict[str, Library]:
    """The folders in a file by their ids, with their files. Raises Invalid saying what is wrong with one."""
    key = "sources" if isinstance(file.get("sources"), list) else "folders"
    shelved = listed(
        file,
        "files",
        lambda wire: (
            wire.get("source_id") or wire.get("folder_id"),
            body(FiledFileBody, wire).shelved("".join(texts([wire.get("id")]))),
        ),
    )
    found = listed(file, key, _library)
    for own, (folder_id, _) in shelved.items():
        if not isinstance(folder_id, str) or folder_id not in found:
            raise Invalid(
                f"In the agent file, {own} is in the folder {str(folder_id)[:60]!r}, which is not in the file."
            )
    return {
        own: msgspec.structs.replace(library, files=tuple(file for at, file in shelved.values() if at == own))
        for own, library in found.items()
    }


def stocks(wires: Any) -> tuple[Stock, ...]:
    """The archives in a file. Raises Invalid saying what is wrong with one."""
    return tuple(_stock(wire) for wire in maps(wires))


def _library(wire: Mapping[str, Any]) -> Library:
    read = body(folder_wire.CreateFolderBody, wire)
    choice = read.choice()
    return Library(
        folder=read.folder(), files=(), embedding=choice.embedding or (choice.embedding_config or {}).get("handle")
    )


def _stock(wire: Mapping[str, Any]) -> Stock:
    read = body(CreateArchiveBody, wire)
    passages = [_passage(each) for each in maps(wire.get("passages"))]
    return Stock(archive=read.archive(None), passages=tuple(passages), embedding=read.embedding)


def _passage(wire: Mapping[str, Any]) -> Passage:
    read = body(CreatePassageBody, wire)
    if not 0 < len(read.text.encode()) <= MAX_BYTES:
        raise Invalid(f"a passage has 1 to {MAX_BYTES} bytes of text, and one has {len(read.text.encode())}")
    written_at, at = read.at(), now()
    return Passage(
        id=new_id("passage"), archive_id="", text=read.text, tags=tuple(sorted(set(read.tags or ()))),
        metadata=read.metadata or {}, created_at=at if written_at is None else written_at, updated_at=at,
    )  # fmt: skip
