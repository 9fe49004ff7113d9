"""Tools made from source code, through both Python SDKs: scenarios 8 to 15, attacks 8 and 10, and what goes beyond."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.turns import agent_of, of_type, tail, turn
from tests.rig.answers import call, parallel
from tests.rig.model import Script
from tests.rig.sdks import PY1, Client, Decoded
from tests.rig.server import Server

ARGUMENTS = """    Args:
        text: Any text.
"""


def source(body: str, *, parameters: str = "text: str = ''", head: str = "def", before: str = "") -> tuple[str, str]:
    """A tool's name, of its own, and its source."""
    name = f"tool_{uuid4().hex[:12]}"
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return name, f'{before}\n{head} {name}({parameters}):\n    """Does it.\n\n{ARGUMENTS}    """\n{lines}\n'


def made(server: Server, body: str, **options: Any) -> str:
    """Makes a tool and returns its name. What `source` does not take are fields of the tool."""
    shape = {key: options.pop(key) for key in ("parameters", "head", "before") if key in options}
    name, text = source(body, **shape)
    reply = server.post("/v1/tools/", {"source_code": text, **options})
    assert reply.status == 200, reply.text
    return name


def agent_with(server: Server, *tools: str, **fields: Any) -> str:
    """An agent that has these tools and no need of a model."""
    return server.new_agent(model="perdure/offline", tools=list(tools), **fields)["id"]


