"""Every example runs against a real server and prints what it promises."""

import re
from pathlib import Path

import pytest

from tests.contract.told import user
from tests.docs.written import python, run
from tests.rig.answers import call
from tests.rig.model import ModelServer, Script
from tests.rig.sdks import PY0, PY1
from tests.rig.server import ROOT, Server

EXAMPLES = ROOT / "examples"


def shown(example: str, sdk: str, server: Server, home: Path) -> list[str]:
    """The lines that an example prints; the agent it made is gone afterwards."""
    before = server.get("/v1/agents/count").json
    output = run([python(sdk), EXAMPLES / example], home, LETTA_BASE_URL=server.base_url)
    assert server.get("/v1/agents/count").json == before
    return output.splitlines()


@pytest.mark.parametrize(("example", "sdk"), [("remember.py", PY1), ("remember_v0.py", PY0)])
def test_remember(newcomers_server: Server, tmp_path: Path, example: str, sdk: str) -> None:
    lines = shown(example, sdk, newcomers_server, tmp_path)
    asked = lines.index("> What is my name?")
    assert lines[0] == "> My name is Ada."
    assert lines[1].strip()
    last = next(at for at, line in enumerate(lines) if line.startswith("The human block now says: "))
    assert "Ada" in "\n".join(lines[asked + 1 : last])
    assert "Ada" in "\n".join(lines[last:])


def test_resume(newcomers_server: Server, tmp_path: Path) -> None:
    left, *rest = shown("resume.py", PY1, newcomers_server, tmp_path)
    assert re.fullmatch(r"left run run-[0-9a-f-]{36} after event 5", left)
    numbers, kinds = zip(*(line.split() for line in rest), strict=True)
    assert [int(number) for number in numbers] == list(range(6, 6 + len(rest)))
    assert kinds[-2:] == ("stop_reason", "usage_statistics")
    assert "tool_return_message" in kinds
    assert "assistant_message" in kinds


def test_trusted_tool(models: ModelServer, script: Script, tmp_path: Path) -> None:
    environment = {**models.environment, "PYTHONPATH": f"{ROOT}:{EXAMPLES}"}
    with Server(tmp_path / "data", environment, tools=["trusted_tool:dice"]) as server:
        agent = server.new_agent(model=script.handle, tools=["dice"])["id"]
        script.answer(call("dice", {"sides": 1})).say("You threw a one.")
        reply = server.post(f"/v1/agents/{agent}/messages", {"messages": user("Throw.")}).json
    returned = next(item for item in reply["messages"] if item["message_type"] == "tool_return_message")
    assert (returned["status"], returned["tool_return"]) == ("success", "1")
    described = script.asked[0].tools["dice"]
    assert described["description"].startswith("Throws one die.")
    assert described["parameters"]["properties"]["sides"]["type"] == "integer"


def test_every_example_is_run_and_listed() -> None:
    there = {path.name for path in EXAMPLES.glob("*.py")}
    source = Path(__file__).read_text()
    assert [name for name in sorted(there) if name.removesuffix(".py") not in source] == []
    listed = set(re.findall(r"^\| `(\w+\.py)` \|", (EXAMPLES / "README.md").read_text(), flags=re.MULTILINE))
    assert listed == there
