"""Runs one call of a Python tool, inside its jail.

It reads what to run as JSON from stdin and answers in JSON on a file descriptor that the tool does not know, so what
the tool prints is never taken for its answer.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_RESULT = 3
_PRIVATE = 250
_MODULE = "tool"
_FILE = "<tool>"


def main() -> None:
    """Ends with the process."""
    call = take_call()
    try:
        answer = _ran(call)
    except BaseException as error:
        answer = failed(error, call["source"], _FILE)
    answer_with(answer)


def take_call() -> dict[str, Any]:
    """What to run. From here on nothing is left on stdin, and the way of the answer is the caller's alone."""
    os.dup2(_RESULT, _PRIVATE, inheritable=False)
    os.close(_RESULT)
    call = json.load(sys.stdin)
    sys.stdin = open(os.devnull)
    sys.path.extend(call["paths"])
    sys.path.insert(0, os.getcwd())
    return call


def answer_with(answer: dict[str, Any]) -> NoReturn:
    """Say what came of it, and end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    # Halves of surrogate pairs are joined where both are there; else they are no text.
    said = json.dumps(answer, ensure_ascii=False).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    said = said.encode()
    said = len(said).to_bytes(8, "big") + said
    while said:
        said = said[os.write(_PRIVATE, said) :]
    # Threads that the tool left and what it registered for its exit do not matter any more.
    os._exit(0 if answer["status"] == "success" else 1)


def _ran(call: dict[str, Any]) -> dict[str, Any]:
    """Define the tool, call it, and say what it gave."""
    module = type(sys)(_MODULE)
    sys.modules[_MODULE] = module
    scope = module.__dict__
    if call["channel"]:
        from perdure.tools.sandbox.jail import client

        scope["client"] = client.install()
    else:
        scope["client"] = None
    exec(compile(call["source"], _FILE, "exec"), scope)
    function: Callable[..., Any] = scope[call["name"]]
    state = None
    inner: Any = function
    while hasattr(inner, "__wrapped__"):  # by a decorator, which passes on what it is given
        inner = inner.__wrapped__
    code = getattr(inner, "__code__", None)
    taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code else ()
    arguments = _fitted(function, call["arguments"])
    if "agent_state" in taken:
        from perdure.tools.sandbox.jail.agent_state import AgentState

        state = arguments["agent_state"] = AgentState(call["agent_state"]) if call["agent_state"] else None
    if "agent_id" in taken:
        arguments["agent_id"] = call["agent_state"] and call["agent_state"]["id"]
    value = function(**arguments)
    if hasattr(value, "__await__"):
        import asyncio

        async def wait() -> Any:
            return await value

        value = asyncio.run(wait())
    answer = {"status": "success", "text": _text(value)}
    return answer if state is None else answer | {"edits": state.edits()}


def _fitted(function: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the function's annotations have them: JSON knows no classes."""
    if not any(isinstance(value, dict | list | str) for value in arguments.values()):
        return arguments
    import typing

    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that names nothing: the call works without
        return arguments
    return {name: _of_type(value, hints.get(name)) for name, value in arguments.items()}


def _of_type(value: Any, hint: Any) -> Any:
    import typing

    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if value is None or hint is None:
        return value
    if isinstance(hint, type) and origin is None:
        if hasattr(hint, "model_validate"):
            return hint.model_validate(value)
        if isinstance(value, dict) and hasattr(hint, "__dataclass_fields__"):
            hints = typing.get_type_hints(hint)
            return hint(**{name: _of_type(item, hints.get(name)) for name, item in value.items()})
        if hasattr(hint, "__members__"):
            return hint(value)
    elif isinstance(value, list) and origin is tuple:
        kinds = inner[:1] * len(value) if inner[-1:] == (...,) else inner
        return tuple(_of_type(item, kind) for item, kind in zip(value, kinds, strict=False))
    elif isinstance(value, list) and inner:
        return [_of_type(item, inner[0]) for item in value]
    elif isinstance(value, dict) and origin is dict:
        return {key: _of_type(item, inner[1]) for key, item in value.items()}
    elif inner and origin is not typing.Literal:
        kinds = [kind for kind in inner if kind is not type(None)]
        return _of_type(value, kinds[0]) if len(kinds) == 1 else value
    return value


def _text(value: Any) -> str:
    """A return value as models are shown it: dicts, lists and models as JSON, everything else as Python says it."""
    if isinstance(value, str):
        return value
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if isinstance(value, dict | list | tuple):
        try:
            return json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            return str(value)
    return str(value)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def failed(error: BaseException, source: str, name: str) -> dict[str, Any]:
    """What is told of an error, with the lines of it that lie in the source, whose file has this name, on stderr."""
    import linecache
    import traceback

    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    where = error.__traceback__
    while where is not None and where.tb_frame.f_code.co_filename != name:
        where = where.tb_next
    traceback.print_exception(type(error), error, where or None)
    try:
        words = str(error) or "no message"
    except BaseException:  # it cannot even say what it is
        words = "no message"
    return {"status": "error", "text": f"{type(error).__name__}: {words}"}