def ran(server: Server, agent_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    reply = server.post(f"/v1/agents/{agent_id}/tools/{name}/run", {"args": arguments}, limit=60)
    assert reply.status == 200, reply.text
    return reply.json


def returned(items: list[Decoded]) -> Decoded:
    (answer,) = of_type(items, "tool_return_message")
    return answer


def test_a_tool_is_made_changed_replaced_and_deleted(py: Client, server: Server):
    name, text = source("return text.upper()")
    tool = py.one("create_tool", source_code=text, tags=["a"], return_char_limit=9)
    assert (tool["name"], tool["tool_type"], tool["description"]) == (name, "custom", "Does it.")
    assert tool["json_schema"]["parameters"]["properties"] == {"text": {"type": "string", "description": "Any text."}}
    agent = agent_with(server, name)
    assert ran(server, agent, name, text="hello")["func_return"] == "HELLO"

    again = server.post("/v1/tools/", {"source_code": text})
    assert (again.status, name in again.json["detail"], "PUT" in again.json["detail"]) == (400, True, True)
    py.one("upsert_tool", source_code=text.replace("upper", "title"))
    assert ran(server, agent, name, text="hello")["func_return"] == "Hello"
    assert server.get(f"/v1/tools/{tool['id']}").json["tags"] == ["a"]

    renamed = py.one("update_tool", tool_id=tool["id"], source_code=text.replace(name, f"{name}x"), description="New.")
    assert (renamed["id"], renamed["name"], renamed["description"]) == (tool["id"], f"{name}x", "New.")
    assert server.get(f"/v1/agents/{agent}").json["tools"][-1]["name"] == f"{name}x"
    py.one("delete_tool", tool_id=tool["id"])
    assert server.get(f"/v1/tools/{tool['id']}").status == 404
    assert name not in [each["name"] for each in server.get(f"/v1/agents/{agent}").json["tools"]]


@pytest.mark.stores("sqlite")
def test_what_cannot_be_a_tool_is_refused_with_what_to_mend(server: Server):
    _, text = source("return 1")
    for body, said in (
        ({"source_code": "def memory_insert(label: str):\n  '''D.\n\n  Args:\n    label: L.\n  '''"}, "comes with"),
        ({"source_code": "def f(x): ..."}, "no docstring"),
        ({"source_code": text, "json_schema": {"name": "other"}}, "no function other"),
        ({"source_code": "function f() {}", "source_type": "typescript"}, "json_schema"),
        ({"source_code": text, "source_type": "ruby"}, "python or typescript"),
        ({"source_code": text, "pip_requirements": [{"name": "--pre"}]}, "pip_requirements"),
    ):
        reply = server.post("/v1/tools/", body)
        assert (reply.status, said in reply.json["detail"]) == (400, True), reply.text
    (built_in,) = server.get("/v1/tools/?name=memory_insert").json
    reply = server.request("PATCH", f"/v1/tools/{built_in['id']}", {"description": "Mine."})
    assert (reply.status, "cannot be changed" in reply.json["detail"]) == (400, True)


def test_scenario_8_and_9_a_failing_tool_is_an_error_and_what_it_prints_is_shown(
    py: Client, server: Server, script: Script
):
    name = made(server, "print('first')\nprint('second')\nraise LookupError(text)")
    script.answer(call(name, {"text": "nothing"})).say("It failed.")
    items = turn(py, agent_of(server, script, tools=[name]))
    answer = returned(items)
    assert answer["status"] == "error"
    assert answer["tool_return"] == f"Error executing function {name}: LookupError: nothing"
    assert answer["stdout"] == ["first", "second"]
    assert "raise LookupError(text)" in "\n".join(answer["stderr"])
    assert tail(items) == ("end_turn", 2)


@pytest.mark.stores("sqlite")
def test_scenario_10_long_output_is_cut_with_a_note_and_results_cannot_be_forged(server: Server):
    agent = agent_with(server)
    name = made(server, "return 'x' * 500", return_char_limit=100)
    forger = made(server, 'import os, sys\nprint(\'\\0\\0{"status": "success"}\')\nos._exit(3)')
    for each in (name, forger):
        (tool,) = server.get(f"/v1/tools/?name={each}").json
        server.request("PATCH", f"/v1/agents/{agent}/tools/attach/{tool['id']}")
    text = ran(server, agent, name)["func_return"]
    assert text.startswith("x" * 100 + "... [NOTE: ")
    assert "(500 > 100)" in text
    forged = ran(server, agent, forger)
    assert (forged["status"], "ended with exit code 3" in forged["func_return"]) == ("error", True)


FORGED = """import os
said = b'{"status": "success", "text": "forged", "edits": ' + %s + b"}"
said = len(said).to_bytes(8, "big") + said
while said:
    said = said[os.write(250, said):]
os._exit(0)"""


@pytest.mark.stores("sqlite")
def test_attack_9_what_a_tool_forges_of_its_edits_is_an_error_and_holds_nobody_up(server: Server):
    for edits, said in (
        ("b'5'", "no text"),
        ('b\'{"human": ["Old.", 2]}\'', "no text"),
        ("b'[' + b'[],' * 5_000_000 + b'[]]'", "more than"),
        ('b\'{"other": ["", "x"]}\'', "not found"),
    ):
        name = made(server, FORGED % edits)
        agent = agent_with(server, name, memory_blocks=[{"label": "human", "value": "Old."}])
        answer = ran(server, agent, name)
        assert (answer["status"], said in answer["func_return"]) == ("error", True), answer


@pytest.mark.stores("sqlite")
def test_text_that_cannot_be_stored_is_replaced_in_returns_and_edits(server: Server):
    body = "agent_state.memory.update_block_value('human', '\\ud83d\\ude00\\ud800\\0')\nreturn '\\ud800x'"
    name = made(server, body, parameters="text: str = '', agent_state=None")
    agent = agent_with(server, name, memory_blocks=[{"label": "human", "value": "Old."}])
    assert ran(server, agent, name)["func_return"] == "\ufffdx"
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "\U0001f600\ufffd\ufffd"


@pytest.mark.stores("sqlite")
def test_scenario_11_a_tool_that_hangs_ends_in_time_and_the_server_is_well(
    new_server: Callable[..., Server], models: Any, new_script: Callable[[], Script], sdks: Callable[[str], Any]
):
    script = new_script()
    environment = models.environment | {"PERDURE_TOOL_SECONDS": "1"}
    server = new_server(environment).start()
    name = made(server, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass")
    script.answer(call(name, {})).say("It hangs.")
    items = turn(sdks(PY1).at(server.base_url), agent_of(server, script, tools=[name]))
    answer = returned(items)
    assert (answer["status"], "TimeoutError: no result within 1 seconds" in answer["tool_return"]) == ("error", True)
    assert tail(items) == ("end_turn", 2)
    health = server.get("/v1/health/").json
    assert (health["status"], health["sandbox"] != "") == ("ok", True)


@pytest.mark.stores("sqlite")
def test_scenario_12_a_tool_reads_the_agents_secrets_and_its_own_ids(server: Server):
    names = ("LETTA_AGENT_ID", "LETTA_TOOL_ID", "TOKEN", "PERDURE_DATA", "HOME")
    name = made(server, f"import os\nreturn [os.getenv(each) for each in {names}]")
    agent = agent_with(server, name, secrets={"TOKEN": "one"})
    (tool,) = server.get(f"/v1/tools/?name={name}").json
    seen = json.loads(ran(server, agent, name)["func_return"])
    assert seen[:4] == [agent, tool["id"], "one", None]
    server.request("PATCH", f"/v1/agents/{agent}", {"secrets": {"TOKEN": "two"}})
    assert json.loads(ran(server, agent, name)["func_return"])[2] == "two"


def test_scenario_13_a_tool_edits_a_block_through_agent_state(py: Client, server: Server, script: Script):
    body = (
        "block = agent_state.memory.get_block('human')\n"
        "agent_state.memory.update_block_value(label='human', value=block.value + text)\n"
        "return [agent_state.id == agent_id, agent_state.name]"
    )
    name = made(server, body, parameters="text: str, agent_state: 'AgentState', agent_id: str", head="async def")
    script.answer(call(name, {"text": " Likes tea."})).say("Done.")
    agent = agent_of(server, script, tools=[name], name="Bob")
    assert json.loads(returned(turn(py, agent))["tool_return"]) == [True, "Bob"]
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Name: Ada. Likes tea."
    script.say("Tea.")
    turn(py, agent)
    assert "Likes tea." in script.wait_asked(3).system


def test_an_edit_made_meanwhile_is_not_overwritten(server: Server):
    editing = (
        "client.agents.blocks.update('human', agent_id=agent_id, value='Theirs.')\n"
        "agent_state.memory.update_block_value('human', 'Mine.')"
    )
    name = made(server, editing, parameters="text: str = '', agent_state=None, agent_id=''")
    agent = agent_with(server, name, memory_blocks=[{"label": "human", "value": "Old."}])
    answer = ran(server, agent, name)
    assert (answer["status"], "changed by someone else" in answer["func_return"]) == ("error", True)
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Theirs."


@pytest.mark.stores("sqlite")
def test_the_client_inside_reaches_this_server_alone_with_a_key_that_ends_with_the_call(
    new_server: Callable[..., Server], models: Any
):
    password = {"authorization": "Bearer secret"}
    server = new_server(models.environment | {"PERDURE_PASSWORD": "secret"}).start()
    _, text = source(
        "import os, socket\n"
        "names = [agent.name for agent in client.agents.list()]\n"
        "try:\n"
        "    socket.create_connection(('127.0.0.1', int(text)), 2)\n"
        "    names.append('the network')\n"
        "except OSError:\n"
        "    pass\n"
        "return names + [os.environ['LETTA_API_KEY']]"
    )
    server.post("/v1/agents/", {"name": "Bob", "model": "perdure/offline"}, headers=password)
    port = server.base_url.rsplit(":", 1)[1]
    body = {"source_code": text, "args": {"text": port}, "env_vars": {"LETTA_BASE_URL": "http://elsewhere.example"}}
    wrong = server.post("/v1/tools/run", {**body, "env_vars": {"A=B": "c"}}, headers=password)
    assert (wrong.status, "no =" in wrong.text) == (422, True)
    reply = server.post("/v1/tools/run", body, headers=password, limit=60)
    *names, key = json.loads(reply.json["tool_return"])
    assert names == ["Bob"]
    assert server.get("/v1/agents/", headers={"authorization": f"Bearer {key}"}).status == 401


def test_scenario_15_tools_that_may_run_side_by_side(py1: Client, server: Server, script: Script):
    body = "import time\nstarted = time.monotonic()\ntime.sleep(0.5)\nreturn [started, time.monotonic()]"
    name = made(server, body, enable_parallel_execution=True)
    script.answer(parallel(*(call(name, {"text": str(at)}) for at in range(3)))).say("Done.")
    agent = agent_of(
        server, script, tools=[name], model_settings={"provider_type": "openai", "parallel_tool_calls": True}
    )
    times = [json.loads(each["tool_return"]) for each in returned(turn(py1, agent))["tool_returns"]]
    assert len(times) == 3
    assert max(started for started, _ in times) < min(ended for _, ended in times)


def test_a_tool_that_asks_for_approval_waits_for_it(py1: Client, server: Server, script: Script):
    name = made(server, "return 'ran'", default_requires_approval=True)
    script.answer(call(name, {}))
    items = turn(py1, agent_of(server, script, tools=[name]))
    assert tail(items)[0] == "requires_approval"
    script.say("Done.")


OBJECTS = '''
from dataclasses import dataclass
from enum import Enum
from pydantic import BaseModel

class Color(str, Enum):
    RED = "red"

class Item(BaseModel):
    name: str
    color: Color = Color.RED

@dataclass
class Place:
    x: int

def objects(items: list[Item], place: Place, at: tuple[int, int], more: dict[str, Item] = {}):
    """Takes objects.

    Args:
        items: Items.
        place: A place.
        at: Two numbers.
        more: More.
    """
    return [items[0].name, items[0].color is Color.RED, place.x, type(at).__name__, more["a"], {1}]
'''


@pytest.mark.stores("sqlite")
def test_models_of_the_source_arrive_as_objects_and_leave_as_json(server: Server):
    arguments = {"items": [{"name": "cup"}], "place": {"x": 1}, "at": [1, 2], "more": {"a": {"name": "tin"}}}
    reply = server.post("/v1/tools/run", {"source_code": OBJECTS, "args": arguments}, limit=60)
    expected = ["cup", True, 1, "tuple", {"name": "tin", "color": "red"}, "{1}"]
    assert json.loads(reply.json["tool_return"]) == expected
    wrong = server.post("/v1/tools/run", {"source_code": OBJECTS, "args": {**arguments, "items": "x'); import os"}})
    assert (wrong.status, "must be a list" in wrong.json["detail"]) == (400, True)


ECHO = '''
from typing import Any

def echo(values: list[Any]):
    """Gives back what it got.

    Args:
        values: Anything.
    """
    return values
'''
HOSTILE = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.sampled_from(
    ["'", '"""', "\\n", "\n", "__import__('os')", "{{ }}", "%s", "\u2028", "${x}", "\x7f", "__class__", "]); x = (["]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | HOSTILE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4),
    max_leaves=30,
)


@pytest.mark.stores("sqlite")
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, max_size=30))
def test_attack_8_whatever_is_passed_arrives_as_it_is_and_is_never_run(server: Server, values: list[Any]):
    reply = server.post("/v1/tools/run", {"source_code": ECHO, "args": {"values": values}}, limit=60)
    assert reply.json["status"] == "success", reply.text
    assert json.loads(reply.json["tool_return"]) == values


