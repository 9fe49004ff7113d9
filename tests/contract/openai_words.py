"""What tests with OpenAI's own SDK send, and how they read what came."""

from typing import Any

from tests.rig.model import Script
from tests.rig.sdks import Decoded

LOCATE = {"name": "locate", "description": "Where the user is", "parameters": {"type": "object", "properties": {}}}
CHAT_TOOLS = [{"type": "function", "function": LOCATE}]
RESPONSE_TOOLS = [{"type": "function", **LOCATE}]


def message(completion: Decoded) -> dict[str, Any]:
    assert completion.cls.removeprefix("Parsed").startswith("ChatCompletion")
    return completion["choices"][0]["message"]


def finish(completion: Decoded) -> str:
    return completion["choices"][0]["finish_reason"]


def kinds(response: Decoded) -> list[str]:
    return [item["type"] for item in response["output"]]


def words(response: Decoded) -> str:
    """All text of a response, like the SDK's `output_text`."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])


def heard(script: Script, request: int) -> list[str]:
    """What users said, as the model was shown it at request number `request` (from 1)."""
    return [each["content"] for each in script.asked[request - 1].messages if each["role"] == "user"]
