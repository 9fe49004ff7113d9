"""Feeding the process that looks, and ending it in time."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from perdure.domain.errors import Invalid

SECONDS: Final = 30.0
PAGE: Final = 20
"""Matches shown at a time."""
MOST: Final = 1_000
"""Matches counted."""
_PROGRAM: Final = Path(__file__).with_name("inside.py")


class Match(msgspec.Struct, frozen=True):
    """A line that matches, the `line`th of its file counted from 1, among those around it, which begin with `start`."""

    file: str
    line: int
    lines: list[str]
    start: int = msgspec.field(name="from")


class Matches(msgspec.Struct, frozen=True):
    """One page of what was found. With `more`, there are more than `total`. `wrong` says why a pattern is none."""

    total: int = 0
    shown: tuple[Match, ...] = ()
    more: bool = False
    wrong: str | None = None


async def search(pattern: str, texts: AsyncIterator[tuple[str, Sequence[str]]], *, first: int, context: int) -> Matches:
    """Look for a regular expression, in any case, in files given as their names and lines.

    Raises Invalid for a pattern that is none or takes too long.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(_PROGRAM),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={},
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await asyncio.gather(_answer(process), _feed(process, _asked(pattern, first, context), texts))
    except TimeoutError as error:
        raise Invalid(
            f"Searching took longer than {SECONDS:.0f} seconds. Use a simpler pattern, or fewer files with `include`."
        ) from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())
    found = msgspec.json.decode(said, type=Matches) if said else Matches(wrong="it needs too much memory")
    if found.wrong is not None:
        raise Invalid(f"The pattern cannot be used: {found.wrong}. Escape what is meant as it stands with a backslash.")
    return found


def _asked(pattern: str, first: int, context: int) -> dict[str, Any]:
    return {"pattern": pattern, "first": first, "count": PAGE, "most": MOST, "context": context}


async def _answer(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.read()


async def _feed(
    process: asyncio.subprocess.Process, asked: dict[str, Any], texts: AsyncIterator[tuple[str, Sequence[str]]]
) -> None:
    """Hand over one file after the other, for as long as it takes any."""
    stdin = process.stdin
    assert stdin is not None
    try:
        stdin.write(msgspec.json.encode(asked) + b"\n")
        async for name, lines in texts:
            text = await asyncio.to_thread(_packed, lines)
            stdin.write(msgspec.json.encode({"name": name, "size": len(text)}) + b"\n" + text)
            await stdin.drain()
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):  # it has found enough, or ended
        pass


def _packed(lines: Sequence[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogatepass")