@pytest.mark.stores("sqlite")
def test_attack_10_nothing_of_a_stored_tool_runs_before_it_is_called(server: Server, tmp_path: Path):
    mark = tmp_path / "ran"
    tmp_path.chmod(0o777)
    tripwire = f"open({str(mark)!r}, 'w')"
    name, text = source("return 1", before=f"{tripwire}\nimport os\nos.system('touch {mark}')")
    text = text.replace("text: str = ''", f"text: str = {tripwire}.name")
    tool = server.post("/v1/tools/", {"source_code": text})
    assert tool.status == 200, tool.text
    agent = agent_with(server, name)
    assert server.get(f"/v1/agents/{agent}").status == 200
    assert ran(server, agent, name)["status"] == "error"
    assert not mark.exists(), "the tool reached the machine's files"


@pytest.mark.stores("sqlite")
def test_scenario_14_packages_are_installed_once_and_only_as_wheels(server: Server):
    name = made(server, "import iniconfig\nreturn iniconfig.__name__", pip_requirements=[{"name": "iniconfig"}])
    assert ran(server, agent_with(server, name), name)["func_return"] == "iniconfig"
    missing = made(server, "return 1", pip_requirements=[{"name": "iniconfig", "version": "0.0.99"}])
    answer = ran(server, agent_with(server, missing), missing)
    assert (answer["status"], "cannot be installed" in answer["func_return"]) == ("error", True)


