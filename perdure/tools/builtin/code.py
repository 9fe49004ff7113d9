"""The tool with which an agent runs code that it wrote itself."""

import json
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from perdure.domain.errors import Invalid
from perdure.domain.tools import CUSTOM
from perdure.store import tools as tool_store
from perdure.store.database import Database
from perdure.tools.custom import OUTPUT_BYTES, PATIENCE_SECONDS, Terms, answer_of, for_node, site_packages, why
from perdure.tools.implementation import Acts, Arguments, Definition, Returned, ToolContext, define, parameters
from perdure.tools.making import PYTHON_SOURCE
from perdure.tools.node import find_node
from perdure.tools.sandbox import view
from perdure.tools.sandbox.job import Finished, Job, Limits
from perdure.tools.sandbox.sandbox import Sandbox

LANGUAGES: Final = ("python", "js")
_NAMES: Final = {"python": "python", "py": "python", "js": "js", "javascript": "js"}


def run_code(db: Database, sandbox: Sandbox, terms: Terms) -> Definition:
    """The tool `run_code`, whose code runs in a jail like that of tools made from source code."""

    async def run(context: ToolContext, arguments: Arguments) -> Returned:
        language = _NAMES.get(arguments["language"].strip().lower())
        if language is None:
            raise Invalid(
                f"This server does not run {arguments['language'][:40]!r}, only {' and '.join(LANGUAGES)}. "
                "Write it in one of these."
            )
        limits = Limits(seconds=terms.seconds, memory=terms.memory, output=OUTPUT_BYTES)
        asked: dict[str, Any] = {"source": arguments["code"]}
        if language == "js":
            node = find_node("JavaScript")
            argv, shown, limits = node.harness, node.shown, for_node(limits)
        else:
            paths = site_packages()
            before = await db.read(lambda conn: _sources(conn, context.agent.id))
            argv, shown = view.command("python_code"), tuple(Path(each) for each in paths)
            asked |= {"paths": paths, "before": before}
        job = Job(argv=argv, stdin=json.dumps(asked).encode(), shown=shown, network=terms.network, limits=limits)
        return _returned(await sandbox.run(job), terms)

    return define(
        "run_code",
        "letta_builtin",
        "Run a piece of code of your own, apart from everything else, and see what it prints and what its last "
        "expression gives. Each call starts afresh: nothing is left of an earlier one. Python code may use the "
        "functions of your other tools that are written in Python.",
        Acts(
            parameters=parameters(
                {
                    "code": {"type": "string", "description": "The whole program."},
                    "language": {"type": "string", "description": "What it is written in: python or js."},
                },
                required=("code", "language"),
            ),
            run=run,
            seconds=terms.seconds + PATIENCE_SECONDS,
            repeatable=not terms.network,
        ),
        parallel=True,
    )


def _sources(conn: Connection, agent_id: str) -> list[str]:
    """The Python tools of the agent, which code may call."""
    return [
        tool.source_code
        for tool in tool_store.of_agent(conn, agent_id)
        if tool.tool_type == CUSTOM and tool.source_type == PYTHON_SOURCE and tool.source_code
    ]


def _returned(finished: Finished, terms: Terms) -> Returned:
    """What came of it, as JSON: results, logs, and an error where there is one."""
    answer = answer_of(finished.result) if finished.stopped is None else None
    error = why(finished, terms) if answer is None else None if answer.status == "success" else answer.text
    name, _, value = (error or "").partition(": ")
    stdout, stderr = (said.decode(errors="replace") for said in (finished.stdout, finished.stderr))
    said: dict[str, Any] = {
        "results": [] if answer is None or answer.result is None else [answer.result],
        "logs": {"stdout": stdout.splitlines(), "stderr": stderr.splitlines()},
    }
    if error is not None:
        said["error"] = {"name": name, "value": value, "traceback": stderr}
    return Returned(text=json.dumps(said, ensure_ascii=False), status="success" if error is None else "error")
