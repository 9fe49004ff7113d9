"""What is got out of documents of every kind, and what becomes of those that mean harm: users.md, attack 14."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from perdure.domain.errors import Invalid
from perdure.domain.files import Form
from perdure.tools.documents.inside.bounds import TEXT_BYTES, UNPACKED_BYTES
from perdure.tools.documents.reader import LIMITS, Reader
from perdure.tools.sandbox.job import Limits
from perdure.tools.sandbox.sandbox import Sandbox
from tests.rig.documents import docx, paragraph, pdf, pdf_of, pptx, xlsx, zipped

LIMIT = 60.0


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


async def read_all(data: Path, documents: list[tuple[Form, bytes]], limits: Limits = LIMITS) -> list[str | Invalid]:
    """What comes of each document, read side by side."""

    async def pieces(content: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(content), 1000):
            yield content[at : at + 1000]

    async def one(form: Form, content: bytes) -> str | Invalid:
        try:
            return await reading.read(form, pieces(content))
        except Invalid as error:
            return error

    reading = Reader(Sandbox(data), limits)
    async with asyncio.timeout(LIMIT):
        return await asyncio.gather(*(one(*each) for each in documents))


def read(data: Path, *documents: tuple[Form, bytes]) -> list[str | Invalid]:
    return asyncio.run(read_all(data, list(documents)))


def refusals(data: Path, *documents: tuple[Form, bytes]) -> list[str]:
    found = read(data, *documents)
    assert all(isinstance(each, Invalid) for each in found), found
    return [each.message for each in found if isinstance(each, Invalid)]


def test_every_kind_of_document(sandbox: Path) -> None:
    page = (
        "<html><head><title>Menu</title><style>p {}</style></head><body><h1>Today</h1><p>Soup &amp; bread</p>"
        "<script>steal()</script><ul><li>one<li>two</ul></body></html>"
    )
    table = (
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc>" + paragraph("b") + "</w:tc></w:tr></w:tbl>"
    )
    rows = (
        '<row><c r="A1" t="s"><v>0</v></c><c r="C1" s="1"><v>45000</v></c></row>'
        '<row><c r="A2" t="inlineStr"><is><t>inline</t></is></c><c r="B2"><v>1.5</v></c>'
        '<c r="C2" t="b"><v>1</v></c></row>'
    )
    found = read(
        sandbox,
        ("text", b"plain\r\ntext"),
        ("lines", b'{"a": 1}\n'),
        ("html", page.encode()),
        ("pdf", pdf(["First page", "Second page"], compressed=True)),
        ("docx", docx(paragraph("Title", "Heading1") + paragraph("Words &amp; more") + table)),
        ("pptx", pptx(["Hello", "World"])),
        ("xlsx", xlsx(rows, ["shared"])),
        ("text", b""),
    )
    assert found == [
        "plain\ntext",
        '{"a": 1}\n',
        "Menu\n\n# Today\n\nSoup & bread\n\n- one\n- two",
        "First page\n\nSecond page",
        "# Title\nWords & more\na \tb",
        "# Slide 1\nHello\n\n\n# Slide 2\nWorld",
        "# Sheet Data\nshared\t\t2023-03-15\ninline\t1.5\tTRUE",
        "",
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"])
def test_text_in_many_encodings(sandbox: Path, encoding: str) -> None:
    assert read(sandbox, ("text", "Käse für Zoë, 5 €".encode(encoding))) == ["Käse für Zoë, 5 €"]


def test_broken_encodings_lose_what_is_broken_and_nothing_else(sandbox: Path) -> None:
    (found,) = read(sandbox, ("text", "Grüße ".encode() * 100 + b"\xff\xfe end"))
    assert found == "Grüße " * 100 + "\ufffd\ufffd end"


def test_hostile_documents_end_with_a_reason(sandbox: Path) -> None:
    entities = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'
    bomb = docx(f'<w:x a="{" " * 10_000}"/>' * (UNPACKED_BYTES // 10_000))
    much = docx(f"<w:r><w:t>{'x' * (TEXT_BYTES + 1)}</w:t></w:r>")
    pages = b"%PDF-1.4\n1 0 obj << /Type /Catalog /Pages 2 0 R >> endobj\n"
    loop = (
        pages
        + b"2 0 obj << /Type /Pages /Count 1000000 /Kids [2 0 R 2 0 R] >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF"
    )
    said = refusals(
        sandbox,
        ("text", bytes(range(32)) * 100),
        ("docx", b"no zip at all"),
        ("docx", docx(paragraph("&b;"), entities)),
        ("docx", bomb),
        ("docx", much),
        ("docx", docx("<w:p><w:r>")),
        ("xlsx", zipped({f"part{n}": "" for n in range(20_001)})),
        ("pdf", b"not a pdf"),
        ("pdf", pdf([""])),
        ("pdf", loop),
    )
    expected = (
        "binary", "damaged", "entities", "unpacks to more", "more than 50 MB of text", "damaged",
        "more than 20000 parts", "no PDF", "no text", "no PDF",
    )  # fmt: skip
    for reason, part in zip(said, expected, strict=True):
        assert part in reason, said
        assert "Traceback" not in reason
        assert "perdure" not in reason
    assert len(bomb) < UNPACKED_BYTES // 100


def test_a_pdf_bomb_and_endless_work_are_cut_off(sandbox: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, seconds=2.0, memory=128 << 20)
    layers = zlib.compress(zlib.compress(b"0 " * 60_000_000, 1), 9)
    nested = pdf_of([layers], compressed=True).replace(b"/Filter /FlateDecode", b"/Filter [/FlateDecode /FlateDecode]")
    endless = pdf_of([b"BT /F1 12 Tf (x) Tj ET " * 400_000], compressed=False)
    said = asyncio.run(read_all(sandbox, [("pdf", nested), ("pdf", endless)], limits))
    for reason in said:
        assert str(reason).startswith(("Reading it took more than 128 MiB", "Reading it took longer than 2 seconds"))
    assert read(sandbox, ("text", b"still well")) == ["still well"]
