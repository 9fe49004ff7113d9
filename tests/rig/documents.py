"""Documents made by hand, byte by byte, so that what is read of them is known."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping

DOCX, PPTX, XLSX = (
    f"application/vnd.openxmlformats-officedocument.{kind}"
    for kind in ("wordprocessingml.document", "presentationml.presentation", "spreadsheetml.sheet")
)


def pdf(pages: Iterable[str], *, compressed: bool = False) -> bytes:
    """A PDF with these lines of text, one a page."""
    said = [f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() for text in pages]
    return pdf_of([zlib.compress(each) if compressed else each for each in said], compressed=compressed)


def pdf_of(contents: Iterable[bytes], *, compressed: bool) -> bytes:
    """A PDF whose pages have these content streams."""
    contents = list(contents)
    filtered = "/Filter /FlateDecode " if compressed else ""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(contents)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, content in enumerate(contents):
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * at} 0 R"
        objects.append(f"{page} /Resources << /Font << /F1 3 0 R >> >> >>".encode())
        head = f"<< {filtered}/Length {len(content)} >>\nstream\n".encode()
        objects.append(head + content + b"\nendstream")
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    places: list[int] = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(f"{number} 0 obj\n".encode() + body + b"\nendobj\n")
    start = out.tell()
    out.write(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode())
    out.write(b"".join(f"{place:010} 00000 n \n".encode() for place in places))
    out.write(f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode())
    return out.getvalue()


def zipped(parts: Mapping[str, bytes | str]) -> bytes:
    """A zip file with these parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return out.getvalue()


def docx(body: str, head: str = "") -> bytes:
    """A Word document with this inside its body."""
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    return zipped({"word/document.xml": f"{head}<w:document {space}><w:body>{body}</w:body></w:document>"})


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of a Word document."""
    styled = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{styled}<w:r><w:t>{text}</w:t></w:r></w:p>"


def pptx(slides: Iterable[str]) -> bytes:
    """A presentation with one line of text on each slide."""
    space = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    return zipped(
        {
            f"ppt/slides/slide{number}.xml": f"<sld {space}><a:p><a:r><a:t>{text}</a:t></a:r></a:p></sld>"
            for number, text in enumerate(slides, 1)
        }
    )


def xlsx(rows: str, strings: Iterable[str] = ()) -> bytes:
    """A workbook with one sheet, `Data`, of these rows; style 1 shows dates."""
    link = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    shared = "".join(f"<si><t>{text}</t></si>" for text in strings)
    return zipped(
        {
            "xl/workbook.xml": f'<book {link}><sheets><sheet name="Data" sheetId="1" r:id="rId1"/></sheets></book>',
            "xl/_rels/workbook.xml.rels": '<R><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></R>',
            "xl/sharedStrings.xml": f"<sst>{shared}</sst>",
            "xl/styles.xml": '<s><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></s>',
            "xl/worksheets/sheet1.xml": f"<worksheet><sheetData>{rows}</sheetData></worksheet>",
        }
    )


def multipart(name: str, content: bytes, content_type: str = "text/plain") -> tuple[bytes, dict[str, str]]:
    """The body and the header of a request that uploads one file."""
    edge = "edge-of-the-parts"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    body = f"{head}Content-Type: {content_type}\r\n\r\n".encode() + content + f"\r\n--{edge}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
