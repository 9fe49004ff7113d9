"""A context's overview as 0.1.x callers read it, with messages in the form the old server kept them in."""

from typing import Any

from perdure.domain.messages import (
    AnyPart,
    ApprovalPart,
    HiddenReasoningPart,
    ImagePart,
    Message,
    ReasoningPart,
    SummaryPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from perdure.domain.overview import Overview
from perdure.wire.times import precise

Wire = dict[str, Any]


def context_overview(found: Overview) -> Wire:
    """What fills a context."""
    return {
        "context_window_size_max": found.window,
        "context_window_size_current": found.tokens,
        "num_messages": len(found.messages),
        "num_archival_memory": found.archived,
        "num_recall_memory": found.recalled,
        "num_tokens_external_memory_summary": found.facts.tokens,
        "external_memory_summary": found.facts.text,
        "num_tokens_system": found.system.tokens,
        "system_prompt": found.system.text,
        "num_tokens_core_memory": found.blocks.tokens,
        "core_memory": found.blocks.text,
        "num_tokens_memory_filesystem": 0,
        "memory_filesystem": None,
        "num_tokens_tool_usage_rules": found.rules.tokens,
        "tool_usage_rules": found.rules.text or None,
        "num_tokens_directories": found.directories.tokens,
        "directories": found.directories.text or None,
        "num_tokens_summary_memory": found.summary.tokens,
        "summary_memory": found.summary.text or None,
        "num_tokens_functions_definitions": found.tools_tokens,
        "functions_definitions": [{"type": "function", "function": tool.json_schema} for tool in found.tools],
        "num_tokens_messages": found.messages_tokens,
        "messages": [stored_message(message) for message in found.messages],
    }


def stored_message(message: Message) -> Wire:
    """A message in the form the old server kept it in."""
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    returns = message.tool_returns
    return {
        "id": message.id,
        "agent_id": message.agent_id,
        # The role of a summary is newer than those who read this.
        "role": "user" if message.role == "summary" else message.role,
        "content": [item for part in message.parts if (item := _content(part)) is not None],
        "name": message.name,
        "tool_calls": calls or None,
        "tool_call_id": returns[0].call_id if returns else None,
        "tool_returns": [_tool_return(part) for part in returns],
        "step_id": message.step_id,
        "run_id": message.run_id,
        "otid": message.otid,
        "group_id": message.group_id,
        "sender_id": message.sender_id,
        "batch_item_id": message.batch_item_id,
        "is_err": message.is_err or None,
        "created_at": precise(message.created_at),
        "model": None,
    }


def _content(part: AnyPart) -> Wire | None:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case SummaryPart():
            return {"type": "text", "text": part.note}
        case ReasoningPart():
            return {"type": "reasoning", "is_native": part.native, "reasoning": part.text, "signature": part.signature}
        case HiddenReasoningPart(state="redacted", data=data):
            return {"type": "redacted_reasoning", "data": data or ""}
        case HiddenReasoningPart():
            return {"type": "omitted_reasoning"}
        case ToolReturnPart():
            return {
                "type": "tool_return", "tool_call_id": part.call_id, "content": part.text,
                "is_error": part.status == "error",
            }  # fmt: skip
        case ImagePart():
            source = {"type": "base64", "media_type": part.media_type, "data": part.data, "detail": part.detail}
            return {"type": "image", "source": source}
        case ToolCallPart() | ApprovalPart():
            return None


def _tool_return(part: ToolReturnPart) -> Wire:
    return {
        "tool_call_id": part.call_id, "status": part.status, "stdout": part.stdout, "stderr": part.stderr,
        "func_response": part.text,
    }  # fmt: skip
