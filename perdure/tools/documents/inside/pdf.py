"""PDF, by pypdf."""

import logging
from typing import Any

from perdure.tools.documents.inside.bounds import PAGES, Refused, Text


def pdf(name: str) -> str:
    """The text of the document in the file `name`, page after page. Raises Refused."""
    import pypdf  # pyright: ignore[reportMissingImports] # noqa: PLC0415 - only here is it in reach, and only now needed
    from pypdf.errors import PyPdfError  # noqa: PLC0415

    logging.disable(logging.CRITICAL)
    try:
        return _read(pypdf.PdfReader(name, strict=False))
    except PyPdfError as error:
        raise Refused(f"It is no PDF that can be read: {str(error)[:200]}.") from error


def _read(reader: Any) -> str:
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("It is encrypted. Send it without its password.")
    text = Text()
    for number, page in enumerate(reader.pages):
        if number >= PAGES:
            raise Refused(f"It has more than {PAGES} pages. Send it in parts.")
        if number:
            text.add("\n\n")
        text.add(page.extract_text().strip())
    found = str(text).strip()
    if not found:
        raise Refused("It holds no text. It may be a scan, which this server cannot read: send it with a text layer.")
    return found
