"""Reads the document in the work directory and hands its text out, in UTF-8."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

from perdure.tools.documents.inside import office, plain
from perdure.tools.documents.inside.bounds import TEXT_BYTES, Refused, too_much_text
from perdure.tools.documents.inside.pdf import pdf

NAME: Final = "document"
RESULT: Final = 3
"""The file descriptor that takes the text."""
REFUSED: Final = 65
"""The exit code that says that stderr tells the sender why."""


def _of_bytes(read: Callable[[bytes], str]) -> Callable[[str], str]:
    def of_file(name: str) -> str:
        with open(name, "rb") as file:
            return read(file.read())

    return of_file


READERS: Final[Mapping[str, Callable[[str], str]]] = {
    "text": _of_bytes(plain.text),
    "lines": _of_bytes(plain.text),
    "html": _of_bytes(plain.html),
    "pdf": pdf,
    "docx": office.docx,
    "pptx": office.pptx,
    "xlsx": office.xlsx,
}


def main() -> None:
    """`argv[1]` is the form; `argv[2]` where pypdf lies, if anywhere."""
    form, *paths = sys.argv[1:]
    sys.path += paths
    try:
        text = READERS[form](NAME).encode("utf-8", "surrogatepass")
        if len(text) > TEXT_BYTES:
            raise too_much_text()
    except Refused as refusal:
        sys.stderr.write(f"{refusal}\n")
        raise SystemExit(REFUSED) from None
    with os.fdopen(RESULT, "wb") as out:
        out.write(text)
