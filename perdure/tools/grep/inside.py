"""The process that looks. Only the standard library is there; it reads files one after the other and keeps none.

It reads JSON lines: first what is looked for, then for each file its name and how many bytes of text follow. Lines of
that text are those that agents count. It writes one JSON object.
"""

import json
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

MEMORY: Final = 1 << 30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    wanted = json.loads(sys.stdin.buffer.readline())
    try:
        pattern = re.compile(wanted["pattern"], re.IGNORECASE)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        found: dict[str, Any] = {"wrong": str(error) or "it is too large"}
    else:
        found = look(pattern, wanted, sys.stdin.buffer)
    sys.stdout.write(json.dumps(found))


def look(pattern: re.Pattern[str], wanted: dict[str, int], stream: BinaryIO) -> dict[str, Any]:
    """The matches from number `first` on, `count` of them, with so many lines of `context`; and how many there are.

    No more than `most` are counted.
    """
    first, last = wanted["first"], wanted["first"] + wanted["count"]
    total, shown = 0, list[dict[str, Any]]()
    for name, lines in files(stream):
        for number, line in enumerate(lines):
            if pattern.search(line) is None:
                continue
            if first <= total < last:
                low = max(0, number - wanted["context"])
                around = lines[low : number + wanted["context"] + 1]
                shown.append({"file": name, "line": number + 1, "from": low + 1, "lines": around})
            total += 1
            if total >= wanted["most"]:
                return {"total": total, "shown": shown, "more": True}
    return {"total": total, "shown": shown, "more": False}


def files(stream: BinaryIO) -> Iterator[tuple[str, list[str]]]:
    while head := stream.readline():
        told = json.loads(head)
        yield told["name"], stream.read(told["size"]).decode().split("\n")


if __name__ == "__main__":
    main()
