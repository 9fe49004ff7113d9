"""Runs a piece of Python, inside its jail, and says what its last expression gave."""

from __future__ import annotations

import ast

from perdure.tools.sandbox.jail.python_tool import answer_with, failed, take_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = "<code>"


def main() -> None:
    """Ends with the process."""
    call = take_call()
    try:
        answer = _ran(call)
    except BaseException as error:
        answer = failed(error, call["source"], _NAME)
    answer_with(answer)


def _ran(call: dict[str, Any]) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "__main__", "client": None}
    for source in call["before"]:
        exec(compile(source, "<tool>", "exec"), scope)
    module = ast.parse(call["source"], _NAME)
    last = module.body[-1] if module.body else None
    if isinstance(last, ast.Expr):
        module.body.pop()
    exec(compile(module, _NAME, "exec"), scope)
    if not isinstance(last, ast.Expr):
        return {"status": "success", "text": ""}
    value = eval(compile(ast.Expression(last.value), _NAME, "eval"), scope)
    return {"status": "success", "text": "", "result": None if value is None else repr(value)}