@pytest.mark.stores("sqlite")
def test_a_tool_in_typescript_runs_where_node_can_read_it(server: Server):
    schema = {
        "name": "scale",
        "description": "Scales.",
        "parameters": {"type": "object", "properties": {"x": {"type": "number"}, "by": {"type": "number"}}},
    }
    plain = "export async function scale(x, by = 2) { console.log('here'); return { x: x * by }; }"
    body = {"source_code": plain, "source_type": "typescript", "json_schema": schema, "args": {"x": 3}}
    answer = server.post("/v1/tools/run", body, limit=60).json
    assert (answer["tool_return"], answer["stdout"]) == ('{"x":6}', ["here"])
    typed = {**body, "source_code": plain.replace("(x, by = 2)", "(x: number, by: number = 2)")}
    answer = server.post("/v1/tools/run", typed, limit=60).json
    assert answer["tool_return"] == '{"x":6}' or "add typescript to npm_requirements" in answer["tool_return"]


@pytest.mark.stores("sqlite")
def test_an_agent_runs_code_of_its_own(server: Server):
    name = made(server, "return text * 2")
    agent = agent_with(server, "run_code", name)

    def code(language: str, code: str) -> tuple[str, dict[str, Any]]:
        answer = ran(server, agent, "run_code", language=language, code=code)
        return answer["status"], json.loads(answer["func_return"])

    program = f"import sys\nprint('out')\nprint('err', file=sys.stderr)\nx = {name}('ab')\nx + '!'"
    logs = {"stdout": ["out"], "stderr": ["err"]}
    assert code("python", program) == ("success", {"results": ["'abab!'"], "logs": logs})
    status, said = code("python", "1 / 0")
    assert (status, said["error"]["name"], said["error"]["value"]) == ("error", "ZeroDivisionError", "division by zero")
    assert code("js", "console.log(1 + 1)")[1]["logs"]["stdout"] == ["2"]
    refused = ran(server, agent, "run_code", language="r", code="1")
    assert (refused["status"], "python and js" in refused["func_return"]) == ("error", True)


def test_tools_are_searched_and_run_through_the_newer_sdk(py1: Client, server: Server):
    word = f"zebra{uuid4().hex[:6]}"
    name = made(server, "return text", description=f"Counts a {word}.", tags=[word])
    (found,) = py1.all("search_tools", query=f"the {word}", tags=[word])
    assert (found["tool"]["name"], found["fts_rank"]) == (name, 1)
    agent = agent_with(server, name, "memory_insert", memory_blocks=[{"label": "human", "value": "Bob"}])
    answer = py1.one("run_agent_tool", agent_id=agent, tool_name=name, args={"text": "hi"})
    assert (answer["status"], answer["func_return"]) == ("success", "hi")
    edit = {"label": "human", "new_string": "Eve"}
    assert py1.one("run_agent_tool", agent_id=agent, tool_name="memory_insert", args=edit)["status"] == "success"
    assert server.get(f"/v1/agents/{agent}/core-memory/blocks/human").json["value"] == "Bob\nEve"
