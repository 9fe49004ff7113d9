"""Whether a SQLite file is sound."""

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import Connection

from perdure.store.findings import Finding, finding

MOST_LINES: Final = 100
_OF_AN_INDEX: Final = re.compile(r"(?:row \d+ missing from|wrong # of entries in|non-unique entry in) index ")


def integrity(conn: Connection, repair: bool) -> Iterator[Finding]:
    """What SQLite itself finds wrong with the file. What is wrong with its indexes alone can be mended."""
    lines = _lines(conn)
    of_indexes = [line for line in lines if _OF_AN_INDEX.match(line)]
    mended = False
    if of_indexes and repair:
        conn.exec_driver_sql("REINDEX")
        mended = not any(_OF_AN_INDEX.match(line) for line in _lines(conn))
    for line in lines:
        done = "made the indexes anew" if mended and line in of_indexes else None
        yield finding("file", f"{line} (restore a backup)" if line not in of_indexes else line, (), done)


def _lines(conn: Connection) -> list[str]:
    lines = conn.exec_driver_sql(f"PRAGMA integrity_check({MOST_LINES})").scalars().all()
    return [] if lines == ["ok"] else list(lines)
