"""Word, PowerPoint and Excel files: zipped XML, read part by part and never unpacked to disk."""

import re
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Final
from xml.parsers import expat

from perdure.tools.documents.inside.bounds import PARTS, UNPACKED_BYTES, Refused, Text

_PIECE: Final = 1 << 18
_COLUMNS: Final = 16_384
_DATES: Final = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
"""The number formats of Excel's own that show dates and times."""
_DATE_CODE: Final = re.compile(r"[ymdhs]", re.IGNORECASE)
_QUOTED: Final = re.compile(r'"[^"]*"|\\.|\[[^\]]*\]')
_DAY_ZERO: Final = datetime(1899, 12, 30, tzinfo=UTC)

Start = Callable[[str, dict[str, str]], None]
End = Callable[[str], None]


class _Package:
    """A zipped document. What its parts unpack to is bounded, whatever they claim."""

    def __init__(self, name: str) -> None:
        try:
            self._zip = zipfile.ZipFile(name)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
            raise Refused("It is damaged, encrypted, or not the Office document that its name says.") from error
        self.names = self._zip.namelist()
        if len(self.names) > PARTS:
            raise Refused(f"It is made of more than {PARTS} parts.")
        self._room = UNPACKED_BYTES

    def parse(self, part: str, start: Start, end: End, data: Callable[[str], None]) -> None:
        """Walk through the XML of a part. Names come without their namespaces. Nothing where there is no such part."""
        if part not in self.names:
            return
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.StartElementHandler = lambda tag, found: start(_bare(tag), {_bare(k): v for k, v in found.items()})
        parser.EndElementHandler = lambda tag: end(_bare(tag))
        parser.CharacterDataHandler = data
        try:
            for piece in self._pieces(part):
                parser.Parse(piece, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise Refused(f"Its part {part[:100]} is damaged or encrypted.") from error

    def _pieces(self, part: str) -> Iterator[bytes]:
        with self._zip.open(part) as stream:
            while piece := stream.read(_PIECE):
                self._room -= len(piece)
                if self._room < 0:
                    raise Refused(f"It unpacks to more than {UNPACKED_BYTES // 1_000_000} MB.")
                yield piece


def docx(name: str) -> str:
    """The text of a Word document, with its headings marked and its tables in lines."""
    text = Text()
    _Prose(text).read(_Package(name), "word/document.xml")
    return str(text).strip()


def pptx(name: str) -> str:
    """The text of a presentation, slide by slide, with the notes."""
    package, text = _Package(name), Text()
    slides = sorted(
        (int(found[1]), part) for part in package.names if (found := re.fullmatch(r"ppt/slides/slide(\d+)\.xml", part))
    )
    for number, part in slides:
        text.add(f"\n\n# Slide {number}\n")
        _Prose(text).read(package, part)
        notes = f"ppt/notesSlides/notesSlide{number}.xml"
        if notes in package.names:
            text.add("\nNotes:\n")
            _Prose(text).read(package, notes)
    return str(text).strip()


class _Prose:
    """Paragraphs and tables, which Word and PowerPoint call by the same names."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._in_run = False
        self._cells = 0

    def read(self, package: _Package, part: str) -> None:
        package.parse(part, self._start, self._end, self._data)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "t":
            self._in_run = True
        elif tag == "tab" and not attributes:
            self._text.add("\t")
        elif tag in ("br", "cr"):
            self._text.add("\n")
        elif tag == "tc":
            self._cells += 1
        elif tag == "pStyle" and (found := re.fullmatch(r"(?i)heading ?([1-6])", attributes.get("val", ""))):
            self._text.add("#" * int(found[1]) + " ")

    def _end(self, tag: str) -> None:
        if tag == "t":
            self._in_run = False
        elif tag == "p":
            self._text.add(" " if self._cells else "\n")
        elif tag == "tc":
            self._cells -= 1
            self._text.add("\t")
        elif tag == "tr":
            self._text.add("\n")

    def _data(self, data: str) -> None:
        if self._in_run:
            self._text.add(data)


def xlsx(name: str) -> str:
    """The cells of a workbook, sheet by sheet, a row a line, with tabs between them."""
    package = _Package(name)
    strings = _shared_strings(package)
    dates = _date_styles(package)
    text = Text()
    for title, part in _sheets(package):
        text.add(f"# Sheet {title}\n")
        _Sheet(text, strings, dates).read(package, part)
        text.add("\n")
    return str(text).strip()


class _Sheet:
    """The rows of one sheet."""

    def __init__(self, text: Text, strings: list[str], dates: frozenset[int]) -> None:
        self._text = text
        self._strings = strings
        self._dates = dates
        self._row: list[str] = []
        self._cell: dict[str, str] = {}
        self._value: list[str] = []
        self._in_value = False

    def read(self, package: _Package, part: str) -> None:
        package.parse(part, self._start, self._end, self._data)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "row":
            self._row = []
        elif tag == "c":
            self._cell, self._value = attributes, []
        elif tag in ("v", "t"):
            self._in_value = True

    def _end(self, tag: str) -> None:
        if tag in ("v", "t"):
            self._in_value = False
        elif tag == "c":
            at = _column(self._cell.get("r", ""))
            if at is not None:
                self._row += [""] * (at - len(self._row))
            self._row.append(self._shown())
        elif tag == "row" and any(self._row):
            self._text.add("\t".join(self._row) + "\n")

    def _data(self, data: str) -> None:
        if self._in_value:
            self._value.append(data)

    def _shown(self) -> str:
        value, kind = "".join(self._value), self._cell.get("t", "n")
        if kind == "s":
            number = int(value) if value.isdecimal() else -1
            return self._strings[number] if 0 <= number < len(self._strings) else ""
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        style = self._cell.get("s", "")
        if kind == "n" and style.isdecimal() and int(style) in self._dates:
            return _date(value)
        return value.replace("\t", " ").replace("\n", " ")


def _shared_strings(package: _Package) -> list[str]:
    found: list[str] = []
    held: list[str] = []
    inside = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        if tag == "si":
            held.clear()
        inside = tag == "t"

    def end(tag: str) -> None:
        nonlocal inside
        inside = False
        if tag == "si":
            found.append("".join(held).replace("\t", " ").replace("\n", " "))

    package.parse("xl/sharedStrings.xml", start, end, lambda data: held.append(data) if inside else None)
    return found


def _date_styles(package: _Package) -> frozenset[int]:
    """The styles of cells that show dates, by their numbers."""
    codes: dict[str, str] = {}
    formats: list[str] = []
    inside = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        if tag == "numFmt":
            codes[attributes.get("numFmtId", "")] = attributes.get("formatCode", "")
        elif tag == "cellXfs":
            inside = True
        elif tag == "xf" and inside:
            formats.append(attributes.get("numFmtId", "0"))

    def end(tag: str) -> None:
        nonlocal inside
        if tag == "cellXfs":
            inside = False

    def is_date(number: str) -> bool:
        if number in codes:
            return _DATE_CODE.search(_QUOTED.sub("", codes[number])) is not None
        return number.isdecimal() and int(number) in _DATES

    package.parse("xl/styles.xml", start, end, lambda data: None)
    return frozenset(at for at, number in enumerate(formats) if is_date(number))


def _sheets(package: _Package) -> list[tuple[str, str]]:
    """Titles and parts of the sheets, in their order."""
    named: list[tuple[str, str]] = []
    parts: dict[str, str] = {}

    def of_book(tag: str, attributes: dict[str, str]) -> None:
        if tag == "sheet":
            named.append((attributes.get("name", ""), attributes.get("id", "")))

    def of_links(tag: str, attributes: dict[str, str]) -> None:
        if tag == "Relationship":
            target = attributes.get("Target", "")
            parts[attributes.get("Id", "")] = target.lstrip("/") if target.startswith("/") else f"xl/{target}"

    package.parse("xl/workbook.xml", of_book, lambda tag: None, lambda data: None)
    package.parse("xl/_rels/workbook.xml.rels", of_links, lambda tag: None, lambda data: None)
    return [(title, parts[link]) for title, link in named if link in parts]


def _column(place: str) -> int | None:
    """The number of the column of a cell such as `AB12`, from 0; None where it has none that can be."""
    number = 0
    for char in place.rstrip("0123456789")[:4]:
        if not "A" <= char <= "Z":
            return None
        number = number * 26 + ord(char) - ord("A") + 1
    return number - 1 if 0 < number <= _COLUMNS else None


def _date(value: str) -> str:
    try:
        moment = _DAY_ZERO + timedelta(seconds=round(float(value) * 86_400))
    except (ValueError, OverflowError):
        return value
    return moment.strftime("%Y-%m-%d" if moment.time() == time() else "%Y-%m-%d %H:%M:%S")


def _bare(name: str) -> str:
    return name.rpartition(":")[2]


def _refuse_doctype(*_: object) -> None:
    raise Refused("It declares entities, as no Office document does.")
