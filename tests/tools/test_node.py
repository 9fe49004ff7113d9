"""Tools in TypeScript on Node as it was, is and will be: versions differ in how much of the language they read."""

import asyncio
import json
from pathlib import Path

import pytest

from perdure.tools.custom import answer_of, for_node
from perdure.tools.node import Node
from perdure.tools.sandbox.job import Job, Limits
from perdure.tools.sandbox.sandbox import Sandbox
from tests.rig.install import npm_with

TYPED = "export async function f(x: number, by: number = 2): Promise<object> { return { x: BigInt(x * by) } }"
ENUM = "enum Kind { A = 'a' }\nfunction f(x: number) { return Kind.A }"
COMPILER = "add typescript to npm_requirements"


@pytest.mark.parametrize(("version", "enum"), [("24", "a"), ("26", COMPILER)])
def test_types_are_read_by_node_itself(version: str, enum: str, tmp_path: Path):
    program = npm_with(f"node-{version}", f"node@{version}") / "node_modules" / "node" / "bin" / "node"
    assert '{"x":"6"}' in ran(program, tmp_path, TYPED)
    assert enum in ran(program, tmp_path, ENUM)


def ran(program: Path, place: Path, source: str) -> str:
    """What the tool `f` of a source returns, or why it does not."""
    node = Node(str(program), None, (program.parent.parent,))
    call = {"source": source, "name": "f", "arguments": {"x": 3}, "parameters": ["x", "by"]}
    job = Job(argv=node.harness, stdin=json.dumps(call).encode(), shown=node.shown, limits=for_node(Limits(seconds=30)))
    done = asyncio.run(Sandbox(place / "data").run(job))
    answer = answer_of(done.result)
    assert answer is not None, done
    return answer.text
