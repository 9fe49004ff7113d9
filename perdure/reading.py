"""How settings are read, each by its row of the table in `config.py`.

The functions that read one kind of text raise ValueError, saying what is allowed.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from perdure.domain.errors import Invalid


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: where a setting comes from, what it means, and how its text is read.

    Of `variables` the first that is set counts. `read` raises ValueError, saying what is allowed.
    """

    name: str
    variables: tuple[str, ...]
    default: str
    meaning: str
    read: Callable[[str], Any]
    flag: str | None = None
    secret: bool = False


def value_of(setting: Setting, environment: Mapping[str, str], flag: Any) -> Any:
    """What a setting is: by its flag, else by the environment, else by default. Raises Invalid, naming its place."""
    source, text = setting.flag or setting.name, "" if flag is None else str(flag)
    if flag is None:
        source = next((name for name in setting.variables if environment.get(name, "").strip()), "")
        # A password or key keeps its spaces: it has to be the same text for whoever sends it.
        text = environment.get(source, "") if setting.secret else environment.get(source, "").strip()
    if not source:
        text = setting.default
    try:
        return setting.read(text)
    except ValueError as error:
        shown = "" if setting.secret else f" is {text!r}, which"
        raise Invalid(f"{source}{shown} will not do: {error}.") from None


def text(text: str) -> str | None:
    """Any text; None where it is empty."""
    return text or None


def host(text: str) -> str:
    """A host name or an address."""
    if any(character.isspace() or character == "/" for character in text):
        raise ValueError("it must be an address or a host name, such as 127.0.0.1 or 0.0.0.0")
    return text.strip("[]")


def data(text: str) -> Path | None:
    """A directory; None where none is given."""
    try:
        return Path(text).expanduser().absolute() if text else None
    except RuntimeError:
        raise ValueError("it must be a directory, and there is no such home directory") from None


def file(text: str) -> Path | None:
    """A file; None where none is given."""
    try:
        return Path(text).expanduser().absolute() if text else None
    except RuntimeError:
        raise ValueError("it must be a file, and there is no such home directory") from None


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words, in any case."""

    def read(text: str) -> str:
        if text.casefold() not in words:
            raise ValueError(f"it must be one of {', '.join(words)}")
        return text.casefold()

    return read


def number(low: float, high: float, unit: str) -> Callable[[str], float]:
    """A number of some unit within these bounds, which belong to it."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"it must be a number of {unit} from {low:g} to {high:g}")
        return number

    return read


def whole(low: int, high: int, what: str) -> Callable[[str], int]:
    """A whole number within these bounds, which belong to it."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
            raise ValueError(f"it must be {what} from {low} to {high}")
        return int(text)

    return read


_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")


def switch(text: str) -> bool:
    """Yes or no."""
    if text.casefold() not in (*_YES, *_NO):
        raise ValueError("it must be 1 or 0")
    return text.casefold() in _YES


_LEVELS: Final = ("debug", "info", "warning", "error")


def level(text: str) -> str:
    """How grave a line has to be to be logged."""
    # LETTA_DEBUG is a switch, and stands in the same place.
    if text.casefold() in (*_YES, *_NO):
        return "debug" if text.casefold() in _YES else "info"
    return one_of(*_LEVELS)(text)


def items_of(text: str) -> tuple[str, ...]:
    """Comma separated, or a JSON list as the old server's variables held."""
    if text.startswith("["):
        try:
            items = json.loads(text)
        except ValueError:
            raise ValueError("it must be a list, separated by commas") from None
        return tuple(str(item) for item in items)
    return tuple(item.strip() for item in text.split(",") if item.strip())


def origins(text: str) -> tuple[str, ...]:
    """Origins of web pages, or `*`."""
    origins = tuple(origin.rstrip("/") for origin in items_of(text))
    for origin in origins:
        scheme, _, rest = origin.partition("://")
        if origin != "*" and (scheme not in ("http", "https") or not rest or "/" in rest):
            raise ValueError("it must be origins such as https://app.example.com, separated by commas, or *")
    return origins


def base_url(text: str) -> str:
    """The address of an API, without a slash at its end."""
    scheme, _, rest = text.partition("://")
    if scheme not in ("http", "https") or not rest or any(sign in rest for sign in "?# "):
        raise ValueError("it must be an address such as https://api.example.com")
    return text.rstrip("/")


def tools(text: str) -> tuple[str, ...]:
    """Functions as `module:function`."""
    tools = items_of(text)
    for tool in tools:
        module, _, function = tool.partition(":")
        if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError("it must be functions such as my_package.tools:look_up, separated by commas")
    return tools


_UNITS: Final = {"": 1, "K": 2**10, "KIB": 2**10, "M": 2**20, "MIB": 2**20, "G": 2**30, "GIB": 2**30}
_MAX_BODY: Final = 4 * 2**30


def size(text: str) -> int:
    """A number of bytes, with or without a unit."""
    digits = text.rstrip("BbIiKkMmGg ")
    factor = _UNITS.get(text[len(digits) :].strip().upper())
    if factor is None or not (digits.isascii() and digits.isdecimal()) or not 1024 <= int(digits) * factor <= _MAX_BODY:
        raise ValueError("it must be a number of bytes, such as 67108864 or 64MiB, from 1KiB to 4GiB")
    return int(digits) * factor


def handle(text: str) -> str | None:
    """A model handle; None where none is given."""
    provider, slash, model = text.partition("/")
    if text and not (provider and slash and model):
        raise ValueError("it must be a handle such as openai/gpt-4o")
    return text or None


def handles(text: str) -> tuple[str, ...]:
    """Model handles."""
    handles = items_of(text)
    for each in handles:
        handle(each)
    return handles


_HOST: Final = r"(?:\[[^\]]*\]|[^\[\]@:,/?#\s]*)(?::\d{1,5})?"
_DATABASE: Final = re.compile(rf"(?:[^@/?#\s]*@)?{_HOST}(?:,{_HOST})*(?:/[^/?#\s]*)?(?:\?[^#\s]*)?")
"""What follows `postgresql://`: who, at which hosts, which database, anything else."""


def database(text: str) -> str | None:
    """A PostgreSQL URL as libpq has it, from any form that SQLAlchemy's drivers use."""
    scheme, separator, rest = text.strip().partition("://")
    kind = scheme.partition("+")[0].casefold()
    if kind == "sqlite":
        raise ValueError("SQLite's file is chosen with --data or PERDURE_DATA; leave the URL out")
    if text.strip() and not (kind in ("postgres", "postgresql") and separator and _DATABASE.fullmatch(rest)):
        raise ValueError(
            "it must be a PostgreSQL URL, such as postgresql://user:password@host:5432/perdure, what is special in "
            "its password written as %40 for @, %2F for /, %3F for ? and %23 for #"
        )
    return re.sub(r"(?<=[?&])ssl(?==)", "sslmode", f"postgresql://{rest}") if rest else None
