"""The documented examples run as they are printed, apart from the server's address and the agent's id."""

import json
import subprocess
from collections.abc import Callable

import pytest

from tests.contract.told import assert_classes, fresh_agent, remembering, said, types
from tests.rig import http
from tests.rig.model import Script
from tests.rig.sdks import JS0, JS1, PY0, PY1, Sdk
from tests.rig.server import Server

ALL_TYPES = [
    "reasoning_message",
    "assistant_message",
    "tool_call_message",
    "tool_return_message",
    "assistant_message",
    "stop_reason",
    "usage_statistics",
]
SKY = "The sky above the port was the color of television, tuned to a dead channel."

CURL_TYPED = """{
  "messages": [
    {
      "role": "user",
      "content": [
        {
          "type": "text",
          "text": "The sky above the port was the color of television, tuned to a dead channel."
        }
      ]
    }
  ]
}"""

CURL_UNTYPED = """{
  "messages": [
    {
      "role": "user",
      "content": [
        {
          "text": "string"
        }
      ]
    }
  ]
}"""

PYTHON_0 = """
from letta_client import Letta, MessageCreate, TextContent

client = Letta(
    project="YOUR_PROJECT",
    token="YOUR_TOKEN",
    base_url="BASE_URL",
)
response = client.agents.messages.create_stream(
    agent_id="agent_id",
    messages=[
        MessageCreate(
            role="user",
            content=[
                TextContent(
                    text="The sky above the port was the color of television, tuned to a dead channel.",
                )
            ],
        )
    ],
)
"""

NODE_0 = """
import { LettaClient } from "@letta-ai/letta-client";

const client = new LettaClient({ token: "YOUR_TOKEN", project: "YOUR_PROJECT", baseUrl: "BASE_URL" });
const response = await client.agents.messages.createStream("agent_id", {
    messages: [{
            role: "user",
            content: [{
                    type: "text",
                    text: "The sky above the port was the color of television, tuned to a dead channel."
                }]
        }]
});
"""

PYTHON_1_CREATE = """
from letta_client import Letta

client = Letta(project="YOUR_PROJECT", api_key="YOUR_API_KEY", base_url="BASE_URL")
response = client.agents.messages.create(
    agent_id="agent_id",
    messages=[{
        "role": "user",
        "content": [{
            "type": "text",
            "text": "The sky above the port was the color of television, tuned to a dead channel.",
        }],
    }],
    streaming=True,
)
"""

PYTHON_1_STREAM = PYTHON_1_CREATE.replace("messages.create(", "messages.stream(").replace("    streaming=True,\n", "")

NODE_1_CREATE = """
import Letta from "@letta-ai/letta-client";

const client = new Letta({ apiKey: "YOUR_API_KEY", project: "YOUR_PROJECT", baseURL: "BASE_URL" });
const response = await client.agents.messages.create("agent_id", {
    streaming: true,
    messages: [{
            role: "user",
            content: [{
                    type: "text",
                    text: "The sky above the port was the color of television, tuned to a dead channel."
                }]
        }]
});
"""

NODE_1_STREAM = NODE_1_CREATE.replace("messages.create(", "messages.stream(").replace("    streaming: true,\n", "")


@pytest.mark.parametrize(("body", "expected"), [(CURL_TYPED, SKY), (CURL_UNTYPED, "string")], ids=["typed", "untyped"])
def test_curl(server: Server, script: Script, body: str, expected: str) -> None:
    script.say("A dead", " channel.")
    agent = server.new_agent(model=script.handle)["id"]
    done = subprocess.run(
        [
            "curl", "--silent", "--show-error", "--include", "--max-time", "30",
            "-X", "POST", f"{server.base_url}/v1/agents/{agent}/messages/stream",
            "-H", "Authorization: Bearer <token>",
            "-H", "Content-Type: application/json",
            "-d", body,
        ],
        capture_output=True,
        check=True,
    )  # fmt: skip
    head, _, sent = done.stdout.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: text/event-stream" in head.lower()
    frames = [http.parse(raw + b"\n\n") for raw in sent.split(b"\n\n") if raw]
    assert [frame.kind for frame in frames] == [
        "ping",
        "assistant_message",
        "stop_reason",
        "usage_statistics",
        "[DONE]",
    ]
    assert frames[1].json["content"] == "A dead channel."
    assert script.asked[0].said == expected


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (PY0, PYTHON_0),
        (PY1, PYTHON_1_CREATE),
        (PY1, PYTHON_1_STREAM),
        (JS0, NODE_0),
        (JS1, NODE_1_CREATE),
        (JS1, NODE_1_STREAM),
    ],
    ids=["python-0.1", "python-1-create", "python-1-stream", "node-0.1", "node-1-create", "node-1-stream"],
)
def test_sdk(sdks: Callable[[str], Sdk], server: Server, script: Script, name: str, source: str) -> None:
    client = sdks(name).at(server.base_url)
    remembering(script)
    agent = fresh_agent(client, script)
    example = source.replace("BASE_URL", server.base_url).replace('"agent_id"', json.dumps(agent))
    is_python = client.sdk.language == "py"
    items = client.all("example", source=example) if is_python else client.sdk.run_example(example)
    assert items[0].type == "ping"
    assert types(items) == ALL_TYPES
    assert_classes(client, items)
    assert said(items) == "Saving it.I saved that."
    assert script.asked[0].said == SKY
